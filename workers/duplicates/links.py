"""Links between images, by rows of a scan, and the sets that they make.

The rule: what somebody set apart is never in one set, whatever else would tie it together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workers.duplicates.same import Verdict


@dataclass(frozen=True, slots=True)
class Link:
    """Two rows that belong together in some list, and why."""

    first: int
    second: int
    cosine: float
    verdict: Verdict | None
    seconds: float | None


class Sets:
    """Rows that belong together (union-find), but never two that are ``apart``."""

    def __init__(self, count: int, *, apart: Mapping[int, frozenset[int]]) -> None:
        self._parent = np.arange(count)
        self._apart = apart
        self._members: dict[int, list[int]] = {}

    def root(self, row: int) -> int:
        """What stands for all rows of a set."""
        parent = self._parent
        while (above := int(parent[row])) != row:
            parent[row] = parent[above]
            row = above
        return row

    def are_one(self, first: int, second: int) -> bool:
        """Whether two rows are in one set."""
        return self.root(first) == self.root(second)

    def join(self, first: int, second: int) -> bool:
        """Make one set of two; gives whether the rows are in one now."""
        one, other = self.root(first), self.root(second)
        if one == other:
            return True
        ours, theirs = self._members.pop(one, [one]), self._members.pop(other, [other])
        if len(ours) < len(theirs):
            one, other, ours, theirs = other, one, theirs, ours
        if self._apart and any(self.root(each) == one for row in theirs for each in self._apart.get(row, ())):
            self._members[one], self._members[other] = ours, theirs
            return False
        self._parent[other] = one
        ours += theirs
        self._members[one] = ours
        return True


def by_row(links: Sequence[Link]) -> dict[int, list[Link]]:
    """The links of each row, in their order."""
    found: dict[int, list[Link]] = {}
    for link in links:
        found.setdefault(link.first, []).append(link)
        found.setdefault(link.second, []).append(link)
    return found
