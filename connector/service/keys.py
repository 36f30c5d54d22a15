"""Who may do what: keys that callers send, and addresses of images that are signed.

The one rule: every key is compared, in constant time, so that the time of an answer tells nothing.
"""

import hmac
import ipaddress
import math
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypedDict

from fastapi import HTTPException, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr

from connector.service.signatures import Signer
from connector.settings import ServeSettings

Scope = Literal["read", "full"]
SIGNED_FOR_S = 3600
"""Seconds that a signed address holds at least; at most twice that, so that a browser meets the same address again."""

_bearer = HTTPBearer(auto_error=False, description="A key of serve.api_keys or serve.read_keys.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
"""What a proxy says of the caller behind it."""


class Addresses(TypedDict):
    """Where a stored image is and where its thumbnail, as whoever is given them may open them without a key."""

    image_url: str
    thumbnail_url: str


class Keys:
    """The service's keys. Without any, everyone may ask, and whoever is on this machine may change things."""

    def __init__(self, serve: ServeSettings) -> None:
        self._full = _encoded(serve.api_keys)
        self._read = _encoded(serve.read_keys)
        self._open_thumbnails = serve.open_thumbnails
        self._shared = bool(serve.cors_origins)
        self._signer = Signer.of(serve) if self.needed() else None

    def needed(self) -> bool:
        """Whether callers must send one."""
        return bool(self._full or self._read)

    def refuses(self, authorization: str) -> bool:
        """Whether a request with this header may not be answered; asked before its body is read."""
        scheme, _, sent = authorization.partition(" ")
        return self.needed() and self._scope_of(sent.strip() if scheme.lower() == "bearer" else "") is None

    def may_read(self, given: Credentials) -> None:
        """Let callers with any key pass; a dependency of routes."""
        if self.needed() and self._scope_of(given.credentials if given else "") is None:
            raise _unauthorized()

    def may_write(self, request: Request, given: Credentials) -> None:
        """Let callers with a key of ``serve.api_keys`` pass, without keys those on this machine; of routes."""
        if not self.needed():
            if not is_local(request):
                raise HTTPException(403, "without keys only this machine may change things; set serve.api_keys")
            return
        scope = self._scope_of(given.credentials if given else "")
        if scope is None:
            raise _unauthorized()
        if scope != "full":
            raise HTTPException(403, "this key may ask and look; a change needs a key of serve.api_keys")

    def writes(self, request: Request, given: Credentials) -> bool:
        """Whether this caller may change things: what ``may_write`` says, as an answer."""
        try:
            self.may_write(request, given)
        except HTTPException:
            return False
        return True

    def may_see(self, request: Request, given: Credentials) -> None:
        """Let callers with any key pass, and whoever has a signed address; a dependency of routes."""
        if not self._is_signed(request.url.path, request.query_params):
            self.may_read(given)

    def may_see_thumbnail(self, request: Request, given: Credentials) -> None:
        """The same, where thumbnails are not open to all; a dependency of routes."""
        if not self._open_thumbnails:
            self.may_see(request, given)

    def may_see_lasting(self, point_id: str, signature: str) -> None:
        """Let whoever has the address that stands in a payload pass; a dependency of routes."""
        if self._signer is None:
            return
        if not hmac.compare_digest(signature.encode(), self._signer.lasting(point_id).encode()):
            raise _unauthorized()

    def addresses(self, point_id: str) -> Addresses:
        """Where a stored image and its thumbnail are."""
        image, thumbnail = self.signed(f"/images/{point_id}"), self.signed(f"/thumbnails/{point_id}.webp")
        return Addresses(image_url=image, thumbnail_url=thumbnail)

    def signed(self, path: str) -> str:
        """The address of an image, as whoever is given it may open it without a key for a while."""
        if self._signer is None:
            return path
        until = (math.floor(time.time() / SIGNED_FOR_S) + 2) * SIGNED_FOR_S
        return f"{path}?until={until}&signature={self._signer.until(path, str(until))}"

    def sharing(self, request: Request, *, within: Literal["same-origin", "same-site"]) -> str:
        """Whose pages may show an image (Cross-Origin-Resource-Policy): any, where its address is signed."""
        signed = self._signer is not None and (
            "signature" in request.query_params or "signature" in request.path_params
        )
        return "cross-origin" if signed or self._shared else within

    def _is_signed(self, path: str, query: Mapping[str, str]) -> bool:
        if self._signer is None:
            return False
        until, given = query.get("until", ""), query.get("signature", "")
        fits = hmac.compare_digest(given.encode(), self._signer.until(path, until).encode())
        return fits and until.isdecimal() and time.time() < int(until)

    def _scope_of(self, key: str) -> Scope | None:
        sent = key.encode()
        full = [hmac.compare_digest(sent, key) for key in self._full]
        read = [hmac.compare_digest(sent, key) for key in self._read]
        return "full" if any(full) else "read" if any(read) else None


def is_local(request: Request) -> bool:
    """Whether the caller is on this machine, and no proxy speaks for somebody else."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:  # no address of a network
        return True


def _encoded(keys: Sequence[SecretStr]) -> list[bytes]:
    return [key.get_secret_value().encode() for key in keys]


def _unauthorized() -> HTTPException:
    return HTTPException(401, "send a key of the service: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
