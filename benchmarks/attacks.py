"""What a hostile caller costs a running service: memory of its process, and how long others wait.

    python -m benchmarks.bench_service --attacks ../shared/cases

Each attack is made of plain sockets. Its peak is the most memory that the service's process had until it was idle
again; ``waited_s`` is the longest that a question of somebody else took meanwhile.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

IDLE_SHARE = 0.1
"""Share of one core below which a process counts as idle."""
SAMPLE_S = 0.02


@dataclass(slots=True)
class Cost:
    """What an attack cost."""

    before_mib: float
    peak_mib: float = 0.0
    busy_s: float = 0.0
    waited_s: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)

    def note(self, answer: str) -> None:
        """Count an answer, or that there was none."""
        self.answers[answer] = self.answers.get(answer, 0) + 1


@contextmanager
def measured(process: psutil.Process) -> Iterator[Cost]:
    """Watch a process during the block, and until it is idle again."""
    cost = Cost(before_mib=_mib(process))
    ended = threading.Event()
    watching = threading.Thread(target=_watch, args=(process, cost, ended))
    watching.start()
    started = time.perf_counter()
    try:
        yield cost
        while _is_busy(process):
            pass
        cost.busy_s = round(time.perf_counter() - started, 1)
    finally:
        ended.set()
        watching.join()


def post_image(path: str, data: bytes, *, options: str = "{}") -> bytes:
    """A whole request that sends an image along."""
    edge = b"edge-of-a-part"
    body = b"".join(
        [
            b'--%s\r\nContent-Disposition: form-data; name="options"\r\n\r\n%s\r\n' % (edge, options.encode()),
            b'--%s\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n%s\r\n--%s--\r\n'
            % (edge, data, edge),
        ]
    )
    return _head("POST", path, f"multipart/form-data; boundary={edge.decode()}", len(body)) + body


def post_json(path: str, value: object) -> bytes:
    """A whole request with a JSON body."""
    body = json.dumps(value).encode()
    return _head("POST", path, "application/json", len(body)) + body


def get(path: str) -> bytes:
    """A whole request without a body."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def hang_up(address: tuple[str, int], requests: Sequence[bytes]) -> None:
    """Send requests on connections of their own, and close each before its answer."""
    lines = [_sent(address, request) for request in requests]
    time.sleep(0.3)  # till they are being worked for
    for line in lines:
        line.close()


def ask(address: tuple[str, int], request: bytes, *, timeout_s: float = 120.0) -> str:
    """The status of the answer to a request, or what became of the connection."""
    try:
        with _sent(address, request, timeout_s=timeout_s) as line:
            return line.recv(64)[9:12].decode() or "closed"
    except OSError as error:
        return type(error).__name__


def hold_open(address: tuple[str, int], start: bytes, *, times: int, at_most_s: float) -> tuple[int, float]:
    """Send the start of a request on many connections, then a byte a second; how many are left, and after how long."""
    lines = []
    for _ in range(times):
        with contextlib.suppress(OSError):
            lines.append(_sent(address, start))
    started = time.perf_counter()
    while lines and time.perf_counter() - started < at_most_s:
        time.sleep(1)
        lines = [line for line in lines if _is_open(line)]
    lasted = time.perf_counter() - started
    for line in lines:
        line.close()
    return len(lines), round(lasted, 1)


def others_wait(address: tuple[str, int], cost: Cost, during: Callable[[], None]) -> None:
    """Ask question after question while something goes on; note the longest wait."""
    ended = threading.Event()

    def ask_on() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            started = time.perf_counter()
            cost.note(ask(address, post_json("/v1/search", {"text": f"a dog, number {number}"})))
            cost.waited_s = round(max(cost.waited_s, time.perf_counter() - started), 2)

    asking = threading.Thread(target=ask_on)
    asking.start()
    try:
        during()
    finally:
        ended.set()
        asking.join()


def _head(method: str, path: str, kind: str, length: int) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def _sent(address: tuple[str, int], request: bytes, *, timeout_s: float = 10.0) -> socket.socket:
    line = socket.create_connection(address, timeout=timeout_s)
    line.sendall(request)
    return line


def _is_open(line: socket.socket) -> bool:
    """Send one byte more; whether the other side still listens and has not answered."""
    line.settimeout(0.001)
    try:
        line.sendall(b"x")
        line.recv(64)
    except TimeoutError:
        return True
    except OSError:
        pass
    line.close()
    return False


def _watch(process: psutil.Process, cost: Cost, ended: threading.Event) -> None:
    while not ended.wait(SAMPLE_S):
        cost.peak_mib = max(cost.peak_mib, _mib(process))


def _is_busy(process: psutil.Process) -> bool:
    return bool(process.cpu_percent(1.0) > 100 * IDLE_SHARE)


def _mib(process: psutil.Process) -> float:
    return round(process.memory_info().rss / 2**20, 1)
