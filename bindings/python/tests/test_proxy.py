"""What docs/guide/proxy.md says, with nginx itself, configured as that page says."""

from __future__ import annotations

import os
import pathlib
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
import trustme
from control_plane import ControlPlaneClient
from control_plane.configs.settings import ConfigManager

from conftest import ROOT, Log, Server

PAGE = ROOT / "docs" / "guide" / "proxy.md"
VALUE = "database.pool_size_max"
BUFFERS = "proxy_ignore_headers X-Accel-Buffering;"


def instead(text: str, old: str, new: str) -> str:
    assert old in text, f"the page's configuration has no {old!r}"
    return text.replace(old, new)


class Nginx:
    """nginx in front of a server, on a port of its own."""

    def __init__(self, server: Server, place: pathlib.Path, authority: trustme.CA, more: str) -> None:
        program = os.environ.get("NGINX")
        if program is None:
            pytest.fail("NGINX names no program; `cargo xtask test` installs one and sets it")
        place.mkdir()
        certificate, key = place / "certificate.pem", place / "key.pem"
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(str(key))
        for part in issued.cert_chain_pems:
            part.write_to_path(str(certificate), append=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        found = re.search(r"```nginx\n(.*?)```", PAGE.read_text(), re.DOTALL)
        assert found, f"{PAGE} has no configuration of nginx"
        said = instead(found[1], "server 127.0.0.1:7400;", f"server {server.url.removeprefix('http://')};")
        said = instead(said, "listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
        said = instead(said, "/etc/ssl/control-plane.pem", str(certificate))
        said = instead(said, "/etc/ssl/control-plane.key", str(key))
        said = instead(said, "location / {", f"location / {{ {more}")
        # What Debian's own files say elsewhere; it keeps to its directory, and is one process that a test can end.
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f"{kind}_temp_path {place / kind}; " for kind in kinds)
        self.access = place / "access.log"
        self.file = place / "nginx.conf"
        self.file.write_text(
            f"daemon off; master_process off; pid {place / 'pid'}; error_log stderr; events {{}}\n"
            f"http {{ {paths} access_log {self.access};\n{said}}}\n"
        )
        self.program, self.log = program, place / "log"
        self.url = f"https://127.0.0.1:{port}"
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "-p", str(self.file.parent), "-c", str(self.file)], stdout=log, stderr=log
            )
        wait_for(lambda: self.process.poll() is not None or self.answers(), "nginx does not start")
        assert self.process.poll() is None, self.log.read_text()

    def answers(self) -> bool:
        with socket.socket() as asked:
            return asked.connect_ex(("127.0.0.1", int(self.url.rpartition(":")[2]))) == 0

    def stop(self) -> None:
        """Ends it at once, with all connections through it."""
        self.process.terminate()
        self.process.wait(timeout=30)

    def passed(self, path: str) -> bool:
        """Says whether a request for this has passed, and is over."""
        return path in self.access.read_text()


def wait_for(is_so: Callable[[], bool], why_not: str) -> None:
    until = time.monotonic() + 90
    while not is_so():
        assert time.monotonic() < until, why_not
        time.sleep(0.01)


@pytest.fixture(params=[""])
def nginx(request: pytest.FixtureRequest, server: Server, tmp_path: pathlib.Path) -> Iterator[Nginx]:
    """As the page says, or with more in its `location`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    started = Nginx(server, tmp_path / "nginx", authority, request.param)
    yield started
    started.stop()


@pytest.fixture
def client(nginx: Nginx, server: Server, tmp_path: pathlib.Path, log: Log) -> Iterator[ControlPlaneClient]:
    ca_file = str(tmp_path / "ca.pem")
    made = ControlPlaneClient(nginx.url, token=server.token, environment="production", ca_file=ca_file)
    made.wait_ready(60)
    log.wait_for(None)
    yield made
    made.close()


def arrives(client: ControlPlaneClient, server: Server, value: int) -> None:
    """Commits a value, and waits until it is served."""
    server.set(VALUE, value)
    wait_for(lambda: bool(client.config(VALUE) == value), f"{value} never arrives")


def test_changes_come_by_the_stream_and_a_restart_of_the_proxy_is_survived(
    nginx: Nginx, server: Server, client: ControlPlaneClient, log: Log
) -> None:
    seen: list[object] = []
    ConfigManager(client).watch(VALUE, seen.append)
    for value in (31, 32, 33):
        arrives(client, server, value)
    wait_for(lambda: len(seen) == 3, "nobody is called back")
    nginx.stop()
    log.wait_for("SERVER_UNREACHABLE")
    server.set(VALUE, 34)
    assert client.status()[0]["source"] == "stale" and client.config(VALUE) == 33
    assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123")
    nginx.start()
    log.wait_for(None)
    wait_for(lambda: bool(client.config(VALUE) == 34), "what was committed meanwhile never arrives")
    arrives(client, server, 35)
    wait_for(lambda: seen[-1] == 35, "nobody is called back any more")
    assert seen == [31, 32, 33, 34, 35] and client.status()[0]["source"] == "live"
    client.close()
    wait_for(lambda: nginx.passed("/stream"), "nginx notes no stream")
    assert not nginx.passed("wait=")


@pytest.mark.parametrize("nginx", [BUFFERS], indirect=True)
def test_where_the_proxy_gathers_what_is_sent_long_polls_bring_the_changes(
    nginx: Nginx, server: Server, client: ControlPlaneClient
) -> None:
    assert BUFFERS.rstrip(";") in PAGE.read_text()
    # The client gives a stream up that nothing comes from, which nginx notes.
    wait_for(lambda: nginx.passed("/stream"), "the client waits for the stream for ever")
    for value in (41, 42, 43):
        arrives(client, server, value)
    assert client.status()[0]["source"] == "live"
    assert nginx.passed("wait=50")

