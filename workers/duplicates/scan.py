"""Scan: what duplicates are looked for among, read once from the collection and kept compact.

The rule: equal bytes are one image here, so a million copies of a file cost no comparison. Vectors go to a file, in
half precision; a point takes about 200 bytes of memory.
"""

import uuid
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from connector.records import StoredPoint
from connector.store.engine import Engine, pages
from connector.store.in_space import in_space

if TYPE_CHECKING:
    from qdrant_client.models import Filter

PAGE = 1_000
"""Points that are read at a time."""
FIELDS = ("uri", "content_hash", "taken_at", "camera", "not_same")


class Scan:
    """The distinct images of a collection, numbered by rows, and the copies of each.

    ``vectors`` is (rows, dims) float16; ``taken`` seconds since 1970 or NaN; ``cameras`` a number for each camera or
    -1; ``decided`` the points that somebody said are not the same as this one.
    """

    def __init__(self) -> None:
        self.points = 0
        self.vectors: NDArray[np.float16] = np.empty((0, 0), dtype=np.float16)
        self.copies: dict[int, list[str]] = {}
        self.decided: dict[str, frozenset[str]] = {}
        self._ids = array("Q")
        self._taken = array("d")
        self._cameras = array("q")
        self._known_cameras: dict[str, int] = {}
        self._rows: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._taken)

    @property
    def taken(self) -> NDArray[np.float64]:
        """(rows,) float64."""
        return np.frombuffer(self._taken, dtype=np.float64)

    @property
    def cameras(self) -> NDArray[np.int64]:
        """(rows,) int64."""
        return np.frombuffer(self._cameras, dtype=np.int64)

    def id_of(self, row: int) -> str:
        """The id of a row's point."""
        return str(uuid.UUID(int=self._ids[2 * row] << 64 | self._ids[2 * row + 1]))

    def add(self, point: StoredPoint) -> bool:
        """Take a point in; gives whether it is an image with bytes of its own."""
        self.points += 1
        payload = point.payload
        if isinstance(decided := payload.get("not_same"), list):
            self.decided[point.id] = frozenset(each for each in decided if isinstance(each, str))
        row = len(self)
        if (content := _content(payload)) is not None:
            first = self._rows.setdefault(content, row)
            if first != row:
                self.copies.setdefault(first, []).append(point.id)
                return False
        whole = uuid.UUID(point.id).int
        self._ids.extend((whole >> 64, whole & (1 << 64) - 1))
        self._taken.append(_seconds(payload.get("taken_at")))
        camera = payload.get("camera")
        known = self._known_cameras
        self._cameras.append(known.setdefault(camera, len(known)) if isinstance(camera, str) else -1)
        return True

    def forget_contents(self) -> None:
        """Let go of what only ``add`` needs."""
        self._rows.clear()


@contextmanager
def scanned(
    engine: Engine, *, where: "Filter | None" = None, on_progress: Callable[[int], None] = lambda _: None
) -> Iterator[Scan]:
    """Read the points that match, with their vectors, in the order of their ids; the vectors' file lives in the block.

    Points without a vector or an address are left out: ``polyglance check`` names them.
    """
    answers = engine.info().schema.fingerprint
    engine, dims = in_space(engine, answers.space), answers.dims
    scan = Scan()
    with TemporaryDirectory(prefix="polyglance-duplicates-") as folder:
        path = Path(folder) / "vectors"
        with path.open("wb") as file:
            for points in pages(engine, limit=PAGE, where=where, fields=FIELDS, vectors=True):
                usable = [each for each in points if _is_usable(each, dims=dims)]
                new = [each.vector for each in usable if scan.add(each)]
                if new:
                    file.write(np.asarray(new, dtype=np.float16).tobytes())
                on_progress(scan.points)
        scan.forget_contents()
        if len(scan):
            scan.vectors = np.memmap(path, dtype=np.float16, mode="r", shape=(len(scan), dims))
        try:
            yield scan
        finally:
            scan.vectors = np.empty((0, dims), dtype=np.float16)  # a mapped file cannot be removed everywhere


def _is_usable(point: StoredPoint, *, dims: int) -> bool:
    return bool(point.uri) and not point.id.isdigit() and point.vector is not None and len(point.vector) == dims


def _content(payload: Mapping[str, Any]) -> bytes | None:
    value = payload.get("content_hash")
    if not isinstance(value, str) or not value:
        return None
    try:
        return bytes.fromhex(value)
    except ValueError:  # another program's
        return value.encode()


def _seconds(value: object) -> float:
    if not isinstance(value, str):
        return float("nan")
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return float("nan")
