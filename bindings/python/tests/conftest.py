"""Where the tests read from: the example platform as a tree, and the same behind a real server."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterator

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
        self.process = subprocess.Popen(
            [binary, "serve", "--data", str(data), "--listen", "127.0.0.1:0", "--load", str(TREE)],
            stdout=subprocess.PIPE,
            stderr=(data.parent / "server.log").open("ab"),
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.match(r"ready (http://\S+)", line)
        assert found, f"the server said {line!r}: {(data.parent / 'server.log').read_text()}"
        self.url = found[1]
        self.token = (data / "admin-token").read_text().strip()

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

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)


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
