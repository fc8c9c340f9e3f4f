package main

import (
	"context"
	"errors"
	"sort"
	"strconv"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

var pullNames = map[primitive.PullStatus]string{
	primitive.PullFound: "FOUND", primitive.PullNoNewMsg: "NO_NEW_MSG", primitive.PullNoMsgMatched: "NO_MATCHED_MSG",
	primitive.PullOffsetIllegal: "OFFSET_ILLEGAL", primitive.PullBrokerTimeout: "BROKER_TIMEOUT",
}

// pull: one call of the pull consumer. It has no call for minimum and maximum offsets other than the pull itself.
func pull(r *run) (bool, error) {
	o := r.options
	what := o.choice("do", "queues", "pull", "update", "by-time")
	topic, queueID := o.must("topic"), int(o.number("queue", 0))
	offset, most, timeMs := o.number("offset", 0), int(o.number("max", 32)), o.number("time-ms", 0)
	properties := o.flag("properties")
	allocated := make(chan struct{})
	var once sync.Once
	c, err := rocketmq.NewPullConsumer(
		consumer.WithStrategy(func(group, self string, queues []*primitive.MessageQueue, instances []string) []*primitive.MessageQueue {
			mine := consumer.AllocateByAveragely(group, self, queues, instances)
			if len(mine) > 0 && mine[0].Topic == topic {
				once.Do(func() { close(allocated) })
			}
			return mine
		}),
		consumer.WithGroupName(o.must("group")),
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{r.namesrv})),
		consumer.WithInstance("go-"+strconv.FormatInt(time.Now().UnixNano(), 36)),
	)
	if err != nil {
		return false, err
	}
	sub := o.text("sub", "*")
	if err := o.refuseUnknown(); err != nil {
		return false, err
	}
	if err := c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: sub}); err != nil {
		return false, err
	}
	if err := c.Start(); err != nil {
		return false, err
	}
	queues, err := c.GetTopicRouteInfo(topic)
	if err != nil {
		return false, err
	}
	sort.Slice(queues, func(i, j int) bool { return queues[i].QueueId < queues[j].QueueId })
	if what == "queues" {
		for _, q := range queues {
			r.events.emit("queue", fields{"topic", q.Topic, "broker", q.BrokerName, "queueId", q.QueueId})
		}
		return true, c.Shutdown()
	}
	var queue *primitive.MessageQueue
	for _, q := range queues {
		if q.QueueId == queueID {
			queue = q
		}
	}
	if queue == nil {
		return false, &usageError{"no such queue: " + strconv.Itoa(queueID)}
	}
	ctx, cancel := context.WithDeadline(context.Background(), r.deadline)
	defer cancel()
	switch what {
	case "pull":
		err = pullOnce(ctx, r, c, queue, offset, most, properties)
	case "by-time":
		var found int64
		if found, err = c.OffsetForTimestamp(queue, timeMs); err == nil {
			r.events.emit("offsets", fields{"broker", queue.BrokerName, "queueId", queue.QueueId, "byTime", found})
		}
	default:
		select {
		case <-allocated:
			err = update(ctx, r, c, queue, offset)
		case <-ctx.Done():
			err = errors.New("no queues were allocated in time")
		}
	}
	if err != nil {
		return false, err
	}
	return true, c.Shutdown()
}

func pullOnce(ctx context.Context, r *run, c rocketmq.PullConsumer, queue *primitive.MessageQueue, offset int64, most int, properties bool) error {
	began := time.Now()
	result, err := c.PullFrom(ctx, queue, offset, most)
	if err != nil {
		return err
	}
	messages := result.GetMessageExts()
	for _, m := range messages {
		if m.Queue == nil {
			m.Queue = queue
		}
		r.events.emit("message", received(m, properties))
	}
	r.events.emit("pulled", fields{"status", pullNames[result.Status], "next", result.NextBeginOffset, "min", result.MinOffset,
		"max", result.MaxOffset, "found", len(messages), "elapsedMs", time.Since(began).Milliseconds()})
	return nil
}

// update commits an offset. The client forgets offsets of queues that it was not allocated, so this comes after the first
// allocation, and a little later: the client notes the queues only when the strategy has returned. It cannot read back.
func update(ctx context.Context, r *run, c rocketmq.PullConsumer, queue *primitive.MessageQueue, offset int64) error {
	time.Sleep(time.Second)
	if err := c.UpdateOffset(queue, offset); err != nil {
		return err
	}
	if err := c.PersistOffset(ctx, queue.Topic); err != nil {
		return err
	}
	r.events.emit("updated", fields{"broker", queue.BrokerName, "queueId", queue.QueueId, "committed", offset})
	return nil
}
