"""Errors of a broken run. One bad image is no error but a ``Reject``.

IngestError            CLI exit 1
├── SourceError        the source as a whole cannot be listed or read
├── StageFailed        a stage of the pipeline broke; carries the stage's name
├── ItemsLost          the books do not balance
└── RunIncomplete      stopped before the end; the message says how to go on
    └── BooksUnreadable    what a run wrote down cannot be read back: it has to begin anew
"""

from connector.errors import PolyglanceError
from workers.records import Stage


class IngestError(PolyglanceError):
    """An ingestion run that did not come to its end."""


class SourceError(IngestError):
    """A source that cannot be listed or read as a whole."""


class StageFailed(IngestError):
    """A stage broke on something that is no single picture's fault."""

    def __init__(self, message: str, *, stage: Stage) -> None:
        super().__init__(message)
        self.stage: Stage = stage


class ItemsLost(IngestError):
    """stored + unchanged + rejected is not listed: a defect, never to be ignored."""


class RunIncomplete(IngestError):
    """The run was stopped; what is stored stays stored."""


class BooksUnreadable(RunIncomplete):
    """What a run wrote down is damaged or gone; listing the place anew loses nothing."""
