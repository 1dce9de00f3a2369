"""What stands between a client and its server, and can cut them off, lead elsewhere, and alter what is sent."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket

from conftest import Server

HEADERS = ("content-type", "content-encoding", "etag", "control-plane-head", "control-plane-revision", "retry-after")


class View:
    """A view as a server sent it."""

    def __init__(self, headers: dict[str, str], body: bytes) -> None:
        self.headers = headers
        self.body = body


class Between(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, server: Server, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.server_port}"
        if tls is not None:
            # Each connection shakes hands on the thread that serves it.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.server = server
        self.alter: Callable[[View], View] | None = None
        self.seen: list[View] = []
        self.open: set[socket] = set()
        self.lock = threading.Lock()

    def turn(self, server: Server) -> None:
        """Leads to another server, and cuts what is open."""
        self.server = server
        self.cut()

    def altering(self, alter: Callable[[View], View] | None) -> None:
        """Alters each view from now on, or none any more; clients are made to fetch it."""
        self.alter = alter
        self.cut()

    def cut(self) -> None:
        with self.lock:
            for connection in self.open:
                with suppress(OSError):
                    connection.shutdown(SHUT_RDWR)

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self.server.url.removeprefix("http://"), timeout=90)
        # Whose the token is does not matter to what is tested here.
        connection.request(method, path, body, {**headers, "authorization": f"Bearer {self.server.token}"})
        with self.lock:
            self.open.add(connection.sock)
        return connection.getresponse()

    def handle_error(self, request: object, client_address: object) -> None:
        """One end was cut off, which is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    server: Between

    def do_GET(self) -> None:
        if "/stream" in self.path and self.server.alter is not None:
            revision = json.loads(self.asked("GET", "/readyz").read())["revision"]
            said = f'event: refetch\ndata: {{"revision": {revision}}}\n\n'
            self.say(200, {"content-type": "text/event-stream"}, said.encode())
            return
        reply = self.asked("GET", self.path)
        headers = {name: value for name in HEADERS if (value := reply.getheader(name)) is not None}
        if "/stream" in self.path and reply.status == 200:
            self.say(200, headers, None)
            with self.server.lock:
                self.server.open.add(self.connection)
            while part := reply.read1(65_536):
                self.wfile.write(part)
                self.wfile.flush()
            return
        view = View(headers, reply.read())
        if "/view" in self.path and reply.status == 200:
            self.server.seen.append(view)
            if self.server.alter is not None:
                view = self.server.alter(view)
        self.say(reply.status, view.headers, view.body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        reply = self.asked("POST", self.path, body)
        self.say(reply.status, {"content-type": reply.getheader("content-type", "")}, reply.read())

    def asked(self, method: str, path: str, body: bytes | None = None) -> http.client.HTTPResponse:
        left_out = {"host", "authorization"}
        if self.server.alter is not None:
            # What is altered has to be sent, although the client has the like of it.
            left_out.add("if-none-match")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
        try:
            return self.server.ask(method, path, headers, body)
        except OSError:
            self.close_connection = True
            raise

    def say(self, status: int, headers: dict[str, str], body: bytes | None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if body is not None:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if body is not None:
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: what is sent is not what is tested."""


@contextmanager
def between(server: Server, tls: ssl.SSLContext | None = None) -> Iterator[Between]:
    """Stands between until the block ends."""
    with Between(server, tls) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.cut()
        made.shutdown()
