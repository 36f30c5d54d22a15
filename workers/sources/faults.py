"""Why a picture could not be listed or read, as one closed set of words."""

from typing import Literal, get_args

from workers.records import Reject, Stage

ReadFault = Literal[
    "missing",
    "permission_denied",
    "not_a_file",
    "too_large",
    "changed_meanwhile",
    "archived",
    "throttled",
    "timeout",
    "read_error",
    "refused_address",
    "too_many_redirects",
    "bad_address",
    "bad_row",
    "bad_archive",
]
READ_FAULTS: tuple[ReadFault, ...] = get_args(ReadFault)


class CannotRead(Exception):
    """One picture that cannot be had; inside ``workers.sources`` only, a ``Reject`` outside."""

    def __init__(self, message: str, *, reason: ReadFault) -> None:
        super().__init__(message)
        self.reason: ReadFault = reason

    def reject(self, uri: str, *, stage: Stage = "read") -> Reject:
        """The reject of the picture at ``uri``."""
        return Reject(uri, stage=stage, reason=self.reason, detail=str(self))
