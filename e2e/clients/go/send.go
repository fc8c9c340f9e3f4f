package main

import (
	"context"
	"hash/crc32"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var statusNames = map[primitive.SendStatus]string{
	primitive.SendOK: "SEND_OK", primitive.SendFlushDiskTimeout: "FLUSH_DISK_TIMEOUT",
	primitive.SendFlushSlaveTimeout: "FLUSH_SLAVE_TIMEOUT", primitive.SendSlaveNotAvailable: "SLAVE_NOT_AVAILABLE",
}

// sender counts what was sent; callbacks of asynchronous sends come on other goroutines.
type sender struct {
	*run
	producer     rocketmq.Producer
	sent, failed atomic.Int64
}

func send(r *run) (bool, error) {
	o := r.options
	count, first := int(o.number("count", 1)), int(o.number("first-seq", 0))
	batch := int(o.number("batch-size", int64(count)))
	interval := time.Duration(o.number("interval-ms", 0)) * time.Millisecond
	mode := o.choice("mode", "sync", "async", "oneway", "batch")
	t := newTemplate(o)
	settings := []producer.Option{
		producer.WithGroupName(o.text("group", "bolide-e2e-go-producer")),
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{r.namesrv})),
		producer.WithRetry(int(o.number("retries", 2))),
		producer.WithSendMsgTimeout(time.Duration(o.number("send-timeout-ms", 10_000)) * time.Millisecond),
		producer.WithCompressMsgBodyOverHowmuch(int(o.number("compress-over", 4096))),
		producer.WithInstanceName(o.text("instance", "go-"+strconv.FormatInt(time.Now().UnixNano(), 36))),
	}
	if t.shards > 0 {
		settings = append(settings, producer.WithQueueSelector(producer.NewHashQueueSelector()))
	}
	if o.has("queue") {
		settings = append(settings, producer.WithQueueSelector(fixedQueue(o.number("queue", 0))))
	}
	if err := o.refuseUnknown(); err != nil {
		return false, err
	}
	p, err := rocketmq.NewProducer(settings...)
	if err != nil {
		return false, err
	}
	if err := p.Start(); err != nil {
		return false, err
	}
	s := &sender{run: r, producer: p}
	step := 1
	if mode == "batch" {
		step = batch
	}
	var waiting sync.WaitGroup
	for seq := first; seq < first+count && !r.expired(); seq += step {
		s.one(mode, t, seq, min(step, first+count-seq), &waiting)
		time.Sleep(interval)
	}
	s.await(&waiting)
	if mode == "oneway" {
		// Nothing tells when a one-way message has left the process; closing the connection at once could lose it.
		time.Sleep(500 * time.Millisecond)
	}
	if err := p.Shutdown(); err != nil {
		return false, err
	}
	r.events.emit("done", fields{"sent", s.sent.Load(), "failed", s.failed.Load()})
	return s.sent.Load() == int64(count) && s.failed.Load() == 0, nil
}

func (s *sender) one(mode string, t *template, seq, count int, waiting *sync.WaitGroup) {
	ctx, cancel := context.WithDeadline(context.Background(), s.deadline)
	var messages []*primitive.Message
	for i := seq; i < seq+count; i++ {
		messages = append(messages, t.message(i))
	}
	// The client compresses in place: the sum is taken of what the caller gave.
	sum, size := crc32.ChecksumIEEE(messages[0].Body), len(messages[0].Body)
	switch mode {
	case "oneway":
		err := s.producer.SendOneWay(ctx, messages...)
		cancel()
		if err != nil {
			s.fail(seq, err)
			return
		}
		s.sent.Add(1)
		s.events.emit("sent", fields{"seq", seq, "count", 1, "status", "ONEWAY", "crc", sum})
	case "async":
		waiting.Add(1)
		err := s.producer.SendAsync(ctx, func(_ context.Context, result *primitive.SendResult, err error) {
			defer waiting.Done()
			defer cancel()
			s.answer(seq, count, size, sum, result, err)
		}, messages...)
		if err != nil {
			cancel()
			waiting.Done()
			s.fail(seq, err)
		}
	default:
		result, err := s.producer.SendSync(ctx, messages...)
		cancel()
		s.answer(seq, count, size, sum, result, err)
	}
}

func (s *sender) answer(seq, count, size int, sum uint32, result *primitive.SendResult, err error) {
	if err != nil {
		s.fail(seq, err)
		return
	}
	s.sent.Add(int64(count))
	s.events.emit("sent", fields{
		"seq", seq, "count", count, "status", statusNames[result.Status], "msgId", result.MsgID, "offsetMsgId", result.OffsetMsgID,
		"topic", result.MessageQueue.Topic, "broker", result.MessageQueue.BrokerName, "queueId", result.MessageQueue.QueueId,
		"queueOffset", result.QueueOffset, "regionId", result.RegionID, "size", size, "crc", sum,
	})
}

func (s *sender) fail(seq int, err error) {
	s.failed.Add(1)
	s.events.failure("failed", err, fields{"seq", seq})
}

func (s *sender) await(waiting *sync.WaitGroup) {
	all := make(chan struct{})
	go func() { waiting.Wait(); close(all) }()
	select {
	case <-all:
	case <-time.After(time.Until(s.deadline)):
		s.events.emit("timeout", fields{"sent", s.sent.Load()})
	}
}

// fixedQueue always chooses the queue of that number.
type fixedQueue int

func (f fixedQueue) Select(m *primitive.Message, queues []*primitive.MessageQueue, lastBroker string) *primitive.MessageQueue {
	for _, queue := range queues {
		if queue.QueueId == int(f) {
			return queue
		}
	}
	return nil
}
