"""What the Node client must see. It does not make topics on first send."""

import functools
import hashlib
import time

from . import tools
from .tools import Check, bodies, labels, same


def checks():
    return [Check(f"node {f.__name__.replace('_', ' ')}", functools.partial(f, tools.node)) for f in ALL]


def sends_arrive_unchanged(node, lab):
    program, topic, group = node(), lab.topic(), lab.name("g")
    runs = {
        "small": lab.run(program, "send", topic=topic, body="small", count=8, keys="k1 k2", tag="A", property="n={seq}"),
        "big": lab.run(program, "send", topic=topic, body="big", count=2, size=100_000, compressible=True),
        "noise": lab.run(program, "send", topic=topic, body="noise", count=2, size=50_000),
    }
    for reader in (program, tools.java(4)):
        got = lab.run(reader, "push", topic=topic, group=lab.name("g"), **{"from": "first"}, expect=12, linger_ms=500, properties=True).of("message")
        same(bodies(got), sorted(f"{p}-{i}" for p, r in runs.items() for i in range(len(r.of("sent")))))
        seen = {e["body"]: e for e in got}
        for prefix, run in runs.items():
            for e in run.of("sent"):
                at = seen[f"{prefix}-{e['seq']}"]
                same((at["queueId"], at["queueOffset"], at["crc"]), (e["queueId"], e["queueOffset"], e["crc"]))
                # This client sends no unique id and shows the offset id; the broker adds one, which other clients show.
                same(at["msgId"] == e["msgId"], reader is program)
                # 32 digits, or 56 where the broker's host has only an IPv6 address besides loopback.
                same(len(at["msgId"]) in (32, 56), True, at["msgId"])
        same((seen["small-3"]["keys"], seen["small-3"]["tags"], seen["small-3"]["properties"]["n"]), ("k1 k2", "A", "3"))


def push_with_tags_gets_only_those(node, lab):
    program, topic, group = node(), lab.topic(), lab.name("g")
    lab.run(program, "send", topic=topic, count=9, tag=["A", "B", "C"])
    got = lab.run(program, "push", topic=topic, group=group, sub="A || C", **{"from": "first"}, expect=6, linger_ms=1000).of("message")
    same(bodies(got), sorted(f"m-{i}" for i in (0, 2, 3, 5, 6, 8)))
    lab.run(program, "send", topic=topic, count=3, tag=["A", "B", "C"], first_seq=9)
    got = lab.run(program, "push", topic=topic, group=group, sub="A || C", expect=2, linger_ms=1000).of("message")
    same(bodies(got), ["m-11", "m-9"])


def consumers_share_six_queues(node, lab):
    program, topic, group = node(), lab.topic(6), lab.name("g")
    both = [lab.start(program, "push", topic=topic, group=group, timeout_s=120) for _ in range(2)]
    for p in both:
        p.until(lambda p: p.of("assigned") and p.of("assigned")[-1]["count"] == 3, "3 queues each")
    # A new queue is read from its end: let both find it first.
    time.sleep(3)
    lab.run(program, "send", topic=topic, count=60)
    both[0].until(lambda p: sum(len(q.of("message")) for q in both) >= 60, "60 messages")
    time.sleep(1)
    same(bodies(both[0].of("message") + both[1].of("message")), labels(60))
    both[1].stop()
    both[0].until(lambda p: p.of("assigned")[-1]["count"] == 6, "the other's queues")
    both[0].stop()


def broadcast_gives_all_to_each(node, lab):
    program, topic, group, state = node(), lab.topic(), lab.name("g"), lab.path("state")
    options = {"topic": topic, "group": group, "model": "broadcasting"}
    both = [lab.start(program, "push", **options, instance="one", state_dir=state), lab.start(program, "push", **options)]
    for p in both:
        p.until(lambda p: p.of("assigned") and p.of("assigned")[-1]["count"] == 4, "all queues")
    time.sleep(3)
    lab.run(program, "send", topic=topic, count=12)
    for p in both:
        p.until(lambda p: len(p.of("message")) >= 12, "12 messages")
        same(bodies(p.of("message")), labels(12))
        p.stop()


def failing_once_is_delivered_again(node, lab):
    program, topic, group = node(), lab.topic(), lab.name("g")
    lab.run(program, "send", topic=topic, count=6)
    # This client always leaves the delay to the broker: level 3, 10 s.
    got = lab.run(program, "push", topic=topic, group=group, **{"from": "first"}, fail_first=1, fail_only="m-3", expect=6, timeout_s=90).of("message")
    same(sorted((e["result"], e["reconsumeTimes"]) for e in got if e["body"] == "m-3"), [("LATER", 0), ("OK", 1)])


def orderly_sending_keeps_a_key_in_one_queue(node, lab):
    program, topic = node(), lab.topic()
    sent = lab.run(program, "send", topic=topic, count=24, shards=6).of("sent")
    for shard in range(6):
        # The client's own rule. It takes queue 0 for "no queue" and spreads those keys: nothing to do with the broker.
        if int.from_bytes(hashlib.md5(f"shard-{shard}".encode()).digest()[:4], "big") % 4 == 0:
            continue
        same(len({e["queueId"] for e in sent if e["seq"] % 6 == shard}), 1, f"queues of shard {shard}")


ALL = (
    sends_arrive_unchanged,
    push_with_tags_gets_only_those,
    consumers_share_six_queues,
    broadcast_gives_all_to_each,
    failing_once_is_delivered_again,
    orderly_sending_keeps_a_key_in_one_queue,
)
