"""Zero-shot classification: which of these labels, in any language, fits a picture best.

    classify(search, ["photo.jpg"], labels=["Hund", "Katze", "Strand"])

The rule: a label's vector is the mean of its sentences, one for each template (Radford et al., 2021, section 3.1.4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from connector.blend import Blend, picture
from connector.errors import InvalidQuery
from connector.records import Vectors
from connector.search import ImageSearch
from connector.spaces.catalog import find_space

if TYPE_CHECKING:
    from PIL.Image import Image

PLAIN = ("{}",)
"""The template of a language that has none of its own: the label alone."""
TEMPLATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "de": ("{}", "ein Foto: {}", "ein Bild von: {}"),
        "en": ("{}", "a photo of a {}", "a picture of a {}"),
        "es": ("{}", "una foto de {}", "una imagen de {}"),
        "fr": ("{}", "une photo de {}", "une image de {}"),
        "it": ("{}", "una foto di {}", "un'immagine di {}"),
        "ja": ("{}", "{}の写真", "{}の絵"),
        "pt": ("{}", "uma foto de {}", "uma imagem de {}"),
        "ru": ("{}", "фото: {}", "картинка: {}"),
        "zh": ("{}", "{}的照片", "{}的图片"),
    }
)
"""A few good sentences by language."""
MOST_LABELS = 10_000


@dataclass(frozen=True, slots=True)
class Label:
    """A label and its probability among the labels that were given; all of them add up to 1."""

    name: str
    probability: float
    score: float


def classify(
    search: ImageSearch,
    pictures: "Sequence[str | Path | bytes | Image | Blend]",
    *,
    labels: Sequence[str],
    templates: Sequence[str] = PLAIN,
) -> list[tuple[Label, ...]]:
    """The labels for each picture, best first. A stored picture is given as ``point(id)``.

    A probability is the softmax of the cosines at the sharpness the space was trained with
    (``Space.logit_scale``); ``score`` is the cosine itself. Raises InvalidQuery.
    """
    vectors = label_vectors(search, labels, templates=templates)  # (labels, dims)
    scale = find_space(search.info().schema.fingerprint.space).logit_scale
    found = []
    for each in pictures:
        asked = each if isinstance(each, Blend) else picture(each)
        scores = vectors @ search.embed_blend(asked)  # (labels,)
        odds = np.exp(scale * (scores - scores.max()))
        ranked = np.argsort(-scores, kind="stable")
        total = float(odds.sum())
        found.append(tuple(Label(labels[n], float(odds[n]) / total, float(scores[n])) for n in ranked))
    return found


def label_vectors(search: ImageSearch, labels: Sequence[str], *, templates: Sequence[str]) -> Vectors:
    """One vector for each label: (labels, dims) float32, L2-normalised. Raises InvalidQuery."""
    if isinstance(labels, str) or not 2 <= len(labels) <= MOST_LABELS:
        raise InvalidQuery(f"give a list of 2 to {MOST_LABELS:,} labels; one alone always fits.")
    if twice := next((label for n, label in enumerate(labels) if label in labels[:n]), None):
        raise InvalidQuery(f"the label {twice!r} is given twice.")
    if not templates or any(template.count("{}") != 1 for template in templates):
        raise InvalidQuery(f"each template needs one {{}} where the label goes; given: {list(templates)}.")
    sentences = [template.replace("{}", label) for label in labels for template in templates]
    for label in labels:
        if not label.strip():
            raise InvalidQuery("a label is empty.")
    vectors = search.embed_texts(sentences).reshape(len(labels), len(templates), -1).mean(axis=1)
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def templates_of(language: str | None) -> tuple[str, ...]:
    """The default sentences of a language, by its code (``de``, ``pt-BR``); the label alone where there are none."""
    return PLAIN if language is None else TEMPLATES.get(language.lower().split("-")[0], PLAIN)
