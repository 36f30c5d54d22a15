"""Signatures of the addresses of images, with which they open without a key.

The one rule: signatures are made with ``serve.signing_key``, or with the keys of the service where none is set; scrypt
stands between, so that nobody comes from an address to a key by trying. One of an answer ends soon; one in a payload
lasts until the key is changed.
"""

import hashlib
import hmac
from collections.abc import Callable
from functools import lru_cache

from connector.settings import ServeSettings

_SALT = b"polyglance: addresses of images"
_COST = 2**15
"""scrypt's cost: 32 MiB and a tenth of a second, once a process."""


class Signer:
    """Signs addresses by one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of(cls, serve: ServeSettings) -> "Signer | None":
        """The signer of these settings; None where there is no key to sign with."""
        keys = [serve.signing_key] if serve.signing_key else [*serve.api_keys, *serve.read_keys]
        if not keys:
            return None
        return cls(_slowly(b"\0".join(sorted(key.get_secret_value().encode() for key in keys))))

    def until(self, path: str, until: str) -> str:
        """The signature of an address that ends."""
        return self._made("until", f"{path}?{until}")

    def lasting(self, point_id: str) -> str:
        """The signature of a thumbnail's address that lasts."""
        return self._made("lasting", point_id)

    def _made(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}\0{text}".encode(), "sha256").hexdigest()[:32]


def thumbnail_address(serve: ServeSettings) -> Callable[[str], str] | None:
    """Makes the ``thumbnail_url`` of a payload out of a point's id; None without ``serve.public_url``.

    It ends in ``.webp``: Qdrant's dashboard draws addresses by their ending.
    """
    if serve.public_url is None:
        return None
    top, signer = f"{serve.public_url.rstrip('/')}/thumbnails", Signer.of(serve)
    if signer is None:
        return lambda point_id: f"{top}/{point_id}.webp"
    return lambda point_id: f"{top}/{signer.lasting(point_id)}/{point_id}.webp"


@lru_cache(maxsize=4)
def _slowly(secret: bytes) -> bytes:
    return hashlib.scrypt(secret, salt=_SALT, n=_COST, r=8, p=1, maxmem=64 * 2**20, dklen=32)
