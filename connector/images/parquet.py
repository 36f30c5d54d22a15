"""Images that stand as bytes in a Parquet file, as Hugging Face's data sets keep them: which columns, and which row.

    file:///data/train.parquet#column=image&row=7

The rule: a file is read forwards, a few rows at a time. Who asks for rows in their order reads it once, and nobody
holds more than ``KEPT`` batches of it.
"""

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, urlencode

from connector.errors import CannotRead
from connector.extras import require

BATCH = 16
"""Rows read at a time."""
KEPT = 4
"""Batches that stay in memory for threads that come a little late."""


@dataclass(frozen=True, slots=True)
class Cell:
    """An image's place in a table: its column, and its row, from 1."""

    column: str
    row: int

    @classmethod
    def of_uri(cls, uri: str) -> "Cell | None":
        """The cell that the fragment of a URI names; None for any other fragment, or none."""
        found = parse_qs(uri.rpartition("#")[2])
        with suppress(KeyError, ValueError):
            return cls(found["column"][0], int(found["row"][0][:18]))
        return None

    @property
    def fragment(self) -> str:
        """What stands behind the # in the image's URI."""
        return urlencode({"column": self.column, "row": self.row})


def holds_bytes(pyarrow: Any, kind: Any) -> bool:
    """Whether an Arrow type is bytes, of any length."""
    types = pyarrow.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


def image_columns(file: Path) -> Sequence[str]:
    """The columns of a Parquet file that may hold images: ``struct<bytes, …>``, then those of plain bytes.

    One whose bytes are null in every row is none. Raises ConfigError without pyarrow, and what pyarrow raises.
    """
    require("parquet", what="a Parquet file")
    import pyarrow
    import pyarrow.parquet

    structs, plain = [], []
    with pyarrow.parquet.ParquetFile(file) as parquet:
        for column in parquet.schema_arrow:
            if pyarrow.types.is_struct(column.type):
                inner = column.type.get_field_index("bytes")
                if inner >= 0 and holds_bytes(pyarrow, column.type[inner].type):
                    structs.append((column.name, f"{column.name}.bytes"))
            elif holds_bytes(pyarrow, column.type) and not pyarrow.types.is_fixed_size_binary(column.type):
                plain.append((column.name, column.name))
        empty = _empty(parquet.metadata)
    return [name for name, leaf in structs + plain if leaf not in empty]


def _empty(metadata: Any) -> set[str]:
    """The leaves that hold nothing in any row, by the file's own statistics."""
    if not metadata.num_row_groups:
        return set()
    filled = set()
    leaves = set()
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for place in range(group.num_columns):
            leaf = group.column(place)
            leaves.add(leaf.path_in_schema)
            known = leaf.statistics if leaf.is_stats_set else None
            if known is None or not known.has_null_count or known.null_count < group.num_rows:
                filled.add(leaf.path_in_schema)
    return leaves - filled


class ParquetImages:
    """The bytes of one column of a Parquet file, by row. Safe to use from many threads; close it.

    ``file`` is a path, or an open file that can be sought in and says by ``str`` what it is.
    """

    def __init__(self, file: Path | BinaryIO, *, column: str) -> None:
        self._file = file
        self._column = column
        self._lock = threading.Lock()
        self._parquet: Any = None
        self._batches: Iterator[Any] = iter(())
        self._leaf = column
        self._firsts: Sequence[int] = ()
        self._next = 0
        self._held: deque[tuple[int, Any]] = deque(maxlen=KEPT)

    def read(self, row: int) -> bytes | None:
        """The bytes in a row, from 1; None where it holds none. Raises CannotRead."""
        import pyarrow

        with self._lock:
            try:
                return self._read(row)
            except (pyarrow.ArrowException, OSError) as error:
                raise CannotRead(f"row {row} of {self._file} cannot be read: {error}", reason="read_error") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._parquet is not None:
                self._parquet.close()

    def _read(self, row: int) -> bytes | None:
        self._open()
        if not 1 <= row < self._firsts[-1]:
            raise CannotRead(f"{self._file} has no row {row}", reason="missing")
        held = self._within(row)
        group = bisect_right(self._firsts, row) - 1
        if held is None and not self._firsts[group] <= self._next <= row:
            self._begin(group)
        while held is None:
            batch = next(self._batches)
            self._held.append((self._next, batch))
            self._next += batch.num_rows
            held = self._within(row)
        first, batch = held
        value = batch.column(0)[row - first].as_py()
        return value.get("bytes") if isinstance(value, dict) else value

    def _within(self, row: int) -> tuple[int, Any] | None:
        return next((each for each in self._held if each[0] <= row < each[0] + each[1].num_rows), None)

    def _open(self) -> None:
        if self._parquet is not None:
            return
        import pyarrow
        import pyarrow.parquet

        # Without pre_buffer, and with a buffer, pages are read as they are needed, not a whole group at once.
        parquet = pyarrow.parquet.ParquetFile(self._file, pre_buffer=False, buffer_size=1 << 20)
        place = parquet.schema_arrow.get_field_index(self._column)
        if place < 0:
            raise CannotRead(f"{self._file} has no column {self._column!r}", reason="missing")
        struct = pyarrow.types.is_struct(parquet.schema_arrow.field(place).type)
        self._leaf = f"{self._column}.bytes" if struct else self._column
        sizes = (parquet.metadata.row_group(number).num_rows for number in range(parquet.metadata.num_row_groups))
        self._firsts = [*accumulate(sizes, initial=1)]
        self._parquet = parquet

    def _begin(self, group: int) -> None:
        """Start reading at a row group."""
        groups = range(group, len(self._firsts) - 1)
        self._batches = self._parquet.iter_batches(batch_size=BATCH, row_groups=groups, columns=[self._leaf])
        self._next = self._firsts[group]
        self._held.clear()
