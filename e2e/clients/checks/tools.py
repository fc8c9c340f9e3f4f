"""Starting client programs, reading their events, and the Apache servers."""

import dataclasses
import functools
import itertools
import json
import os
import subprocess
import tempfile
import threading
import time
from typing import Callable

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(os.path.dirname(HERE))
APACHE = os.path.join(ROOT, "e2e", "apache", "apache")
OUT = os.environ.get("CLIENTS_OUT", os.path.join(ROOT, "target", "clients"))


class Skip(Exception):
    """The program is not built."""


@dataclasses.dataclass
class Check:
    name: str
    run: Callable


def java(version):
    jars = os.path.join(OUT, f"java{version}")
    if not os.path.isdir(jars):
        raise Skip(f"java{version} is not built: run e2e/clients/build java{version}")
    return ["java", "-Xms32m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*", "dev.bolide.e2e.Client"]


def java_checks(both=(), only_5=()):
    """One check for each function and Java client: `both` with 5.x and 4.9, `only_5` with 5.x alone."""
    return [Check(f"java{version} {f.__name__.replace('_', ' ')}", functools.partial(f, java, version))
            for functions, versions in ((both, (5, 4)), (only_5, (5,))) for f in functions for version in versions]


def go():
    program = os.path.join(OUT, "go", "bolide-go-client")
    if not os.path.exists(program):
        raise Skip("the Go client is not built: run e2e/clients/build go")
    return [program]


def node():
    program = os.path.join(OUT, "node", "client.js")
    if not os.path.exists(program):
        raise Skip("the Node client is not built: run e2e/clients/build node")
    return ["node", program]


class Program:
    """A running client program; `events` grows while it runs."""

    def __init__(self, argv, errors):
        self.argv = argv
        self.events = []
        self.errors_path = errors
        self.changed = threading.Condition()
        self.stderr = open(errors, "wb")
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            with self.changed:
                self.events.append(event)
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def of(self, kind):
        with self.changed:
            return [e for e in self.events if e["event"] == kind]

    def until(self, condition, what, seconds=60):
        """Waits for condition(self) to be true."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while not condition(self):
                left = deadline - time.monotonic()
                assert left > 0, f"not within {seconds} s: {what}; last events: {self.events[-5:]}; {self.complaints()}"
                self.changed.wait(min(left, 0.2))
        return self

    def tell(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def end(self, code=0, seconds=150):
        """Waits for the program to end by itself with this exit code."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not end within {seconds} s: {' '.join(self.argv[-12:])}") from None
        self.reader.join(10)
        self.stderr.close()
        assert self.process.returncode == code, (
            f"exit code {self.process.returncode}, not {code}: {' '.join(self.argv[-14:])}; "
            f"failures: {[e for e in self.events if 'class' in e][:5]}; bodies: {sorted(e['body'] for e in self.events if 'body' in e)[:60]}; "
            f"last events: {self.events[-2:]}; {self.complaints()}")
        return self

    def stop(self):
        self.tell("stop")
        return self.end()

    def complaints(self):
        with open(self.errors_path, errors="replace") as file:
            return "stderr: " + file.read()[-600:]


class Lab:
    """One cluster and a folder; hands out names nobody else uses."""

    numbers = itertools.count()
    scene_lock = threading.Lock()

    def __init__(self, namesrv, folder, cluster):
        self.namesrv = namesrv
        self.cluster = cluster
        self.folder = folder
        self.stamp = f"{os.getpid()}"

    def name(self, what):
        return f"{what}_{self.stamp}_{next(self.numbers)}"

    def path(self, what):
        return os.path.join(tempfile.mkdtemp(dir=self.folder), what)

    def start(self, program, command, **options):
        """Option values that are lists are repeated; underscores become hyphens; True is a bare switch."""
        argv = [*program, command, "--namesrv", self.namesrv]
        for key, value in options.items():
            for one in value if isinstance(value, list) else [value]:
                argv.append("--" + key.replace("_", "-"))
                if one is not True:
                    argv.append(str(one))
        return Program(argv, self.path("stderr"))

    def run(self, program, command, code=0, **options):
        return self.start(program, command, **options).end(code)

    def admin(self, *args, ok=True):
        result = subprocess.run([APACHE, "mqadmin", *args, "-n", self.namesrv], capture_output=True, text=True, timeout=90, check=False)
        assert not ok or result.returncode == 0, f"mqadmin {args}: {result.stdout[-500:]} {result.stderr[-500:]}"
        return result.stdout + result.stderr

    def topic(self, queues=4, what="T"):
        """A topic made beforehand on every broker of the cluster."""
        name = self.name(what)
        text = self.admin("updateTopic", "-c", self.cluster, "-t", name, "-r", str(queues), "-w", str(queues))
        assert "success" in text, text
        # A name server hears of it at once, a client's route may still be a moment behind.
        time.sleep(0.5)
        return name


def start_apache(folder, port):
    if not os.path.isdir(os.environ.get("APACHE_LIB", os.path.join(ROOT, "target", "apache", "lib"))):
        subprocess.run([APACHE, "fetch"], check=True)
    environment = {"APACHE_HEAP": "1g", "APACHE_DIRECT": "1g", "APACHE_NAMESRV_HEAP": "256m", **os.environ}
    subprocess.run([APACHE, "start", folder, str(port), str(port + 10), "enablePropertyFilter=true", "timerWheelEnable=true",
                    "traceTopicEnable=true", "transactionTimeOut=2000", "transactionCheckInterval=2000", "recallMessageEnable=true",
                    # On a busy machine a send may wait longer than the usual 200 ms before it is refused; a one-way one would be lost unseen.
                    "waitTimeMillsInSendQueue=10000"],
                   check=True, env=environment)
    return f"127.0.0.1:{port}"


def stop_apache(folder):
    if os.path.isdir(folder):
        subprocess.run([APACHE, "stop", folder], check=False)


def bodies(events):
    return sorted(e["body"] for e in events)


def labels(count, prefix="m", first=0):
    return sorted(f"{prefix}-{i}" for i in range(first, first + count))


def same(got, expected, what=""):
    assert got == expected, f"{what} got {got}, expected {expected}"
