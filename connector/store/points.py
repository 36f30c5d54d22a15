"""What every engine checks before it writes or asks: ids, vectors and payloads that Qdrant would take in silence.

The one rule: nothing is written unless every point of a batch is sound.
"""

import math
import re
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from connector.errors import InvalidQuery, SpaceChanged
from connector.records import EXPECTED, Payload, Point, Vector, field_fault, nearest_field
from connector.settings import FieldType
from connector.store.engine import NearestQuery, NewVector
from connector.store.schema import FIXED_FIELDS, PAYLOAD_FIELDS, CollectionSchema

TEXTS = "words"
"""The payload's key for what the store derives from its texts (``connector.store.texts``); nobody else sees it."""

SHORTEST = 1e-6
"""A vector shorter than this has no direction worth keeping."""

COUNTED: tuple[FieldType, ...] = ("keyword", "integer", "bool")
"""The index types that can count their values."""
ORDERED: tuple[FieldType, ...] = ("integer", "float", "datetime")
"""The index types that keep points in order."""


def check_points(points: Sequence[Point], *, schema: CollectionSchema | None) -> None:
    """Raise ValueError for the first point whose id, vector or payload cannot be stored as it is.

    ``schema`` is None where the collection's is not known: then whoever knows it looks at the vectors. Raises
    SpaceChanged for a point that has not a word of each of its spaces, and of no others.
    """
    made = [{} if schema is None else named_vectors(point, schema=schema) for point in points]
    for point, vectors in zip(points, made, strict=True):
        if not _is_id(point.id):
            raise ValueError(f"point id {point.id!r} is no UUID; Ref.point_id gives the one that belongs to an image")
        for space, vector in vectors.items():
            _check_shape(point.id, vector, dims=0 if schema is None else schema.dims[space])
        _check_json(dict(point.payload), at=f"payload of point {point.id}")
    for space in {} if schema is None else schema.dims:
        rows = {each.id: vectors[space] for each, vectors in zip(points, made, strict=True) if space in vectors}
        _check_rows(rows)


def check_new_vectors(vectors: Sequence[NewVector], *, dims: int) -> None:
    """Raise ValueError for the first vector that cannot be stored as it is."""
    check_ids([each.id for each in vectors])
    for each in vectors:
        _check_shape(each.id, each.vector, dims=dims)
    _check_rows({each.id: each.vector for each in vectors})


def named_vectors(point: Point, *, schema: CollectionSchema) -> dict[str, Vector]:
    """The vectors of a point by their spaces. Raises SpaceChanged where they are not those of the collection."""
    told = {point.space or schema.vector_name: point.vector} | {each.space: each.vector for each in point.others}
    if told.keys() != schema.dims.keys():
        raise SpaceChanged(
            f"a point comes with vectors of {', '.join(told)}; the collection has those of {', '.join(schema.dims)} by "
            "now. Whoever writes it has to look at the collection's schema again."
        )
    return {space: vector for space, vector in told.items() if vector is not None}


def _check_shape(point_id: str, vector: Vector, *, dims: int) -> None:
    if vector.shape != (dims,):
        raise ValueError(f"vector of point {point_id} has shape {vector.shape}; the collection holds ({dims},)")


def _check_rows(vectors: Mapping[str, Vector]) -> None:
    if vectors:
        _check_finite([*vectors.values()], names=[f"point {point_id}" for point_id in vectors])


def check_payload(payload: Payload, *, ids: Sequence[str]) -> None:
    """Raise ValueError where a payload is not plain JSON."""
    _check_json(dict(payload), at=f"payload of point {ids[0]}" if len(ids) == 1 else f"payload of {len(ids)} points")


def check_changes(changes: Payload, *, indexes: Mapping[str, FieldType]) -> None:
    """Raise InvalidQuery for the first change of a payload that the schema does not allow.

    Only an ingestion writes what the image and its places decide; every other field keeps its type, or becomes None.
    """
    known = {field.name: field for field in PAYLOAD_FIELDS}
    for name, value in changes.items():
        field = known.get(name)
        if field is None:
            free = [each for each in known if each not in FIXED_FIELDS]
            nearest = nearest_field(name, free)
            meant = f"The nearest one is {nearest!r}." if nearest else f"There are: {', '.join(free)}."
            raise InvalidQuery(f"a payload has no field {name!r:.100}: what is your own goes into meta. {meant}")
        if name in FIXED_FIELDS:
            raise InvalidQuery(f"{name} is what the image and its places decide; only an ingestion writes it.")
        if field.index is not None:
            _check_type(name, value, kind=field.index)
    meta = changes.get("meta", {})
    if not isinstance(meta, Mapping):
        raise InvalidQuery(f"meta is {meta!r:.100} ({_kind(meta)}); an object is wanted, whose keys are merged.")
    for name, kind in indexes.items():
        _, _, key = name.partition("meta.")
        if key in meta:
            _check_type(name, meta[key], kind=kind)


def fits(value: object, *, kind: FieldType) -> bool:
    """Whether an index of this kind keeps a value, or each of several."""
    is_kept = _TYPES[kind]
    return all(map(is_kept, value)) if isinstance(value, list | tuple) else is_kept(value)


def _check_type(name: str, value: object, *, kind: FieldType) -> None:
    """Each of several values must be of the type that the index keeps."""
    values = value if isinstance(value, list | tuple) else [value]
    for each in values:
        if each is not None and not _TYPES[kind](each):
            raise InvalidQuery(f"{name} is {each!r:.100} ({_kind(each)}); the schema holds {kind}: {_EXAMPLES[kind]}.")


def _is_instant(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _is_place(value: object) -> bool:
    if not isinstance(value, Mapping) or value.keys() != {"lat", "lon"}:
        return False
    lat, lon = value["lat"], value["lon"]
    return type(lat) in (int, float) and type(lon) in (int, float) and abs(lat) <= 90 and abs(lon) <= 180


_TYPES: Mapping[FieldType, Callable[[object], bool]] = {
    "keyword": lambda value: isinstance(value, str),
    "text": lambda value: isinstance(value, str),
    "integer": lambda value: type(value) is int,
    "float": lambda value: type(value) in (int, float),
    "bool": lambda value: type(value) is bool,
    "datetime": _is_instant,
    "geo": _is_place,
}
_EXAMPLES: Mapping[FieldType, str] = {
    "keyword": "text, or a list of texts",
    "text": "text",
    "integer": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "datetime": "text such as 2024-05-02T10:00:00+02:00",
    "geo": '{"lat": 52.5, "lon": 13.4}',
}


def check_query_vectors(vectors: Sequence[Vector], *, dims: int) -> None:
    """Raise InvalidQuery for the first query vector that no search can use."""
    import numpy as np

    for number, vector in enumerate(vectors):
        if np.shape(vector) != (dims,):
            raise InvalidQuery(f"vector of query {number} has shape {np.shape(vector)}; the collection holds ({dims},)")
    if not len(vectors):
        return
    try:
        _check_finite(vectors, names=[f"query {number}" for number in range(len(vectors))])
    except ValueError as error:
        raise InvalidQuery(str(error)) from error


def check_queries(queries: Sequence[NearestQuery], *, schema: CollectionSchema, collection: str) -> None:
    """Raise InvalidQuery for the first vector that no search can use, SpaceChanged for one of no space of these."""
    spaces = [schema.vector_in(each.space, collection=collection) for each in queries]
    for space in dict.fromkeys(spaces):
        some = [each.vector for each, of in zip(queries, spaces, strict=True) if of == space]
        check_query_vectors(some, dims=schema.dims[space])


def check_ids(ids: Sequence[str]) -> None:
    """Raise InvalidQuery for the first id that no point can have."""
    for point_id in ids:
        if not _is_id(point_id):
            raise InvalidQuery(f"point id {point_id!r} is no UUID; ids come from search hits and from Ref.point_id")


def check_facet(key: str, *, indexes: Mapping[str, FieldType]) -> None:
    """Raise InvalidQuery for a field whose values no index counts."""
    _check_field(key, COUNTED, indexes=indexes, what="the values of {} cannot be counted")


def check_order(key: str, *, indexes: Mapping[str, FieldType]) -> None:
    """Raise InvalidQuery for a field that no index keeps in order."""
    _check_field(key, ORDERED, indexes=indexes, what="points cannot be put in the order of {}")


def payload_selector(fields: Sequence[str] | None) -> bool | list[str]:
    """All of the payload for None, else these fields of it. Raises InvalidQuery for what no payload has."""
    if isinstance(fields, str | bytes) or not isinstance(fields, Collection | None):
        raise InvalidQuery(f"fields is {fields!r:.60}; a list of names is wanted, such as ['width', 'tags'].")
    for field in fields or ():
        check_field(field, what="fields")
    return True if fields is None else list(fields) or False


def check_field(name: object, *, what: str) -> None:
    """Raise InvalidQuery for a name that is that of no field of a payload; ``what`` is what names it."""
    if fault := field_fault(name):
        raise InvalidQuery(f"{what}: {fault}")


def _check_field(key: str, kinds: Sequence[FieldType], *, indexes: Mapping[str, FieldType], what: str) -> None:
    if not isinstance(key, str):
        raise InvalidQuery(f"{what.format('this')}: a field is named by a string, not by {_kind(key)}.")
    if indexes.get(key) in kinds:
        return
    able = sorted(name for name, kind in indexes.items() if kind in kinds)
    nearest = None if key in indexes else nearest_field(key, able)
    meant = f" The nearest one is {nearest!r}." if nearest else ""
    seen = f"is indexed as {indexes[key]}" if key in indexes else "is not indexed"
    named = repr(key if len(key) <= 60 else f"{key[:60]}…")
    raise InvalidQuery(f"{what.format(named)}: it {seen}.{meant} Fields that can be: {', '.join(able)}.")


def _check_finite(vectors: Sequence[Vector], *, names: Sequence[str]) -> None:
    """All vectors have the same dims."""
    import numpy as np

    lengths = np.linalg.norm(np.stack(vectors).astype(np.float64), axis=1)
    for row in np.flatnonzero(~np.isfinite(lengths)).tolist():
        raise ValueError(f"vector of {names[row]} holds NaN or infinity; embed the image again")
    for row in np.flatnonzero(lengths < SHORTEST).tolist():
        raise ValueError(f"vector of {names[row]} is zero (length {lengths[row]:.1e}): it points nowhere")


def point_id_of(text: str) -> str:
    """An id in the one form that the store knows it by: a UUID, or a number as other programs give.

    Raises ValueError for what is neither.
    """
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) in _UINT64:
        return str(int(text))
    try:
        return str(uuid.UUID(text))
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{text!r} is no point id") from error


def sent_id(point_id: str) -> int | str:
    """An id as Qdrant takes it: numbers are told from UUIDs by their type."""
    return int(point_id) if len(point_id) <= _DIGITS and point_id.isdigit() else point_id


def as_stored(payload: Payload) -> dict[str, Any]:
    """A payload as it lies in the store: an address of an image in a list of one, but for the thumbnail's.

    Qdrant's dashboard draws every text that is such an address, and no browser opens those of files and buckets. An
    index holds the values of a list as it holds a single one.
    """
    return {
        name: [value] if _would_be_drawn(name, value) else value for name, value in payload.items() if name != TEXTS
    }


def as_read(payload: Payload) -> Payload:
    """A payload as everybody but the store knows it: what ``as_stored`` put into a list is a text again.

    What the store derived from it for its own use is left out.
    """
    return {
        name: value[0] if name in _TEXTS and _is_one_text(value) else value
        for name, value in payload.items()
        if name != TEXTS
    }


def _would_be_drawn(name: str, value: object) -> bool:
    if not isinstance(value, str) or name not in _TEXTS | _LISTS:
        return False
    return name == "uri" or name in _LISTS or _DRAWN.search(value) is not None


def _is_one_text(value: object) -> bool:
    return isinstance(value, list) and len(value) == 1 and isinstance(value[0], str)


_LISTS = frozenset(each.name for each in PAYLOAD_FIELDS if each.several)
_TEXTS = frozenset(each.name for each in PAYLOAD_FIELDS if str in EXPECTED[each.name] and not each.several) - {
    "thumbnail_url"
}
_DRAWN = re.compile(r"^\s*[A-Za-z][\w+.-]*:.*\.(jpe?g|png|webp|gif|svg)\s*([?#].*)?$", re.ASCII | re.DOTALL)


def _is_id(value: str) -> bool:
    if isinstance(value, str) and _AS_KNOWN.fullmatch(value):  # nearly all, and a tenth of the time
        return True
    try:
        point_id_of(value)
    except ValueError:
        return False
    return True


_AS_KNOWN = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UINT64 = range(2**64)
_DIGITS = len(str(2**64))


_INT64 = range(-(2**63), 2**63)


MOST_NESTED = 64
"""Levels of lists and dicts in a payload: Qdrant stores more than 127, and can then read the point no more."""


def _check_json(value: object, *, at: str) -> None:
    """Walk the value without recursion; raise ValueError naming the path of what is no plain JSON, or too deep."""
    waiting = [(value, at, 0)]
    while waiting:
        item, path, depth = waiting.pop()
        if depth > MOST_NESTED:
            raise ValueError(f"{at} is nested deeper than {MOST_NESTED} levels; write what lies so deep as text")
        if isinstance(item, dict):
            for key, inner in item.items():
                if type(key) is not str or not _is_unicode(key):
                    raise ValueError(f"{path} has the key {key!r} ({_kind(key)}); keys are strings of Unicode")
                waiting.append((inner, f"{path}: {key}" if path is at else f"{path}.{key}", depth + 1))
        elif isinstance(item, list | tuple):
            waiting.extend((inner, f"{path}[{number}]", depth + 1) for number, inner in enumerate(item))
        elif not _is_scalar(item):
            raise ValueError(
                f"{path} is {item!r} ({_kind(item)}); a payload holds str, bool, None, finite float, "
                "64-bit int, list and dict only. Convert it where it is read: numpy scalars with .item()."
            )


def _is_scalar(item: object) -> bool:
    kind = type(item)  # not isinstance: numpy's float64 is a float, and IntEnum an int, to isinstance
    if kind is int:
        return item in _INT64
    if kind is float:
        return math.isfinite(item)  # type: ignore[arg-type]  # a float, by the line above
    if kind is str:
        return _is_unicode(item)  # type: ignore[arg-type]
    return item is None or kind is bool


def _is_unicode(text: str) -> bool:
    """False for lone surrogates, such as Python makes of a file name that is no UTF-8: JSON cannot carry them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
