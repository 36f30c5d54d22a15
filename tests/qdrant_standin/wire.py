"""A wire to the stand-in that can be cut in the middle of a request, whatever protocol runs over it."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence


class Wire:
    """Forwards TCP connections to ``target``; the first ones are cut after so many bytes sent, one for each budget."""

    def __init__(self, target: int, *, budgets: Sequence[int] = (), host: str = "127.0.0.1", port: int = 0) -> None:
        self._target = target
        self._budgets = list(budgets)
        self._listener = socket.create_server((host, port))
        self._open: list[socket.socket] = []
        self.cuts = 0

    @property
    def port(self) -> int:
        """Where to connect."""
        return int(self._listener.getsockname()[1])

    def serve(self) -> None:
        """Accept connections until ``close``."""
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open += [near, far]
                budget = self._budgets.pop(0) if self._budgets else None
                threading.Thread(target=self._forward, args=(near, far, budget), daemon=True).start()
                threading.Thread(target=self._forward, args=(far, near, None), daemon=True).start()

    def close(self) -> None:
        """Stop accepting, and cut what is open."""
        for end in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _forward(self, source: socket.socket, sink: socket.socket, budget: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if budget is not None and len(data) > budget:
                    sink.sendall(data[:budget])
                    self.cuts += 1
                    break
                budget = None if budget is None else budget - len(data)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def wired(target: int, *, budgets: Sequence[int] = (), host: str = "127.0.0.1", port: int = 0) -> Iterator[Wire]:
    """A wire for the length of a block."""
    wire = Wire(target, budgets=budgets, host=host, port=port)
    thread = threading.Thread(target=wire.serve, daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        wire.close()
        thread.join(timeout=10)
