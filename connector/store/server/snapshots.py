"""Backup and restore of a collection on a Qdrant server: its own snapshots, fetched and sent over REST.

The rule: a snapshot is of one node. A cluster's collection lies on several; each node is asked by its own address.
"""

import hashlib
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from connector.errors import CollectionMissing, ConfigError, NotAllowed, StoreRefused, StoreUnavailable
from connector.settings import QdrantSettings
from connector.store.server.client import REST_PORT, parse_addresses

BLOCK = 1 << 20


def save_snapshot(settings: QdrantSettings, *, collection: str, file: Path) -> None:
    """Let the server make a snapshot, fetch it into a file, and remove it there. Raises StoreError, ConfigError."""
    draft = file.with_name(f"{file.name}.part")
    with _asked(settings, collection=collection) as client:
        made = _result(client.post("snapshots", params={"wait": "true"}))
        try:
            seen = hashlib.sha256()
            with client.stream("GET", f"snapshots/{made['name']}") as answer, draft.open("xb") as out:
                if answer.is_error:
                    answer.read()
                    _result(answer)
                for block in answer.iter_bytes(BLOCK):
                    seen.update(block)
                    out.write(block)
                out.flush()
                os.fsync(out.fileno())
            if made.get("checksum") not in (None, seen.hexdigest()):
                raise StoreRefused("the snapshot that came is not the one that the server made; try again.")
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
            client.delete(f"snapshots/{made['name']}")


def restore_snapshot(settings: QdrantSettings, *, collection: str, file: Path) -> None:
    """Make a collection of a snapshot. Raises ConfigError where there is one of this name."""
    with _asked(settings, collection=collection) as client:
        if _result(client.get("exists"))["exists"]:
            raise ConfigError(
                f"collection {collection!r} is there already. Restore under another name (--collection), or remove it "
                "first: `polyglance collection delete`."
            )
        with file.open("rb") as data:
            sent = {"snapshot": (file.name, data, "application/octet-stream")}
            _result(client.post("snapshots/upload", params={"priority": "snapshot", "wait": "true"}, files=sent))


@contextmanager
def _asked(settings: QdrantSettings, *, collection: str) -> Iterator[httpx.Client]:
    """A client for what lies below the collection's address; making a snapshot may take as long as it takes."""
    addresses = parse_addresses(settings.url)
    if len(addresses) > 1:
        raise ConfigError(
            "qdrant.url names several nodes, and a snapshot is of one: name one at a time, with a file for each."
        )
    (address,) = addresses
    port = address.port or REST_PORT
    key = {} if settings.api_key is None else {"api-key": settings.api_key.get_secret_value()}
    verify: Any = True if settings.ca_file is None else ssl.create_default_context(cafile=str(settings.ca_file))
    server = f"{address.scheme}://{address.host}:{port}"
    base = f"{server}{(address.path or '').rstrip('/')}/collections/{collection}/"
    timeout = httpx.Timeout(settings.timeout_s, read=None, write=None)
    try:
        with httpx.Client(base_url=base, headers=key, timeout=timeout, verify=verify, trust_env=False) as client:
            yield client
    except httpx.HTTPError as error:
        raise StoreUnavailable(
            f"the server at {address.scheme}://{address.host}:{port} gave no answer: {error!r}"
        ) from error
    except OSError as error:
        raise ConfigError(f"the snapshot's file cannot be used: {error}.") from error


def _result(answer: httpx.Response) -> Any:
    """What the server answered. Raises StoreError for a refusal."""
    if answer.is_success:
        return answer.json()["result"]
    said = f"the server refused ({answer.status_code}): {answer.text[:500]}"
    match answer.status_code:
        case 401 | 403:
            raise NotAllowed(f"{said}. Snapshots take a key that may manage collections.")
        case 404:
            raise CollectionMissing(f"{said}.")
    raise StoreRefused(said)
