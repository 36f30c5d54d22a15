"""Every error polyglance raises on purpose, as one tree.

    PolyglanceError                 .retryable
    ├── ConfigError                 settings that cannot work together            CLI exit 2
    ├── InvalidQuery                filter syntax, unknown field, empty text      HTTP 422
    │   └── UnreadableImage         bytes that are no image we can embed; carries .reason
    ├── Overloaded                  queue full; carries .retry_after              HTTP 429
    ├── StoreError
    │   ├── StoreUnavailable        no answer in time (retryable)                 HTTP 503
    │   ├── StoreRefused            wrong schema, strict mode                     HTTP 502
    │   │   ├── NotAllowed          an unknown key, or one without the right
    │   │   └── BatchTooLarge       fewer points at a time may pass
    │   ├── StoreFull               quota or disk: pause and say so               HTTP 507
    │   ├── CollectionMissing                                                     HTTP 404
    │   │   └── CollectionIncomplete  a part of it is gone: `polyglance check` says what mends it
    │   └── CollectionMismatch      built by another space                        HTTP 409
    │       └── SpaceChanged        its spaces are others by now: look at its schema again
    ├── OriginalError
    │   ├── OriginalMissing         no longer there, or not handed out            HTTP 404
    │   └── OriginalUnavailable     its source gave no answer (retryable)         HTTP 502
    │       └── OriginalCutShort    it ended before its end
    ├── ModelError                  weights missing, or out of device memory
    └── IngestError                 a run that did not come to its end             CLI exit 1
        ├── SourceError             the source as a whole cannot be listed or read
        ├── StageFailed             a stage of the pipeline broke; carries the stage's name
        ├── WorkerDied              a worker process is gone without a word
        ├── ItemsLost               the counts do not balance
        └── RunIncomplete           stopped before the end; the message says how to go on
            └── RunFilesUnreadable  what a run wrote down cannot be read back: it has to begin anew

Foreign errors are translated where they enter the house, with the cause kept.
"""

from typing import Any, Literal, get_args

from connector.printable import mask_credentials, printable

ImageFault = Literal[
    "not_an_image", "unsupported_format", "truncated", "corrupt", "too_many_pixels", "empty", "decoder_error"
]
IMAGE_FAULTS: tuple[ImageFault, ...] = get_args(ImageFault)
Stage = Literal["list", "read", "ocr", "decode", "embed", "upsert"]

ReadFault = Literal[
    "missing",
    "permission_denied",
    "not_a_file",
    "too_large",
    "unexpected_encoding",
    "changed_meanwhile",
    "archived",
    "throttled",
    "timeout",
    "read_error",
    "checksum_mismatch",
    "refused_address",
    "too_many_redirects",
    "bad_address",
    "bad_row",
    "bad_archive",
    "missing_archive",
]
READ_FAULTS: tuple[ReadFault, ...] = get_args(ReadFault)


class PolyglanceError(Exception):
    """The root: catch this to catch everything polyglance raises on purpose."""

    retryable: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross the border of a process as they are, whatever their ``__init__`` takes."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[PolyglanceError], args: tuple[Any, ...], state: dict[str, Any]) -> PolyglanceError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigError(PolyglanceError):
    """Settings that are unknown, malformed or cannot work together."""


class InvalidQuery(PolyglanceError):
    """A query that cannot be answered as asked; the message names the part that is wrong.

    ``position`` is where in a filter expression that is, counted from 1, None for anything else.
    """

    def __init__(self, message: str, *, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position


class UnreadableImage(InvalidQuery):
    """Bytes that are no image we can embed."""

    def __init__(self, message: str, *, reason: ImageFault) -> None:
        super().__init__(message)
        self.reason: ImageFault = reason


class Overloaded(PolyglanceError):
    """The queue is full; ask again after ``retry_after`` seconds."""

    retryable = True

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreError(PolyglanceError):
    """The vector store did not do what was asked."""


class StoreUnavailable(StoreError):
    """The store gave no answer in time; the same call may work later."""

    retryable = True

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreRefused(StoreError):
    """The store answered no, and would answer no again."""


class NotAllowed(StoreRefused):
    """The store does not know the key, or the key does not have the right to do this."""


class BatchTooLarge(StoreRefused):
    """The store takes no batch of this size; smaller ones may pass."""


class StoreFull(StoreError):
    """The store has no room left: a quota or a disk."""


class CollectionMissing(StoreError):
    """The collection does not exist in this store."""


class CollectionIncomplete(CollectionMissing):
    """A part of the collection is gone, and without it none of it can be opened."""


class CollectionMismatch(StoreError):
    """The collection was built by another space, preprocessing or schema."""


class SpaceChanged(CollectionMismatch):
    """The collection has no vectors of this space any more, or wants those of another one besides.

    Whoever reads its schema again and goes by that is answered.
    """


class OriginalError(PolyglanceError):
    """The file of a stored image cannot be had."""


class OriginalMissing(OriginalError):
    """The file is not where it was ingested from, or is not handed out."""


class OriginalUnavailable(OriginalError):
    """The store or the server that holds the file gave no answer, or refused; the same call may work later."""

    retryable = True


class OriginalCutShort(OriginalUnavailable):
    """The file ended before its end: its disk or its store gave fewer bytes than it had told."""


class ModelError(PolyglanceError):
    """A model cannot be loaded or cannot run."""


class IngestError(PolyglanceError):
    """An ingestion run that did not come to its end."""


class SourceError(IngestError):
    """A source that cannot be listed or read as a whole."""


class StageFailed(IngestError):
    """A stage broke on something that is no single image's fault."""

    def __init__(self, message: str, *, stage: Stage) -> None:
        super().__init__(message)
        self.stage: Stage = stage


class WorkerDied(IngestError):
    """A worker is gone without a word: killed, crashed, or on a node that is.

    ``working`` tells whether it had begun to work, or died while it was getting ready.
    """

    def __init__(self, detail: str, *, working: bool) -> None:
        super().__init__(detail)
        self.working = working


class ItemsLost(IngestError):
    """stored + unchanged + rejected is not listed: a defect, never to be ignored."""


class RunIncomplete(IngestError):
    """The run was stopped; what is stored stays stored."""


class RunFilesUnreadable(RunIncomplete):
    """What a run wrote down is damaged or gone; listing the place anew loses nothing."""


class CannotRead(Exception):
    """One image that cannot be had: a ``Reject`` where it comes from a source; never seen by callers.

    The message is fit to be stored and shown, whatever the foreign error in it says.
    """

    def __init__(self, message: str, *, reason: ReadFault) -> None:
        super().__init__(printable(mask_credentials(message)))
        self.reason: ReadFault = reason
