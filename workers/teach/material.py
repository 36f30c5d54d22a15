"""What lines and captions become: rows to train on, and questions to measure by."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from connector.models.text_models import TextModel
from connector.search.captions import Caption
from workers.teach.images import ImageVectors
from workers.teach.lines import HELD_OUT, Lesson, Line
from workers.teach.report import Question
from workers.teach.training import Material, unit_vectors


def material_of(
    lessons: Sequence[Lesson], kept: Sequence[Caption], images: ImageVectors | None, *, scale: float
) -> Material:
    """The rows of all lessons together; of the captions those that the report does not ask for."""
    lines = [line for lesson in lessons for line in lesson.taught]
    rows = images.rows if images else {}
    return Material(
        sources=[line.source for line in lines],
        texts=[line.text for line in lines],
        kept=[each.text for each in replayed(kept)],
        images=images.vectors if images else None,
        image_of=[rows.get(line.image or "", -1) for line in lines],
        scale=scale,
    )


def replayed(kept: Sequence[Caption]) -> list[Caption]:
    """The captions that are trained on: nine of ten."""
    return [each for place, each in enumerate(kept) if place % HELD_OUT != HELD_OUT - 1]


def measured(kept: Sequence[Caption]) -> list[Caption]:
    """The captions that are asked."""
    return [each for place, each in enumerate(kept) if place % HELD_OUT == HELD_OUT - 1]


def questions_of(
    lessons: Sequence[Lesson], kept: Sequence[Caption], images: ImageVectors | None, *, teacher: TextModel
) -> tuple[list[Question], Tensor]:
    """The questions of all languages, and the library that they are asked of: (answers, dims), unit vectors."""
    if images is not None:
        return list(_of_images(lessons, kept, images)), images.vectors
    sources = dict.fromkeys(line.source for lesson in lessons for line in (*lesson.taught, *lesson.held))
    texts = list(dict.fromkeys([*sources, *(each.text for each in measured(kept))]))
    places = {text: place for place, text in enumerate(texts)}
    return list(_of_texts(lessons, kept, places)), unit_vectors(teacher, texts)


def _of_images(lessons: Sequence[Lesson], kept: Sequence[Caption], images: ImageVectors) -> Iterator[Question]:
    for lesson in lessons:
        for line in lesson.held:
            if line.image is not None:
                yield from _pair(lesson, line, images.rows[line.image])
    for each in measured(kept):
        yield Question(each.language, "kept", each.text, images.rows[each.image])


def _of_texts(lessons: Sequence[Lesson], kept: Sequence[Caption], places: dict[str, int]) -> Iterator[Question]:
    for lesson in lessons:
        for line in lesson.held:
            yield from _pair(lesson, line, places[line.source])
    for each in measured(kept):
        yield Question(each.language, "kept", each.text, places[each.text])


def _pair(lesson: Lesson, line: Line, answer: int) -> Iterator[Question]:
    yield Question(lesson.language, "taught", line.text, answer)
    yield Question(f"source of {lesson.language}", "source", line.source, answer)
