"""Engine: the few operations polyglance needs of Qdrant, for one collection.

Two real implementations: ``edge.shared`` (Qdrant Edge, on this machine) and ``server.engine`` (a server or cluster).
The one rule: nobody outside ``connector.store`` asks which of them it is, only for its ``capabilities``. Filters are
``qdrant_client.models.Filter`` everywhere; each engine translates its own foreign errors.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from connector.records import FacetCount, Hit, Point, StoredPoint, Vector
from connector.store.schema import CollectionSchema, Words

if TYPE_CHECKING:
    from qdrant_client.models import Filter


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do. ``connector.store.open.capabilities_of`` tells it before an engine is open.

    ``in_process``: it works in this process, so its memory and its processor time are ours, the search graph's too.
    ``many_machines``: processes of several machines may have a collection open at a time, as several of one machine
    always may. ``aliases``: another name may mean a
    collection. ``bulk_load``: indexing can be put off while many points arrive. ``seal_points``: how many points are
    written before the first of them are packed for good; None where nobody here notices.
    """

    in_process: bool
    many_machines: bool
    aliases: bool
    bulk_load: bool
    seal_points: int | None


FOLLOW_S = 2.0
"""Seconds within which everybody who reads or writes notices that the spaces of a collection are others."""
SEAL_LEAST = 5_000
"""Points that the embedded engine collects, at least, before it seals them: see ``connector.store.edge.engine``."""
EMBEDDED = Capabilities(in_process=True, many_machines=False, aliases=False, bulk_load=False, seal_points=SEAL_LEAST)
SERVER = Capabilities(in_process=False, many_machines=True, aliases=True, bulk_load=True, seal_points=None)


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection's schema and size; ``indexed`` counts the vectors that the search graph covers."""

    schema: CollectionSchema
    points: int
    indexed: int


@dataclass(frozen=True, slots=True)
class NearestQuery:
    """One nearest-neighbour question; ``exact`` looks at every vector instead of the graph.

    ``fields`` limits the payload of its hits (None: all of it).
    ``space`` is what made the vector, by default the space that the collection answers by: among its vectors it is
    looked for.
    """

    vector: Vector
    limit: int = 10
    offset: int = 0
    where: "Filter | None" = None
    min_score: float | None = None
    exact: bool = False
    fields: Sequence[str] | None = None
    space: str | None = None


@dataclass(frozen=True, slots=True)
class WordsQuery:
    """One question by words: which images have them in a caption, a tag, a name, a text read in them.

    ``text`` is what somebody asks, in any language and script; the store takes it apart (``connector.words``). A hit
    has at least one of the words, and its ``score`` is BM25's: above 0, without an upper bound, and comparable within
    one answer alone. A text without any word, such as ``"?!"``, has no hits. ``fields`` limits the payload of hits.
    """

    text: str
    limit: int = 10
    offset: int = 0
    where: "Filter | None" = None
    fields: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class NewVector:
    """A stored image's vector in a further space, for as long as its content is the one that was embedded.

    ``content_hash`` is that content's, None where the point does not say.
    """

    id: str
    vector: Vector
    content_hash: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """One stretch of a scroll; ``next`` starts the following one, None at the end."""

    points: Sequence[StoredPoint]
    next: str | None


class Engine(Protocol):
    """One collection in one store. Safe to use from many threads; closed once."""

    @property
    def collection(self) -> str:
        """The collection's name."""

    @property
    def capabilities(self) -> Capabilities:
        """What this store can do."""

    def create(self, schema: CollectionSchema) -> None:
        """Create the collection with its indexes; one that exists alike gets the indexes it lacks.

        Raises CollectionMismatch, with the differences, when it exists otherwise: see ``CollectionSchema.joined``.
        """

    def info(self) -> CollectionInfo:
        """Schema and size. Raises CollectionMissing."""

    def upsert(self, points: Sequence[Point]) -> None:
        """Write points, replacing those of the same id; returns when they can be read back.

        Raises ValueError for a vector that is not finite, is zero, or has the wrong length, and for a payload that
        is not plain JSON: see ``connector.store.points``. Raises SpaceChanged for points that say nothing of a space
        that the collection has, or have a vector of one that it has not.
        """

    def set_payload(self, ids: Sequence[str], payload: dict[str, object]) -> None:
        """Merge ``payload`` by its keys into the payload of points; no vector changes.

        Raises StoreRefused when there is no such point.
        """

    def delete(self, ids: Sequence[str]) -> None:
        """Remove points; ids that are not there are ignored."""

    def retrieve(
        self,
        ids: Sequence[str],
        *,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
        terms: Sequence[int] = (),
        space: str | None = None,
    ) -> list[StoredPoint]:
        """The points of these ids that exist, in no promised order; ``fields`` limits the payload (None: all of it).

        ``vectors`` are those of ``space``, by default of the one that answers. Of ``terms``, numbers of
        ``connector.words.terms``, each point has those that its words hold, with their weights. Raises SpaceChanged.
        """

    def query(self, queries: Sequence[NearestQuery | WordsQuery]) -> list[list[Hit]]:
        """Answer each query with its hits, best first, all in one call: what is seen and what is read side by side.

        ``query([NearestQuery(vector), WordsQuery("看板")])`` gives two lists. Raises StoreRefused for a question by
        words where ``info().schema.words`` is None: the collection was made before they were indexed.
        """

    def scroll(
        self,
        *,
        limit: int,
        start: str | None = None,
        where: "Filter | None" = None,
        fields: Sequence[str] | None = None,
        vectors: bool = False,
        space: str | None = None,
    ) -> Page:
        """Walk the collection in id order, ``limit`` points at a time; ``vectors`` and ``space`` as in ``retrieve``."""

    def count(self, *, where: "Filter | None" = None) -> int:
        """How many points match, exactly."""

    def facet(self, key: str, *, where: "Filter | None" = None, limit: int = 10) -> list[FacetCount]:
        """The field's most frequent values and their exact counts, largest first; equal counts in order of the value.

        Raises InvalidQuery where the field has no index that counts values (keyword, integer and bool do).
        """

    def set_words(self, words: Words) -> None:
        """Let the collection have words, weighted so, from the next write on; what is stored keeps those it has.

        ``index_words`` brings stored points to them; ``words.complete`` says whether that was done with all of them.
        """

    def index_words(self, ids: Sequence[str]) -> int:
        """Compute the words of stored points anew, from their payloads; how many had others or none.

        Ids that are not there are ignored. Raises StoreRefused where the collection has no words.
        """

    def set_spaces(self, schema: CollectionSchema, *, was: CollectionSchema) -> None:
        """Say which space answers and which one there is besides, as ``schema`` does: all readers see it at once.

        The vector of a space that is new is added, empty, and that of one that is gone is removed from every point.
        Raises CollectionMismatch, and changes nothing, where the spaces are no longer those of ``was``; StoreFull;
        StoreRefused where the store cannot add a vector to a living collection.
        """

    def write_vectors(self, vectors: Sequence[NewVector], *, space: str) -> None:
        """Give stored images their vectors in a space; nothing else of them is touched.

        Points that are gone or have another content by now are left as they are. Raises ValueError, SpaceChanged.
        """

    def set_alerts(self, changes: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Write down alerts by their ids, take away those that are None, and leave all others as they are."""

    def sample(self, limit: int, *, where: "Filter | None" = None) -> list[StoredPoint]:
        """Points picked at random, others each time."""

    def ordered(
        self, key: str, *, descending: bool, limit: int, offset: int = 0, where: "Filter | None" = None
    ) -> list[StoredPoint]:
        """Points in the order of an indexed number or date; those without a value are left out."""

    def optimize(self) -> None:
        """Build the search graph over what is not covered yet; returns when it is done."""

    def bulk_load(self) -> AbstractContextManager[None]:
        """Put off indexing while the block runs; does nothing where there is no ``bulk_load`` capability."""

    def point_alias(self, alias: str) -> None:
        """Let ``alias`` mean this collection, and no longer another, in one step.

        Raises ConfigError where there are no aliases.
        """

    def resolved(self) -> str:
        """The collection that is meant: another one than ``collection`` where that is an alias."""

    def recreate(self, schema: CollectionSchema) -> None:
        """An empty collection under this name.

        A collection of this name is deleted first. An alias means a new collection from now on; the one that it meant
        stays, for whoever still needs it.
        """

    def drop(self) -> None:
        """Delete the collection that is meant with everything in it; harmless when there is none."""

    def close(self) -> None:
        """Write everything down and let go of the store."""


def pages(
    engine: Engine,
    *,
    limit: int,
    where: "Filter | None" = None,
    fields: Sequence[str] | None = None,
    vectors: bool = False,
) -> Iterator[Sequence[StoredPoint]]:
    """The points that match, ``limit`` at a time, in the order of their ids; the arguments are those of ``scroll``."""
    start: str | None = None
    while True:
        page = engine.scroll(limit=limit, start=start, where=where, fields=fields, vectors=vectors)
        yield page.points
        if (start := page.next) is None:
            return
