"""Who may do what on a server with keys: the full key, the read-only key, and JWTs signed with the full key.

The words are those that a server of 1.19 was heard to say, but for a JWT that is out of date or wrongly signed: those
come from its source. Who asks is looked at before anything else; what they may do only once the body has been read.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.qdrant_standin.strict import Refusal

Right = Literal["list", "read", "write", "manage", "make"]
"""What an operation takes: any key, reading or writing a collection, changing it as such, making any (aliases too)."""


@dataclass(frozen=True)
class Access:
    """What one key opens: everything (``everywhere``), or some collections, each for reading or for writing too."""

    everywhere: Literal["read", "manage"] | None = None
    collections: Mapping[str, str] = field(default_factory=dict)

    def check(self, right: Right, *, collection: str) -> None:
        """Raise Refusal unless this key has the right to the collection."""
        if self.everywhere == "manage" or right == "list":
            return
        if self.everywhere == "read":
            if right != "read":
                raise _forbidden("Global manage access is required")
            return
        if right == "make":
            raise _forbidden("Global access is required")
        mode = self.collections.get(collection)
        if mode is None:
            raise _forbidden(f"Access to collection {collection} is required")
        if right == "manage":
            raise _forbidden("Manage access for this operation is required")
        if right == "write" and mode != "rw":
            raise _forbidden(f"Write access to collection {collection} is required")


EVERYTHING = Access(everywhere="manage")


@dataclass(frozen=True)
class Keys:
    """The keys a server was started with; none at all means that every request is let in."""

    full: str | None = None
    read_only: str | None = None

    def identify(self, headers: Mapping[str, str]) -> Access:
        """What the sender of these headers may do. Raises Refusal for nobody that is known."""
        if self.full is None and self.read_only is None:
            return EVERYTHING
        bearer = headers.get("authorization", "")
        key = headers.get("api-key") or (bearer[len("Bearer ") :] if bearer.startswith("Bearer ") else None)
        if not key:
            raise Refusal(401, "Must provide an API key or an Authorization bearer token")
        if key == self.full:
            return EVERYTHING
        if key == self.read_only:
            return Access(everywhere="read")
        return self._read_token(key)

    def _read_token(self, token: str) -> Access:
        parts = token.split(".")
        if self.full is None or len(parts) != 3:
            raise Refusal(401, "Invalid API key or JWT")
        if not hmac.compare_digest(_sign(f"{parts[0]}.{parts[1]}", key=self.full), parts[2]):
            raise Refusal(401, "Invalid API key or JWT")
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        if claims.get("exp", time.time()) < time.time() - 30:
            raise Refusal(401, "ExpiredSignature")
        access = claims.get("access", "m")
        if isinstance(access, list):
            return Access(collections={one["collection"]: one["access"] for one in access})
        return Access(everywhere="manage" if access == "m" else "read")


def token_for(access: str | list[dict[str, str]], *, key: str) -> str:
    """A JWT signed with the server's full key, such as ``token_for([{"collection": "a", "access": "rw"}], key=…)``."""
    head, body = (
        _as_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, {"access": access})
    )
    return f"{head}.{body}.{_sign(f'{head}.{body}', key=key)}"


def _sign(text: str, *, key: str) -> str:
    return _as_base64(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest())


def _as_base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _forbidden(message: str) -> Refusal:
    return Refusal(403, f"Forbidden: {message}")
