"""SQL92 filters, request and reply, message trace, and what tools ask of a live consumer."""

import time

from . import tools
from .tools import bodies, same


def checks():
    return tools.java_checks(both=BOTH)


def request_gets_its_reply(java, version, lab):
    program, topic = java(version), lab.topic()
    replier = lab.start(program, "reply", topic=topic, group=lab.name("g"))
    replier.until(lambda p: p.of("started"), "start")
    time.sleep(3)
    replies = lab.run(program, "request", topic=topic, count=5).of("reply")
    same([e["body"] for e in replies], [f"re:m-{i}" for i in range(5)])
    replier.stop()


def sql_filters_by_properties(java, version, lab):
    program, topic = java(version), lab.topic()
    lab.run(program, "send", topic=topic, count=10, property=["n={seq}", "colour=red"])
    lab.run(program, "send", topic=topic, count=2, body="other", property="colour=blue")
    got = lab.run(program, "push", topic=topic, group=lab.name("g"), sql="(n BETWEEN 3 AND 6 AND colour = 'red') OR n IS NULL",
                  **{"from": "first"}, expect=6, linger_ms=1500).of("message")
    same(bodies(got), ["m-3", "m-4", "m-5", "m-6", "other-0", "other-1"])


def trace_messages_name_what_was_sent(java, version, lab):
    program, topic = java(version), lab.topic()
    sent = lab.run(program, "send", topic=topic, count=2, trace=True).of("sent")
    stored = lab.run(program, "pull", topic="RMQ_SYS_TRACE_TOPIC", group=lab.name("g"), do="drain", properties=True).of("message")
    keys = " ".join(e.get("keys", "") for e in stored)
    for e in sent:
        same(e["msgId"] in keys, True, f"trace of {e['msgId']}")


BOTH = (
    request_gets_its_reply,
    sql_filters_by_properties,
    trace_messages_name_what_was_sent,
)
