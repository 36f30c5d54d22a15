"""The stand-in's snapshots: made, fetched, removed and sent back over REST, as Qdrant's OpenAPI document has them."""

import hashlib
import pickle
from typing import Any

from tests.qdrant_standin.store import Store
from tests.qdrant_standin.strict import Refusal


def serve(store: Store, method: str, path: str, raw: bytes) -> Any:
    """The answer to one request below ``/collections/NAME/snapshots``; bytes for a snapshot's own."""
    _, _, collection, _, *rest = path.split("/")
    match method, rest:
        case "POST", []:
            data = store.packed(collection)
            name = f"{collection}-{len(store.snapshots) + 1}.snapshot"
            store.snapshots[name] = data
            return {
                "name": name,
                "creation_time": "2026-11-30T00:00:00",
                "size": len(data),
                "checksum": hashlib.sha256(data).hexdigest(),
            }
        case "POST", ["upload"]:
            store.unpack(collection, _sent(raw))
            return True
        case "GET", [name] if name in store.snapshots:
            return store.snapshots[name]
        case "DELETE", [name] if name in store.snapshots:
            del store.snapshots[name]
            return True
    raise Refusal(404, f"Not found: {path}")


def _sent(raw: bytes) -> Any:
    """What a form of one file holds."""
    border, _, rest = raw.partition(b"\r\n")
    data = rest.partition(b"\r\n\r\n")[2].rpartition(b"\r\n" + border)[0]
    try:
        return pickle.loads(data)
    except Exception as error:
        raise Refusal(400, f"Wrong input: the snapshot cannot be read: {error!r}") from error
