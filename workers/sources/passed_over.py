"""What a listing leaves out: files that are no images by their name, counted by suffix, so that nobody wonders.

The rule: what belongs to an image or describes a collection is no omission: captions, sidecars, tables, web pages.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath

MOST_SUFFIXES = 32
"""Suffixes that are told apart; files with any other count as ``OTHER``."""
OTHER = "other"
LINKED = "link to an image listed already"
LONE_SIDECAR = "sidecar without an image"
NO_SUFFIX = "no suffix"

# fmt: off
COMPANIONS = frozenset({
    ".json", ".txt", ".xmp", ".aae", ".thm", ".xml", ".yaml", ".yml", ".toml", ".ini", ".md", ".rst", ".log", ".db",
    ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".html", ".htm", ".css", ".js", ".py", ".sh", ".ipynb", ".url",
    ".lnk", ".md5", ".sha1", ".sha256", ".cls", ".npy", ".npz", ".index",
})
# fmt: on
"""Suffixes of what stands beside images: no image is expected in them."""

_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


class PassedOver:
    """Counts the files that a listing leaves out."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, name: str) -> None:
        """Count a file that is not listed, by its name."""
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in COMPANIONS:
            return
        self.note_kind(NO_SUFFIX if not suffix else suffix if _SUFFIX.fullmatch(suffix) else OTHER)

    def note_kind(self, kind: str) -> None:
        """Count something that is left out for another reason than its suffix, such as ``litter``."""
        if kind not in self._counts and len(self._counts) >= MOST_SUFFIXES:
            kind = OTHER
        self._counts[kind] += 1

    @property
    def counts(self) -> Mapping[str, int]:
        """How many, by suffix, the most frequent first."""
        return dict(self._counts.most_common())
