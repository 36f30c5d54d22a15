"""Small real parts that stand in for what is far away: an S3 server, a web server, a bad line to either."""

import http.client
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any, TypeAlias
from urllib.parse import urlsplit

PAGE = 10
"""Keys in one page of moto's listings."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in place of the real one."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is torn down before a word is said."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The real answer, ended after ``keep`` bytes of its body."""

    keep: int


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer at all until the double is closed."""


@dataclass(frozen=True, slots=True)
class Drip:
    """The real answer, its body one byte at a time with a pause after each, until the double is closed."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class Endless:
    """A body without a stated length that never ends: in chunks, or until the connection is closed."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = True


Fault: TypeAlias = Answer | Reset | Cut | Silence | Drip | Endless


def s3_error(status: int, code: str) -> Answer:
    """An answer as S3 words its errors."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>told by the test</Message></Error>"
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})


Respond: TypeAlias = Callable[[str, Mapping[str, str]], Answer]
"""Path with query, and headers by lower-case name, to an answer."""


class WebServer:
    """An HTTP server on this machine. It counts what it is asked, and serves scripted faults before real answers.

    With ``tls`` it speaks https, on a certificate of 127.0.0.1.
    """

    def __init__(self, respond: Respond, *, tls: ssl.SSLContext | None = None) -> None:
        self.respond = respond
        self.requests: list[str] = []
        self.connections = 0
        self.headers: list[Mapping[str, str]] = []
        self.released = threading.Event()
        self._faults: list[tuple[str, deque[Fault]]] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.double = self
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> "WebServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def script(self, match: str, *faults: Fault) -> None:
        """Let the next requests whose line contains ``match`` meet these faults, one each."""
        with self._lock:
            self._faults.append((match, deque(faults)))

    def count(self, match: str) -> int:
        """How many requests had ``match`` in their line, such as ``GET /bucket/dog.jpg``."""
        with self._lock:
            return sum(match in request for request in self.requests)

    def seen(self, line: str, headers: Mapping[str, str]) -> Fault | None:
        """Note a request; the fault that it meets."""
        with self._lock:
            self.requests.append(line)
            self.headers.append(headers)
            for match, faults in self._faults:
                if match in line and faults:
                    return faults.popleft()
        return None


def proxy_to(upstream: str) -> Respond:
    """Pass every GET and HEAD on to another server."""
    address = urlsplit(upstream).netloc

    def respond(path: str, headers: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection(address, timeout=30)
        connection.request(headers[":method"], path, headers={k: v for k, v in headers.items() if k[0] != ":"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return Answer(answer.status, body, dict(answer.getheaders()))

    return respond


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    double: WebServer

    def process_request(self, request: Any, client_address: Any) -> None:
        self.double.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the client would wait 40 ms for the second
    server: _Server

    def do_GET(self) -> None:
        double = self.server.double
        headers = {name.lower(): value for name, value in self.headers.items()} | {":method": self.command}
        match double.seen(f"{self.command} {self.path}", headers):
            case None:
                self._send(double.respond(self.path, headers))
            case Answer() as answer:
                self._send(answer)
            case Cut(keep=keep):
                self._send(double.respond(self.path, headers), keep=keep)
                self.close_connection = True
            case Reset():
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
            case Drip(pause_s=pause):
                self._send(double.respond(self.path, headers), pause=pause)
            case Endless() as endless:
                self._send_without_end(endless)
            case Silence():
                double.released.wait()
                self.close_connection = True

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send(self, answer: Answer, *, keep: int | None = None, pause: float | None = None) -> None:
        self.send_response(answer.status)
        names = {name.lower() for name in answer.headers}
        for name, value in answer.headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        if "content-length" not in names:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if pause is None:
            self.wfile.write(answer.body[:keep])
            return
        for byte in answer.body:
            if self.server.double.released.wait(pause):
                return
            self.wfile.write(bytes([byte]))

    def _send_without_end(self, endless: Endless) -> None:
        self.send_response(endless.status)
        for name, value in endless.headers.items():
            self.send_header(name, value)
        self.send_header(*(("Transfer-Encoding", "chunked") if endless.chunked else ("Connection", "close")))
        self.end_headers()
        self.close_connection = True
        block = bytes(64 * 1024)
        while not self.server.double.released.is_set():  # writing fails when the client has hung up
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if endless.chunked else block)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def moto_server() -> Iterator[str]:
    """moto's S3 in a process of its own; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE)},
    )
    try:
        _wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    end = monotonic() + 60
    while process.poll() is None and monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.1)
    raise RuntimeError(f"moto's server did not come up on port {port}; install moto[server].")
