"""Prune: take away the points whose image is gone from the source that they came from.

The rule: a point goes only where a listing came to its end without naming it, rejected nothing at or above its address,
and began after the point was written. So an image that comes in meanwhile, by whatever way, stays. What lies behind a
mount that is not there stays too; what is there all the same, and belongs to another source, only leaves this one.
"""

import hashlib
import itertools
import json
import logging
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from connector.errors import RunIncomplete
from connector.records import StoredPoint, id_of
from connector.store.engine import Engine, pages
from workers.records import Places, Ref, Reject
from workers.sources.source import Whereabouts, is_image_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qdrant_client.models import Filter

log = logging.getLogger(__name__)

PAGE = 1_000
"""Points looked at, or removed, in one call."""

DIGEST_BYTES = 8
FIELDS = ("uri", "ingested_at", *Places.FIELDS)

EXAMPLES = 20
"""Addresses that are shown of what is gone."""

Items = Callable[[], Iterator[Ref | Reject]]
Locate = Callable[[str], Whereabouts]

SPARED: tuple[Whereabouts, ...] = ("emptied", "unmounted")
"""What does not count as gone: a disk that is away leaves an empty folder."""
AWAY: tuple[Whereabouts, ...] = ("unmounted",)
"""The same where each removed file was told."""


def _gone(_: str) -> Whereabouts:
    return "gone"


class ListedIds:
    """Who was there: the points of everything that a listing named, in a temporary file, 8 bytes each.

    The bytes are a digest of the point's id. Two ids have the same one with a probability of 5e-20; then a point stays
    that should go.
    """

    def __init__(self, *, began: datetime | None = None) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close)
        self.began = began or datetime.now(UTC)
        self.complete = False
        self.nameless = 0
        self._rejected: set[str] = set()
        self._sorted: NDArray[np.uint64] | None = None

    def recording(self, items: Items, *, source: str) -> Items:
        """The same listing; whatever it names of ``source`` is noted on its way."""

        def noting() -> Iterator[Ref | Reject]:
            self._begin()
            for item in items():
                self._note(item, source=source)
                yield item
            self.complete = True

        return noting

    def names(self, point_ids: Sequence[str]) -> "NDArray[np.bool_]":
        """For each point, whether the listing named it."""
        import numpy as np  # here: most ingestions prune nothing

        digests = np.frombuffer(b"".join(map(_digest, point_ids)), dtype=np.uint64)
        there = self._digests()
        if not len(there):
            return np.zeros(len(digests), dtype=np.bool_)
        places = np.minimum(np.searchsorted(there, digests), len(there) - 1)
        named: NDArray[np.bool_] = there[places] == digests
        return named

    def rejected(self, uri: str) -> bool:
        """Whether the listing rejected this address, or a folder or file that it lies in."""
        if not self._rejected:
            return False
        ends = (place for place, letter in enumerate(uri) if letter in "/#")
        return uri in self._rejected or any(uri[:end] in self._rejected for end in ends)

    def close(self) -> None:
        """Forget it."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> None:
        self.began = datetime.now(UTC)
        self.complete = False
        self.nameless = 0
        self._rejected.clear()
        self._sorted = None
        self._file.truncate(0)
        self._file.seek(0)

    def _note(self, item: Ref | Reject, *, source: str) -> None:
        if isinstance(item, Reject):
            if item.uri.startswith(f"{source}#row="):  # a row that nobody understands: which image does it name?
                self.nameless += 1
            self._rejected.add(item.uri)
            return
        try:
            self._file.write(_digest(item.point_id))
        except OSError as error:
            raise RunIncomplete(
                f"what was listed cannot be noted in {tempfile.gettempdir()}: {error}. Make room there (8 bytes a "
                "image), or set TMPDIR to another folder; then give the same command again."
            ) from error

    def _digests(self) -> "NDArray[np.uint64]":
        """All that was noted, in order; sorted in its file, so that memory stays flat."""
        import numpy as np

        if self._sorted is None:
            self._file.flush()
            size = self._file.seek(0, 2)
            self._sorted = np.memmap(self._file, dtype=np.uint64, mode="r+") if size else np.empty(0, np.uint64)
            self._sorted.sort()
        return self._sorted


def _digest(point_id: str) -> bytes:
    return hashlib.blake2b(point_id.encode(), digest_size=DIGEST_BYTES).digest()


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning a source came to: how many points it had, how many of them are gone there, how many were removed.

    ``left`` of the removed only left this source: they are in another one too. ``kept`` are not there either, but were
    not taken for gone: the folders in ``away`` hold nothing, or their disk is not there. ``refusal`` says why none were
    removed, and what to do.
    """

    source: str
    points: int
    gone: int
    removed: int = 0
    left: int = 0
    kept: int = 0
    away: tuple[str, ...] = ()
    refusal: str | None = None
    examples: tuple[str, ...] = ()


class MissingPoints:
    """The points of a source whose image is gone from it, kept in a temporary file. Close it."""

    def __init__(self, listed_ids: ListedIds, *, source: str, locate: Locate, spared: Collection[Whereabouts]) -> None:
        self._listed_ids = listed_ids
        self._locate = locate
        self._spared = spared
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  (closed by close)
        self.source = source
        self.points = 0
        self.count = 0
        self.kept = 0
        self._away: dict[str, None] = {}

    @classmethod
    def find(
        cls,
        engine: Engine,
        listed_ids: ListedIds,
        *,
        source: str,
        locate: Locate = _gone,
        spared: Collection[Whereabouts] = SPARED,
    ) -> Self:
        """Compare the collection with a complete listing.

        ``locate`` says what became of an image that it does not name; those that are ``spared`` are not gone.
        """
        if not listed_ids.complete:
            raise RunIncomplete(f"{source} was not listed to its end: nothing can be said to be gone from it.")
        gone = cls(listed_ids, source=source, locate=locate, spared=spared)
        try:
            for points in pages(engine, limit=PAGE, where=of_source(source), fields=[]):
                ids = [point.id for point in points]
                gone.points += len(ids)
                missing = [each for each, named in zip(ids, listed_ids.names(ids), strict=True) if not named]
                for point in engine.retrieve(missing, fields=FIELDS) if missing else ():
                    gone._add(point)
        except BaseException:
            gone.close()
            raise
        return gone

    @classmethod
    def at(
        cls, engine: Engine, listed_ids: ListedIds, uris: Sequence[str], *, source: str, locate: Locate = _gone
    ) -> Self:
        """The points of a source at these addresses, and below those that do not look like an image's: all are gone.

        ``listed_ids`` says since when. An empty folder proves nothing here: each of its files was told to be removed.
        """
        from connector.filters.parse import parse_filter

        gone = cls(listed_ids, source=source, locate=locate, spared=AWAY)
        try:
            gone.points = engine.count(where=of_source(source))
            ids = [id_of(uri) for uri in uris]
            for point in engine.retrieve(ids, fields=FIELDS):
                gone._add(point)
            indexes = engine.info().schema.indexes
            for uri in (each for each in uris if not is_image_name(each)):
                below = parse_filter(f"uri startswith {json.dumps(uri + '/')}", indexes=indexes)
                for points in pages(engine, limit=PAGE, where=below, fields=FIELDS):
                    for point in points:
                        gone._add(point)
        except BaseException:
            gone.close()
            raise
        return gone

    @property
    def share(self) -> float:
        """Which part of the source's points is gone."""
        return self.count / self.points if self.points else 0.0

    def found(self, *, max_prune: float, few: int = 0) -> Pruned:
        """What is gone, and whether it may be removed: so ``few`` always may."""
        examples = tuple(itertools.islice(self.uris(), EXAMPLES))
        return Pruned(
            self.source,
            self.points,
            self.count,
            kept=self.kept,
            away=tuple(self._away),
            refusal=self._refusal(max_prune=max_prune, few=few),
            examples=examples,
        )

    def _refusal(self, *, max_prune: float, few: int) -> str | None:
        if self.count and self._listed_ids.nameless:
            return (
                f"{self._listed_ids.nameless:,} rows of {self.source} name no image, so nobody knows whether the "
                f"{self.count:,} images that are gone from it were theirs: nothing was removed. "
                "`polyglance rejected --reason bad_row` lists the rows; mend them, or take them out."
            )
        if self.count > few and self.share > max_prune:
            return (
                f"{self.count:,} of the {self.points:,} images stored from {self.source} are gone from it: "
                f"{self.share:.1%}, more than the {max_prune:.1%} of --max-prune, so nothing was removed. Is all of it "
                "there, mounted and complete? If so, allow it: --max-prune 1."
            )
        return None

    def uris(self) -> Iterator[str]:
        """The addresses of what is gone."""
        return (uri for _, uri in self._read())

    def remove(self, engine: Engine, *, max_prune: float = 1.0, few: int = 0) -> Pruned:
        """Remove the points, but those that were written again meanwhile; what that came to.

        One that is still there, and belongs to another source too, only leaves this one.
        """
        found = self.found(max_prune=max_prune, few=few)
        if found.refusal is not None:
            return found
        removed = left = 0
        points = self._read()
        while batch := [*itertools.islice(points, PAGE)]:
            stored = engine.retrieve([point_id for point_id, _ in batch], fields=FIELDS)
            old = [point for point in stored if self._is_old(point)]
            stays = {point.id for point in old if self._stays(point)}
            left += leave(engine, [point for point in old if point.id in stays], source=self.source)
            if dead := [point.id for point in old if point.id not in stays]:
                engine.delete(dead)
            removed += len(old)
        log.info(
            "pruned source=%s points=%d gone=%d removed=%d left=%d kept=%d",
            *(self.source, self.points, self.count, removed, left, self.kept),
        )
        return replace(found, removed=removed, left=left)

    def close(self) -> None:
        """Forget it."""
        self._file.close()

    def _add(self, point: StoredPoint) -> None:
        uri = str(point.payload.get("uri"))
        if not self._is_old(point) or self._listed_ids.rejected(uri):
            return
        if self._locate(uri) in self._spared:
            self.kept += 1
            if len(self._away) < EXAMPLES:
                self._away[uri.rpartition("/")[0]] = None
            return
        self.count += 1
        self._file.write(json.dumps([point.id, uri]) + "\n")

    def _stays(self, point: StoredPoint) -> bool:
        others = Places.of(point.payload).keys() - {self.source}
        return bool(others) and self._locate(str(point.payload.get("uri"))) != "gone"

    def _is_old(self, point: StoredPoint) -> bool:
        """Whether it was stored from this source before the listing began."""
        try:
            written = datetime.fromisoformat(str(point.payload.get("ingested_at")))
            return self.source in Places.of(point.payload) and written < self._listed_ids.began
        except (ValueError, TypeError):  # not of our writing
            return False

    def _read(self) -> Iterator[tuple[str, str]]:
        self._file.seek(0)
        for line in self._file:
            point_id, uri = json.loads(line)
            yield point_id, uri


def prune_points(
    engine: Engine, listed_ids: ListedIds, *, source: str, max_prune: float, remove: bool, locate: Locate = _gone
) -> Pruned:
    """Remove what is gone from a source, or only say what would go."""
    with closing(MissingPoints.find(engine, listed_ids, source=source, locate=locate)) as gone:
        return gone.remove(engine, max_prune=max_prune) if remove else gone.found(max_prune=max_prune)


def leave(engine: Engine, points: Sequence[StoredPoint], *, source: str) -> int:
    """Let points that belong to several sources leave one of them; how many did."""
    by_places: dict[str, tuple[Places, list[str]]] = {}
    for point in points:
        others = Places({name: folder for name, folder in Places.of(point.payload).items() if name != source})
        by_places.setdefault(repr(others), (others, []))[1].append(point.id)
    for others, ids in by_places.values():
        engine.set_payload(ids, {**others.payload()})
    return len(points)


def of_source(source: str) -> "Filter":
    """The condition that a point belongs to a source."""
    from qdrant_client import models  # here: it takes a second to import

    return models.Filter(must=[models.FieldCondition(key="source", match=models.MatchValue(value=source))])
