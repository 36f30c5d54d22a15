"""Images named in a table: one row each, with an address in one column and metadata in the others.

CSV and JSON Lines are read line by line, Parquet in batches; none is ever held whole.
"""

import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.errors import SourceError
from connector.settings import Settings, TableSettings
from workers.plain_json import clean
from workers.records import Outcome, Ref, Reject
from workers.sources.addresses import Addresses
from workers.sources.disk import uri_of
from workers.sources.rows import READERS, SAMPLE, SPARSE, BadRow, Row

ADDRESS_COLUMNS = (
    *("uri", "url", "image_uri", "image_url", "s3_uri", "path", "image_path", "file_path", "filepath"),
    *("file_name", "filename", "file", "image_file", "image", "img", "picture", "photo"),
)
"""Names of the column that holds the address, case-blind, the likeliest first."""


class TableSource:
    """A CSV, TSV, JSON Lines or Parquet file. Relative paths in it begin in the table's own folder.

    A row that cannot be understood is a reject with its number: the line for text, the row from 1 for Parquet.
    """

    def __init__(self, file: Path, *, settings: Settings) -> None:
        self._file = file.absolute()
        self._settings = settings.table
        self._addresses = Addresses(settings, source=uri_of(self._file), base=self._file.parent)

    @property
    def root(self) -> str:
        """The canonical URI of the table."""
        return uri_of(self._file)

    def list(self) -> Iterator[Ref | Reject]:
        """The image of every row. Raises SourceError for a table that cannot be read or lacks a column."""
        with closing(READERS[self._file.suffix.lower()](self._file)) as rows:
            try:
                sample = [*itertools.islice(rows, SAMPLE)]
                if not sample:
                    return
                columns = find_columns(sample, self._settings, table=self._file)
                for row in itertools.chain(sample, rows):
                    yield self._item(row, columns)
            except OSError as error:
                raise SourceError(f"{self._file} cannot be read: {error}. Name a table that can.") from error

    def read(self, refs: Sequence[Ref]) -> Iterator[Outcome]:
        """Read each image from where its address points."""
        return self._addresses.read(refs)

    def close(self) -> None:
        """Close the connections."""
        self._addresses.close()

    def _item(self, row: Row | BadRow, columns: "Columns") -> Ref | Reject:
        if isinstance(row, BadRow):
            return self._bad(row.number, row.detail)
        address = row.values.get(columns.address)
        if not isinstance(address, str) or not address.strip():
            return self._bad(row.number, f"column {columns.address!r} holds {address!r:.200}, which is no address")
        identity = None
        if columns.identity is not None:
            value = row.values.get(columns.identity)
            if not isinstance(value, str | int) or value == "":
                return self._bad(row.number, f"column {columns.identity!r} holds {value!r:.200}, which is no id")
            identity = str(value)
        return self._addresses.ref(address, position=row.number, meta=columns.metadata(row.values), identity=identity)

    def _bad(self, number: int, detail: str) -> Reject:
        return Reject(f"{self.root}#row={number}", stage="list", reason="bad_row", detail=f"row {number}: {detail}")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column says what; ``chosen`` is None where all others are metadata."""

    address: str
    identity: str | None
    chosen: tuple[str, ...] | None

    def metadata(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The user's metadata in a row, plain JSON; what is empty is left out."""
        names = [name for name in values if name != self.address] if self.chosen is None else self.chosen
        cleaned: dict[str, Any] = clean({name: values.get(name) for name in names})
        return {name: value for name, value in cleaned.items() if value is not None}


def find_columns(sample: Iterable[Row | BadRow], settings: TableSettings, *, table: Path) -> Columns:
    """The columns that the settings name, the address's by its usual names if they name none.

    Raises SourceError, with the columns there are, when one is missing.
    """
    known: dict[str, None] = {}
    bad: BadRow | None = None
    for row in sample:
        if isinstance(row, Row):
            known |= dict.fromkeys(row.values)
        else:
            bad = bad or row
    if not known:
        why = f"row {bad.number}: {bad.detail}" if bad else "all cells are empty"
        raise SourceError(f"{table} has no row that can be understood. {why}.")
    wanted = [settings.path_column, settings.id_column]
    if table.suffix.lower() not in SPARSE:
        wanted.extend(settings.metadata_columns or ())
    for name in wanted:
        if name is not None and name not in known:
            raise SourceError(f"{table} has no column {name!r}. {_nearest(name, [*known])}")
    address = settings.path_column or _usual(known)
    if address is None:
        raise SourceError(
            f"no column of {table} has a usual name for an address, such as url or path. It has {_shown([*known])}. "
            "Name the right one in table.path_column."
        )
    return Columns(address, settings.id_column, settings.metadata_columns)


def _usual(known: Iterable[str]) -> str | None:
    by_name = {name.casefold(): name for name in reversed([*known])}
    return next((by_name[name] for name in ADDRESS_COLUMNS if name in by_name), None)


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"The nearest one is {close[0]!r}." if close else f"It has {_shown(known)}."


def _shown(known: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in known[:20]) + (", …" if len(known) > 20 else "")
