"""The rows of CSV, JSON Lines and Parquet files, one at a time, each with its number.

What is wrong with one row is a ``BadRow``; what is wrong with the file raises SourceError.
"""

import codecs
import csv
import itertools
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from connector.errors import SourceError
from connector.extras import require
from connector.images.parquet import holds_bytes

SAMPLE = 1000
"""Rows looked at to tell the columns and, in CSV, their types."""
LONGEST_LINE = 16 * 1024 * 1024
"""Characters of a JSON line above which it is a bad row."""
_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One row by column. ``number`` is the line in a text file (the header is line 1), the row from 1 in Parquet."""

    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be understood, and why."""

    number: int
    detail: str


Rows: TypeAlias = Generator[Row | BadRow, None, None]


_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_of(file: Path, *, named: str | None) -> str:
    """What a text file is written in: what was ``named``, else what its first bytes say, else UTF-8."""
    if named is not None:
        return named
    with file.open("rb") as start:
        head = start.read(4)
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "utf-8")


def not_text(values: Mapping[str, Any]) -> str | None:
    """Why the text among these values cannot be kept, and what to do; None where all of it was read.

    Bytes that are no text in the file's encoding have become surrogates.
    """
    waiting: list[Any] = [values]
    while waiting:
        match waiting.pop():
            case str() as text if found := _SURROGATE.search(text):
                return (
                    f"byte 0x{ord(found[0]) - 0xDC00:02X} is no text in the encoding it is read in (UTF-8, where the "
                    "file has no mark). Say which one it is written in, as in --set table.encoding=latin-1"
                )
            case dict() as mapping:
                waiting.extend([*mapping.keys(), *mapping.values()])
            case list() as several:
                waiting.extend(several)
    return None


_SURROGATE = re.compile("[\udc80-\udcff]")


def read_csv(file: Path, encoding: str | None = None) -> Rows:
    """The rows of a CSV or TSV file with a header.

    A column is of integers, floats or booleans when all of the first thousand rows say so; dates and ids with leading
    zeros stay text. An empty cell is no value.
    """
    rows = _csv_rows(file, encoding=encoding_of(file, named=encoding))
    sample = [*itertools.islice(rows, SAMPLE)]
    kinds = _kinds(sample)
    for row in itertools.chain(sample, rows):
        if isinstance(row, BadRow):
            yield row
        else:
            yield Row(row.number, {k: v if v is None else kinds.get(k, str)(v) for k, v in row.values.items()})


def read_jsonl(file: Path, encoding: str | None = None) -> Rows:
    """The rows of a file with one JSON object on each line. Empty lines are passed over."""
    written = encoding_of(file, named=encoding)
    with file.open(encoding=written, errors="surrogateescape", newline="\n") as lines:
        for number in itertools.count(1):
            line = lines.readline(LONGEST_LINE)
            if not line:
                return
            if len(line) == LONGEST_LINE:
                while line and not line.endswith("\n"):
                    line = lines.readline(LONGEST_LINE)
                yield BadRow(number, f"longer than {LONGEST_LINE} characters")
            elif line.strip():
                yield _json_row(line, number)


def read_parquet(file: Path, encoding: str | None = None) -> Rows:
    """The rows of a Parquet file, batch by batch, without bytes; ``encoding`` is its own.

    Of a column ``struct<bytes, path>`` the rest is kept. Raises ConfigError without pyarrow.
    """
    del encoding
    require("parquet", what="a Parquet file")
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as parquet:
            kept = [leaf for column in parquet.schema_arrow for leaf in _leaves(pyarrow, column)]
            number = itertools.count(1)
            if not kept:
                yield from (Row(next(number), {}) for _ in range(parquet.metadata.num_rows))
                return
            for batch in parquet.iter_batches(batch_size=_BATCH, columns=kept):
                # Python's own datetime holds microseconds: nanoseconds are cut.
                schema = pyarrow.schema([each.with_type(_in_microseconds(pyarrow, each.type)) for each in batch.schema])
                for values in pyarrow.Table.from_batches([batch]).cast(schema, safe=False).to_pylist():
                    yield Row(next(number), values)
    except pyarrow.ArrowException as error:
        raise SourceError(f"{file} is no Parquet file, or a broken one: {error}") from error


READERS: Mapping[str, Callable[[Path, str | None], Rows]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".parquet": read_parquet,
}
"""The reader of each kind of table, by extension in lower case."""
SPARSE = (".jsonl", ".ndjson")
"""Kinds in which a column may be missing from any number of rows."""


# ---- CSV


def _csv_rows(file: Path, *, encoding: str) -> Rows:
    # A path in a table need not be text: surrogates carry its bytes to the file system and never further.
    with file.open(encoding=encoding, errors="surrogateescape", newline="") as lines:
        head = lines.readline(LONGEST_LINE)
        lines.seek(0)
        reader = csv.reader(lines, delimiter=_delimiter(head, file=file))
        columns = [name.strip() for name in next(reader, [])]
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield BadRow(reader.line_num, str(error))
                continue
            if cells is None:
                return
            if len(cells) > len(columns):
                yield BadRow(reader.line_num, f"{len(cells)} cells, the header has {len(columns)}")
            elif cells:
                yield Row(reader.line_num, {k: v or None for k, v in itertools.zip_longest(columns, cells)})


def _delimiter(head: str, *, file: Path) -> str:
    """A tab in a .tsv; else whichever usual one the header has most of."""
    return "\t" if file.suffix.lower() == ".tsv" else max(",;\t|", key=head.count)


_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)
_FLOAT = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d+)?([eE][+-]?\d{1,3})?", re.ASCII)
_BOOLEANS = {"true": True, "false": False}


def _integer(cell: str) -> int | str:
    return int(cell) if _INTEGER.fullmatch(cell) else cell


def _float(cell: str) -> float | str:
    return float(cell) if _FLOAT.fullmatch(cell) else cell


def _boolean(cell: str) -> bool | str:
    return _BOOLEANS.get(cell.lower(), cell)


def _kinds(sample: Sequence[Row | BadRow]) -> Mapping[str, Callable[[str], Any]]:
    """The reader of each column's cells: the narrowest that fits every cell seen."""
    cells: dict[str, list[str]] = {}
    for row in sample:
        for name, cell in row.values.items() if isinstance(row, Row) else ():
            if cell is not None:
                cells.setdefault(name, []).append(cell)
    return {name: _kind(column) for name, column in cells.items()}


def _kind(column: Sequence[str]) -> Callable[[str], Any]:
    readers: tuple[Callable[[str], Any], ...] = (_integer, _float, _boolean)
    for reader in readers:
        if not any(isinstance(reader(cell), str) for cell in column):
            return reader
    return str


# ---- JSON Lines and Parquet


def _json_row(line: str, number: int) -> Row | BadRow:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return BadRow(number, f"no JSON: {error}")
    if not isinstance(value, dict):
        return BadRow(number, f"a JSON object is wanted, this is {type(value).__name__}")
    return Row(number, value)


def _leaves(pyarrow: Any, column: Any) -> list[str]:
    """The paths of what is kept of a column: none of bytes, of a struct all else."""
    if holds_bytes(pyarrow, column.type):
        return []
    if not pyarrow.types.is_struct(column.type):
        return [column.name]
    return [f"{column.name}.{part.name}" for part in column.type if not holds_bytes(pyarrow, part.type)]


def _in_microseconds(pyarrow: Any, kind: Any) -> Any:
    nanoseconds = pyarrow.types.is_timestamp(kind) and kind.unit == "ns"
    return pyarrow.timestamp("us", tz=kind.tz) if nanoseconds else kind
