"""The report of a teaching: recall@10 by language, before and after, on lines and captions that were not trained on.

The rule: a text is right where its own image is among the first ten of all images; where there are no images, where
the teacher's vector of its own source is among the first ten of all sources.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from connector.models.text_models import TextModel
from workers.teach.training import unit_vectors

DEPTH = 10

Role = Literal["taught", "source", "kept"]


@dataclass(frozen=True, slots=True)
class Question:
    """A text and the row of the library that answers it."""

    language: str
    role: Role
    text: str
    answer: int


@dataclass(frozen=True, slots=True)
class LanguageRecall:
    """Recall@10 of a language, from 0 to 1, before and after; ``among`` is how many answers there were to choose from.

    ``role``: taught; source, the text that a translation belongs to; kept, another language.
    """

    language: str
    role: Role
    texts: int
    before: float
    after: float
    among: int


def recalls(
    questions: Sequence[Question], library: Tensor, *, teacher: TextModel, student: TextModel
) -> list[LanguageRecall]:
    """The recall of each language, taught ones first. ``library`` is (answers, dims), unit vectors."""
    groups: dict[tuple[Role, str], list[Question]] = defaultdict(list)
    for each in questions:
        groups[each.role, each.language].append(each)
    return list(_rows(groups, library, teacher=teacher, student=student))


def _rows(
    groups: dict[tuple[Role, str], list[Question]], library: Tensor, *, teacher: TextModel, student: TextModel
) -> Iterator[LanguageRecall]:
    order: tuple[Role, ...] = ("taught", "source", "kept")
    for role, language in sorted(groups, key=lambda key: (order.index(key[0]), key[1])):
        asked = groups[role, language]
        answers = torch.tensor([each.answer for each in asked])
        texts = [each.text for each in asked]
        before, after = (_recall(unit_vectors(model, texts), library, answers) for model in (teacher, student))
        yield LanguageRecall(language, role, len(asked), before, after, len(library))


def _recall(vectors: Tensor, library: Tensor, answers: Tensor) -> float:
    nearest = (vectors @ library.T).topk(min(DEPTH, len(library)), dim=1).indices
    return float((nearest == answers[:, None]).any(dim=1).float().mean())
