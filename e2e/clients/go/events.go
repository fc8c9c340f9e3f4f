package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// fields are name, value, name, value, ...; an empty string or nil leaves the field out.
type fields []any

// events writes one JSON object a line; the only writer of standard output.
type events struct{ lock sync.Mutex }

func (e *events) emit(event string, list fields) {
	var line bytes.Buffer
	fmt.Fprintf(&line, `{"event":%s`, encode(event))
	for i := 0; i+1 < len(list); i += 2 {
		if list[i+1] == nil || list[i+1] == "" {
			continue
		}
		fmt.Fprintf(&line, ",%s:%s", encode(list[i]), encode(list[i+1]))
	}
	line.WriteString("}\n")
	e.lock.Lock()
	defer e.lock.Unlock()
	os.Stdout.Write(line.Bytes())
}

// failure adds class, code (the broker's response code, or -1) and message.
func (e *events) failure(event string, err error, list fields) {
	code := int64(-1)
	var broker primitive.MQBrokerErr
	var pointer *primitive.MQBrokerErr
	if errors.As(err, &broker) {
		code = int64(broker.ResponseCode)
	} else if errors.As(err, &pointer) {
		code = int64(pointer.ResponseCode)
	}
	e.emit(event, append(list, "class", fmt.Sprintf("%T", err), "code", code, "message", err.Error()))
}

func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		text, _ = json.Marshal(fmt.Sprint(value))
	}
	return text
}
