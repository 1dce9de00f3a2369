"""What a real server is measured with: how soon a change is called back, and what a worker holds."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import queue
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import control_plane
from control_plane.configs.settings import ConfigManager
from etcd import Etcd

FLAGS = 10_000
TENANTS = 100_000
CHANGES = 1_000
# How many of them between as many puts of etcd.
TURN = 100
BATCH = 5_000

Op = dict[str, Any]

RESIDENT = """
def resident_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
"""


class Server:
    """The server of this repository, on a directory and a port of its own."""

    def __init__(self, place: pathlib.Path) -> None:
        binary = os.environ["BENCH_SERVER"]
        place.mkdir()
        data = place / "data"
        self.process = subprocess.Popen(
            [binary, "serve", "--data", str(data), "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=(place / "log").open("wb"),
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().removeprefix("ready ").strip()
        self.token = (data / "admin-token").read_text().strip()
        self.connection = http.client.HTTPConnection(self.url.removeprefix("http://"))

    def commit(self, ops: list[Op]) -> int:
        """Commits, and says the revision."""
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        self.connection.request("POST", "/v1/commits", json.dumps({"ops": ops, "reason": "bench"}), headers)
        reply = self.connection.getresponse()
        said = json.loads(reply.read())
        assert reply.status < 300, said
        revision: int = said["revision"]
        return revision

    def load(self, ops: Iterable[Op]) -> None:
        batch: list[Op] = []
        for op in ops:
            batch.append(op)
            if len(batch) == BATCH:
                self.commit(batch)
                batch = []
        if batch:
            self.commit(batch)

    def stop(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.wait(timeout=60)


@contextmanager
def serving(place: pathlib.Path) -> Iterator[Server]:
    started = Server(place)
    try:
        started.commit([put("environment", "production", {"order": 1})])
        yield started
    finally:
        started.stop()


def put(kind: str, name: str, body: Any, scope: str | None = None) -> Op:
    return {"op": "put", "kind": kind, "name": name, "body": body, **({} if scope is None else {"scope": scope})}


def flags(count: int) -> Iterator[Op]:
    for number in range(count):
        key = f"flag_{number}"
        yield put("flag", key, {"type": "boolean"})
        rule = {"name": "list", "if": {"attribute": "tenant.id", "in": [f"t{number}"]}, "serve": "on"}
        yield put("targeting", key, {"state": "enabled", "rules": [rule], "default": "off"}, "production")


def delivery(place: pathlib.Path, human: Callable[[float], str]) -> list[str]:
    """The time from the begin of a commit to its callback in Python, in turns with etcd's put to watch."""
    ours, theirs = [], []
    with serving(place / "delivery") as server, Etcd(place / "etcd") as etcd:
        server.load(flags(FLAGS))
        revision = server.commit([put("config", "bench", {"number": -1}, "base")])
        client = control_plane.ControlPlaneClient(server.url, token=server.token, environment="production")
        client.wait_ready(60)
        called: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        ConfigManager(client).watch("bench.number", lambda new: called.put((new, time.perf_counter_ns())))
        for turn in range(0, CHANGES, TURN):
            for number in range(turn, turn + TURN):
                begin = time.perf_counter_ns()
                change = put("config", "bench", {"number": number}, "base")
                revision = server.commit([{**change, "if_revision": revision}])
                new, at = called.get(timeout=60)
                assert new == number
                ours.append(at - begin)
            theirs += [etcd.put(b"%064d" % number) for number in range(turn, turn + TURN)]
        client.close()
    what = f"p50 of {CHANGES:,}, one after the other", "p99 (budget ≤ 10 ms)"
    rows = [
        f"| {name} | {human(mine)} | {human(its)} | {mine / its:.2f} |"
        for name, mine, its in zip(what, percentiles(ours), percentiles(theirs))
    ]
    return [
        f"| commit begun → callback in Python, {FLAGS:,} flags in the view | ours | etcd put begun → at a watcher | ratio |",
        "|---|---|---|---|",
        *rows,
    ]


def percentiles(taken: list[int]) -> tuple[float, float]:
    """The median and the 99th."""
    return statistics.median(taken), sorted(taken)[len(taken) * 99 // 100]


def workers(place: pathlib.Path) -> list[str]:
    """The memory of a worker that holds all tenants, and of those that are forked from it."""
    probe = f"""
{RESIDENT}
import os, sys, control_plane
url, token = sys.argv[1:]
bare = resident_kib()
def private_kib():
    with open("/proc/self/smaps_rollup") as maps:
        return sum(int(line.split()[1]) for line in maps if line.startswith("Private_"))
client = control_plane.ControlPlaneClient(url, token=token, environment="production")
client.wait_ready(600)
assert client.is_enabled("rule", tenant_id="t123")
print(resident_kib() - bare, flush=True)
if os.fork() == 0:
    for tenant in range(1000):
        client.is_enabled("rule", tenant_id=f"t{{tenant}}")
    print(private_kib(), flush=True)
    os._exit(0)
os.wait()
client.close()
"""
    with serving(place / "workers") as server:
        rule = {"name": "list", "if": {"attribute": "tenant.plan", "in": ["pro"]}, "serve": "on"}
        server.commit([put("flag", "rule", {"type": "boolean"})])
        server.commit([put("targeting", "rule", {"state": "enabled", "rules": [rule], "default": "off"}, "production")])
        server.load(put("tenant", f"t{it}", {"plan": "pro", "labels": {"region": "eu"}}) for it in range(TENANTS))
        command = [sys.executable, "-c", probe, server.url, server.token]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    loaded, forked = (float(it) / 1024 for it in done.stdout.split())
    return [
        f"| a worker with {TENANTS:,} tenants | memory |",
        "|---|---|",
        f"| all held (eager), on top of the interpreter's | {loaded:.1f} MiB |",
        f"| a worker forked after loading, its own | {forked:.1f} MiB |",
    ]
