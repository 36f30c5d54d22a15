"""Images on the web: one http(s) address, or a text file with an address on each line."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from connector.errors import SourceError
from connector.remote.http import CannotFetch, WebClient
from connector.settings import Settings
from workers.records import Outcome, Ref, Reject
from workers.sources.addresses import Addresses, read_web, web_ref
from workers.sources.list_file import ListFile
from workers.sources.rows import encoding_of
from workers.sources.source import Whereabouts

LONGEST_LINE = 64 * 1024
"""A longer line is no address."""


class UrlSource:
    """One image by its http(s) address. Raises SourceError for what is no such address."""

    def __init__(self, url: str, *, settings: Settings) -> None:
        self._url = url.strip()
        self._signature = settings.web.signature_params
        try:
            self._ref = web_ref(self._url, source="", signature=self._signature)
        except CannotFetch as fault:
            raise SourceError(f"{fault}. An address looks like https://example.org/dog.jpg.") from fault
        self._web = WebClient(settings.web, max_bytes=settings.limits.max_bytes, connections=settings.ingest.readers)

    @property
    def root(self) -> str:
        """The address itself, without its signature."""
        return self._ref.uri

    def list(self) -> Iterator[Ref | Reject]:
        """The one ref; whether it leads anywhere, reading tells."""
        yield replace(self._ref, source=self._ref.uri)

    def read(self, refs: Sequence[Ref]) -> Iterator[Outcome]:
        """Fetch the image."""
        return (read_web(self._web, ref, address=self._url) for ref in refs)

    def close(self) -> None:
        """Close the connections."""
        self._web.close()


class UrlListSource:
    """A text file of addresses: http(s) and s3 URIs, and paths that begin in the file's folder or prefix.

    Empty lines and those that begin with # are passed over. A line that is no address is a reject with its number.
    """

    def __init__(self, file: ListFile, *, settings: Settings) -> None:
        self._file = file
        self._encoding = settings.table.encoding
        self._addresses = Addresses(settings, source=file.uri, base=file.base, rows=self._rows, store=file.store)

    @property
    def root(self) -> str:
        """The canonical URI of the text file."""
        return self._file.uri

    @property
    def throttled(self) -> int:
        """How many requests S3 has refused so far because they were too many."""
        return self._addresses.throttled

    def list(self) -> Iterator[Ref | Reject]:
        """The address on every line. Raises SourceError when the file cannot be opened."""
        try:
            self._file.renewed()
            for number, line in self._lines():
                if line is None:
                    yield self._too_long(number)
                else:
                    yield self._addresses.ref(line, position=number)
        except OSError as error:
            raise SourceError(
                f"{self._file.name} cannot be read: {error.strerror}. Name a text file of addresses."
            ) from error

    def read(self, refs: Sequence[Ref]) -> Iterator[Outcome]:
        """Fetch each image from where its address points."""
        return self._addresses.read(refs)

    def locate(self, uri: str) -> Whereabouts:  # noqa: ARG002  (a list knows what it names, and nothing else)
        """An image that is not named any more may be there all the same."""
        return "there"

    def close(self) -> None:
        """Close the connections."""
        self._addresses.close()
        self._file.close()

    def _lines(self) -> Iterator[tuple[int, str | None]]:
        """The lines with an address, by number; None for one that is too long."""
        path = self._file.path()
        written = encoding_of(path, named=self._encoding)
        with path.open(encoding=written, errors="surrogateescape", newline="\n") as lines:
            number = 0
            while line := lines.readline(LONGEST_LINE):
                number += 1
                if len(line) == LONGEST_LINE:
                    yield number, None
                    while line and not line.endswith("\n"):
                        line = lines.readline(LONGEST_LINE)
                elif line.strip() and not line.startswith("#"):
                    yield number, line

    def _rows(self) -> Iterator[tuple[int, str]]:
        return ((number, line.strip()) for number, line in self._lines() if line is not None)

    def _too_long(self, number: int) -> Reject:
        detail = f"row {number}: a line of more than {LONGEST_LINE} characters is no address"
        return Reject(f"{self.root}#row={number}", stage="list", reason="bad_row", detail=detail)
