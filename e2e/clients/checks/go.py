"""What the Go client must see."""

import functools
import time

from . import tools
from .tools import Check, bodies, labels, same


def checks():
    return [Check(f"go {f.__name__.replace('_', ' ')}", functools.partial(f, tools.go)) for f in ALL]


def every_send_mode_arrives_unchanged(go, lab):
    program, topic = go(), lab.name("AUTO")
    runs = {
        "sync": lab.run(program, "send", topic=topic, body="sync", count=5),
        "async": lab.run(program, "send", topic=topic, body="async", mode="async", count=5),
        "oneway": lab.run(program, "send", topic=topic, body="oneway", mode="oneway", count=5),
        "batch": lab.run(program, "send", topic=topic, body="batch", mode="batch", count=5),
        "big": lab.run(program, "send", topic=topic, body="big", count=2, size=1_000_000, compressible=True, property="n={seq}"),
        "noise": lab.run(program, "send", topic=topic, body="noise", count=2, size=100_000),
    }
    got = lab.run(program, "push", topic=topic, group=lab.name("g"), **{"from": "first"}, expect=24, linger_ms=500, properties=True).of("message")
    same(bodies(got), sorted(f"{p}-{i}" for p, r in runs.items() for i in range(r.of("done")[0]["sent"])))
    seen = {e["body"]: e for e in got}
    for prefix, run in runs.items():
        for e in run.of("sent"):
            same(seen[f"{prefix}-{e['seq']}"]["crc"], e["crc"], f"crc of {prefix}-{e['seq']}")
    for e in runs["sync"].of("sent"):
        at = seen[f"sync-{e['seq']}"]
        same((at["queueId"], at["queueOffset"], at["msgId"], at["offsetMsgId"]), (e["queueId"], e["queueOffset"], e["msgId"], e["offsetMsgId"]))
    same(seen["big-1"]["properties"]["n"], "1")


def push_with_tags_gets_only_those(go, lab):
    program, topic, group = go(), lab.topic(), lab.name("g")
    lab.run(program, "send", topic=topic, count=9, tag=["A", "B", "C"])
    got = lab.run(program, "push", topic=topic, group=group, sub="A || C", **{"from": "first"}, expect=6, linger_ms=1000).of("message")
    same(bodies(got), sorted(f"m-{i}" for i in (0, 2, 3, 5, 6, 8)))
    # What is new comes. This client commits one way just before it closes its connection, so that the broker may miss the last
    # commit: an old message may come again, one of another tag never.
    lab.run(program, "send", topic=topic, count=3, tag=["A", "B", "C"], first_seq=9)
    got = lab.run(program, "push", topic=topic, group=group, sub="A || C", expect=2, linger_ms=1000).of("message")
    same({"m-11", "m-9"} <= set(bodies(got)) <= {f"m-{i}" for i in (0, 2, 3, 5, 6, 8, 9, 11)}, True, str(bodies(got)))


def consumers_share_six_queues(go, lab):
    program, topic, group = go(), lab.topic(6), lab.name("g")

    def shares(programs, count):
        for p in programs:
            p.until(lambda p: p.of("assigned") and p.of("assigned")[-1]["count"] == count, f"{count} queues each", 90)

    first = lab.start(program, "push", topic=topic, group=group, timeout_s=150)
    shares([first], 6)
    second = lab.start(program, "push", topic=topic, group=group, timeout_s=150)
    shares([first, second], 3)
    third = lab.start(program, "push", topic=topic, group=group, timeout_s=150)
    shares([first, second, third], 2)
    third.stop()
    shares([first, second], 3)
    time.sleep(1)
    lab.run(program, "send", topic=topic, count=60)
    both = [first, second]
    first.until(lambda p: sum(len(q.of("message")) for q in both) >= 60, "60 messages")
    time.sleep(1)
    same(bodies(first.of("message") + second.of("message")), labels(60))
    same([len(p.of("message")) for p in both], [30, 30])
    for p in both:
        p.stop()


def broadcast_gives_all_to_each(go, lab):
    program, topic, group, state = go(), lab.topic(), lab.name("g"), lab.path("state")
    options = {"topic": topic, "group": group, "model": "broadcasting"}
    both = [lab.start(program, "push", **options, instance="one", state_dir=state), lab.start(program, "push", **options)]
    for p in both:
        p.until(lambda p: p.of("started"), "start")
    time.sleep(5)
    lab.run(program, "send", topic=topic, count=12)
    for p in both:
        p.until(lambda p: len(p.of("message")) >= 12, "12 messages")
        same(bodies(p.of("message")), labels(12))
        p.stop()


def orderly_keeps_order_and_suspends_one_queue(go, lab):
    program, topic, group = go(), lab.topic(), lab.name("g")
    lab.run(program, "send", topic=topic, count=40, shards=8)
    run = lab.run(program, "push", topic=topic, group=group, listener="orderly", **{"from": "first"}, fail_first=2, fail_only="m-8",
                  suspend_ms=500, expect=40, linger_ms=1000, timeout_s=90)
    good = [e for e in run.of("message") if e["result"] == "OK"]
    same(bodies(good), labels(40))
    queues = {}
    for e in good:
        queues.setdefault(e["queueId"], []).append(e["queueOffset"])
    for offsets in queues.values():
        same(offsets, sorted(offsets), "order within a queue")
    same([e["body"] for e in run.of("message") if e["result"] == "SUSPEND"], ["m-8", "m-8"])


def failing_once_is_delivered_again(go, lab):
    program, topic, group = go(), lab.topic(), lab.name("g")
    lab.run(program, "send", topic=topic, count=10)
    got = lab.run(program, "push", topic=topic, group=group, **{"from": "first"}, fail_first=1, fail_only="m-3",
                  retry_delay_level=1, expect=10, linger_ms=500, timeout_s=90).of("message")
    same(sorted((e["result"], e["reconsumeTimes"]) for e in got if e["body"] == "m-3"), [("LATER", 0), ("OK", 1)])


def pull_moves_and_reads_offsets(go, lab):
    program, topic, group = go(), lab.topic(), lab.name("g")
    same([e["queueId"] for e in lab.run(program, "pull", topic=topic, group=group, do="queues").of("queue")], [0, 1, 2, 3])
    lab.run(program, "send", topic=topic, count=10, queue=2)
    run = lab.run(program, "pull", topic=topic, group=group, do="pull", queue=2, offset=3, max=4)
    same([e["body"] for e in run.of("message")], [f"m-{i}" for i in (3, 4, 5, 6)])
    same((run.of("pulled")[0]["status"], run.of("pulled")[0]["next"]), ("FOUND", 7))
    beyond = lab.run(program, "pull", topic=topic, group=group, do="pull", queue=2, offset=100).of("pulled")[0]
    same((beyond["status"], beyond["next"]), ("OFFSET_ILLEGAL", 10))
    same(lab.run(program, "pull", topic=topic, group=group, do="by-time", queue=2, time_ms=1).of("offsets")[0]["byTime"], 0)
    lab.run(program, "pull", topic=topic, group=group, do="update", queue=2, offset=6)
    same(lab.run(tools.java(5), "pull", topic=topic, group=group, do="offsets", queue=2).of("offsets")[0]["committed"], 6)


ALL = (
    every_send_mode_arrives_unchanged,
    push_with_tags_gets_only_those,
    consumers_share_six_queues,
    broadcast_gives_all_to_each,
    orderly_keeps_order_and_suspends_one_queue,
    failing_once_is_delivered_again,
    pull_moves_and_reads_offsets,
)
