"""Images and their vectors as one Parquet file, for DuckDB, pandas, Spark and the like. Needs the extra ``parquet``.

The rule: rows go to disk a group at a time, so memory does not grow with the collection; and the file appears under its
name only when it is whole. ``payload`` has everything as JSON; the indexed fields stand beside it as typed columns.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from connector.errors import InvalidQuery
from connector.extras import require
from connector.records import NO_VECTOR, Hit, StoredPoint
from connector.search.client import ImageSearch
from connector.search.hits import field_of
from connector.settings import FieldType
from connector.store.schema import PAYLOAD_FIELDS, CollectionSchema

if TYPE_CHECKING:
    from qdrant_client.models import Filter

_LISTS = tuple(field.name for field in PAYLOAD_FIELDS if field.several)

ROW_GROUP = 4096
"""Rows written together: 8 MB of vectors of 512 dims."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the file; where it is an answer, ``score`` and ``relevance`` are those of the hit."""

    point: StoredPoint
    score: float | None = None
    relevance: float | None = None


def export(
    search: ImageSearch,
    path: Path,
    *,
    where: "str | Filter | None" = None,
    vectors: bool = True,
    on_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write every image that matches; returns how many. Raises InvalidQuery, ConfigError without the extra.

    ``on_progress`` is called with the number of rows written so far.
    """
    pinned = search.pinned()
    rows = (Row(point) for point in pinned.each(where=where, vectors=vectors))
    return write_rows(rows, path, schema=_schema(pinned), vectors=vectors, on_progress=on_progress)


def export_hits(search: ImageSearch, hits: Sequence[Hit], path: Path, *, vectors: bool = True) -> int:
    """Write an answer, best first, with its scores and relevance; returns how many rows."""
    pinned = search.pinned()
    stored = pinned.points([hit.id for hit in hits], vectors=vectors)
    rows = (Row(point, score=hit.score, relevance=hit.relevance) for point, hit in zip(stored, hits, strict=True))
    return write_rows(rows, path, schema=_schema(pinned), vectors=vectors)


def _schema(pinned: ImageSearch) -> CollectionSchema:
    """The schema of a collection as it is in the space of this search."""
    return pinned.info().schema.with_one_space(pinned.following.now().space)


def write_rows(
    rows: Iterable[Row],
    path: Path,
    *,
    schema: CollectionSchema,
    vectors: bool = True,
    on_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write rows as they come, a group at a time; returns how many."""
    table = _Table(schema, vectors=vectors)
    unfinished = path.parent / f"{path.name}.part"
    waiting, written = iter(rows), 0
    try:
        with table.writer(unfinished) as writer:
            while group := list(islice(waiting, ROW_GROUP)):
                writer.write_table(table.group(group))
                written += len(group)
                on_progress(written)
        unfinished.replace(path)
    except OSError as error:
        raise InvalidQuery(f"the file {str(path)!r} cannot be written: {error}.") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return written


class _Table:
    """The columns of the file: id, score, relevance, the indexed fields, what is wrong, the payload, the vector."""

    def __init__(self, schema: CollectionSchema, *, vectors: bool) -> None:
        require("parquet", what="export")
        import pyarrow as pa

        self._pa = pa
        self._fields = schema.indexes
        self._dims = schema.fingerprint.dims if vectors else None
        kinds: Mapping[FieldType, Any] = {
            "keyword": pa.string(),
            "text": pa.string(),
            "integer": pa.int64(),
            "float": pa.float64(),
            "bool": pa.bool_(),
            "datetime": pa.timestamp("us", tz="UTC"),
            "geo": pa.struct([("lat", pa.float64()), ("lon", pa.float64())]),
        }
        columns = [("id", pa.string()), ("score", pa.float32()), ("relevance", pa.float32())]
        columns += [(name, kinds[kind]) for name, kind in self._fields.items() if name not in _LISTS]
        columns += [(name, pa.list_(pa.string())) for name in _LISTS] + [
            ("fault", pa.string()),
            ("payload", pa.string()),
        ]
        if self._dims is not None:
            columns.append(("vector", pa.list_(pa.float32(), self._dims)))
        made = json.dumps(asdict(schema.fingerprint))  # what made the vectors travels with them
        self._schema = pa.schema(columns, metadata={"polyglance": made})

    def writer(self, path: Path) -> Any:
        """A writer to be used in a ``with``."""
        from pyarrow.parquet import ParquetWriter

        return ParquetWriter(path, self._schema, compression="zstd")

    def group(self, rows: Sequence[Row]) -> Any:
        """A row group as a table."""
        columns = dict(zip(self._schema.names, self._columns(rows), strict=True))
        return self._pa.table(columns, schema=self._schema)

    def _columns(self, rows: Sequence[Row]) -> Iterator[Any]:
        pa, payloads = self._pa, [row.point.payload for row in rows]
        yield [row.point.id for row in rows]
        yield [row.score for row in rows]
        yield [row.relevance for row in rows]
        for name, kind in self._fields.items():
            if name not in _LISTS:
                yield pa.array(
                    [_fitting(field_of(each, name), kind) for each in payloads], self._schema.field(name).type
                )
        for name in _LISTS:
            yield [_list(each.get(name)) for each in payloads]
        yield [self._fault(row.point) for row in rows]
        yield [json.dumps(each, ensure_ascii=False) for each in payloads]
        if self._dims is not None:
            yield self._vectors(rows, dims=self._dims)

    def _fault(self, point: StoredPoint) -> str | None:
        return point.fault or (NO_VECTOR if self._dims is not None and point.vector is None else None)

    def _vectors(self, rows: Sequence[Row], *, dims: int) -> Any:
        """(n, dims) float32 as a column of lists; null where a point has no vector."""
        none = np.zeros(dims, dtype=np.float32)
        values = np.stack([none if row.point.vector is None else row.point.vector for row in rows])
        missing = np.array([row.point.vector is None for row in rows])
        flat = self._pa.array(values.reshape(-1), type=self._pa.float32())
        return self._pa.FixedSizeListArray.from_arrays(flat, dims, mask=self._pa.array(missing))


def _fitting(value: Any, kind: FieldType) -> Any:
    """The value as its column holds it; None for one of another type, which ``payload`` still has."""
    match kind:
        case "keyword" | "text" if isinstance(value, str):
            return value
        case "integer" if isinstance(value, int) and not isinstance(value, bool):
            return value
        case "float" if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        case "bool" if isinstance(value, bool):
            return value
        case "datetime" if isinstance(value, str):
            return _instant(value)
        case "geo" if isinstance(value, Mapping) and {"lat", "lon"} <= value.keys():
            return {"lat": float(value["lat"]), "lon": float(value["lon"])}
        case _:
            return None


def _instant(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _list(value: Any) -> list[str] | None:
    several = [value] if isinstance(value, str) else value
    return [each for each in several if isinstance(each, str)] if isinstance(several, list) else None
