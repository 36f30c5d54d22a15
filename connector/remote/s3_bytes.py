"""Whether bytes are what the store says of them: size, and content where the ETag is an MD5 sum.

Checksums of other kinds (CRC32, CRC32C, CRC64NVME, SHA-1, SHA-256) boto3 compares itself, where the store offers them.
The one rule: an ETag is an MD5 sum unless something says otherwise: a dash (uploaded in parts), a key of KMS or the
customer's, a directory bucket.
"""

import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.remote.s3_errors import BytesDiffer

_MD5 = re.compile(r'"?([0-9a-f]{32})"?', re.ASCII)

DIRECTORY_BUCKET = "--x-s3"
"""How the names of directory buckets end; they list in no order, and their ETags are random."""


def is_md5(etag: str | None, *, bucket: str, answer: Mapping[str, Any] | None = None) -> bool:
    """Whether this ETag is the MD5 sum of the object. ``answer`` is boto3's, where there is one."""
    if not etag or not _MD5.fullmatch(etag) or bucket.endswith(DIRECTORY_BUCKET):
        return False
    return answer is None or not is_opaque(answer)


def is_opaque(answer: Mapping[str, Any]) -> bool:
    """Whether the object is encrypted so that its ETag is no MD5 sum, whatever it looks like."""
    by_kms = answer.get("ServerSideEncryption") not in (None, "AES256")
    return by_kms or answer.get("SSECustomerAlgorithm") is not None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a range, from its first byte, and the CRC32 of an earlier reading, None where there was none."""

    start: int
    stop: int
    crc32: int | None


class Readings:
    """Readings of one range, of which no store tells a sum. The rule: what two readings of a part agree on is right."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._known = {part: {part.crc32} for part in parts if part.crc32 is not None}

    def check(self, data: bytes) -> None:
        """Raise BytesDiffer where a part differs from all readings so far; the next one may agree with this."""
        new = {
            part: found
            for part in self._known
            if (found := zlib.crc32(data[part.start : part.stop])) not in self._known[part]
        }
        for part, found in new.items():
            self._known[part].add(found)
        if new:
            part = next(iter(new))
            raise BytesDiffer(
                f"{len(new)} of {len(self._known)} parts, first bytes {part.start} to {part.stop}, differ"
            )


def check_bytes(data: bytes, *, etag: str | None) -> None:
    """Raise BytesDiffer where bytes are not those of an MD5 ETag."""
    expected = (etag or "").strip('"')
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != expected:
        raise BytesDiffer(
            f"the bytes that came have the MD5 sum {found}, the store's ETag is {expected}. Where this store's ETags "
            "are no MD5 sums, set s3.checksums to ignore."
        )
