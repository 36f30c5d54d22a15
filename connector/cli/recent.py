"""What the user ingested into last: where nothing else is said, the next command means that too.

The rule: whatever is set explicitly wins, by an option, a variable or a file; and only commands look here, no program.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.files import replacing
from connector.store.open import describe, may_be_there

if TYPE_CHECKING:
    from connector.settings import QdrantSettings, Settings

DEMO = "demo"
"""The collection of ``polyglance demo``: never that of one's own images, unless it is named."""
KEPT = 100
"""Collections that are remembered."""


@dataclass(frozen=True, slots=True)
class Recent:
    """A collection that was ingested into, its space, and the store that it is in."""

    collection: str
    space: str
    store: str


def remember(settings: "Settings") -> None:
    """Note that this collection was ingested into last. Harmless where nothing can be written."""
    now = Recent(settings.collection, settings.model.space, describe(settings.qdrant))
    others = [each for each in _read(settings.qdrant) if (each.collection, each.store) != (now.collection, now.store)]
    path = _path(settings.qdrant)
    with contextlib.suppress(OSError), replacing(path) as draft:
        draft.write_text(json.dumps([asdict(each) for each in [now, *others][:KEPT]]), encoding="utf-8")


def recent(qdrant: "QdrantSettings") -> list[Recent]:
    """The collections of this store that were ingested into and are there, the last one first."""
    here = [each for each in _read(qdrant) if each.store == describe(qdrant)]
    return [each for each in here if may_be_there(qdrant, collection=each.collection)]


def defaults(given: Mapping[str, Any], *, ingesting: bool = False) -> dict[str, str]:
    """The space and the collection that a command means which names neither, or only one of them.

    What is ``ingesting`` never means the demo's collection, though it may mean its space.
    """
    from connector.settings import Settings

    settings = Settings.load(given)
    known = recent(settings.qdrant)
    if not known:
        return {}
    origins = Settings.origins(given)
    space = settings.model.space if origins["model.space"] != "default" else None
    collection = settings.qdrant.collection
    fitting = [each for each in known if space in (None, each.space) and collection in (None, each.collection)]
    meant: dict[str, str] = {}
    if space is None:
        space = meant["model.space"] = (fitting or known)[0].space
    own = [each for each in fitting if each.space == space and not (ingesting and each.collection == DEMO)]
    if collection is None and own:
        meant["qdrant.collection"] = own[0].collection
    return meant


def _read(qdrant: "QdrantSettings") -> list[Recent]:
    try:
        return [Recent(**each) for each in json.loads(_path(qdrant).read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def _path(qdrant: "QdrantSettings") -> Path:
    return qdrant.path / ".recent.json"
