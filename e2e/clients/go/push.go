package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// listener decides which deliveries fail and counts the rest.
type listener struct {
	*run
	failFirst  int
	failOnly   []string
	failAlways atomic.Bool
	delayLevel int
	orderly    bool
	properties bool
	consume    time.Duration

	lock     sync.Mutex
	attempts map[string]int
	consumed map[string]bool
	failures int
	last     time.Time
	assigned string
}

func push(r *run) (bool, error) {
	o := r.options
	l := &listener{
		run: r, failFirst: int(o.number("fail-first", 0)), failOnly: o.all("fail-only"), delayLevel: int(o.number("retry-delay-level", 0)),
		orderly: o.choice("listener", "concurrently", "orderly") == "orderly", properties: o.flag("properties"),
		consume:  time.Duration(o.number("consume-ms", 0)) * time.Millisecond,
		attempts: map[string]int{}, consumed: map[string]bool{}, last: time.Now(),
	}
	l.failAlways.Store(o.flag("fail-always"))
	expect, idle := o.number("expect", -1), o.number("idle-ms", -1)
	linger := time.Duration(o.number("linger-ms", 0)) * time.Millisecond
	instance := o.text("instance", "go-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	settings := []consumer.Option{
		consumer.WithGroupName(o.must("group")),
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{r.namesrv})),
		consumer.WithInstance(instance),
		consumer.WithConsumerModel(map[string]consumer.MessageModel{
			"clustering": consumer.Clustering, "broadcasting": consumer.BroadCasting,
		}[o.choice("model", "clustering", "broadcasting")]),
		consumer.WithConsumeFromWhere(map[string]consumer.ConsumeFromWhere{
			"last": consumer.ConsumeFromLastOffset, "first": consumer.ConsumeFromFirstOffset,
		}[o.choice("from", "last", "first")]),
		consumer.WithConsumerOrder(l.orderly),
		consumer.WithStrategy(l.allocate),
		consumer.WithMaxReconsumeTimes(int32(o.number("max-reconsume", -1))),
		consumer.WithConsumeMessageBatchMaxSize(int(o.number("batch", 1))),
	}
	if o.has("suspend-ms") {
		settings = append(settings, consumer.WithSuspendCurrentQueueTimeMillis(time.Duration(o.number("suspend-ms", 1000))*time.Millisecond))
	}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: o.text("sub", "*")}
	if o.has("sql") {
		selector = consumer.MessageSelector{Type: consumer.SQL92, Expression: o.text("sql", "")}
	}
	topics := o.all("topic")
	if err := o.refuseUnknown(); err != nil {
		return false, err
	}
	c, err := rocketmq.NewPushConsumer(settings...)
	if err != nil {
		return false, err
	}
	for _, topic := range topics {
		if err := c.Subscribe(topic, selector, l.message); err != nil {
			return false, err
		}
	}
	if err := c.Start(); err != nil {
		return false, err
	}
	r.events.emit("started", fields{"instance", instance})
	var stop atomic.Bool
	r.onLine(func(line string) {
		switch line {
		case "stop":
			stop.Store(true)
		case "suspend":
			c.Suspend()
		case "resume":
			c.Resume()
		case "fail":
			l.failAlways.Store(true)
		case "succeed":
			l.failAlways.Store(false)
		}
		r.events.emit("control", fields{"line", line})
	})
	var reached time.Time
	for !stop.Load() && !r.expired() {
		consumed, last := l.progress()
		if expect >= 0 && consumed >= expect {
			if reached.IsZero() {
				reached = time.Now()
			}
			if time.Since(reached) >= linger {
				break
			}
		}
		if idle >= 0 && time.Since(last) >= time.Duration(idle)*time.Millisecond {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	timeout := r.expired()
	if err := c.Shutdown(); err != nil {
		return false, err
	}
	consumed, _ := l.progress()
	r.events.emit("stopped", fields{"consumed", consumed, "failures", l.failures, "timeout", timeout})
	return expect < 0 || consumed >= expect, nil
}

// allocate is the client's default strategy; it also tells which queues of the topic it gave to this instance.
func (l *listener) allocate(group, self string, queues []*primitive.MessageQueue, instances []string) []*primitive.MessageQueue {
	mine := consumer.AllocateByAveragely(group, self, queues, instances)
	names := []string{}
	for _, q := range mine {
		names = append(names, fmt.Sprintf("%s@%s@%d", q.Topic, q.BrokerName, q.QueueId))
	}
	slices.Sort(names)
	now := strings.Join(names, " ")
	l.lock.Lock()
	changed := l.assigned != now
	if len(queues) > 0 && strings.HasPrefix(queues[0].Topic, "%RETRY%") {
		changed = false
	} else {
		l.assigned = now
	}
	l.lock.Unlock()
	if changed {
		l.events.emit("assigned", fields{"count", len(names), "queues", names})
	}
	return mine
}

func (l *listener) progress() (int64, time.Time) {
	l.lock.Lock()
	defer l.lock.Unlock()
	return int64(len(l.consumed)), l.last
}

// identity survives retries; the messages of a batch may share their MsgId.
func identity(m *primitive.MessageExt) string { return m.MsgId + "/" + label(m.Body) }

// message is called by the client; one message that is to fail makes its whole batch fail.
func (l *listener) message(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	good := true
	l.lock.Lock()
	for _, m := range messages {
		l.attempts[identity(m)]++
		chosen := len(l.failOnly) == 0 || slices.Contains(l.failOnly, label(m.Body))
		if chosen && (l.failAlways.Load() || l.attempts[identity(m)] <= l.failFirst) {
			good = false
		}
	}
	result, word := consumer.ConsumeSuccess, "OK"
	if !good {
		result, word = consumer.ConsumeRetryLater, "LATER"
		if l.orderly {
			result, word = consumer.SuspendCurrentQueueAMoment, "SUSPEND"
		}
	}
	for _, m := range messages {
		l.last = time.Now()
		l.events.emit("message", append(received(m, l.properties), "attempt", l.attempts[identity(m)], "result", word))
	}
	l.lock.Unlock()
	time.Sleep(l.consume)
	l.lock.Lock()
	defer l.lock.Unlock()
	for _, m := range messages {
		if good {
			l.consumed[identity(m)] = true
		} else {
			l.failures++
		}
	}
	if concurrently, ok := primitive.GetConcurrentlyCtx(ctx); ok && l.delayLevel > 0 {
		concurrently.DelayLevelWhenNextConsume = l.delayLevel
	}
	return result, nil
}
