"""The values that travel through an ingestion run: frozen, slotted, picklable."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, ClassVar, Literal, Self, TypeAlias

from connector.records import ALERT_FIELDS, OCR_FIELDS, Payload, id_of
from connector.version import Version

Verify = Literal["version", "content", "nothing"]
"""What shows that an image is unchanged: its version, the hash of its bytes, or nothing at all."""
Stage = Literal["list", "read", "ocr", "decode", "embed", "upsert"]


def id_of_identity(identity: str) -> str:
    """The id of the point that the user identifies by this: a UUID as it is, of any other text a UUIDv5."""
    try:
        return str(uuid.UUID(identity))
    except ValueError:
        return id_of(f"id:{identity}")


@dataclass(frozen=True, slots=True)
class Ref:
    """An image by address, as a source lists it, not yet read.

    ``uri`` is canonical (``file:///abs/path.jpg``, ``s3://bucket/key``, ``https://…``, ``s3://bucket/x.tar#member``).
    ``version`` changes when the image changes; None where only reading tells. ``stored_version`` is what the
    collection holds already, filled in by the pipeline so that a source can ask conditionally. ``meta`` is the
    user's own metadata known at listing time. ``position`` is its place in a container: the
    byte it begins at in a tar, the row in a table. ``identity`` is what the user identifies it by, in place of the URI.
    ``sidecars`` are the names of the files beside it that belong to it, percent-encoded; ``fields`` what those say that
    are read at listing time, as fields of the payload. ``signed`` says that the address is signed where it stands: the
    ``uri`` leaves the signature out, and reading looks it up. ``crc32`` is the sum of the bytes where
    the listing saw them and no store tells one.
    """

    uri: str
    source: str
    object_key: str
    folder: str
    filename: str
    version: Version | None
    size: int | None = None
    stored_version: Version | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    position: int | None = None
    identity: str | None = None
    sidecars: Sequence[str] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    signed: bool = False
    crc32: int | None = None

    def __post_init__(self) -> None:
        """A ref that was written down comes back with plain strings and lists."""
        for name in ("version", "stored_version"):
            object.__setattr__(self, name, Version.parse(getattr(self, name)))
        object.__setattr__(self, "sidecars", tuple(self.sidecars))

    @property
    def point_id(self) -> str:
        """The id of the image's point: the UUIDv5 of its URI, so that writing twice is harmless.

        An ``identity`` that is a UUID is the id itself; of any other the UUIDv5 is made.
        """
        return id_of(self.uri) if self.identity is None else id_of_identity(self.identity)


@dataclass(frozen=True, slots=True)
class Blob:
    """An image's bytes. ``version`` is final here; ``meta`` joins what the reading taught to what the listing knew.

    ``fields`` are those of the payload that sidecars decide, such as ``taken_at``.
    """

    ref: Ref
    data: bytes
    version: Version
    meta: Mapping[str, Any]
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The source answered that the image is still as it is stored."""

    ref: Ref


@dataclass(frozen=True, slots=True)
class Reject:
    """An image that could not be ingested: at which stage, for which typed reason, with which detail.

    ``attempt`` counts the runs that tried it. ``ref`` is what to try again; None where the listing knew too little.
    Stage ``worker`` means that the process which worked on it died, at whichever stage.
    """

    uri: str
    stage: Stage | Literal["worker"]
    reason: str
    detail: str
    attempt: int = 1
    ref: Ref | None = None


REF_VALUES = attrgetter(*(each.name for each in fields(Ref)))
"""A ref as a tuple: rows are packed ten times as fast as dataclasses."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a listing, or a piece of one: what is handed to a worker, to be retried and to be remembered.

    ``place`` is what ``open_source`` takes; ``verify`` says what shows that an image is still as it is stored.
    """

    number: int
    place: str
    refs: tuple[Ref, ...]
    verify: Verify = "version"

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross the border of a process as rows."""
        return _shard, (self.number, self.place, [REF_VALUES(ref) for ref in self.refs], self.verify)


def _shard(number: int, place: str, rows: list[tuple[Any, ...]], verify: Verify) -> Shard:
    return Shard(number, place, tuple(Ref(*row) for row in rows), verify)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a worker says of itself once the collection is there: its threads by stage, and the GPUs it sees."""

    threads: dict[Stage, int]
    gpus: int


class Places(dict[str, str]):
    """The sources that a point's image was brought in from, and its folder in each of them.

    A payload keeps them as two lists in the same order, ``source`` and ``folder``, so that a filter for either finds
    the image by any of them.
    """

    FIELDS: ClassVar = ("source", "folder")

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> Self:
        """Those in a payload; older collections hold one source and one folder there, without a list."""
        sources, folders = (_several(payload.get(name)) for name in cls.FIELDS)
        return cls(zip(sources, [*folders, *[""] * (len(sources) - len(folders))], strict=False))

    def payload(self) -> dict[str, list[str]]:
        """What a payload says of them, the outermost place first."""
        ordered = sorted(self.items(), key=lambda place: (len(place[0]), place[0]))
        return {"source": [source for source, _ in ordered], "folder": [folder for _, folder in ordered]}


def _several(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


@dataclass(frozen=True, slots=True)
class Stored:
    """What the collection holds of an image that may have to be read.

    ``text`` has the fields of its payload that reading the text in it wrote, ``alerts`` those that alerts did.
    """

    places: Places
    content_hash: str | None
    version: Version | None
    text: Payload
    alerts: Payload

    @classmethod
    def of(cls, payload: Payload) -> Self:
        """What a point's payload tells."""
        content_hash = payload.get("content_hash")
        return cls(
            Places.of(payload),
            content_hash if isinstance(content_hash, str) else None,
            Version.parse(payload.get("version")),
            *({name: payload[name] for name in some if name in payload} for some in (OCR_FIELDS, ALERT_FIELDS)),
        )


Outcome: TypeAlias = Blob | Unchanged | Reject
"""What reading one ref gives."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The counts of a run: every listed image ends in exactly one of the other three."""

    listed: int = 0
    stored: int = 0
    unchanged: int = 0
    rejected: int = 0

    @property
    def done(self) -> int:
        """Images that have their outcome."""
        return self.stored + self.unchanged + self.rejected

    @property
    def balanced(self) -> bool:
        """Whether nothing was lost."""
        return self.listed == self.done
