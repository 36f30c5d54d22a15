"""Candidates: what is known of an image that may be a hit, and what orders the images of one question.

The rule: functions of candidates alone; the store is not asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from connector.records import Hit
from connector.search.options import MAX_LIMIT, order_of
from connector.search.pages import order_value
from connector.search.relevance import RELEVANT
from connector.search.word_match import AskedWords, Information, certainty

BANDS = (100, 1_000, MAX_LIMIT)
"""Places in either list whose images are ranked together: the first hundred, then the others up to the next bound."""
WEAK = 0.6
"""How much of the words an image holds that needs the eye's word for it, where the eye is sure of others."""
SURE = 0.7
"""Relevance of what is seen from which the eye is sure."""
BEHIND = 1e-6
"""How little behind: these stay before all that is worth less, and in their own order."""


@dataclass(slots=True)
class Candidate:
    """An image that may be a hit: how sure it is by what is ``seen``, and how much of the words it holds, from 0 to 1.

    ``weight`` is what its place among the words counts, ``worth`` what it is sorted by.
    """

    hit: Hit
    seen: float | None = None
    strength: float = 0.0
    weight: float = 0.0
    worth: float = 0.0


def judge(
    found: Mapping[str, Candidate], asked: AskedWords, *, information: Information, held: Mapping[str, frozenset[int]]
) -> None:
    """How much of the words each candidate holds, and how relevant that makes it."""
    strengths = {terms: asked.strength(terms, information) for terms in {*held.values()}}  # mostly a few
    for point, each in found.items():
        each.strength = strengths[held[point]] if point in held else 0.0
        each.weight = each.strength
        if each.strength:
            relevance = max(each.seen or 0.0, round(certainty(each.strength), 4))
            each.hit = Hit(each.hit.id, each.hit.score, each.hit.payload, relevance)


def push(
    found: Mapping[str, Candidate], against: AskedWords, *, information: Information, held: Mapping[str, frozenset[int]]
) -> None:
    """Let words speak less for images that hold those that are to be pushed away."""
    strengths = {terms: against.strength(terms, information) for terms in {*held.values()}}
    for point, each in found.items():
        if each.strength:
            each.weight *= 1.0 - strengths[held[point]]


def hold_back(some: Sequence[Candidate]) -> None:
    """Let images that hold few of the words, and that the eye does not find, stay behind those that it is sure of."""
    sure = [each.worth for each in some if (each.seen or 0.0) >= SURE]
    if not sure:
        return
    least = min(sure)
    for each in some:
        if 0.0 < each.strength < WEAK and (each.seen or 0.0) < RELEVANT and each.worth >= least:
            each.worth = least * (1 - BEHIND / (1 + each.worth))


def placed(hits: Sequence[Hit], found: Mapping[str, Candidate]) -> dict[str, int]:
    """The places of the candidates in a list, from 1."""
    return {hit.id: place for place, hit in enumerate(hits, 1) if hit.id in found}


def bands(places: Sequence[Mapping[str, int]]) -> list[tuple[int, set[str]]]:
    """The images that stand within each of the bounds in one of the lists, and in none of a lesser bound."""
    several: list[tuple[int, set[str]]] = []
    done: set[str] = set()
    for above, bound in pairwise((0, *BANDS)):
        band = {point for one in places for point, place in one.items() if above < place <= bound} - done
        done |= band
        several.append((bound, band))
    return several


def by_value(order: Sequence[Candidate], order_by: str, *, dates: bool) -> list[Candidate]:
    """Candidates by the value of a field; those without it last, as they are."""
    wanted = order_of(order_by)
    values: list[tuple[Any, Candidate]] = [
        (order_value(each.hit.payload, wanted.key, dates=dates, descending=wanted.descending), each) for each in order
    ]
    valued = sorted(
        (pair for pair in values if pair[0] is not None), key=lambda pair: pair[0], reverse=wanted.descending
    )
    return [each for _, each in valued] + [each for value, each in values if value is None]
