"""Consumption by pop: queues shared by all consumers of a group, redelivery by the broker."""

import time

from . import tools
from .tools import bodies, labels, same


def checks():
    return tools.java_checks(only_5=ONLY_5)


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


def a_killed_consumer_leaves_its_pops_to_the_others(java, version, lab):
    program, topic, group = java(version), lab.topic(), lab.name("g")
    lab.admin("updateSubGroup", "-c", lab.cluster, "-g", group)
    lab.admin("setConsumeMode", "-c", lab.cluster, "-t", topic, "-g", group, "-m", "POP", "-q", "8")
    lab.run(program, "send", topic=topic, count=20)
    options = {"topic": topic, "group": group, "pop": True, "from": "first", "invisible_ms": 10000, "timeout_s": 150}
    # It takes messages and never gets done with one.
    slow = lab.start(program, "push", consume_ms=120000, threads=8, **options)
    slow.until(lambda p: len(p.of("message")) >= 4, "messages")
    slow.process.kill()
    slow.process.wait()
    taken = {e["body"] for e in slow.of("message")}
    other = lab.run(program, "push", expect=20, linger_ms=2000, **options)
    got = other.of("message")
    same(sorted(set(bodies(got))), labels(20))
    again = {e["body"] for e in got if e["reconsumeTimes"] > 0}
    assert taken <= again, f"{taken - again} were taken and have not come again"


ONLY_5 = (
    pop_consumers_share_every_queue,
    a_failed_pop_comes_again,
    a_killed_consumer_leaves_its_pops_to_the_others,
)
