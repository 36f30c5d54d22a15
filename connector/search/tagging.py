"""Write the labels of classification into a collection, as tags that filters can use.

The rule: only what an earlier run wrote is ever taken away again. ``labels`` in the payload remembers which tags those
are, with their probability; a tag of the user's own stays, whatever the model thinks of it.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from connector.errors import InvalidQuery
from connector.records import Payload
from connector.search.classify import PAGE, Label, Labels, classify_stored
from connector.search.client import ImageSearch
from connector.search.options import is_number, shown

if TYPE_CHECKING:
    from qdrant_client.models import Filter


WRITERS = 8
"""Changes on their way to the store at a time; a server answers each after a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """What a run did: images looked at, images whose tags changed, and how many images have each label now."""

    seen: int
    changed: int
    images: Mapping[str, int]


def tag(
    search: ImageSearch,
    *,
    labels: Labels,
    threshold: float,
    where: "str | Filter | None" = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Tagged:
    """Give every matching image those labels as tags whose probability is at least ``threshold``.

    Running it again changes nothing; with another threshold it adds and takes away. ``on_progress`` is called with
    the number of images done. Raises InvalidQuery.
    """
    if not (is_number(threshold) and 0 < threshold <= 1):
        raise InvalidQuery(f"the threshold is {shown(threshold)}; a probability above 0 and up to 1 is wanted.")
    seen = changed = 0
    counts: Counter[str] = Counter(dict.fromkeys(labels.names, 0))
    waiting = classify_stored(search, labels=labels, where=where)
    with ThreadPoolExecutor(WRITERS, thread_name_prefix="tag") as pool:
        while page := list(islice(waiting, PAGE)):
            changes: dict[str, dict[str, Any]] = {}
            for point, best in page:
                chosen = [label for label in best if label.probability >= threshold]
                counts.update(label.name for label in chosen)
                wanted = merged(point.payload, chosen, asked=labels.names)
                if any(point.payload.get(name) != value for name, value in wanted.items()):
                    changes[point.id] = wanted
            list(pool.map(search.set_labels, changes.keys(), changes.values()))  # the first failure is raised here
            seen, changed = seen + len(page), changed + len(changes)
            on_progress(seen)
    return Tagged(seen=seen, changed=changed, images=dict(counts))


def merged(payload: Payload, chosen: Sequence[Label], *, asked: Sequence[str]) -> dict[str, Any]:
    """The ``tags`` and ``labels`` that a payload gets; neither where it has none and gets none.

    Tags stay in their order, those of earlier runs that were ``asked`` for again give way, and new ones come last.
    """
    labels, there = payload.get("labels"), payload.get("tags")
    written: Mapping[str, float] = labels if isinstance(labels, Mapping) else {}
    tags = there if isinstance(there, list) else [] if there is None else [there]  # anybody may write anything
    again = set(asked) & written.keys()
    kept = [each for each in tags if not (isinstance(each, str) and each in again)]
    ours = {label.name: round(label.probability, 3) for label in chosen if label.name not in kept}
    remembered = {name: share for name, share in written.items() if name not in again}
    result = {"tags": [*kept, *ours], "labels": {**remembered, **ours}}
    return {name: value for name, value in result.items() if value or payload.get(name)}
