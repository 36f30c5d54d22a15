"""START READING HERE: the duplicates of a collection, in four lists with their evidence.

    collection ──► rows and vectors ──► pairs of near vectors ──► a second look at the pixels ──► groups

The rule: vectors only propose. Two images are called the same by their bytes or by their pixels, never by vectors.
Nothing is deleted, and nothing is written but a decision that somebody takes (``decide_not_same``).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from connector.errors import InvalidQuery, OriginalError, Overloaded, UnreadableImage
from connector.extras import require
from connector.filters.parse import as_filter
from connector.process import usable_cores
from connector.records import StoredPoint
from connector.search.options import as_point_id
from connector.settings import Settings
from connector.store.engine import Engine
from workers.duplicates.candidates import near_pairs
from workers.duplicates.groups import KINDS, NEAR, SHOWN, DuplicateGroup, DuplicateKind, Evidence, group_of
from workers.duplicates.links import Link, Sets, by_row
from workers.duplicates.look import Look, look_at
from workers.duplicates.same import Verdict, compare
from workers.duplicates.scan import Scan, scanned

if TYPE_CHECKING:
    from qdrant_client.models import Filter

    from connector.service.originals import Originals

ALIKE = 0.95
"""Cosine from which images that are not the same are called look-alikes."""
BURST_S = 3.0
"""Seconds between one image of a burst and the next."""
BURST_NEIGHBOURS = 4
"""Images after an image, in the order of time, that may belong to its moment with it."""
MOMENT = 0.75
"""Cosine from which images of one camera and moment show the same."""
CLOCK_STEP_S = 900
"""Clocks that are set to another zone differ by a multiple of this: it tells two exposures not apart."""
LOOKS = 1_024
"""Images whose pixels are kept for comparison: about 150 kB each."""
TOGETHER = 64
"""Pairs that are compared at a time."""
POINTS = 1_000
"""Points that are read again at a time, with all that they say."""

Progress = Callable[[str, int, int], None]
"""Is called with what goes on, how much of it is done, and of how much."""


def _silent(stage: str, done: int, total: int) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class DuplicateReport:
    """What was found. ``images`` were looked through, ``distinct`` of them have bytes of their own.

    ``compared`` pairs were held against each other by their pixels. ``featureless`` images are of one colour or tiny,
    and the same as no other by their pixels. ``unread`` says by id why an image could not be looked at again: what it
    may be the same as stands among the look-alikes.
    """

    groups: tuple[DuplicateGroup, ...]
    images: int
    distinct: int
    compared: int
    featureless: int
    unread: Mapping[str, str]
    seconds: float

    def of(self, kind: DuplicateKind) -> tuple[DuplicateGroup, ...]:
        """The groups of one kind."""
        return tuple(each for each in self.groups if each.kind == kind)


def find_duplicates(
    engine: Engine,
    *,
    settings: Settings,
    where: "str | Filter | None" = None,
    kinds: Iterable[DuplicateKind] = KINDS,
    near: float = NEAR,
    on_progress: Progress = _silent,
) -> DuplicateReport:
    """Look for duplicates among the images that match. No image is changed, and no point.

    A second look is taken at pairs of a cosine of at least ``near``, -1 to 1. ``on_progress`` is called with what goes
    on, how much of it is done, and of how much. Raises InvalidQuery for a filter or a kind that is none,
    ConfigError without the extra ``serve``, and StoreError.
    """
    require("serve", what="duplicates")
    from connector.service.originals import Originals

    began = time.monotonic()
    wanted = frozenset(kinds)
    if strange := wanted - set(KINDS):
        raise InvalidQuery(f"there is no kind of duplicates {sorted(strange)[0]!r}; there are {', '.join(KINDS)}.")
    if not -1 <= near <= 1:
        raise InvalidQuery(f"near is {near}; the cosine of two vectors lies between -1 and 1.")
    condition = None if where is None else as_filter(where, indexes=engine.info().schema.indexes)
    total = engine.count(where=condition)
    with (
        closing(Originals(settings)) as originals,
        scanned(engine, where=condition, on_progress=lambda done: on_progress("reading vectors", done, total)) as scan,
    ):
        search = _Search(engine, scan, settings=settings, originals=originals, near=near, on_progress=on_progress)
        groups = [*search.groups(wanted)]
    return DuplicateReport(
        groups=tuple(groups),
        images=scan.points,
        distinct=len(scan),
        compared=search.compared,
        featureless=len(search.featureless),
        unread=search.unread,
        seconds=time.monotonic() - began,
    )


def decide_not_same(engine: Engine, first: str, *others: str) -> None:
    """Remember that an image is not the same as others, in the payload of each. Raises InvalidQuery for ids of none."""
    ids = [*map(as_point_id, (first, *others))]
    for number, each in enumerate(ids):
        if each in ids[:number]:
            raise InvalidQuery(f"{each} is named twice; an image is always the same as itself.")
    found = {each.id: each for each in engine.retrieve(ids, fields=["not_same"])}
    for each in ids:
        if each not in found:
            raise InvalidQuery(f"the collection {engine.collection!r} has no point {each}.")
    for one, apart in ((ids[0], ids[1:]), *((each, ids[:1]) for each in ids[1:])):
        known = found[one].payload.get("not_same")
        decided = [each for each in known if isinstance(each, str)] if isinstance(known, list) else []
        engine.set_payload([one], {"not_same": sorted({*decided, *apart})})


class _Search:
    """One search through a scan."""

    def __init__(
        self,
        engine: Engine,
        scan: Scan,
        *,
        settings: Settings,
        originals: "Originals",
        near: float,
        on_progress: Progress,
    ) -> None:
        self._engine = engine
        self._scan = scan
        self._max_pixels = settings.limits.max_pixels
        self._originals = originals
        self._near = near
        self._progress = on_progress
        self._looks: dict[int, Look | None] = {}
        self._sharpness: dict[str, float] = {}
        self._decided = self._decisions()
        self.featureless: set[int] = set()
        self.unread: dict[str, str] = {}
        self.compared = 0

    def groups(self, wanted: frozenset[DuplicateKind]) -> Iterator[DuplicateGroup]:
        """The groups of these kinds, kind by kind, the largest first."""
        scan = self._scan
        if "identical" in wanted:
            sets = [[scan.id_of(row), *copies] for row, copies in scan.copies.items()]
            yield from self._told("identical", sets, {})
        if wanted <= {"identical"} or len(scan) < 2:
            return
        same, moments, alike = self._links()
        if "same_image" in wanted:
            yield from self._joined("same_image", same)
        if "same_moment" in wanted:
            yield from self._joined("same_moment", moments)
        if "look_alikes" in wanted:
            yield from self._starred(alike)

    # ------------------------------------------------------------------------------------------------- pairs and links

    def _links(self) -> tuple[list[Link], list[Link], list[Link]]:
        """The pairs that are the same image, the same moment, and alike: each in one of them at most."""
        same, moments, alike = [], [], []
        sets = Sets(len(self._scan), apart=self._decided)
        for link in self._compared(sets):
            one_moment = self._is_moment(link)
            if link.verdict is not None and link.verdict.same and not self._two_exposures(link):
                if sets.join(link.first, link.second):
                    same.append(link)
            elif one_moment:
                moments.append(link)
            elif link.cosine >= ALIKE:
                alike.append(link)
        apart = [each for each in alike if not sets.are_one(each.first, each.second)]
        return same, moments, apart

    def _pairs(self) -> list[tuple[int, int, float]]:
        """Rows and cosine of the pairs to look at, neighbours near one another, so that each image is read once."""
        scan = self._scan
        count = len(scan)
        near = near_pairs(
            scan.vectors, least=self._near, on_progress=lambda done: self._progress("comparing vectors", done, count)
        )
        pairs = {
            (first, second): cosine
            for first, second, cosine in zip(
                near.first.tolist(), near.second.tolist(), near.cosine.tolist(), strict=True
            )
        }
        for first, second in self._bursts():
            if (first, second) not in pairs:
                cosine = float(scan.vectors[first].astype(np.float32) @ scan.vectors[second].astype(np.float32))
                if cosine >= MOMENT:
                    pairs[first, second] = cosine
        sets = Sets(count, apart={})
        for first, second in pairs:
            sets.join(first, second)
        decided = self._decided
        left = [(a, b, cosine) for (a, b), cosine in pairs.items() if b not in decided.get(a, ())]
        return sorted(left, key=lambda pair: (sets.root(pair[0]), -pair[2], pair[0], pair[1]))

    def _bursts(self) -> Iterator[tuple[int, int]]:
        """Rows that one camera took within ``BURST_S`` of each other."""
        taken, cameras = self._scan.taken, self._scan.cameras
        usable = np.flatnonzero(np.isfinite(taken) & (cameras >= 0))
        order = usable[np.lexsort((taken[usable], cameras[usable]))]
        for step in range(1, BURST_NEIGHBOURS + 1):
            one, other = order[:-step], order[step:]
            close = (cameras[one] == cameras[other]) & (taken[other] - taken[one] <= BURST_S)
            for first, second in zip(one[close].tolist(), other[close].tolist(), strict=True):
                yield min(first, second), max(first, second)

    def _compared(self, sets: "Sets") -> Iterator[Link]:
        """Every pair with what the second look says; what is one image already is not looked at again."""
        pairs = self._pairs()
        with ThreadPoolExecutor(usable_cores()) as pool:
            for start in range(0, len(pairs), TOGETHER):
                some = [pair for pair in pairs[start : start + TOGETHER] if not sets.are_one(pair[0], pair[1])]
                self._read({row for first, second, _ in some for row in (first, second)}, pool)
                seen = [(self._looks[first], self._looks[second]) for first, second, _ in some]
                for (first, second, cosine), verdict in zip(some, pool.map(_verdict, seen), strict=True):
                    self.compared += verdict is not None
                    yield Link(first, second, cosine, verdict, self._seconds_between(first, second))
                self._progress("looking at images", min(len(pairs), start + TOGETHER), len(pairs))

    def _read(self, rows: set[int], pool: ThreadPoolExecutor) -> None:
        """Have the looks of these rows at hand, beside as many of before as are kept."""
        missing = sorted(rows - self._looks.keys())
        ids = [self._scan.id_of(row) for row in missing]
        found = {each.id: each for each in self._engine.retrieve(ids)} if ids else {}
        points = [found.get(each) for each in ids]
        for row, point_id, look in zip(missing, ids, pool.map(self._look, ids, points), strict=True):
            self._looks[row] = look
            if look is not None:
                self._sharpness[point_id] = look.sharpness
                if look.flat:
                    self.featureless.add(row)
        old = [row for row in self._looks if row not in rows]
        for row in old[: max(0, len(self._looks) - LOOKS)]:
            del self._looks[row]

    def _look(self, point_id: str, point: StoredPoint | None) -> Look | None:
        try:
            if point is None:
                raise OriginalError("the point was deleted meanwhile.")
            data = self._originals.find(point.payload).whole()
            return look_at(data, max_pixels=self._max_pixels)
        except (OriginalError, UnreadableImage, Overloaded) as error:
            self.unread[point_id] = str(error)
            return None

    def _seconds_between(self, first: int, second: int) -> float | None:
        seconds = abs(float(self._scan.taken[first] - self._scan.taken[second]))
        return seconds if np.isfinite(seconds) else None

    def _two_exposures(self, link: Link) -> bool:
        """Whether the files say that they were taken at two moments; clocks of two zones say nothing."""
        return link.seconds is not None and link.seconds % CLOCK_STEP_S != 0

    def _is_moment(self, link: Link) -> bool:
        cameras = self._scan.cameras
        return (
            link.seconds is not None
            and link.seconds <= BURST_S
            and cameras[link.first] == cameras[link.second] >= 0
            and link.cosine >= MOMENT
        )

    def _decisions(self) -> dict[int, frozenset[int]]:
        """What somebody decided, by rows, both ways. A decision on a copy holds for its bytes."""
        if not self._scan.decided:
            return {}
        row_of = {self._scan.id_of(row): row for row in range(len(self._scan))}
        row_of.update({copy: row for row, copies in self._scan.copies.items() for copy in copies})
        apart: dict[int, set[int]] = {}
        for point_id, others in self._scan.decided.items():
            for other in others & row_of.keys():
                one, two = row_of[point_id], row_of[other]
                if one != two:
                    apart.setdefault(one, set()).add(two)
                    apart.setdefault(two, set()).add(one)
        return {row: frozenset(others) for row, others in apart.items()}

    # ---------------------------------------------------------------------------------------------------------- groups

    def _joined(self, kind: DuplicateKind, links: Sequence[Link]) -> Iterator[DuplicateGroup]:
        """Groups of all that hang together by these links, but for what somebody set apart."""
        sets = Sets(len(self._scan), apart=self._decided)
        kept = [link for link in links if sets.join(link.first, link.second)]
        rows = {row for link in kept for row in (link.first, link.second)}
        members: dict[int, list[int]] = {}
        for row in sorted(rows):
            members.setdefault(sets.root(row), []).append(row)
        yield from self._told(kind, [[*map(self._scan.id_of, each)] for each in members.values()], by_row(links))

    def _starred(self, links: Sequence[Link]) -> Iterator[DuplicateGroup]:
        """Groups around one image that is like all the others: likeness is not handed on from one to the next."""
        around = by_row(links)
        free = set(around)
        stars = []
        for row in sorted(around, key=lambda each: (-len(around[each]), each)):
            if row in free:
                others = {link.second if link.first == row else link.first for link in around[row]} & free
                if others:
                    free -= {row, *others}
                    stars.append([self._scan.id_of(each) for each in (row, *sorted(others))])
        yield from self._told("look_alikes", stars, around)

    def _told(
        self, kind: DuplicateKind, sets: Sequence[Sequence[str]], links: Mapping[int, Sequence[Link]]
    ) -> Iterator[DuplicateGroup]:
        """Groups with what their points say, and with the evidence for each."""
        ordered = sorted(sets, key=lambda ids: (-len(ids), min(ids)))
        by_id = {self._scan.id_of(row): found for row, found in links.items()}
        for some in _packed([sorted(each) for each in ordered]):
            shown = [point_id for ids in some for point_id in ids[:SHOWN]]
            points: dict[str, StoredPoint] = {}
            for start in range(0, len(shown), POINTS):
                points |= {each.id: each for each in self._engine.retrieve(shown[start : start + POINTS])}
            for ids in some:
                there = [points[each] for each in ids[:SHOWN] if each in points]
                if len(there) > 1:
                    evidence = self._evidence(ids, by_id)
                    yield group_of(kind, there, ids=ids, evidence=evidence, sharpness=self._sharpness)

    def _evidence(self, ids: Sequence[str], links: Mapping[str, Sequence[Link]]) -> dict[str, Evidence]:
        """For each image its strongest link to another one of the group."""
        together = set(ids)
        found = {}
        for point_id in ids[:SHOWN]:
            for link in links.get(point_id, ()):
                ends = (self._scan.id_of(link.first), self._scan.id_of(link.second))
                other = ends[1] if ends[0] == point_id else ends[0]
                if other in together:
                    verdict = link.verdict
                    if verdict is not None and ends[1] == point_id:
                        verdict = verdict.turned_round()
                    found[point_id] = Evidence(other, round(link.cosine, 4), verdict, link.seconds)
                    break
        return found


def _verdict(looks: tuple[Look | None, Look | None]) -> Verdict | None:
    first, second = looks
    return None if first is None or second is None else compare(first, second)


def _packed(sets: Sequence[Sequence[str]]) -> Iterator[Sequence[Sequence[str]]]:
    """The sets, so many at a time that their points are read in few requests."""
    some: list[Sequence[str]] = []
    count = 0
    for ids in sets:
        some.append(ids)
        count += min(len(ids), SHOWN)
        if count >= POINTS:
            yield some
            some, count = [], 0
    if some:
        yield some
