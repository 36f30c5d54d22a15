"""Guest: an embedded collection that another process of this machine has open, asked through the socket of its folder.

The one rule: a call whose answer does not come because the other process is gone raises ``HostGone``, and whoever made
it asks again elsewhere: every call may be repeated without harm.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from connector.errors import StoreRefused, StoreUnavailable
from connector.store.edge.host import ADDRESS, FRAME_S, HELLO_S
from connector.store.edge.wire import HELLO_BYTES, VERSION, Garbled, HostGone, raised, receive, send

LOOK_S = 5.0
"""Seconds without an answer after which it is asked whether the host lives; a call may take as long as it takes."""
SILENCE = 6
"""Times in a row that a host may leave that unanswered, which takes half a minute, before it counts as hung."""
CONNECTIONS = 16
"""Calls of one process at a time; others wait for one of them."""


class Guest:
    """Calls of this process to the host of a collection. Safe for many threads."""

    def __init__(self, folder: Path, *, address: dict[str, Any]) -> None:
        self._folder = folder
        self._address = address
        self._idle: list[socket.socket] = []
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        self.gone = False

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """A guest of the collection's present host; None where there is none, or none that can be reached.

        Raises StoreRefused where the host speaks another language, and what the host says instead of a greeting.
        """
        try:
            address = json.loads((folder / ADDRESS).read_text(encoding="utf-8"))
            guest = cls(folder, address=address)
            guest._idle.append(guest._connected())
        except (OSError, ValueError, EOFError, Garbled):
            return None
        return guest

    def call(self, name: str, arguments: list[Any], named: dict[str, Any]) -> Any:
        """Ask for one of ``wire.CALLS``. Raises what the host's engine raises, HostGone, and StoreUnavailable."""
        with self._connection() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have said goodbye before
                send(connection, {"call": name, "args": arguments, **named})
            answer = self._answer(connection)
        if "goodbye" in answer:
            self.close()
            raise HostGone("it said goodbye", died=False)
        if "failure" in answer:
            raise raised(answer["failure"])
        return answer["result"]

    def close(self) -> None:
        """Hang up."""
        self.gone = True
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().close()

    def forget(self) -> None:
        """In a forked process: leave the parent's connections to it."""
        self.close()

    @contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        """A connection for one call; one on which a call failed is not used again."""
        with self._places:
            try:
                try:
                    connection = self._idle.pop()
                except IndexError:
                    connection = self._connected()
                try:
                    connection.settimeout(FRAME_S)
                    yield connection
                except StoreRefused:  # too large: nothing was sent
                    self._idle.append(connection)
                    raise
                except BaseException:
                    connection.close()
                    raise
            except TimeoutError as error:
                raise self._hung() from error
            except (OSError, EOFError, Garbled) as error:
                self.close()
                raise HostGone(repr(error), died=True) from error
            if self.gone:
                connection.close()
            else:
                self._idle.append(connection)

    def _answer(self, connection: socket.socket) -> dict[str, Any]:
        """Wait for as long as the host lives."""
        connection.settimeout(LOOK_S)
        unanswered = 0
        while True:
            try:
                return receive(connection, within_s=FRAME_S)
            except TimeoutError:
                unanswered = 0 if self._lives() else unanswered + 1
                if unanswered == SILENCE:
                    raise

    def _lives(self) -> bool:
        try:
            self._connected().close()
        except (OSError, EOFError, Garbled):
            return False
        return True

    def _connected(self) -> socket.socket:
        """A new connection, after both sides have said who they are."""
        if "port" in self._address:
            connection = socket.create_connection(("127.0.0.1", int(self._address["port"])), timeout=HELLO_S)
        else:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(HELLO_S)
        try:
            if "port" not in self._address:
                connection.connect(str(self._folder / str(self._address["socket"])))
            send(connection, {"version": VERSION, "secret": str(self._address.get("secret", ""))})
            hello = receive(connection, at_most=HELLO_BYTES)
            if "failure" in hello:
                raise raised(hello["failure"])
            if hello.get("version") != VERSION:
                raise StoreRefused(
                    f"the collection in {self._folder} is open in a process of another version of polyglance. Stop "
                    "that one, or run the same version in both."
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _hung(self) -> StoreUnavailable:
        self.close()
        return StoreUnavailable(
            f"the process that has the collection in {self._folder} open gives no answer: stopped, or with no "
            f"processor time. Its number stands in {self._folder / 'lock.pid'}; let it go on, or end it."
        )
