"""Transactions, request and reply, trace, SQL92, timers, recall and pop."""

import functools
import time

from . import tools
from .tools import Check, bodies, labels, same


def checks():
    both = [Check(f"java{v} {f.__name__.replace('_', ' ')}", functools.partial(f, tools.java, v)) for f in BOTH for v in (5, 4)]
    return both + [Check(f"java5 {f.__name__.replace('_', ' ')}", functools.partial(f, tools.java, 5)) for f in ONLY_5]


def transactions_commit_and_roll_back(java, version, lab):
    program, topic = java(version), lab.topic()
    run = lab.run(program, "transaction", topic=topic, group=lab.name("tx"), count=6, state=["commit", "rollback", "commit"], tag="A", keys="k")
    same([e["state"] for e in run.of("sent")], ["COMMIT_MESSAGE", "ROLLBACK_MESSAGE", "COMMIT_MESSAGE"] * 2)
    got = lab.run(program, "push", topic=topic, group=lab.name("g"), **{"from": "first"}, expect=4, linger_ms=3000, properties=True).of("message")
    same(bodies(got), ["m-0", "m-2", "m-3", "m-5"])
    ids = {e["msgId"] for e in run.of("sent")}
    for e in got:
        same((e["tags"], e["keys"], e["topic"], e["msgId"] in ids), ("A", "k", topic, True))
        same(e["sysFlag"] & 0xC, 0x8, "transaction bits of a committed message")
        same("TRAN_MSG" in e["properties"], True, "the property TRAN_MSG stays")


def transactions_are_checked_back(java, version, lab):
    program, topic = java(version), lab.topic()
    run = lab.start(program, "transaction", topic=topic, group=lab.name("tx"), count=1, state="unknown", check=["unknown", "commit"], timeout_s=150)
    run.end(seconds=180)
    done = run.of("done")[0]
    same((done["unknown"], done["checked"], done["checks"]), (1, 1, 2))
    first = run.of("check")[0]
    same((first["body"], first["topic"], first["transactionId"]), ("m-0", topic, run.of("sent")[0]["msgId"]))
    same(bodies(lab.run(program, "push", topic=topic, group=lab.name("g"), **{"from": "first"}, expect=1, linger_ms=2000).of("message")), ["m-0"])


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


def timers_deliver_at_their_time(java, version, lab):
    program, topic = java(version), lab.topic()
    run = lab.start(program, "push", topic=topic, group=lab.name("g"), **{"from": "first"}, expect=3, linger_ms=500, properties=True)
    run.until(lambda p: p.of("assigned") and p.of("assigned")[-1]["count"] == 4, "queues")
    lab.run(program, "send", topic=topic, body="ms", delay_ms=3000)
    lab.run(program, "send", topic=topic, body="s", delay_s=4)
    lab.run(program, "send", topic=topic, body="at", deliver_in_ms=5000)
    for e in run.end().of("message"):
        waited = e["arrivedMs"] - e["bornTimestamp"]
        asked = {"ms-0": 3000, "s-0": 4000, "at-0": 5000}[e["body"]]
        # The wheel turns once a second and rounds down.
        assert asked - 1100 <= waited <= asked + 3000, f"{e['body']} arrived after {waited} ms"


def a_recalled_timer_never_arrives(java, version, lab):
    program, topic = java(version), lab.topic()
    kept = lab.run(program, "send", topic=topic, body="kept", delay_s=12).of("sent")[0]
    lost = lab.run(program, "send", topic=topic, body="lost", delay_s=12).of("sent")[0]
    same(lab.run(program, "recall", topic=topic, handle=lost["recallHandle"]).of("recalled")[0]["msgId"], lost["msgId"])
    got = lab.run(program, "push", topic=topic, group=lab.name("g"), **{"from": "first"}, expect=1, linger_ms=4000, timeout_s=90).of("message")
    same([(e["body"], e["msgId"]) for e in got], [("kept-0", kept["msgId"])])
    late = lab.run(program, "recall", code=1, topic=topic, handle=kept["recallHandle"]).of("failed")[0]
    same(late["code"], 604, "code of a recall after delivery")


def pop_consumers_share_every_queue(java, version, lab):
    program, topic, group = java(version), lab.topic(), lab.name("g")
    lab.admin("updateSubGroup", "-c", lab.cluster, "-g", group)
    lab.admin("setConsumeMode", "-c", lab.cluster, "-t", topic, "-g", group, "-m", "POP", "-q", "8")
    both = [lab.start(program, "push", topic=topic, group=group, pop=True, timeout_s=120) for _ in range(2)]
    for p in both:
        p.until(lambda p: p.of("assigned"), "queues")
    time.sleep(5)
    lab.run(program, "send", topic=topic, count=40)
    both[0].until(lambda p: sum(len(q.of("message")) for q in both) >= 40, "40 messages")
    time.sleep(2)
    same(bodies(both[0].of("message") + both[1].of("message")), labels(40))
    for p in both:
        p.stop()


def a_failed_pop_comes_again(java, version, lab):
    program, topic, group = java(version), lab.topic(), lab.name("g")
    lab.admin("updateSubGroup", "-c", lab.cluster, "-g", group)
    lab.admin("setConsumeMode", "-c", lab.cluster, "-t", topic, "-g", group, "-m", "POP", "-q", "8")
    lab.run(program, "send", topic=topic, count=4)
    run = lab.run(program, "push", topic=topic, group=group, pop=True, **{"from": "first"}, fail_first=1, fail_only="m-2", expect=4, linger_ms=1000, timeout_s=150)
    same(sorted((e["result"], e["reconsumeTimes"]) for e in run.of("message") if e["body"] == "m-2"), [("LATER", 0), ("OK", 1)])


BOTH = (
    transactions_commit_and_roll_back,
    transactions_are_checked_back,
    request_gets_its_reply,
    sql_filters_by_properties,
    trace_messages_name_what_was_sent,
)

ONLY_5 = (
    timers_deliver_at_their_time,
    a_recalled_timer_never_arrives,
    pop_consumers_share_every_queue,
    a_failed_pop_comes_again,
)
