"""Version: what tells a changed image from the one that is stored.

    7-1700000000000000000            a file: size and modification time
    7-17…+9-17…                      with the sidecars beside it
    9c7e…-2048                       an object on S3: ETag and size
    etag:"x"   modified:…  bytes:…   a page of the web, by the best that its server tells
    …@512                            a member of a tar, by the byte it begins at
    …~0a1b2c3d4e5f                   named by a list, with a digest of the metadata that stands there

The one rule: these strings stand in collections, so what is written here never changes its form.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

_QUOTE = '"'
_MEMBER = re.compile(r"(.*)@(\d{1,19})", re.ASCII | re.DOTALL)  # Python reads no numbers of thousands of digits
_METADATA = re.compile(r"~[0-9a-f]{12}\Z")


class Version(str):
    """A version as it is stored, so that payloads and files hold it as it is. Equal ones are of the same bytes.

    Made by the ``of_…`` methods and combined by the others; nobody else takes one apart.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, stored: object) -> "Version | None":
        """The version in a payload or file; None where there is none."""
        if stored is None or isinstance(stored, cls):
            return stored
        return cls(stored) if isinstance(stored, str) else None

    @classmethod
    def of_file(cls, *, size: int, mtime_ns: int) -> "Version":
        """What tells a changed file."""
        return cls(f"{size}-{mtime_ns}")

    @classmethod
    def of_object(cls, *, etag: str | None, size: int) -> "Version":
        """What tells a changed object on S3; ``etag`` as S3 gives it, in quotes."""
        return cls(f"{etag.strip(_QUOTE) if etag else ''}-{size}")

    @classmethod
    def of_page(cls, *, etag: str | None, modified: str | None, data: bytes) -> "Version":
        """What tells a changed page: its ETag, else its date of modification, else its bytes."""
        if etag:
            return cls(f"etag:{etag}")
        if modified:
            return cls(f"modified:{modified}")
        return cls(f"bytes:{hashlib.blake2b(data, digest_size=16).hexdigest()}")

    def with_sidecars(self, sidecars: Iterable["Version"]) -> "Version":
        """A file's version together with those of the files beside it that belong to it."""
        return Version("+".join([self, *sidecars]))

    def with_metadata(self, meta: Mapping[str, Any]) -> "Version":
        """An image's version together with what a list says of it; itself where the list says nothing."""
        return Version(self + _digest(meta))

    def without_metadata(self, meta: Mapping[str, Any]) -> "Version | None":
        """The image's own version; None where this one was made ``with_metadata`` other than ``meta``."""
        digest = _digest(meta)
        if not self.endswith(digest) or (not digest and _METADATA.search(self)):
            return None
        return Version(self.removesuffix(digest))

    @property
    def bare(self) -> "Version":
        """The version of the file itself, whatever a list says of the image."""
        return Version(_METADATA.sub("", self))

    def of_member(self, *, offset: int) -> "Version":
        """The version of the member that begins at byte ``offset`` of a tar of this version."""
        return Version(f"{self}@{offset}")

    @property
    def offset(self) -> int | None:
        """The byte at which a tar's member begins; None for what is no member."""
        member = _MEMBER.fullmatch(self)
        return int(member[2]) if member else None

    @property
    def container(self) -> "Version":
        """The version of the tar that a member lies in; for what is no member an empty one, which no tar has."""
        member = _MEMBER.fullmatch(self)
        return Version(member[1] if member else "")

    def without_sidecars(self, *, size: int) -> "Version":
        """The version of the object alone, of this size; itself where it was not made ``with_sidecars``."""
        etag, mark, _ = self.partition(f"-{size}+")
        return Version(f"{etag}-{size}") if mark else self

    @property
    def object_etag(self) -> str:
        """The ETag of an object on S3, in quotes, as ``If-Match`` and ``If-None-Match`` want it."""
        return f'"{self.rpartition("-")[0]}"'

    @property
    def page_etag(self) -> str | None:
        """The ETag of a page, for ``If-None-Match``; None where its server told none."""
        return self._told("etag:")

    @property
    def page_modified(self) -> str | None:
        """The date of a page, for ``If-Modified-Since``; None where its server told an ETag, or neither."""
        return self._told("modified:")

    def _told(self, kind: str) -> str | None:
        return self.removeprefix(kind) if self.startswith(kind) else None


def _digest(meta: Mapping[str, Any]) -> str:
    if not meta:
        return ""
    text = json.dumps(meta, sort_keys=True, separators=(",", ":"))
    return "~" + hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
