"""Addresses that somebody signed for a while: what of them names the image, and what is only the signature.

The rule: an image is named by its address without the signature, which is neither stored nor shown. Signing it again
names the same image.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

# fmt: off
SIGNATURES = (
    "x-amz-*", "awsaccesskeyid",                          # S3, and what speaks its language
    "x-goog-*", "googleaccessid",                         # Google Cloud Storage
    "expires", "signature", "key-pair-id", "policy", "hash-algorithm",  # CloudFront, and the older ways of the others
    "sig",                                                # Azure
)
"""Parameters of a signature, in small letters; ``*`` stands for anything."""
AZURE = (
    "sv", "ss", "srt", "sp", "st", "se", "sr", "sip", "spr", "ses", "sdd", "si",
    "skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid", "rscc", "rscd", "rsce", "rscl", "rsct",
)
"""Those of a shared access signature of Azure: they belong to one only where its ``sig`` stands beside them."""
# fmt: on
_QUERY = re.compile(r"(?P<before>https?://[^?#\s]*)\?(?P<query>[^#]*)(?P<after>.*)", re.IGNORECASE | re.DOTALL)


def unsigned(address: str, *, more: Iterable[str] = ()) -> str:
    """An http(s) address without its signature; the rest of its parameters stay as they are, and any other address.

    ``more`` are further parameters, as in ``SIGNATURES``.
    """
    match = _QUERY.fullmatch(address)
    if match is None:
        return address
    parts = match["query"].split("&")
    names = [part.partition("=")[0].lower() for part in parts]
    patterns = [*SIGNATURES, *(AZURE if "sig" in names else ()), *(each.lower() for each in more)]
    kept = [p for p, name in zip(parts, names, strict=True) if not any(fnmatchcase(name, each) for each in patterns)]
    if len(kept) == len(parts):
        return address
    return match["before"] + ("?" + "&".join(kept) if any(kept) else "") + match["after"]
