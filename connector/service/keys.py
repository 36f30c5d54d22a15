"""Who may do what: keys that callers send, and addresses of images that are signed for a while.

The one rule: every key is compared, in constant time, so that the time of an answer tells nothing.
"""

import hashlib
import hmac
import math
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from fastapi import HTTPException, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from connector.settings import ServeSettings

Scope = Literal["read", "full"]
SIGNED_FOR_S = 3600
"""Seconds that a signed address holds at least; at most twice that, so that a browser meets the same address again."""

_bearer = HTTPBearer(auto_error=False, description="A key of serve.api_keys or serve.read_keys.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


class Keys:
    """The service's keys. Without any, everyone may do everything, and addresses stay as they are."""

    def __init__(self, serve: ServeSettings) -> None:
        self._full = _encoded(serve.api_keys)
        self._read = _encoded(serve.read_keys)
        self._open_thumbnails = serve.open_thumbnails
        self._secret = hashlib.blake2b(b"\0".join([*self._full, *self._read]), person=b"addresses").digest()

    def needed(self) -> bool:
        """Whether callers must send one."""
        return bool(self._full or self._read)

    def may_read(self, given: Credentials) -> None:
        """Let callers with any key pass; a dependency of routes."""
        if self.needed() and self._scope_of(given) is None:
            raise _unauthorized()

    def may_write(self, given: Credentials) -> None:
        """Let callers with a key of ``serve.api_keys`` pass; a dependency of routes."""
        if not self.needed():
            return
        scope = self._scope_of(given)
        if scope is None:
            raise _unauthorized()
        if scope != "full":
            raise HTTPException(403, "this key may ask and look; a change needs a key of serve.api_keys")

    def may_see(self, request: Request, given: Credentials) -> None:
        """Let callers with any key pass, and whoever has a signed address; a dependency of routes."""
        if not self._is_signed(request.url.path, request.query_params):
            self.may_read(given)

    def may_see_thumbnail(self, request: Request, given: Credentials) -> None:
        """The same, where thumbnails are not open to all."""
        if not self._open_thumbnails:
            self.may_see(request, given)

    def signed(self, path: str) -> str:
        """The address of an image, as whoever is given it may open it without a key for a while."""
        if not self.needed():
            return path
        until = (math.floor(time.time() / SIGNED_FOR_S) + 2) * SIGNED_FOR_S
        return f"{path}?until={until}&signature={self._signature(path, str(until))}"

    def _is_signed(self, path: str, query: Mapping[str, str]) -> bool:
        until, given = query.get("until", ""), query.get("signature", "")
        fits = hmac.compare_digest(given.encode(), self._signature(path, until).encode())
        return fits and until.isdecimal() and time.time() < int(until)

    def _signature(self, path: str, until: str) -> str:
        return hmac.new(self._secret, f"{path}?{until}".encode(), "sha256").hexdigest()[:32]

    def _scope_of(self, given: HTTPAuthorizationCredentials | None) -> Scope | None:
        sent = (given.credentials if given else "").encode()
        full = [hmac.compare_digest(sent, key) for key in self._full]
        read = [hmac.compare_digest(sent, key) for key in self._read]
        return "full" if any(full) else "read" if any(read) else None


def _encoded(keys: Sequence[SecretStr]) -> list[bytes]:
    return [key.get_secret_value().encode() for key in keys]


def _unauthorized() -> HTTPException:
    return HTTPException(401, "send a key of the service: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
