"""Where the tests read from: the example platform as a tree, and the same behind a real server."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import pathlib
import queue
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from control_plane import _shared

ROOT = pathlib.Path(__file__).parents[3]
TREE = ROOT / "examples" / "aiaas"


class Server:
    """A control plane that was started for the tests, on a port of its own."""

    def __init__(self, data: pathlib.Path) -> None:
        self.data = data
        binary = os.environ.get("CONTROL_PLANE_BINARY")
        if binary is None:
            pytest.fail("CONTROL_PLANE_BINARY names no binary; `cargo xtask test` builds one and sets it")
        self.binary = binary
        self.start()

    def start(self) -> None:
        """Starts it, also after it was stopped or killed: then with the same data, on another port."""
        log = self.data.parent / f"{self.data.name}.log"
        self.process = subprocess.Popen(
            [self.binary, "serve", "--data", str(self.data), "--listen", "127.0.0.1:0", "--load", str(TREE)],
            stdout=subprocess.PIPE,
            stderr=log.open("ab"),
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.match(r"ready (http://\S+)", line)
        assert found, f"the server said {line!r}: {log.read_text()}"
        self.url = found[1]
        self.token = (self.data / "admin-token").read_text().strip()

    def run(self, *arguments: str) -> str:
        """Runs the command line against it."""
        done = subprocess.run(
            [self.binary, *arguments],
            env={**os.environ, "CONTROL_PLANE_URL": self.url, "CONTROL_PLANE_TOKEN": self.token},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def set(self, path: str, value: object) -> int:
        """Sets a value of the configuration of production, and says the revision."""
        said = self.run(
            "config", "set", path, str(value), "--layer", "production", "--reason", "test", "--output", "json"
        )
        revision: int = json.loads(said)["revision"]
        return revision

    def told(self, revision: int, is_told: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """What `control-plane rev N status` says, once it is as it will certainly be."""
        until = time.monotonic() + 60
        while True:
            status: dict[str, Any] = json.loads(self.run("rev", str(revision), "status", "--output", "json"))
            if is_told(status):
                return status
            assert time.monotonic() < until, f"it is never told: {json.dumps(status, indent=1)}"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=30)


class Log:
    """What the package tells `logging`."""

    def __init__(self) -> None:
        self.records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()

    def wait_for(self, code: str | None) -> logging.LogRecord:
        """The next record with this code; without one, the next that something is well."""
        while True:
            record = self.records.get(timeout=60)
            if getattr(record, "code", None) == code:
                return record

    def wait_for_text(self, text: str) -> logging.LogRecord:
        while True:
            record = self.records.get(timeout=60)
            if text in record.getMessage():
                return record


@pytest.fixture
def log() -> Iterator[Log]:
    made = Log()
    logger, handler = logging.getLogger("control_plane"), logging.handlers.QueueHandler(made.records)
    # As it is: a record that is made ready for another process has lost what was raised.
    handler.prepare = lambda record: record  # type: ignore[method-assign]
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield made
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def server(tmp_path: pathlib.Path) -> Iterator[Server]:
    started = Server(tmp_path / "data")
    yield started
    started.stop()


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the example, to be changed by a test."""
    return pathlib.Path(shutil.copytree(TREE, tmp_path / "tree"))


@pytest.fixture(params=["tree", "server"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The example platform in either mode, named by the environment variables alone."""
    for name in list(os.environ):
        if name.startswith("CONTROL_PLANE_") and name != "CONTROL_PLANE_BINARY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("CONTROL_PLANE_ENVIRONMENT", "production")
    if request.param == "tree":
        monkeypatch.setenv("CONTROL_PLANE_URL", f"file:{TREE}")
    else:
        started: Server = request.getfixturevalue("server")
        monkeypatch.setenv("CONTROL_PLANE_URL", started.url)
        monkeypatch.setenv("CONTROL_PLANE_TOKEN", started.token)
    before = _shared.use(None)
    yield request.param
    used = _shared.use(before)
    if used is not None:
        used.close()
