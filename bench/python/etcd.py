"""An etcd beside ours: how soon a put is at a watcher, through the client that has a core in Rust, too."""

from __future__ import annotations

import asyncio
import pathlib
import socket
import subprocess
import time
from types import TracebackType

from etcd_client import Client

WATCHED = b"watched"


def free_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


class Etcd:
    """An etcd of our own on the loopback interface, a writer and a watcher, each on a connection of its own."""

    def __init__(self, place: pathlib.Path) -> None:
        client, peer = free_url(), free_url()
        command = ["etcd", "--data-dir", str(place), "--log-level", "error", "--initial-cluster", f"default={peer}"]
        for name, url in {
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
        }.items():
            command += [f"--{name}", url]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.loop = asyncio.new_event_loop()
        self.connections = [Client([client]).connect() for _ in range(2)]

    def __enter__(self) -> Etcd:
        until = time.monotonic() + 30
        while True:
            try:
                self.loop.run_until_complete(self.begin())
                return self
            except Exception:
                if self.process.poll() is not None or time.monotonic() > until:
                    self.process.kill()
                    raise
                time.sleep(0.1)

    async def begin(self) -> None:
        self.writer, watcher = [await it.__aenter__() for it in self.connections]
        await self.writer.put(b"first", b"")
        self.watched = aiter(watcher.watch(WATCHED))
        # Not before it is told something is it known to watch.
        told = asyncio.ensure_future(anext(self.watched))
        while not told.done():
            await self.writer.put(WATCHED, b"")
            await asyncio.sleep(0.1)

    def put(self, value: bytes) -> int:
        """How many nanoseconds a put takes to reach the watcher, from its beginning."""

        async def told() -> int:
            begin = time.perf_counter_ns()
            put = asyncio.ensure_future(self.writer.put(WATCHED, value))
            while bytes((await anext(self.watched)).value) != value:
                """One from when it began to watch."""
            taken = time.perf_counter_ns() - begin
            await put
            return taken

        return self.loop.run_until_complete(told())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)
