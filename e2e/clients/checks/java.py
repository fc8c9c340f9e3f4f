"""What the 5.x and the 4.x Java client must both see."""

import functools
import os
import re
import time

from . import tools
from .tools import Check, bodies, labels, same

VERSIONS = (5, 4)


def checks():
    return [Check(f"java{v} {f.__name__.replace('_', ' ')}", functools.partial(f, tools.java, v))
            for f in ALL for v in VERSIONS] + [Check("mqadmin", mqadmin)]


def every_send_mode_arrives_unchanged(java, version, lab):
    program, topic = java(version), lab.name("AUTO")
    runs = [
        lab.run(program, "send", topic=topic, body="sync", count=5, retries=0),
        lab.run(program, "send", topic=topic, body="async", mode="async", count=5),
        lab.run(program, "send", topic=topic, body="oneway", mode="oneway", count=5),
        lab.run(program, "send", topic=topic, body="batch", mode="batch", count=5),
        lab.run(program, "send", topic=topic, body="big", count=2, size=1_000_000, compressible=True, property=["name=value", "n={seq}"]),
        lab.run(program, "send", topic=topic, body="noise", count=2, size=100_000),
    ]
    got = lab.run(program, "push", topic=topic, group=lab.name("g"), **{"from": "first"}, expect=24, linger_ms=500, properties=True).of("message")
    same(len(got), 24, "messages")
    same(bodies(got), sorted(f"{p}-{i}" for p, n in [("sync", 5), ("async", 5), ("oneway", 5), ("batch", 5), ("big", 2), ("noise", 2)] for i in range(n)))
    crc = {e["body"]: e["crc"] for e in got}
    for run, prefix in zip(runs, ("sync", "async", "oneway", "batch", "big", "noise")):
        for e in run.of("sent"):
            same(crc[f"{prefix}-{e['seq']}"], e["crc"], f"crc of {prefix}-{e['seq']}")
    # What the broker answered is where the message is.
    place = {e["msgId"]: (e["queueId"], e["queueOffset"]) for e in got}
    for e in runs[0].of("sent") + runs[1].of("sent"):
        same(place[e["msgId"]], (e["queueId"], e["queueOffset"]), e["msgId"])
    batch = runs[3].of("sent")[0]
    within = {e["body"]: e for e in got if e["body"].startswith("batch")}
    same([(e["queueId"], e["queueOffset"]) for _, e in sorted(within.items())], [(batch["queueId"], batch["queueOffset"] + i) for i in range(5)])
    # A broker appends the properties of the batch to those of each message. The 5.x client also puts a UNIQ_KEY there, which wins:
    # one id for all five, and not one of those the sender was told. The 4.x client does not.
    ids = [e["msgId"] for _, e in sorted(within.items())]
    # Bolide keeps what names one message to that message, so the sender's ids are the reader's with both clients.
    if version == 4 or len(set(ids)) == 5:
        same(ids, batch["msgId"].split(","))
    else:
        same(len(set(ids)), 1, "distinct ids in a batch")
        same(ids[0] in batch["msgId"], False, "the id of the batch")
    same(len(batch["offsetMsgId"].split(",")), 5)
    for e in got:
        if e["body"].startswith("big"):
            # The 4.x client leaves bit 0; the 5.x client clears it when it unpacks, but leaves the kind (bits 8-10, 3 = zlib).
            same(e["sysFlag"] & (1 if version == 4 else 0x700), 1 if version == 4 else 0x300, "compressed flag")
            same((e["properties"]["name"], e["properties"]["n"]), ("value", e["body"][4:]))


def push_with_tags_gets_only_those(java, version, lab):
    program, topic, group = java(version), lab.topic(), lab.name("g")
    lab.run(program, "send", topic=topic, count=9, tag=["A", "B", "C"])
    got = lab.run(program, "push", topic=topic, group=group, sub="A || C", **{"from": "first"}, expect=6, linger_ms=1000).of("message")
    same(bodies(got), sorted(f"m-{i}" for i in (0, 2, 3, 5, 6, 8)))
    # The group's offset is behind all of them: nothing comes a second time, and what is new does.
    lab.run(program, "send", topic=topic, count=3, tag=["A", "B", "C"], first_seq=9)
    got = lab.run(program, "push", topic=topic, group=group, sub="A || C", expect=2, linger_ms=1000).of("message")
    same(bodies(got), ["m-11", "m-9"])


def consumers_share_six_queues(java, version, lab):
    program, topic, group = java(version), lab.topic(6), lab.name("g")

    def holds(*counts):
        return lambda p: p.of("assigned") and p.of("assigned")[-1]["count"] in counts

    def shares(programs, count):
        for p in programs:
            p.until(holds(count), f"{count} queues each")
        held = sorted(q for p in programs for q in p.of("assigned")[-1]["queues"])
        same(held, sorted(f"{topic}@{q.split('@')[1]}@{i}" for i, q in enumerate(held)), "queues")

    first = lab.start(program, "push", topic=topic, group=group, timeout_s=120)
    shares([first], 6)
    second = lab.start(program, "push", topic=topic, group=group, timeout_s=120)
    shares([first, second], 3)
    third = lab.start(program, "push", topic=topic, group=group, timeout_s=120)
    shares([first, second, third], 2)
    started = time.monotonic()
    third.stop()
    shares([first, second], 3)
    # By notification, not by the 20 s timer of the client.
    assert time.monotonic() - started < 15, "the others heard too late of the one that left"
    lab.run(program, "send", topic=topic, count=60)
    first.until(lambda p: len(p.of("message")) + len(second.of("message")) >= 60, "60 messages")
    time.sleep(1)
    same(bodies(first.of("message") + second.of("message")), labels(60))
    same((len(first.of("message")), len(second.of("message"))), (30, 30))
    first.stop()
    second.stop()


def broadcast_gives_all_to_each(java, version, lab):
    program, topic, group, state = java(version), lab.topic(), lab.name("g"), lab.path("state")
    options = {"topic": topic, "group": group, "model": "broadcasting"}
    both = [lab.start(program, "push", **options, instance="one", state_dir=state), lab.start(program, "push", **options)]
    for p in both:
        p.until(lambda p: p.of("assigned") and p.of("assigned")[-1]["count"] == 4, "all queues")
    # A new group starts at the end of the queues; the first pull must have found the end before anything is sent.
    time.sleep(2)
    lab.run(program, "send", topic=topic, count=12)
    for p in both:
        p.until(lambda p: len(p.of("message")) >= 12, "12 messages")
        same(bodies(p.of("message")), labels(12))
        p.stop()
    # Offsets of broadcasting are files of the client: the same instance goes on, nothing again.
    lab.run(program, "send", topic=topic, count=4, first_seq=12)
    got = lab.run(program, "push", **options, instance="one", state_dir=state, expect=4, linger_ms=1000).of("message")
    same(bodies(got), labels(4, first=12))


def litepull_commits_and_resumes(java, version, lab):
    program, topic, group = java(version), lab.topic(), lab.name("g")
    lab.run(program, "send", topic=topic, count=20)
    first = lab.run(program, "litepull", topic=topic, group=group, **{"from": "first"}, expect=8, pull_batch=4)
    same(first.of("assigned")[-1]["count"], 4)
    rest = lab.run(program, "litepull", topic=topic, group=group, **{"from": "first"}, expect=20 - len(first.of("message")), idle_ms=8000)
    same(bodies(first.of("message") + rest.of("message")), labels(20))
    same(sum(e["offset"] for e in rest.of("committed")), 20)


def litepull_assigns_and_seeks(java, version, lab):
    program, topic, group = java(version), lab.topic(), lab.name("g")
    lab.run(program, "send", topic=topic, count=10, queue=1)
    lab.run(program, "send", topic=topic, count=10, queue=2, body="other")
    got = lab.run(program, "litepull", topic=topic, group=group, assign="1", seek="1:7", expect=3, idle_ms=5000).of("message")
    same([e["body"] for e in got], ["m-7", "m-8", "m-9"])
    got = lab.run(program, "litepull", topic=topic, group=group, assign="1,2", seek=["1:end", "2:begin"], expect=10, idle_ms=5000).of("message")
    same([e["body"] for e in got], [f"other-{i}" for i in range(10)])


def pull_moves_and_reads_offsets(java, version, lab):
    program, topic, group = java(version), lab.topic(), lab.name("g")
    same([e["queueId"] for e in lab.run(program, "pull", topic=topic, group=group, do="queues").of("queue")], [0, 1, 2, 3])
    lab.run(program, "send", topic=topic, count=5, queue=2)
    time.sleep(1.5)
    between = int(time.time() * 1000)
    lab.run(program, "send", topic=topic, count=5, queue=2, first_seq=5)
    offsets = lab.run(program, "pull", topic=topic, group=group, do="offsets", queue=2, time_ms=between).of("offsets")[0]
    same((offsets["min"], offsets["max"], offsets["byTime"]), (0, 10, 5))
    run = lab.run(program, "pull", topic=topic, group=group, do="pull", queue=2, offset=3, max=4)
    same([e["body"] for e in run.of("message")], [f"m-{i}" for i in (3, 4, 5, 6)])
    same((run.of("pulled")[0]["status"], run.of("pulled")[0]["next"]), ("FOUND", 7))
    end = lab.run(program, "pull", topic=topic, group=group, do="pull", queue=2, offset=10).of("pulled")[0]
    same((end["status"], end["next"]), ("NO_NEW_MSG", 10))
    beyond = lab.run(program, "pull", topic=topic, group=group, do="pull", queue=2, offset=100).of("pulled")[0]
    same((beyond["status"], beyond["next"]), ("OFFSET_ILLEGAL", 10))
    none = lab.run(program, "pull", topic=topic, group=group, do="pull", queue=2, offset=0, sub="NoSuchTag").of("pulled")[0]
    same((none["status"], none["next"]), ("NO_MATCHED_MSG", 10))
    same(lab.run(program, "pull", topic=topic, group=group, do="update", queue=2, offset=6).of("updated")[0]["committed"], 6)
    same(lab.run(program, "pull", topic=topic, group=group, do="offsets", queue=2).of("offsets")[0]["committed"], 6)


def a_held_pull_is_answered_by_a_send(java, version, lab):
    program, topic, group = java(version), lab.topic(), lab.name("g")
    waiting = lab.start(program, "pull", topic=topic, group=group, do="pull", queue=1, offset=0, block=True)
    time.sleep(4)
    same(waiting.of("pulled"), [], "answered early")
    lab.run(program, "send", topic=topic, count=1, queue=1)
    waiting.end()
    pulled, message = waiting.of("pulled")[0], waiting.of("message")[0]
    same((pulled["status"], message["body"]), ("FOUND", "m-0"))
    assert message["arrivedMs"] - message["storeTimestamp"] < 1000, f"held after arrival: {message}"


def orderly_keeps_order_and_suspends_one_queue(java, version, lab):
    program, topic, group = java(version), lab.topic(), lab.name("g")
    lab.run(program, "send", topic=topic, count=40, shards=8)
    run = lab.run(program, "push", topic=topic, group=group, listener="orderly", **{"from": "first"}, fail_first=3, fail_only="m-8",
                  suspend_ms=500, expect=40, linger_ms=1000)
    good = [e for e in run.of("message") if e["result"] == "OK"]
    same(bodies(good), labels(40))
    queues = {}
    for e in good:
        queues.setdefault(e["queueId"], []).append(e["queueOffset"])
    for offsets in queues.values():
        same(offsets, sorted(offsets), "order within a queue")
    suspended = [e for e in run.of("message") if e["result"] == "SUSPEND"]
    same([(e["body"], e["attempt"]) for e in suspended], [("m-8", 1), ("m-8", 2), ("m-8", 3)])
    # Nothing of that queue is delivered between the tries, everything of the others is.
    queue = suspended[0]["queueId"]
    between = [e for e in run.of("message") if suspended[0]["arrivedMs"] < e["arrivedMs"] < suspended[-1]["arrivedMs"] and e["queueId"] == queue]
    same([e["body"] for e in between if e["body"] != "m-8"], [], "delivered while suspended")
    assert suspended[-1]["arrivedMs"] - suspended[0]["arrivedMs"] >= 900, f"suspended too shortly: {suspended}"


def orderly_queue_is_held_by_one_consumer(java, version, lab):
    program, topic, group = java(version), lab.topic(2), lab.name("g")
    options = {"topic": topic, "group": group, "listener": "orderly", "consume_ms": 20, "timeout_s": 120, "from": "first"}
    first = lab.start(program, "push", **options)
    first.until(lambda p: p.of("assigned"), "queues")
    sender = lab.start(program, "send", topic=topic, count=400, shards=2, interval_ms=20)
    second = lab.start(program, "push", **options)
    sender.end()
    both = [first, second]
    first.until(lambda p: len({e["body"] for q in both for e in q.of("message")}) >= 400, "400 messages", 90)
    for p in both:
        p.stop()
    everything = sorted((e for p in both for e in p.of("message")), key=lambda e: e["arrivedMs"])
    for queue in (0, 1):
        offsets = [e["queueOffset"] for e in everything if e["queueId"] == queue]
        # A handover may repeat a little (the offset was not yet committed) but never skips or goes back further.
        high = -1
        for offset in offsets:
            assert offset <= high + 1, f"skipped from {high} to {offset} in queue {queue}"
            high = max(high, offset)
    assert second.of("message"), "the second consumer never got the lock"


def three_retries_then_the_dead_letter_queue(java, version, lab):
    program, topic, group = java(version), lab.topic(), lab.name("g")
    sent = lab.run(program, "send", topic=topic, count=1, tag="A", keys="k").of("sent")[0]
    run = lab.start(program, "push", topic=topic, group=group, **{"from": "first"}, fail_always=True, retry_delay_level=1, max_reconsume=3,
                    properties=True, timeout_s=120)
    run.until(lambda p: len(p.of("message")) >= 4, "four deliveries")
    time.sleep(3)
    run.stop()
    got = run.of("message")
    same([e["reconsumeTimes"] for e in got], [0, 1, 2, 3])
    same({e["topic"] for e in got}, {topic})
    same({e["msgId"] for e in got}, {sent["msgId"]})
    for before, after in zip(got, got[1:]):
        assert after["arrivedMs"] - before["arrivedMs"] >= 900, "a retry came before its delay of 1 s"
        same(after["properties"]["RETRY_TOPIC"], topic)
        same(after["properties"]["ORIGIN_MESSAGE_ID"], sent["offsetMsgId"])
    dead = lab.run(program, "pull", topic=f"%DLQ%{group}", group=lab.name("g"), do="drain", properties=True).of("message")
    same([(e["body"], e["topic"], e["tags"], e["properties"]["ORIGIN_MESSAGE_ID"]) for e in dead], [("m-0", f"%DLQ%{group}", "A", sent["offsetMsgId"])])


def failing_once_is_delivered_again(java, version, lab):
    program, topic, group = java(version), lab.topic(), lab.name("g")
    lab.run(program, "send", topic=topic, count=10)
    got = lab.run(program, "push", topic=topic, group=group, **{"from": "first"}, fail_first=1, fail_only=["m-3", "m-7"],
                  retry_delay_level=1, expect=10, linger_ms=500).of("message")
    same(sorted((e["body"], e["result"], e["reconsumeTimes"]) for e in got if e["body"] in ("m-3", "m-7")),
         [("m-3", "LATER", 0), ("m-3", "OK", 1), ("m-7", "LATER", 0), ("m-7", "OK", 1)])
    same(len(got), 12)


def delay_level_two_arrives_after_five_seconds(java, version, lab):
    program, topic, group = java(version), lab.topic(), lab.name("g")
    run = lab.start(program, "push", topic=topic, group=group, **{"from": "first"}, expect=3, properties=True)
    run.until(lambda p: p.of("assigned") and p.of("assigned")[-1]["count"] == 4, "queues")
    lab.run(program, "send", topic=topic, count=3, delay_level=2)
    for e in run.end().of("message"):
        waited = e["arrivedMs"] - e["bornTimestamp"]
        assert 4900 <= waited <= 6500, f"arrived after {waited} ms: {e}"
        same(e["properties"].get("REAL_TOPIC"), topic)


def query_by_key_and_by_id(java, version, lab):
    program, topic, key = java(version), lab.topic(), lab.name("key")
    sent = lab.run(program, "send", topic=topic, count=3, keys=f"{key} second{key}", tag="A").of("sent")
    lab.run(program, "send", topic=topic, count=2, keys="elsewhere", first_seq=3)
    time.sleep(1)
    for one in (key, f"second{key}"):
        same(bodies(lab.run(program, "query-key", topic=topic, key=one).of("message")), labels(3))
    same(len(lab.run(program, "query-key", topic=topic, key=key, max=2).of("message")), 2)
    for identity in (sent[1]["msgId"], sent[1]["offsetMsgId"]):
        got = lab.run(program, "view-id", topic=topic, id=identity).of("message")
        same([(e["body"], e["queueId"], e["queueOffset"]) for e in got], [("m-1", sent[1]["queueId"], sent[1]["queueOffset"])])
    failed = lab.run(program, "query-key", code=1, topic=topic, key="nothing").of("failed")[0]
    same((failed["class"], failed["code"]), ("MQClientException", 208))


def bad_requests_are_refused_and_the_connection_stays(java, version, lab):
    run = lab.run(java(version), "errors", topic=lab.topic())
    same({e["what"]: e["code"] for e in run.of("refused")}, {"too-big": 13, "bad-topic": 29, "long-topic": 29, "bad-queue": 29, "unknown-code": 3})
    same({e["sameConnection"] for e in run.of("sent")}, {True})


def load_is_read_back_in_order(java, version, lab):
    program, topic, out, back = java(version), lab.topic(), lab.path("acked"), lab.path("drained")
    load = lab.run(program, "load", topic=topic, senders=4, seconds=3, out=out).of("summary")[0]
    with open(out) as file:
        acked = [line.split() for line in file]
    same(len(acked), load["acked"])
    same({a[2] for a in acked}, {"SEND_OK"})
    lab.run(program, "pull", topic=topic, group=lab.name("g"), do="drain", out=back)
    with open(back) as file:
        stored = [line.split() for line in file]
    places = {(s[0], s[1], s[2]): (s[4], s[3]) for s in stored}
    for sender, seq, _, broker, queue, offset, message, _ in acked:
        same(places[(broker, queue, offset)], (f"s{sender}-{seq}", message))
    last = {}
    for broker, queue, _, _, label, _ in stored:
        sender, seq = re.fullmatch(r"s(\d+)-(\d+)", label).groups()
        assert last.get((broker, queue, sender), -1) < int(seq), f"out of order: {label} in {broker} {queue}"
        last[(broker, queue, sender)] = int(seq)


def mqadmin(lab):
    program, topic, group = tools.java(5), lab.topic(3), lab.name("g")
    key = lab.name("key")
    sent = lab.run(program, "send", topic=topic, count=6, keys=key).of("sent")
    lab.run(program, "push", topic=topic, group=group, **{"from": "first"}, expect=6, linger_ms=500)
    assert lab.cluster in lab.admin("clusterList")
    assert topic in lab.admin("topicList")
    assert '"writeQueueNums":3' in lab.admin("topicRoute", "-t", topic).replace(" ", "")
    status = lab.admin("topicStatus", "-t", topic)
    same(sum(int(line.split()[3]) for line in status.splitlines() if re.match(r"\S+\s+\d+\s+\d+\s+\d+", line)), 6, status)
    progress = lab.admin("consumerProgress", "-g", group)
    assert re.search(r"Consume Diff Total: 0", progress) or re.search(r"Diff Total: 0", progress), progress
    assert sent[2]["msgId"] in lab.admin("queryMsgByKey", "-t", topic, "-k", key)
    assert sent[2]["msgId"] in lab.admin("queryMsgById", "-i", sent[2]["offsetMsgId"], "-t", topic)
    reset = lab.admin("resetOffsetByTime", "-g", group, "-t", topic, "-s", "0")
    assert "broker" in reset, reset
    got = lab.run(program, "push", topic=topic, group=group, expect=6, linger_ms=500).of("message")
    same(bodies(got), labels(6), "after the reset")
    lab.admin("deleteTopic", "-c", lab.cluster, "-t", topic)
    assert topic not in lab.admin("topicList").split()
    same(os.path.exists(os.path.expanduser("~/logs/rocketmqlogs")), False, "log files in the home folder")


ALL = (
    every_send_mode_arrives_unchanged,
    push_with_tags_gets_only_those,
    consumers_share_six_queues,
    broadcast_gives_all_to_each,
    litepull_commits_and_resumes,
    litepull_assigns_and_seeks,
    pull_moves_and_reads_offsets,
    a_held_pull_is_answered_by_a_send,
    orderly_keeps_order_and_suspends_one_queue,
    orderly_queue_is_held_by_one_consumer,
    three_retries_then_the_dead_letter_queue,
    failing_once_is_delivered_again,
    delay_level_two_arrives_after_five_seconds,
    query_by_key_and_by_id,
    bad_requests_are_refused_and_the_connection_stays,
    load_is_read_back_in_order,
)
