"""The FastAPI example, under the servers that people run it with."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from conftest import ROOT, Server

WORKERS = 4


@contextmanager
def serving(command: list[str], plane: Server, log: pathlib.Path, listening: str) -> Iterator[str]:
    """Runs a web server until the block ends, and says where it listens."""
    environment = {
        **os.environ,
        "CONTROL_PLANE_URL": plane.url,
        "CONTROL_PLANE_TOKEN": plane.token,
        "CONTROL_PLANE_ENVIRONMENT": "production",
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT / "examples" / "fastapi",
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    said: list[str] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            found = re.search(listening, line)
            if found:
                yield found[1]
                break
        else:
            pytest.fail(f"it does not serve: {''.join(said)}")
    finally:
        process.terminate()
        try:
            rest = process.communicate(timeout=30)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        log.write_text("".join(said) + rest)
    # uvicorn ends in order, and then by the signal that it was sent.
    assert process.returncode in (0, -signal.SIGTERM), log.read_text()
    assert "Traceback" not in log.read_text(), log.read_text()


def ask(url: str, agent: str = "customer_support_agent") -> dict[str, Any]:
    # A connection of its own for each request, so that any worker may get it.
    request = urllib.request.Request(f"{url}/agents/{agent}", headers={"x-tenant": "tenant123", "connection": "close"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        answer: dict[str, Any] = json.load(reply)
        return answer


def follows(url: str, plane: Server, workers: int) -> None:
    """Asks until every worker has answered with the flag, and with the flag killed."""
    answered: set[int] = set()
    for _ in range(20_000):
        answer = ask(url)
        assert answer["temperature"] == 0.3 and "enhanced_reasoning" in answer["why"]
        answered.add(answer["worker"])
        if len(answered) == workers:
            break
    assert len(answered) == workers
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(url, "nobody")
    assert refused.value.code == 404 and json.load(refused.value)["code"] == "AGENT_NOT_FOUND"

    plane.run("flag", "kill", "enhanced_reasoning", "--environment", "production", "--reason", "test")
    current: set[int] = set()
    for _ in range(20_000):
        answer = ask(url)
        if answer["temperature"] == 0.7:
            current.add(answer["worker"])
        if len(current) == workers:
            break
    assert current == answered


def test_uvicorn_follows_a_flag(server: Server, tmp_path: pathlib.Path) -> None:
    command = ["uvicorn", "app:app", "--port", "0"]
    with serving(command, server, tmp_path / "log", r"running on (http://\S+)") as url:
        follows(url, server, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn needs fork")
@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["each_loads", "forked_after_loading"])
def test_every_worker_of_gunicorn_follows_a_flag(server: Server, tmp_path: pathlib.Path, preload: list[str]) -> None:
    command = ["gunicorn", "app:app", "-k", "uvicorn_worker.UvicornWorker", "-w", str(WORKERS), *preload]
    command += ["-b", "127.0.0.1:0"]
    with serving(command, server, tmp_path / "log", r"Listening at: (http://\S+)") as url:
        follows(url, server, WORKERS)
