"""Images named in a table: one row each, with an address in one column and metadata in the others.

CSV and JSON Lines are read line by line, Parquet in batches; none is ever held whole. An image may also stand in the
table itself: a column of bytes in Parquet (``connector.images.parquet``).
"""

import difflib
import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from connector.errors import CannotRead, SourceError
from connector.images.parquet import Cell, ParquetImages, image_columns
from connector.remote.signed import unsigned
from connector.settings import Settings, TableSettings
from connector.version import Version
from workers.plain_json import clean
from workers.records import Blob, Outcome, Ref, Reject
from workers.sources.addresses import Addresses
from workers.sources.file import cannot_read
from workers.sources.list_file import ListFile
from workers.sources.rows import READERS, SAMPLE, SPARSE, BadRow, Row, not_text
from workers.sources.source import Whereabouts, rejected

ADDRESS_COLUMNS = (
    *("uri", "url", "image_uri", "image_url", "s3_uri", "path", "image_path", "file_path", "filepath"),
    *("file_name", "filename", "file", "image_file", "image", "img", "picture", "photo"),
)
"""Names of the column that holds the address, case-blind, the likeliest first."""
BYTES_COLUMNS = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes", "content")
"""Names of the column that holds the images themselves, the likeliest first."""


class TableSource:
    """A CSV, TSV, JSON Lines or Parquet file. Relative paths in it begin in the table's own folder.

    A row that cannot be understood is a reject with its number: the line for text, the row from 1 for Parquet.
    """

    def __init__(self, file: ListFile, *, settings: Settings) -> None:
        self._file = file
        self._settings = settings.table
        self._max_bytes = settings.limits.max_bytes
        self._signature = settings.web.signature_params
        self._addresses = Addresses(settings, source=file.uri, base=file.base, rows=self._rows, store=file.store)
        self._columns: dict[str, ParquetImages] = {}
        self._lock = threading.Lock()

    @property
    def root(self) -> str:
        """The canonical URI of the table."""
        return self._file.uri

    @property
    def throttled(self) -> int:
        """How many requests S3 has refused so far because they were too many."""
        return self._addresses.throttled

    def list(self) -> Iterator[Ref | Reject]:
        """The image of every row. Raises SourceError for a table that cannot be read or lacks a column."""
        try:
            self._file.renewed()
            version = self._file.version()
            with self._opened() as (columns, rows):
                for row in rows:
                    yield self._item(row, columns, version=version)
        except OSError as error:
            raise SourceError(f"{self._file.name} cannot be read: {error}. Name a table that can.") from error
        except UnicodeError as error:
            raise SourceError(
                f"{self._file.name} is not written in the encoding it is read in: {error}. Say which one it is, as in "
                "--set table.encoding=latin-1."
            ) from error

    def read(self, refs: Sequence[Ref]) -> Iterator[Outcome]:
        """Read each image from where its address points, or from the table."""
        for ref in refs:
            if ref.uri.startswith(f"{self.root}#") and (cell := Cell.of_uri(ref.uri)):
                yield self._read_cell(ref, cell)
            else:
                yield from self._addresses.read([ref])

    def locate(self, uri: str) -> Whereabouts:  # noqa: ARG002  (a list knows what it names, and nothing else)
        """An image that is not named any more may be there all the same."""
        return "there"

    def close(self) -> None:
        """Close the connections."""
        self._addresses.close()
        self._file.close()
        for images in self._columns.values():
            images.close()

    @contextmanager
    def _opened(self) -> Iterator[tuple["Columns", Iterator[Row | BadRow]]]:
        path = self._file.path()
        kind = path.suffix.lower()
        with closing(READERS[kind](path, self._settings.encoding)) as rows:
            sample = [*itertools.islice(rows, SAMPLE)]
            images = image_columns(path) if kind == ".parquet" and sample else ()
            columns = (
                find_columns(sample, self._settings, table=self._file.name, images=images)
                if sample
                else Columns("", None, None)
            )
            yield columns, itertools.chain(sample, rows)

    def _rows(self) -> Iterator[tuple[int, str]]:
        """The addresses again, by row."""
        with self._opened() as (columns, rows):
            for row in rows:
                if isinstance(row, Row) and isinstance(address := columns.address_of(row.values), str):
                    yield row.number, address.strip()

    def _item(self, row: Row | BadRow, columns: "Columns", *, version: Version) -> Ref | Reject:
        if isinstance(row, BadRow):
            return self._bad(row.number, row.detail)
        if why := not_text({name: value for name, value in row.values.items() if name != columns.address}):
            return self._bad(row.number, why)
        identity = None
        if columns.identity is not None:
            value = row.values.get(columns.identity)
            if not isinstance(value, str | int) or value == "":
                return self._bad(row.number, f"column {columns.identity!r} holds {value!r:.200}, which is no id")
            identity = str(value)
        address, meta = columns.address_of(row.values), columns.metadata(row.values, signature=self._signature)
        if columns.holds_images:
            cell = Cell(columns.address, row.number)
            return self._ref(cell, name=address, version=version.with_metadata(meta), meta=meta, identity=identity)
        if not isinstance(address, str) or not address.strip():
            return self._bad(row.number, f"column {columns.address!r} holds {address!r:.200}, which is no address")
        return self._addresses.ref(address, position=row.number, meta=meta, identity=identity)

    def _ref(self, cell: Cell, *, name: object, version: Version, meta: Mapping[str, Any], identity: str | None) -> Ref:
        """The ref of an image that stands in the table; ``name`` is what the table calls it, if anything."""
        stem = PurePosixPath(self._file.name).stem
        path = PurePosixPath(name if isinstance(name, str) and name else f"{stem}-{cell.row}")
        folder = "/".join(part for part in path.parent.parts if part not in ("/", ".", ".."))
        return Ref(
            uri=f"{self.root}#{cell.fragment}",
            source=self.root,
            object_key=f"{self._file.object_key}#{cell.fragment}",
            folder=folder,
            filename=path.name,
            version=version,
            meta=meta,
            position=cell.row,
            identity=identity,
        )

    def _read_cell(self, ref: Ref, cell: Cell) -> Outcome:
        try:
            listed = ref.version and ref.version.without_metadata(ref.meta)
            if listed != self._file.version():
                raise CannotRead("the table was changed after it was listed", reason="changed_meanwhile")
            data = self._images(cell.column).read(cell.row)
            if data is None:
                raise CannotRead(f"column {cell.column!r} holds nothing there", reason="missing")
            if len(data) > self._max_bytes:
                raise CannotRead(f"{len(data)} bytes; limits.max_bytes is {self._max_bytes}", reason="too_large")
        except OSError as error:
            return _with_row(rejected(cannot_read(error), ref.uri), cell.row)
        except CannotRead as fault:
            return _with_row(rejected(fault, ref.uri), cell.row)
        return Blob(ref, data, ref.version or Version(), ref.meta)

    def _images(self, column: str) -> ParquetImages:
        with self._lock:
            if column not in self._columns:
                self._columns[column] = ParquetImages(self._file.path(), column=column)
            return self._columns[column]

    def _bad(self, number: int, detail: str) -> Reject:
        return Reject(f"{self.root}#row={number}", stage="list", reason="bad_row", detail=f"row {number}: {detail}")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column says what; ``chosen`` is None where all others are metadata.

    ``holds_images`` says that the column ``address`` holds the images' own bytes.
    """

    address: str
    identity: str | None
    chosen: tuple[str, ...] | None
    holds_images: bool = False

    def address_of(self, values: Mapping[str, Any]) -> Any:
        """What stands in the address's column; of ``struct<bytes, path>`` the path."""
        address = values.get(self.address)
        return address.get("path") if isinstance(address, Mapping) else address

    def metadata(self, values: Mapping[str, Any], *, signature: Sequence[str]) -> dict[str, Any]:
        """The user's metadata in a row, plain JSON; what is empty is left out, and so are signatures of addresses."""
        names = [name for name in values if name != self.address] if self.chosen is None else self.chosen
        cleaned: dict[str, Any] = clean({name: values.get(name) for name in names})
        return {
            name: unsigned(value, more=signature) if isinstance(value, str) else value
            for name, value in cleaned.items()
            if value is not None
        }


def find_columns(
    sample: Iterable[Row | BadRow], settings: TableSettings, *, table: str, images: Sequence[str] = ()
) -> Columns:
    """The columns that the settings name, the image's by its usual names if they name none.

    ``images`` are the columns that hold bytes, the likeliest first. Raises SourceError, with the columns there are,
    when one is missing.
    """
    known: dict[str, None] = {}
    bad: BadRow | None = None
    for row in sample:
        if isinstance(row, Row):
            known |= dict.fromkeys(row.values)
        else:
            bad = bad or row
    known |= dict.fromkeys(images)
    if not known:
        why = f"row {bad.number}: {bad.detail}" if bad else "all cells are empty"
        raise SourceError(f"{table} has no row that can be understood. {why}.")
    wanted = [settings.path_column, settings.id_column]
    if not table.lower().endswith(SPARSE):
        wanted.extend(settings.metadata_columns or ())
    for name in wanted:
        if name is not None and name not in known:
            raise SourceError(f"{table} has no column {name!r}. {_nearest(name, [*known])}")
    texts = [name for name in known if name not in images]
    address = (
        settings.path_column
        or _usual(images, BYTES_COLUMNS)
        or _usual(texts, ADDRESS_COLUMNS)
        or (images[0] if len(images) == 1 else None)
    )
    if address is None:
        raise SourceError(
            f"no column of {table} has a usual name for an address, such as url or path. It has {_shown([*known])}. "
            "Name the right one in table.path_column."
        )
    return Columns(address, settings.id_column, settings.metadata_columns, holds_images=address in images)


def _usual(known: Iterable[str], names: Iterable[str]) -> str | None:
    by_name = {name.casefold(): name for name in reversed([*known])}
    return next((by_name[name] for name in names if name in by_name), None)


def _with_row(reject: Reject, number: int) -> Reject:
    return replace(reject, detail=f"row {number}: {reject.detail}")


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"The nearest one is {close[0]!r}." if close else f"It has {_shown(known)}."


def _shown(known: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in known[:20]) + (", …" if len(known) > 20 else "")
