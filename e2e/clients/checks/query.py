"""SQL92 filters, request and reply, message trace, and what tools ask of a live consumer."""

import re
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
    for form in ("selector", "queue"):
        replies = lab.run(program, "request", topic=topic, count=3, form=form).of("reply")
        same([e["body"] for e in replies], [f"re:m-{i}" for i in range(3)], form)
    replier.stop()


# What each expression lets through, by the last digit of the body: n is 0 to 9 on m-0 to m-9, red up to 4, blue from 5 on; `a` has
# only a tag, `b` nothing.
OPERATORS = {
    "n = 3": "3",
    "n <> 3": "012456789",
    "n > 7": "89",
    "n >= 7": "789",
    "n < 2": "01",
    "n <= 2": "012",
    "n BETWEEN 3 AND 5": "345",
    "n NOT BETWEEN 1 AND 8": "09",
    "n IN ('2', '4')": "24",
    "n NOT IN ('2', '4')": "01356789",
    "n IS NULL": "ab",
    "n IS NOT NULL": "0123456789",
    "colour = 'red' AND n > 2": "34",
    "n < 1 OR n > 8": "09",
    "NOT (n < 8)": "89",
    "n > -1 AND (n < +1 OR colour = 'blue') AND n <> 5": "06789",
    "name CONTAINS 'ame-1'": "1",
    "name NOT CONTAINS '-1'": "023456789",
    "name STARTSWITH 'name-9'": "9",
    "name NOT STARTSWITH 'name-'": "",
    "name ENDSWITH '-7'": "7",
    "name NOT ENDSWITH '-7'": "012345689",
    "n > 7.5": "89",
    "TAGS = 'A' AND n = 1": "1",
    "TAGS IS NULL": "b",
    "TRUE": "0123456789ab",
}


def every_operator_of_sql_filters(java, version, lab):
    program, topic = java(version), lab.topic()
    for first, colour in ((0, "red"), (5, "blue")):
        lab.run(program, "send", topic=topic, count=5, first_seq=first, tag="A", property=["n={seq}", "name=name-{seq}", f"colour={colour}"])
    lab.run(program, "send", topic=topic, body="a", tag="A")
    lab.run(program, "send", topic=topic, body="b")
    found = lab.run(program, "filters", topic=topic, group=lab.name("g"), sql=list(OPERATORS),
                    expect=sum(map(len, OPERATORS.values())), timeout_s=120).of("filtered")
    got = {e["sql"]: "".join(sorted(body[0] if body[0] in "ab" else body[2] for body in e["bodies"])) for e in found}
    same({sql: passed for sql, passed in got.items() if passed != OPERATORS[sql]}, {}, "expressions that let something else through")


def a_bad_expression_is_refused_at_subscribe(java, version, lab):
    run = lab.run(java(version), "push", code=1, topic=lab.topic(), group=lab.name("g"), sql="n = 1 AND AND", expect=1)
    error = run.of("error")[0]
    same(error["code"], 23, error)
    # The fault is at the second AND, wherever the line begins.
    assert re.search(r"column 1[0-9]", error["message"]), error


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
    every_operator_of_sql_filters,
    a_bad_expression_is_refused_at_subscribe,
    trace_messages_name_what_was_sent,
)
