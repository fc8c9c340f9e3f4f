"""Messages for a later time, and taking them back."""

from . import tools
from .tools import same


def checks():
    return tools.java_checks(only_5=ONLY_5)


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


ONLY_5 = (
    timers_deliver_at_their_time,
    a_recalled_timer_never_arrives,
)
