"""Source: where pictures come from. Each kind lists refs and reads them; nothing else knows buckets or folders."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from workers.records import Outcome, Ref, Reject


class Source(Protocol):
    """A place full of pictures. ``list`` runs in one thread, ``read`` in many at once."""

    @property
    def root(self) -> str:
        """The canonical URI of the place, kept in every point as ``source``."""

    def list(self) -> Iterator[Ref | Reject]:
        """Every picture there is, lazily. Raises SourceError when the place as a whole cannot be listed."""

    def read(self, refs: Sequence[Ref]) -> Iterator[Outcome]:
        """One outcome for each ref, in order. Raises SourceError only for what would fail every picture."""

    def close(self) -> None:
        """Let go of connections."""
