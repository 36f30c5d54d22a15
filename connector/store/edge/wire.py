"""What processes that share an embedded collection say to one another: calls of the Engine protocol, as frames.

    frame = length of the JSON (4 bytes), length of the rest (4 bytes), JSON, arrays' bytes one after another

The one rule: a closed list of calls and records, and nothing that is executed: no pickle. Two sides whose lists differ
refuse each other when they meet.
"""

import dataclasses
import hashlib
import json
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from connector import errors
from connector.errors import PolyglanceError, StoreRefused
from connector.records import FacetCount, Hit, Point, SpaceVector, StoredPoint
from connector.store.engine import CollectionInfo, NearestQuery, NewVector, Page, WordsQuery
from connector.store.schema import CollectionSchema, Fingerprint, SecondSpace, Words

if TYPE_CHECKING:
    from qdrant_client.models import Filter

    from connector.records import Vector

CALLS = (
    *("create", "info", "upsert", "set_payload", "delete", "retrieve", "query", "scroll"),
    *("count", "facet", "sample", "ordered", "optimize", "drop", "backup", "set_words", "index_words"),
    *("set_spaces", "write_vectors", "set_alerts"),
)
"""What may be asked of the process that has the collection open."""

MOST_BYTES = 256 * 1024 * 1024
"""Bytes of the largest frame."""
HELLO_BYTES = 4096
"""Bytes of the largest frame before both sides know each other."""

_HEAD = struct.Struct(">II")
_RECORDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(Point, StoredPoint, Hit, FacetCount, NearestQuery, WordsQuery, Page),
        *(CollectionInfo, CollectionSchema, Fingerprint, Words, SecondSpace, SpaceVector, NewVector),
    )
}


class Garbled(Exception):
    """Bytes that are no frame of ours; never seen by callers."""


class HostGone(Exception):
    """Whoever had the collection open is gone, or letting go of it; never seen by callers.

    ``died`` tells the first from the second.
    """

    def __init__(self, message: str, *, died: bool) -> None:
        super().__init__(message)
        self.died = died


def _version() -> str:
    """Named by what is said, so that no change to a call or a record can forget to raise it."""
    fields = {name: [each.name for each in dataclasses.fields(kind)] for name, kind in _RECORDS.items()}
    said = json.dumps([1, CALLS, fields], sort_keys=True)
    return hashlib.blake2b(said.encode(), digest_size=6).hexdigest()


VERSION = _version()
"""Of the language spoken here."""


def send(connection: socket.socket, message: Mapping[str, object], *, at_most: int = MOST_BYTES) -> None:
    """Send one frame. Raises StoreRefused for one that is too large, before anything is sent, and OSError."""
    arrays: list[bytes] = []
    try:
        plain = {name: _plain(value, arrays) for name, value in message.items()}
        text = json.dumps(plain, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:  # checked before, but for depth
        raise StoreRefused(f"this cannot be sent to the process that has the collection open: {error}") from error
    size = len(text) + sum(map(len, arrays))
    if size > at_most:
        raise StoreRefused(
            f"{size:,} bytes are too many for one call between two processes; {at_most:,} may be. Write or ask for "
            "fewer points at a time."
        )
    connection.sendall(b"".join([_HEAD.pack(len(text), size - len(text)), text, *arrays]))


def receive(connection: socket.socket, *, at_most: int = MOST_BYTES, within_s: float | None = None) -> dict[str, Any]:
    """The next frame. Waits for its beginning as long as the socket's own timeout says, for the rest ``within_s``.

    Raises EOFError where the other side is gone, Garbled for what is no frame, and OSError (TimeoutError).
    """
    first = _exactly(connection, 1)
    before = connection.gettimeout()
    if within_s is not None:
        connection.settimeout(within_s)
    try:
        lengths: tuple[int, int] = _HEAD.unpack(first + _exactly(connection, _HEAD.size - 1))
        if sum(lengths) > at_most:
            raise Garbled(f"a frame of {sum(lengths):,} bytes")
        text, arrays = (_exactly(connection, length) for length in lengths)
    except TimeoutError as error:
        raise Garbled("half a frame") from error
    finally:
        connection.settimeout(before)
    try:
        reader = _Reader(memoryview(arrays))
        return {name: reader.read(value) for name, value in json.loads(text).items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Garbled(repr(error)) from error


def _exactly(connection: socket.socket, length: int) -> bytearray:
    """So many bytes; memory grows as they come, not as they are announced."""
    read = bytearray()
    while len(read) < length:
        chunk = connection.recv(min(length - len(read), 1 << 20))
        if not chunk:
            raise EOFError
        read += chunk
    return read


def _plain(value: object, arrays: list[bytes]) -> Any:
    """A value as JSON, where all that is no user's own has a name; the bytes of its arrays go to ``arrays``."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():  # a payload, in which keys may be anything
            return {"is": "json", "json": dict(value)}
        case Sequence():
            return [_plain(each, arrays) for each in value]
    name = type(value).__name__
    if _RECORDS.get(name) is type(value):
        fields = {each.name: _plain(getattr(value, each.name), arrays) for each in dataclasses.fields(_RECORDS[name])}
        return {"is": name, "fields": fields}
    import numpy as np

    if isinstance(value, np.ndarray):
        arrays.append(np.ascontiguousarray(value, dtype=np.float32).tobytes())
        return {"is": "array", "shape": value.shape}
    if isinstance(value, np.generic):
        return value.item()
    from qdrant_client import models

    if isinstance(value, models.Filter):
        return {"is": "Filter", "json": value.model_dump_json(by_alias=True, exclude_unset=True)}
    raise TypeError(f"{type(value).__name__} is nothing that a store is asked")


class _Reader:
    """Reads values whose arrays lie one after another, in the order in which they were written."""

    def __init__(self, arrays: memoryview) -> None:
        self._arrays = arrays
        self._at = 0

    def read(self, value: Any) -> Any:
        """What ``_plain`` made JSON of."""
        if isinstance(value, list):
            return [self.read(each) for each in value]
        if not isinstance(value, dict):
            return value
        match value["is"]:
            case "json":
                return value["json"]
            case "array":
                return self._array(tuple(map(int, value["shape"])))
            case "Filter":
                return _filter(value["json"])
            case name:
                return _RECORDS[name](**{key: self.read(each) for key, each in value["fields"].items()})

    def _array(self, shape: tuple[int, ...]) -> "Vector":
        import numpy as np

        count = int(np.prod(shape, dtype=np.int64))
        found = np.frombuffer(self._arrays, np.float32, count=count, offset=self._at).reshape(shape).copy()
        self._at += found.nbytes
        return found


def _filter(text: str) -> "Filter":
    from qdrant_client import models

    return models.Filter.model_validate_json(text)


def failure(error: Exception) -> dict[str, object]:
    """An error as it is sent: those of ours and ValueError as they are, any other as a refusal that names it."""
    if not isinstance(error, PolyglanceError | ValueError):
        error = StoreRefused(f"the process that has the collection open failed: {error!r}")
    kind = type(error).__name__ if isinstance(error, PolyglanceError) else "ValueError"
    return {"kind": kind, "message": str(error), "more": dict(error.__dict__)}


def raised(failure: Mapping[str, Any]) -> Exception:
    """The error that ``failure`` made a message of."""
    kind = getattr(errors, str(failure["kind"]), None)
    if isinstance(kind, type) and issubclass(kind, PolyglanceError):
        error = kind.__new__(kind, failure["message"])
        error.args = (failure["message"],)
        error.__dict__.update(failure["more"])
        return error
    return ValueError(failure["message"])
