package main

import (
	"bytes"
	"hash/crc32"
	"hash/fnv"
	"math/rand"
	"strconv"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// makeBody is the label, then, when a size is asked for, '|' and filling up to that size.
func makeBody(label string, size int, compressible bool) []byte {
	if size <= len(label) {
		return []byte(label)
	}
	body := make([]byte, size)
	copy(body, label)
	body[len(label)] = '|'
	seed := fnv.New64()
	seed.Write([]byte(label))
	noise := rand.New(rand.NewSource(int64(seed.Sum64())))
	for i := len(label) + 1; i < size; i++ {
		if compressible {
			body[i] = byte('a' + i%16)
		} else {
			body[i] = byte(33 + noise.Intn(90))
		}
	}
	return body
}

func label(body []byte) string {
	head, _, _ := bytes.Cut(body[:min(len(body), 256)], []byte("|"))
	return string(head)
}

// template makes message number seq from the options of the command line.
type template struct {
	topic, prefix, keys, keyPrefix string
	tags, properties               []string
	size, delayLevel, shards       int
	compressible                   bool
}

func newTemplate(o *options) *template {
	return &template{
		topic: o.must("topic"), prefix: o.text("body", "m"), keys: o.text("keys", ""), keyPrefix: o.text("key-prefix", ""),
		tags: o.all("tag"), properties: o.all("property"), size: int(o.number("size", 0)),
		delayLevel: int(o.number("delay-level", 0)), shards: int(o.number("shards", 0)), compressible: o.flag("compressible"),
	}
}

func (t *template) message(seq int) *primitive.Message {
	number := strconv.Itoa(seq)
	m := primitive.NewMessage(t.topic, makeBody(t.prefix+"-"+number, t.size, t.compressible))
	if len(t.tags) > 0 {
		m.WithTag(t.tags[seq%len(t.tags)])
	}
	if t.keys != "" {
		m.WithKeys(strings.Fields(t.keys))
	} else if t.keyPrefix != "" {
		m.WithKeys([]string{t.keyPrefix + "-" + number})
	}
	if t.delayLevel > 0 {
		m.WithDelayTimeLevel(t.delayLevel)
	}
	if t.shards > 0 {
		m.WithShardingKey("shard-" + strconv.Itoa(seq%t.shards))
	}
	for _, property := range t.properties {
		name, value, _ := strings.Cut(property, "=")
		m.WithProperty(name, strings.ReplaceAll(value, "{seq}", number))
	}
	return m
}

// received are the fields of event "message".
func received(m *primitive.MessageExt, properties bool) fields {
	var broker string
	queue := -1
	if m.Queue != nil {
		broker, queue = m.Queue.BrokerName, m.Queue.QueueId
	}
	list := fields{
		"body", label(m.Body), "size", len(m.Body), "crc", crc32.ChecksumIEEE(m.Body), "topic", m.Topic,
		"queueId", queue, "queueOffset", m.QueueOffset, "logOffset", m.CommitLogOffset, "msgId", m.MsgId,
		"offsetMsgId", m.OffsetMsgId, "reconsumeTimes", m.ReconsumeTimes, "bornTimestamp", m.BornTimestamp,
		"storeTimestamp", m.StoreTimestamp, "arrivedMs", time.Now().UnixMilli(), "broker", broker,
		"tags", m.GetTags(), "keys", m.GetKeys(), "sysFlag", m.SysFlag, "bornHost", m.BornHost, "storeHost", m.StoreHost,
	}
	if properties {
		list = append(list, "properties", m.GetProperties())
	}
	return list
}
