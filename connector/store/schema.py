"""What a collection looks like, as data: its vector, its payload fields and their indexes, its fingerprint.

The one rule: every field a filter may use is indexed before the first point is written, because Qdrant links
its graph along payload indexes only then.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from connector.errors import CollectionMismatch, ConfigError, SpaceChanged
from connector.settings import FieldType, Settings

log = logging.getLogger(__name__)

PIXELS_VERSION = 2
"""Raised whenever ``connector.images.decode`` turns the same bytes into other pixels.

1: colour profiles are ignored. 2: they are applied.
"""
ALERT = "alert."
"""How the keys of alerts begin in a collection's metadata."""
WORDS_VERSION = 2
"""Raised whenever ``connector.words`` makes other terms of the same text.

2: compounds are joined, zeros before a number and dots of Indic letters left out.
"""


@dataclass(frozen=True, slots=True)
class PayloadField:
    """A field of a point's payload; ``index`` is None where no filter may use it, ``several`` where it is a list."""

    name: str
    index: FieldType | None
    meaning: str
    several: bool = False


PAYLOAD_FIELDS: tuple[PayloadField, ...] = (
    PayloadField(
        "uri",
        "keyword",
        "canonical address: file:///…, s3://bucket/key, https://…, s3://bucket/x.tar#member",
    ),
    PayloadField("object_key", "keyword", "the address without its scheme: the path, or the key in its bucket"),
    PayloadField(
        "source", "keyword", "the roots it was listed from, such as file:///photos or s3://bucket/prefix", several=True
    ),
    PayloadField(
        "folder",
        "keyword",
        "its folder below each source, in their order; / between parts, empty at the top",
        several=True,
    ),
    PayloadField("filename", "keyword", "the last part of the address"),
    PayloadField("format", "keyword", "what the bytes are, in lower case: jpeg, png, webp, avif, gif, tiff, bmp, …"),
    PayloadField("width", "integer", "pixels across, after EXIF orientation"),
    PayloadField("height", "integer", "pixels down, after EXIF orientation"),
    PayloadField("bytes", "integer", "size of the file"),
    PayloadField("version", "keyword", "what tells a changed file: the ETag, or size and modification time"),
    PayloadField("content_hash", "keyword", "BLAKE2b-128 of the bytes, in hex: equal files have equal hashes"),
    PayloadField("taken_at", "datetime", "the instant it was taken, RFC 3339; without an offset the camera's clock"),
    PayloadField("taken_local", "datetime", "date and time on the wall where it was taken, without an offset"),
    PayloadField("taken_on", "datetime", "the day of taken_local"),
    PayloadField("taken_month", "integer", "the month of taken_local, 1 to 12"),
    PayloadField("taken_weekday", "keyword", "the day of the week of taken_local: monday to sunday"),
    PayloadField("taken_hour", "integer", "the hour of taken_local, 0 to 23"),
    PayloadField("camera", "keyword", "maker and model of the camera"),
    PayloadField("lens", "keyword", "model of the lens"),
    PayloadField("exposure", None, "exposure time, aperture, ISO and focal length, as recorded"),
    PayloadField("location", "geo", "where the image was taken: {lat, lon} in degrees"),
    PayloadField(
        "place",
        "keyword",
        "town, region and country, in English where they are of the location; or as XMP and IPTC name them",
        several=True,
    ),
    PayloadField("altitude", "float", "metres above the sea"),
    PayloadField(
        "tags", "keyword", "labels, a list of words: the user's, and the keywords in XMP, IPTC and EXIF", several=True
    ),
    PayloadField("title", "text", "the title that somebody gave the image (XMP, IPTC)"),
    PayloadField("description", "text", "what somebody wrote about the image (XMP, IPTC, EXIF)"),
    PayloadField("languages", None, "title and description in other languages, by language"),
    PayloadField("ocr_text", "text", "the text that was read in the image, a line of it on each line (docs/ocr.md)"),
    PayloadField("ocr", None, "how that was read: reader, model, read_at, lines, confidence; skipped where it was not"),
    PayloadField("creator", "keyword", "who made the image, a list of names", several=True),
    PayloadField("rating", "integer", "stars, 1 to 5; -1 is rejected"),
    PayloadField("label", "keyword", "the label that a program marked it with, such as Red"),
    PayloadField("labels", None, "those of the tags that `polyglance classify --tag` wrote, with their probability"),
    PayloadField(
        "not_same", None, "ids of images that somebody decided are not the same as this one (`polyglance duplicates`)"
    ),
    PayloadField("alerts", "keyword", "ids of the alerts that it fitted when it came in", several=True),
    PayloadField("alerts_due", "keyword", "those of them that are still to be told of", several=True),
    PayloadField("tenant", "keyword", "whose image it is, where one collection serves many"),
    PayloadField("ingested_at", "datetime", "when the point was written, RFC 3339 in UTC"),
    PayloadField("thumbnail_url", None, "an http(s) address of a small image, for the dashboard"),
    PayloadField("meta", None, "the user's own metadata; fields declared in settings are indexed as meta.NAME"),
)

# fmt: off
FIXED_FIELDS = frozenset({
    "uri", "object_key", "source", "folder", "filename", "format", "width", "height", "bytes", "version",
    "content_hash", "ingested_at", "alerts", "alerts_due",
})
# fmt: on
"""What the image and its places decide: only an ingestion writes it."""
_PLAIN_NAME = re.compile(r"[\w-]+")
_NAMES = re.compile(r"""([^".]+)|"([^"]+)\"""")
_PATH_OF_NAMES = re.compile(r"[\w-]+(\.[\w-]+)*")


def payload_key(*names: str) -> str:
    """Qdrant's path of a payload value: ``meta.price``, and ``meta."Price (USD)"`` where a name needs quotes."""
    return ".".join(name if _PLAIN_NAME.fullmatch(name) else f'"{name}"' for name in names)


def names_of(key: str) -> list[str]:
    """The names along Qdrant's path of a payload value; what ``payload_key`` joined."""
    return [bare or quoted for bare, quoted in _NAMES.findall(key)]


def meta_keys(name: str) -> Sequence[str]:
    """The paths of a declared field of ``meta``: one with dots is a path of names, and a column's own name."""
    as_one = payload_key("meta", name)
    return (f"meta.{name}", as_one) if "." in name and _PATH_OF_NAMES.fullmatch(name) else (as_one,)


TENANT_FIELD = "tenant"
"""The keyword field whose index keeps each tenant's points together (Qdrant's ``is_tenant``)."""

UNIQUE = ("uri", "object_key", "filename", "bytes", "version", "content_hash", "ingested_at")
"""Fields with a value of its own for every image or nearly so: links along them cost most and help nobody."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Which space and which preprocessing made a collection's vectors.

    ``weights`` is a digest of the image tower's weights, None where the tower was not loaded (a text query needs none).
    """

    space: str
    dims: int
    image_size: int
    pixels: int = PIXELS_VERSION
    weights: str | None = None
    preparation: str = ""
    """How images are resized and normalised, where that is not CLIP's way."""

    def differences(self, other: "Fingerprint") -> list[str]:
        """What tells the two apart, as readable pieces; unknown weights differ from nothing.

        Another version of the pixels tells nothing apart: most images have the same ones, and ``pixels_advice`` says
        which do not.
        """
        pieces = []
        for name, ours in asdict(self).items():
            theirs = getattr(other, name)
            if name != "pixels" and ours != theirs and None not in (ours, theirs):
                pieces.append(f"{name}: {ours or 'as CLIP does'} here, {theirs or 'as CLIP does'} there")
        return pieces


def pixels_advice(built: Fingerprint, *, collection: str) -> str | None:
    """What to do about a collection that another version of the pixels built; None for one of this version."""
    if built.pixels == PIXELS_VERSION:
        return None
    return (
        f"collection {collection!r} was built with pixels version {built.pixels}; this polyglance makes version "
        f"{PIXELS_VERSION}. Searching and ingesting go on; images with a colour profile other than sRGB that are "
        "stored already keep their old vectors. To renew them, ingest again with --recreate, or into another "
        "collection."
    )


def words_advice(there: "Words | None", asked: "Words | None", *, collection: str) -> str | None:
    """What to do about a collection whose words are none, not all, or weighted otherwise; None where all is well."""
    if asked is None or there == asked:
        return None
    if there is None:
        state = "was made before words were indexed: it is searched by what is seen alone"
    elif not there.complete:
        state = "does not have the words of all its images yet"
    elif there.version != asked.version:
        state = "has words as another version of polyglance made them"
    else:
        state = "weights its words otherwise than the settings"
    return f"collection {collection!r} {state}. `polyglance collection words` reads its payloads and mends that."


@dataclass(frozen=True, slots=True)
class Words:
    """How the words of a collection's images are indexed: what each field counts, and by which tokenization.

    ``complete``: every point has its words; False while ``polyglance collection words`` is under way, or broke off.
    """

    weights: Mapping[str, float]
    version: int = WORDS_VERSION
    complete: bool = True


@dataclass(frozen=True, slots=True)
class SecondSpace:
    """The space beside the one that answers: the ``next`` one, or the ``previous`` one, kept for a way back.

    ``declared`` is the name of a space that polyglance brings, or a file. ``complete``: every image that could be
    embedded has its vector in both.
    """

    fingerprint: Fingerprint
    role: Literal["next", "previous"]
    declared: str
    complete: bool = False

    @property
    def space(self) -> str:
        """Its name, and that of its vector."""
        return self.fingerprint.space


@dataclass(frozen=True, slots=True)
class CollectionSchema:
    """Everything needed to create a collection; ``meta_fields`` are the user's own indexed fields.

    ``fingerprint`` is of the space that answers. While there is a ``second`` one, every point has a vector of each.
    ``spaces`` says by name how every space is declared that the collection has answered by; empty before it was first
    migrated. ``alerts`` are questions that stay asked, by their ids (``connector.alerts``).

    ``words`` is None for a collection that has none: it was made before there were any, and is searched by what is
    seen alone until ``polyglance collection words`` adds them. Along the values of ``linked_fields`` the search graph
    gets links of its own (docs/decisions/0006). Raises ConfigError for one that no filter may use, or that is another
    for every image.
    """

    fingerprint: Fingerprint
    meta_fields: Mapping[str, FieldType] = field(default_factory=dict)
    linked_fields: tuple[str, ...] = ()
    words: Words | None = None
    second: SecondSpace | None = None
    spaces: Mapping[str, str] = field(default_factory=dict)
    alerts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "linked_fields", tuple(self.linked_fields))  # JSON, and other processes, send lists
        for name in self.linked_fields:
            if name not in self.indexes:
                raise ConfigError(f"qdrant.linked_fields names {name!r}, which no filter may use: it is not indexed.")
            if name in UNIQUE:
                raise ConfigError(
                    f"qdrant.linked_fields names {name!r}, which is another for nearly every image: links along it "
                    "make the graph slow to build and no question quicker."
                )

    @property
    def vector_name(self) -> str:
        """The named vector of the space; never Qdrant's unnamed default."""
        return self.fingerprint.space

    @property
    def dims(self) -> dict[str, int]:
        """The dims of each space that points have a vector of, the one that answers first."""
        here = (self.fingerprint, *(() if self.second is None else (self.second.fingerprint,)))
        return {each.space: each.dims for each in here}

    def vector_in(self, space: str | None, *, collection: str) -> str:
        """The name of the vectors of a space, by default of the one that answers. Raises SpaceChanged."""
        if space is None or space in self.dims:
            return space or self.vector_name
        raise SpaceChanged(
            f"collection {collection!r} has no vectors of space {space}; it has those of {', '.join(self.dims)}."
        )

    @property
    def indexes(self) -> dict[str, FieldType]:
        """Every filterable payload key and its index type, such as ``{"width": "integer", "meta.price": "float"}``."""
        own = {f.name: f.index for f in PAYLOAD_FIELDS if f.index is not None}
        return own | {key: kind for name, kind in self.meta_fields.items() for key in meta_keys(name)}

    def is_linked(self, name: str) -> bool:
        """Whether the search graph is linked along a field: then a condition on it needs no detours.

        The tenant's always is: whoever has tenants asks within one of them each time.
        """
        return name == TENANT_FIELD or name in self.linked_fields

    def joined(self, asked: "CollectionSchema", *, collection: str, points: int) -> "CollectionSchema":
        """The schema that an existing collection (self) of so many points has once it also serves ``asked``.

        Fields are only ever added: a meta field that is no longer asked for stays, and links are those of the
        first: only a new graph has others. The version of the pixels stays
        that of the first, which is said in the log. Raises CollectionMismatch for another fingerprint, or for a meta
        field of another type.
        """
        clashes = asked.fingerprint.differences(self.fingerprint)
        for name, kind in asked.meta_fields.items():
            there = self.meta_fields.get(name, kind)
            if there != kind:
                clashes.append(f"meta.{name}: {kind} here, {there} there")
        if clashes:
            raise CollectionMismatch(
                f"collection {collection!r} was built by space {self.fingerprint.space} "
                f"({self.fingerprint.dims} dims); the settings ask for {asked.fingerprint.space} "
                f"({asked.fingerprint.dims}). What differs: {'; '.join(clashes)}. "
                "Name another collection, or ingest again with --recreate."
            )
        if advice := pixels_advice(self.fingerprint, collection=collection):
            log.warning("pixels_differ %s", advice)
        prose = {name for name, kind in asked.meta_fields.items() if kind == "text"}
        words = self.words
        if words is not None and points and not prose <= self.meta_fields.keys():
            words = replace(words, complete=False)  # of points that are there, the new fields have none yet
        if advice := words_advice(words, asked.words, collection=collection):
            log.warning("words_differ %s", advice)
        weights = self.fingerprint.weights or asked.fingerprint.weights
        return CollectionSchema(
            fingerprint=replace(self.fingerprint, weights=weights),
            meta_fields={**self.meta_fields, **asked.meta_fields},
            linked_fields=self.linked_fields,
            words=words,
            second=self.second,
            spaces=self.spaces,
            alerts={**asked.alerts, **self.alerts},
        )

    def with_spaces_of(
        self, other: "CollectionSchema", *, was: "CollectionSchema", collection: str
    ) -> "CollectionSchema":
        """This schema with the spaces of another; harmless where it has them already.

        Raises CollectionMismatch unless they are still those of ``was``.
        """
        here = (self.fingerprint, self.second)
        if here not in ((was.fingerprint, was.second), (other.fingerprint, other.second)):
            raise CollectionMismatch(
                f"the spaces of collection {collection!r} were changed meanwhile, by somebody else: space "
                f"{self.fingerprint.space} answers, and {'no other' if self.second is None else self.second.space} is "
                "there besides. Nothing was changed here; `polyglance migrate status` shows how things stand."
            )
        return replace(self, fingerprint=other.fingerprint, second=other.second, spaces=other.spaces)

    def with_one_space(self, space: str | None = None) -> "CollectionSchema":
        """The same with one of its spaces, by default the one that answers, and no other."""
        here = (self.fingerprint, *(() if self.second is None else (self.second.fingerprint,)))
        return replace(self, fingerprint=next(each for each in here if space in (None, each.space)), second=None)

    def to_json(self) -> dict[str, Any]:
        """A plain JSON value that ``schema_from_json`` reads back."""
        told = asdict(self.fingerprint)
        if not self.fingerprint.preparation:
            del told["preparation"]  # CLIP's way, as in every collection of before
        return {
            "fingerprint": told,
            "meta_fields": dict(self.meta_fields),
            "linked_fields": list(self.linked_fields),
            **({} if self.words is None else {"words": asdict(self.words)}),
            **(
                {"second": None if self.second is None else asdict(self.second), "spaces": dict(self.spaces)}
                if self.spaces
                else {}
            ),
            **alert_keys(self.alerts),
        }


def alert_keys(alerts: Mapping[str, Any]) -> dict[str, Any]:
    """Alerts as a collection's metadata keep them, a key each: who adds one takes no other one back."""
    return {ALERT + name: told for name, told in alerts.items()}


def schema_for(fingerprint: Fingerprint, settings: Settings) -> CollectionSchema:
    """The schema of a new collection. Raises ConfigError for linked fields that cannot be."""
    return CollectionSchema(
        fingerprint,
        meta_fields=settings.qdrant.meta_fields,
        linked_fields=settings.qdrant.linked_fields,
        words=Words(settings.words.all_weights),
    )
