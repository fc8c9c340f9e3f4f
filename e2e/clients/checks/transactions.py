"""Half messages: committed, rolled back, checked back, discarded."""

from . import tools
from .tools import bodies, same


def checks():
    return tools.java_checks(both=BOTH)


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


BOTH = (
    transactions_commit_and_roll_back,
    transactions_are_checked_back,
)
