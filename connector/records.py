"""The values that travel between our modules: frozen, slotted, hashable by what names them, and short to print.

The rule: a repr is for logs and notebooks. It shows no vector, no payload, no password and no signed address.
"""

import os
import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

from connector.printable import mask_credentials

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector: TypeAlias = NDArray[np.float32]
    """One embedding: (dims,) float32, L2-normalised."""

    Vectors: TypeAlias = NDArray[np.float32]
    """A batch of embeddings: (n, dims) float32, each row L2-normalised."""

    Pixels: TypeAlias = NDArray[np.uint8]
    """One or many images ready for a tower: (size, size, 3) or (n, size, size, 3) uint8 RGB."""
else:  # an ingestion that finds nothing new sees no array: numpy would be a sixth of its time
    Vector = Vectors = Pixels = Any

Payload: TypeAlias = Mapping[str, Any]
"""What a point knows about its image: plain JSON values, documented in ``connector.store.schema``."""


OCR_FIELDS = ("ocr_text", "ocr")
"""What reading the text in an image writes: the text, and how it was read. A content has one text, wherever it lies."""
ALERT_FIELDS = ("alerts", "alerts_due")
"""What alerts write: those that an image fits, and those of them that nobody was told of yet (docs/alerts.md)."""


@dataclass(frozen=True, slots=True)
class Resizing:
    """How an image becomes square: the shortest edge to the size and the middle kept, or both edges; antialiased."""

    shape: Literal["crop", "squash"] = "crop"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"


CLIP_RESIZING = Resizing()


MAX_SHOWN = 120
"""Characters of an address in a repr."""
_QUERY_STRING = re.compile(r"\?[^#]*")
_FILES = ("file://", "s3://")
"""Addresses in which a question mark is part of a name."""


def masked_uri(uri: str) -> str:
    """An address for logs and pages: without user and password, without its query string, shortened where long."""
    text = mask_credentials(uri)
    if "://" in text and not text.startswith(_FILES):
        text = _QUERY_STRING.sub("?…", text, count=1)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN // 2]}…{text[-MAX_SHOWN // 2 :]}"


_TEXT, _NUMBER, _SEVERAL, _MAPPING = (str,), (int,), (list, tuple, str), (Mapping,)
EXPECTED: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        **dict.fromkeys(("uri", "object_key", "filename", "format", "version"), _TEXT),
        **dict.fromkeys(("content_hash", "taken_at", "camera", "lens", "tenant", "ingested_at"), _TEXT),
        **dict.fromkeys(
            ("taken_local", "taken_on", "taken_weekday", "title", "description", "label", "ocr_text"), _TEXT
        ),
        **dict.fromkeys(("width", "height", "bytes", "taken_month", "taken_hour", "rating"), _NUMBER),
        **dict.fromkeys(("exposure", "location", "labels", "languages", "ocr", "meta"), _MAPPING),
        "altitude": (int, float),
        "thumbnail_url": _TEXT,
        **dict.fromkeys(("not_same", *ALERT_FIELDS), (list, tuple)),
        **dict.fromkeys(("source", "folder", "tags", "creator", "place"), _SEVERAL),
    }
)
"""What a payload's fields hold (``connector.store.schema`` says what they mean)."""


_PATH = re.compile(r"""([\w-]+|"[^"]+")(\[\d*\])*(\.([\w-]+|"[^"]+")(\[\d*\])*)*""")
"""Qdrant's path of a payload value."""


def field_fault(name: object) -> str | None:
    """What is wrong with the name of a payload's field, and which may have been meant; None for one that may be there.

    What is below ``meta`` is the user's own: every name may be there.
    """
    if not (isinstance(name, str) and _PATH.fullmatch(name)):
        seen = repr(name)[:MAX_SHOWN]
        return f'{seen} is no field of a payload; one looks like width, meta.price or meta."Price (USD)".'
    first, *below = re.split(r"[.\[]", name, maxsplit=1)
    kinds = EXPECTED.get(first.strip('"'))
    if kinds is None:
        nearest = nearest_field(name, EXPECTED)
        meant = f"The nearest one is {nearest!r}." if nearest else f"There are: {', '.join(sorted(EXPECTED))}."
        return (
            f"a payload has no field {name[:MAX_SHOWN]!r}. {meant} Your own metadata is below meta, as meta.price is."
        )
    if below and "." in name and Mapping not in kinds:
        return f"{first!r} has no fields of its own, so there is no {name[:MAX_SHOWN]!r}."
    return None


def nearest_field(name: str, known: Collection[str]) -> str | None:
    """The one of some fields that resembles a name most, None where none does."""
    from difflib import get_close_matches

    if f"meta.{name}" in known:
        return f"meta.{name}"
    prefix = "meta." if name.startswith("meta.") else ""  # or every meta field would resemble every other
    folded = {each.removeprefix(prefix).casefold(): each for each in known if each.startswith(prefix)}
    close = get_close_matches(name.removeprefix(prefix).casefold(), list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else None


NO_VECTOR = "the vector is gone: no question finds the point"


def point_fault(point_id: str, payload: Payload) -> str | None:
    """What is wrong with a point, by its id and all of its payload; None where it is as an ingestion writes it.

    Anybody may change a point: one click in Qdrant's dashboard clears its payload.
    """
    if point_id.isdigit():
        return "the id is a number: another program wrote the point"
    if not payload:
        return "the payload is empty: it was cleared, or another program wrote the point"
    if "uri" not in payload:
        return "the payload names no uri: another program wrote or changed the point"
    for name, kinds in EXPECTED.items():
        value = payload.get(name)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            return f"{name} is {_kind_of(value)}: another program changed the payload"
    return None


def _kind_of(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list() | tuple():
            return "a list"
        case _:
            return "an object"


def shown_name(payload: Payload, *, point_id: str) -> str:
    """A stored image's name for a person: its path or address, with what is wrong where something is."""
    names = (payload.get(name) for name in ("object_key", "uri"))
    name = next((each for each in names if isinstance(each, str) and each), point_id)
    fault = point_fault(point_id, payload)
    return name if fault is None else f"{name} ({fault})"


def path_of(uri: str) -> Path:
    """The path that a file URI (RFC 8089) was made of, byte for byte: its name may be no Unicode.

    Raises ValueError for a URI of another scheme or host.
    """
    rest = uri.removeprefix("file://localhost").removeprefix("file://")
    if rest == uri or not rest.startswith("/"):
        raise ValueError(f"{uri!r} is no file URI of this machine; one looks like file:///photos/dog.jpg.")
    return Path(os.fsdecode(unquote_to_bytes(rest)))


def local_path(uri: str) -> Path | None:
    """The path of an image in a file of its own; None for what lies elsewhere."""
    if not uri.startswith(("file:///", "file://localhost/")) or "#" in uri:  # behind a # stands a member of a tar
        return None
    return path_of(uri)


def id_of(uri: str) -> str:
    """The id of an image's point: the UUIDv5 of its URI, so that writing twice is harmless."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, uri))


@dataclass(frozen=True, slots=True, eq=False)
class SpaceVector:
    """An image's vector in one more space; None where it is known to have none there."""

    space: str
    vector: Vector | None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpaceVector):
            return NotImplemented
        return self.space == other.space and _alike(self.vector, other.vector)

    def __hash__(self) -> int:
        return hash(self.space)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Point:
    """An image as the store keeps it.

    ``vector`` is of ``space``, by default the one that the collection answers by; ``others`` are those of the spaces
    that it has besides.
    """

    id: str
    vector: Vector
    payload: Payload
    space: str | None = None
    others: Sequence[SpaceVector] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Point):
            return NotImplemented
        return self.id == other.id and _alike(self.payload, other.payload) and _alike(self.vector, other.vector)

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"Point(id={self.id!r}, uri={_shown_uri(self.payload)}, vector={_shown_vector(self.vector)})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StoredPoint:
    """A point read back; ``vector`` is None unless it was asked for.

    ``terms`` are those asked for that its words hold, each with its weight among them.
    """

    id: str
    payload: Payload
    vector: Vector | None = None
    terms: Sequence[tuple[int, float]] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StoredPoint):
            return NotImplemented
        return self.id == other.id and _alike(self.payload, other.payload) and _alike(self.vector, other.vector)

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"StoredPoint(id={self.id!r}, uri={_shown_uri(self.payload)}, vector={_shown_vector(self.vector)})"

    @property
    def uri(self) -> str:
        """Where the image was ingested from; empty where the payload does not say."""
        return _uri_of(self.payload)

    @property
    def fault(self) -> str | None:
        """What is wrong with the payload, where all of it was read; None where nothing is."""
        return point_fault(self.id, self.payload)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an image is a hit: the field that words were found in, and these words as they are written there.

    ``field`` is ``seen`` where what the image shows fits, without words; else a field of the payload, such as ``tags``,
    ``ocr_text`` or ``meta.caption``.
    """

    field: str
    words: tuple[str, ...] = ()


SEEN = Reason("seen")
"""What the image shows fits."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Hit:
    """One answer to a query, best first; ``score`` is the cosine between query and image.

    Where words alone answered (mode ``words``) ``score`` is that of the words, BM25, which has no upper bound.
    ``reasons`` say why it is a hit, where words took part in the answer.

    ``relevance`` says from 0 to 1 how sure it is that the image fits, alike in every language; from 0.5 it does
    rather than not. None in a collection of fewer than 32 images, or of images all alike, for there is nothing to
    tell a hit from; and where the question was a bare vector.
    """

    id: str
    score: float
    payload: Payload
    relevance: float | None = None
    reasons: Sequence[Reason] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Hit):
            return NotImplemented
        mine = (self.id, self.score, self.relevance, *self.reasons)
        return mine == (other.id, other.score, other.relevance, *other.reasons) and _alike(self.payload, other.payload)

    def __hash__(self) -> int:
        return hash((self.id, self.score, self.relevance))

    def __repr__(self) -> str:
        relevance = "" if self.relevance is None else f", relevance={self.relevance:.2f}"
        reasons = f", reasons={[each.field for each in self.reasons]}" if self.reasons else ""
        return f"Hit(id={self.id!r}, score={self.score:.3f}{relevance}{reasons}, uri={_shown_uri(self.payload)})"

    @property
    def uri(self) -> str:
        """Where the image was ingested from, such as ``file:///photos/dog.jpg``; empty where the point says not."""
        return _uri_of(self.payload)

    @property
    def fault(self) -> str | None:
        """What is wrong with the point, for a person; None for one as an ingestion writes it."""
        return point_fault(self.id, self.payload)


@dataclass(frozen=True, slots=True)
class HitGroup:
    """The best hits that share one value of a field."""

    value: str | int | float | bool
    hits: tuple[Hit, ...]

    def __repr__(self) -> str:
        value = masked_uri(self.value) if isinstance(self.value, str) else self.value
        return f"HitGroup(value={value!r}, hits={self.hits!r})"


@dataclass(frozen=True, slots=True)
class FacetCount:
    """How many points have this value in the field that was asked for."""

    value: str | int | bool
    count: int


def _uri_of(payload: Payload) -> str:
    uri = payload.get("uri")
    return uri if isinstance(uri, str) else ""


def _shown_uri(payload: Payload) -> str:
    uri = payload.get("uri")
    return repr(masked_uri(uri)) if isinstance(uri, str) else "None"


def _shown_vector(vector: Vector | None) -> str:
    import numpy as np

    return "None" if vector is None else f"<{np.size(vector)} numbers>"


def _alike(one: Any, other: Any) -> bool:
    """Equality that arrays take part in, wherever they lie: a payload may hold what its maker put in."""
    import numpy as np

    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return bool(np.array_equal(one, other)) if one is not None and other is not None else False
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_alike(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple) and type(one) is type(other):
        return len(one) == len(other) and all(map(_alike, one, other))
    return bool(one is other or one == other)
