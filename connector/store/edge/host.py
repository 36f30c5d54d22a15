"""Host: lets other processes use the embedded collection that this one has open, through a socket of its folder.

The one rule: a call is done by the thread of its connection and answered there, so that a caller who hangs holds up
nobody else, and one who is gone costs a thread until its call has ended.

The socket lies in the collection's folder, where the file system says who may reach it. Where none can lie (a long
path, some file systems, Windows) it is one of the loopback interface, and a secret in ``host.json`` guards it.
"""

import contextlib
import hmac
import json
import logging
import os
import secrets
import selectors
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from connector.errors import Overloaded, PolyglanceError, StoreRefused
from connector.store.edge.wire import CALLS, HELLO_BYTES, VERSION, Garbled, HostGone, failure, receive, send

log = logging.getLogger(__name__)

MOST_GUESTS = 256
"""Connections at a time; one more is asked to come again."""
HELLO_S = 5.0
"""Seconds that a new connection has to say who it is."""
FRAME_S = 30.0
"""Seconds that a frame may take once it has begun, either way."""
GOODBYE_S = 10.0
"""Seconds that ``close`` waits for calls under way; one that takes longer is cut off, and repeated by its caller."""

SOCKET = "host.sock"
ADDRESS = "host.json"
LONGEST_PATH = 100
"""Bytes of a socket's path that every system takes: 108 are too many on Linux, 104 on macOS."""

GOODBYE = {"goodbye": True}
"""The answer to what was not done because the host is letting go of the collection."""

Call = Callable[[str, list[Any], dict[str, Any]], object]
"""Does one of ``wire.CALLS`` with these arguments."""


class Host:
    """Answers the calls of other processes by ``call``, until ``close``. Raises OSError where no socket can be made."""

    def __init__(self, folder: Path, *, call: Call) -> None:
        self._folder = folder
        self._call = call
        self._changing = threading.Lock()
        self._guests: dict[socket.socket, threading.Thread] = {}
        self._busy: set[socket.socket] = set()
        self._closing = False
        self._listener = _listener(folder / SOCKET)
        self._secret = secrets.token_hex(32) if self._listener.family == socket.AF_INET else ""
        self._wake, self._woken = socket.socketpair()
        self._publish()
        self._accepting = threading.Thread(target=self._accept, name="host", daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Take no more calls, and wait for those under way."""
        with self._changing:
            if self._closing:
                return
            self._closing = True
            guests = dict(self._guests)
            idle = guests.keys() - self._busy
        for name in (ADDRESS, SOCKET):
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()
        self._wake.close()
        if self._accepting is not threading.current_thread():
            self._accepting.join()
        for connection in idle:
            _dismiss(connection)
        for connection, thread in guests.items():
            if thread is not threading.current_thread():
                thread.join(GOODBYE_S)
                _end(connection)

    def forget(self) -> None:
        """In a forked process: leave the sockets to the parent."""
        for each in (self._listener, self._wake, self._woken, *self._guests):
            each.close()

    def _publish(self) -> None:
        """Write down where the socket is; a secret is for this user alone."""
        address = self._listener.getsockname()
        where = {"port": address[1], "secret": self._secret} if self._secret else {"socket": SOCKET}
        draft = self._folder / f"{ADDRESS}.new"
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if self._secret else 0o666)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({**where, "machine": socket.gethostname()}, file)
        draft.replace(self._folder / ADDRESS)

    def _accept(self) -> None:
        with self._listener, self._woken, selectors.DefaultSelector() as ready:
            ready.register(self._listener, selectors.EVENT_READ)
            ready.register(self._woken, selectors.EVENT_READ)
            while all(key.fileobj is self._listener for key, _ in ready.select()):
                with contextlib.suppress(OSError):  # gone before it was let in
                    self._let_in(self._listener.accept()[0])

    def _let_in(self, connection: socket.socket) -> None:
        thread = threading.Thread(target=self._serve, args=(connection,), name="guest", daemon=True)
        with self._changing:
            self._guests[connection] = thread
        thread.start()

    def _serve(self, connection: socket.socket) -> None:
        """One connection, from its hello to its end."""
        try:
            with contextlib.suppress(EOFError, OSError), connection:  # the other side may go, or hang
                connection.settimeout(HELLO_S)
                if self._greeted(connection):
                    connection.settimeout(None)
                    self._answer(connection)
        except Garbled as error:
            log.warning("host_garbled collection=%s: %s", self._folder.name, error)
        finally:
            with self._changing:
                self._guests.pop(connection, None)
                self._busy.discard(connection)

    def _greeted(self, connection: socket.socket) -> bool:
        hello = receive(connection, at_most=HELLO_BYTES)
        if not hmac.compare_digest(str(hello.get("secret", "")).encode(), self._secret.encode()):
            return False
        answer: dict[str, object] = {"version": VERSION}
        if len(self._guests) > MOST_GUESTS:
            answer["failure"] = failure(
                Overloaded(
                    f"{MOST_GUESTS} connections to the collection in {self._folder} are open; come again.",
                    retry_after=1.0,
                )
            )
        send(connection, answer)
        return hello.get("version") == VERSION and "failure" not in answer

    def _answer(self, connection: socket.socket) -> None:
        while True:
            try:
                request = receive(connection, within_s=FRAME_S)
            except Garbled as error:
                refusal = StoreRefused(f"the process that has the collection open cannot read the call: {error}")
                send(connection, {"failure": failure(refusal)})
                raise
            with self._changing:
                if self._closing:
                    break  # nothing was done: the caller asks the next host
                self._busy.add(connection)
            try:
                answer = self._answer_to(request)
            except HostGone:
                break
            connection.settimeout(FRAME_S)
            _send_answer(connection, answer)
            connection.settimeout(None)
            with self._changing:
                self._busy.discard(connection)
                if self._closing:
                    break
        _dismiss(connection)

    def _answer_to(self, request: dict[str, Any]) -> dict[str, object]:
        try:
            name, arguments = request.pop("call"), request.pop("args")
            if name not in CALLS:
                raise StoreRefused(f"{name!r} is nothing that can be asked of a collection")
            return {"result": self._call(name, arguments, request)}
        except HostGone:
            raise
        except Exception as error:
            if not isinstance(error, PolyglanceError | ValueError):
                log.exception("host_call_failed collection=%s", self._folder.name)
            return {"failure": failure(error)}


def _send_answer(connection: socket.socket, answer: dict[str, object]) -> None:
    try:
        send(connection, answer)
    except StoreRefused as error:  # too large
        send(connection, {"failure": failure(error)})


def _listener(path: Path) -> socket.socket:
    """A socket in the folder, else one of the loopback interface. The folder's lock is held: what lies there is old."""
    if hasattr(socket, "AF_UNIX") and len(os.fsencode(path)) <= LONGEST_PATH:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            listener.listen()
        except OSError as error:
            listener.close()
            log.info("host_no_socket path=%s: %s", path, error)
        else:
            return listener
    return socket.create_server(("127.0.0.1", 0))


def _dismiss(connection: socket.socket) -> None:
    """Say to one that waits for nothing that it is to ask elsewhere."""
    with contextlib.suppress(OSError):
        connection.settimeout(1.0)
        send(connection, GOODBYE)
    _end(connection)


def _end(connection: socket.socket) -> None:
    """Wake whoever reads from it, here and there."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
