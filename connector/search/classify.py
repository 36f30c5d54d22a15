"""Zero-shot classification: which of these labels, in any language, fits an image best.

    classify(search, ["photo.jpg", point(hit.id)], labels=["Hund", "Katze", "Strand"])

The rule: a label's vector is the mean of its sentences, one for each template (Radford et al., 2021, section 3.1.4).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from connector.errors import InvalidQuery
from connector.records import StoredPoint, Vectors
from connector.search.client import ImageSearch
from connector.search.options import check_text
from connector.search.prompt_templates import check_templates, templates_of
from connector.search.query import Query, image

if TYPE_CHECKING:
    from PIL.Image import Image
    from qdrant_client.models import Filter

MOST_LABELS = 10_000
MOST_LETTERS = 1_000_000
"""Letters of all sentences together, each label in each template: half a minute of two cores, some 60,000 labels of a
word, or 10,000 in three templates."""
SENTENCES = 256
"""Sentences embedded before it is asked whether they are still wanted."""
PAGE = 256
"""Images, or stored points, that are compared with the labels together."""


@dataclass(frozen=True, slots=True)
class Label:
    """A label and its probability among the labels that were given; all of them add up to 1."""

    name: str
    probability: float
    score: float


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels ready to be compared with images: a vector for each, and how sharp a choice the model makes.

    ``space`` is that of the vectors: compared are images' vectors of the same one, ``search.pinned(labels.space)``.
    """

    names: tuple[str, ...]
    vectors: Vectors
    sharpness: float
    space: str

    @classmethod
    def embedded(
        cls,
        search: ImageSearch,
        names: Sequence[str],
        *,
        language: str | None = None,
        templates: Sequence[str] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> Self:
        """Labels in the space of the search's collection. Raises InvalidQuery for labels that are none.

        ``language`` is the labels' own, such as ``de``: it chooses the sentences, where ``templates`` gives no others,
        and the text tower, as in ``ImageSearch.text``. ``check`` is called between pieces of the work, and may raise
        to end it.
        """
        _check_labels(names)
        chosen = templates_of(language) if templates is None else templates
        check_templates(chosen)
        _check_letters(names, chosen)
        sentences = [template.replace("{}", name) for name in names for template in chosen]
        made, pinned = [], search.pinned()
        for start in range(0, len(sentences), SENTENCES):
            check()
            made.append(pinned.embed_texts(sentences[start : start + SENTENCES], language=language))
        vectors = np.concatenate(made).reshape(len(names), len(chosen), -1).mean(axis=1)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return cls(tuple(names), unit, pinned.score_scale(), pinned.following.now().space)

    def ranked(self, vectors: Vectors) -> list[tuple[Label, ...]]:
        """The labels for each image's vector, (n, dims), best first.

        A probability is the softmax of the cosines at the sharpness the space was trained with
        (``connector.models.declaration.Score``); ``score`` is the cosine itself.
        """
        scores = vectors @ self.vectors.T  # (n, labels)
        odds = np.exp(self.sharpness * (scores - scores.max(axis=1, keepdims=True)))
        shares = odds / odds.sum(axis=1, keepdims=True)
        order = np.argsort(-scores, axis=1, kind="stable")
        return [
            tuple(Label(self.names[n], float(shares[row, n]), float(scores[row, n])) for n in order[row])
            for row in range(len(vectors))
        ]


def classify(
    search: ImageSearch,
    images: "Sequence[str | Path | bytes | Image | Query]",
    *,
    labels: Sequence[str],
    language: str | None = None,
    templates: Sequence[str] | None = None,
) -> list[tuple[Label, ...]]:
    """The labels for each image, best first. A stored image is given as ``point(id)``. Raises InvalidQuery.

    ``language`` and ``templates`` are those of ``Labels.embedded``.
    """
    pinned = search.pinned()
    known = Labels.embedded(pinned, labels, language=language, templates=templates)
    asked = [each if isinstance(each, Query) else image(each) for each in images]
    pages = [asked[start : start + PAGE] for start in range(0, len(asked), PAGE)]
    return [best for page in pages for best in known.ranked(pinned.embed_queries(page))]


def classify_stored(
    search: ImageSearch, *, labels: Labels, where: "str | Filter | None" = None
) -> Iterator[tuple[StoredPoint, tuple[Label, ...]]]:
    """Every stored image that matches and its labels, best first, by the vectors that the collection holds."""
    page: list[StoredPoint] = []
    for point in search.pinned(labels.space).each(where=where, vectors=True):
        page.append(point)
        if len(page) == PAGE:
            yield from _ranked_page(page, labels)
            page = []
    yield from _ranked_page(page, labels)


def _ranked_page(page: Sequence[StoredPoint], labels: Labels) -> Iterator[tuple[StoredPoint, tuple[Label, ...]]]:
    whole = [point for point in page if point.vector is not None]  # a point of another space has none of this one
    if whole:
        vectors = np.stack([point.vector for point in whole if point.vector is not None])
        yield from zip(whole, labels.ranked(vectors), strict=True)


def _check_letters(names: Sequence[str], templates: Sequence[str]) -> None:
    letters = len(templates) * sum(map(len, names)) + len(names) * sum(len(each) - len("{}") for each in templates)
    if letters > MOST_LETTERS:
        raise InvalidQuery(
            f"{len(names):,} labels in {len(templates):,} templates are {letters:,} letters; {MOST_LETTERS:,} are "
            "allowed. Give shorter labels, or fewer labels or templates."
        )


def _check_labels(labels: Sequence[str]) -> None:
    if isinstance(labels, str) or not 2 <= len(labels) <= MOST_LABELS:
        raise InvalidQuery(f"give a list of 2 to {MOST_LABELS:,} labels; one alone always fits.")
    seen: set[str] = set()
    for number, label in enumerate(labels, 1):
        check_text(f"label {number}", label)
        if label in seen:
            raise InvalidQuery(f"the label {label!r} is given twice.")
        seen.add(label)
