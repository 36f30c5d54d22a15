"""WordIndex: a payload -> the terms that its image is found by, weighted by field (BM25F).

    weight of a term = tf * (K1 + 1) / (K1 + tf),   tf = sum over fields of  weight * times / length norm

The store multiplies by the term's inverse document frequency. The one rule: whatever is computed here is a function of
payload and weights alone, so a change of the weights reads no image and embeds nothing again.

Source: Robertson, Zaragoza, Taylor: Simple BM25 extension to multiple weighted fields (CIKM 2004).
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from connector.words.normal import MOST_CHARACTERS
from connector.words.terms import Terms, asked_terms, name_terms, stored_terms

log = logging.getLogger(__name__)

K1 = 1.2
"""How soon a term that occurs again counts no more."""
B = 0.4
"""How much a long field counts less: a page that was read in an image, beside a caption."""
USUAL_LENGTH = 12.0
"""Terms of a field that is neither long nor short. Fixed: the mean of a collection changes with every image."""
MOST_TERMS = 2_000
"""Of one image; what is beyond is left out, the first read first."""
MOST_VALUES = 500
"""Of one field, such as tags."""

NAMES = frozenset({"filename", "folder"})
"""Fields that hold names of files and folders."""
META = "meta"
"""In the weights: every field of ``meta`` that is declared as text."""


@dataclass(frozen=True, slots=True)
class WordVector:
    """A sparse vector: term numbers, ascending, and what each weighs."""

    indices: list[int]
    values: list[float]

    def equals(self, stored: Mapping[int, float]) -> bool:
        """Whether these are the weights that a store keeps by term, which rounds them to float16."""
        return len(stored) == len(self.indices) and all(
            abs(stored.get(index, -1.0) - value) <= value / 500
            for index, value in zip(self.indices, self.values, strict=True)
        )


class WordIndex:
    """Computes the words of payloads by ``weights``, of field names such as ``tags`` and ``meta.caption``."""

    def __init__(self, weights: Mapping[str, float], *, meta_texts: Sequence[str] = ()) -> None:
        declared = {f"{META}.{name}": weights[META] for name in meta_texts if META in weights}
        named = {name: weight for name, weight in weights.items() if name != META}
        self._fields = [(name.split(".", 1), w) for name, w in (declared | named).items() if w > 0]

    @property
    def top_fields(self) -> list[str]:
        """The top-level fields of a payload that words come from."""
        return [*dict.fromkeys(path[0] for path, _ in self._fields)]

    def vector_of(self, payload: Mapping[str, Any]) -> WordVector:
        """The words of an image by its payload; empty where it has none."""
        frequencies: Terms = {}
        cut: list[str] = []
        for path, weight in self._fields:
            value = payload.get(path[0])
            if len(path) == 2:
                value = value.get(path[1]) if isinstance(value, Mapping) else None
            if value:
                texts = [*islice(texts_in(value), MOST_VALUES + 1)]
                _add(frequencies, texts[:MOST_VALUES], weight=weight, as_name=path[0] in NAMES)
                if len(texts) > MOST_VALUES or any(len(text) > MOST_CHARACTERS for text in texts):
                    cut.append(".".join(path))
        if len(frequencies) > MOST_TERMS:
            frequencies = dict(islice(frequencies.items(), MOST_TERMS))
            cut.append(f"all after {MOST_TERMS} terms")
        if cut:
            log.warning("words_cut uri=%.200r: only the beginning is found of %s", payload.get("uri"), ", ".join(cut))
        indices = sorted(frequencies)
        return WordVector(indices, [round(_saturated(frequencies[each]), 4) for each in indices])


def _add(frequencies: Terms, texts: Sequence[str], *, weight: float, as_name: bool) -> None:
    """Add the terms of one field: each counts its weight, less where the field is long."""
    several = [name_terms(text) if as_name else stored_terms(text) for text in texts]
    factor = weight / (1 - B + B * sum(map(len, several)) / USUAL_LENGTH)
    for terms in several:
        for number, times in terms.items():
            frequencies[number] = frequencies.get(number, 0.0) + factor * times


def asked_vector(text: str) -> WordVector:
    """A question as a sparse vector; empty where it holds no word."""
    terms = asked_terms(text)
    indices = sorted(terms)
    return WordVector(indices, [terms[each] for each in indices])


def texts_in(value: object) -> Iterator[str]:
    """The texts that a payload's value holds, at any depth: a tag of many, titles by their language."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case int() | float() as number if not isinstance(number, bool):
                yield str(number)
            case Mapping() as inner:
                waiting.extend(reversed([*inner.values()]))
            case list() | tuple() as inner:
                waiting.extend(reversed(inner))


def _saturated(frequency: float) -> float:
    return frequency * (K1 + 1) / (K1 + frequency)
