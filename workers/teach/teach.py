"""START READING HERE: a text tower learns a language from parallel lines, and a space of its own is written.

The rule: everything is checked before anything is trained, and the space appears at its place whole or not at all.
"""

import errno
import json
import logging
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError

from connector.errors import ConfigError, ModelError
from connector.files import disk_of
from connector.models.catalog import find_space, image_tower_of, space_names, text_tower_of
from connector.models.declaration import SPACE_NAME, Space, TextSpec
from connector.models.licences import check_licence
from connector.models.loading import choose_device
from connector.models.lookup import find_model
from connector.models.score import score_scale
from connector.models.text_models import TextModel, load_text_model
from connector.models.verification import check_verified
from connector.models.weights import check_sha256
from connector.search.captions import Caption
from connector.settings import Settings
from workers.teach.images import ImageVectors, read_images
from workers.teach.lines import Lesson
from workers.teach.material import material_of, questions_of
from workers.teach.report import LanguageRecall, recalls
from workers.teach.space_file import space_toml, taught_space
from workers.teach.tokens import new_pieces, new_words
from workers.teach.tower_files import copy_text_half, grow, write_weights
from workers.teach.training import Recipe, Trained, made_up_texts, train, unit_vectors

log = logging.getLogger(__name__)

REPORT = "report.json"
MOVED = {"model": "./text", "revision": None, "weights": None, "sha256": None}
"""What a declaration says of a tower that lies beside it, whatever was said of where it came from."""
DRIFT = 1000
"""Texts made of the teacher's own tokens whose vectors are compared before and after."""
LEAST_COSINE = 0.999
"""How near the tower that was written must come to the one that was trained: it may be kept in half precision."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a teaching came to. ``lines`` counts those that were taught, by language; ``cut`` those that were too long
    for the tower. ``drift`` is the mean cosine, before to after, of texts made of the teacher's own tokens.
    """

    space: str
    file: str
    languages: tuple[LanguageRecall, ...]
    lines: Mapping[str, int]
    new_tokens: int
    cut: int
    drift: float
    trained: Trained


@dataclass(frozen=True, slots=True)
class Teaching:
    """What is taught, and with what: a tower of a space, by lessons; ``kept`` are captions of other languages.

    ``images`` is the folder of the images that lines and captions name.
    """

    lessons: Sequence[Lesson]
    settings: Settings
    out: Path
    tower: str | None = None
    images: Path | None = None
    kept: Sequence[Caption] = ()
    recipe: Recipe = field(default_factory=Recipe)


def teach(asked: Teaching, *, on_progress: Callable[[str, float], None] = lambda *_: None) -> Report:
    """Teach, and write the space to ``asked.out``. ``on_progress`` is told what goes on, and which share is done.

    Raises ConfigError for what cannot be taught so, ModelError where the model is not there or the disk is full.
    """
    model = asked.settings.model
    space = find_space(model.space)
    space = space.model_copy(update={"image": image_tower_of(model, space=space)})
    name, spec = _tower(asked, space=space)
    _check_place(asked.out)
    check_licence(space)
    check_verified(space)
    device = choose_device(model.device)
    folder = find_model(spec)
    check_sha256(folder, spec)
    lessons = [lesson.within(spec.prompt) for lesson in asked.lessons]
    with _draft(asked.out, needed=3 * _bytes_of(folder)) as draft:
        on_progress("loading", 0.0)
        images = _images(asked)
        teacher = load_text_model(folder, spec)
        text, copied = draft / "text", spec.model_copy(update=MOVED)
        copy_text_half(folder, spec, text, tokenizer=teacher.tokenizer)
        grown = grow(text, copied, *_new_tokens(teacher, lessons, asked.kept))
        student = load_text_model(text, copied)
        scale = score_scale(model) if images else 1.0
        material = material_of(lessons, asked.kept, images, scale=scale)
        trained = train(
            student, teacher, material, asked.recipe, device=device, on_progress=partial(on_progress, "training")
        )
        write_weights(text, copied, student.module)
        on_progress("measuring", 0.0)
        written = load_text_model(text, copied)
        _check_written(written, student, lessons)
        questions, library = questions_of(lessons, asked.kept, images, teacher=teacher)
        report = Report(
            space=asked.out.name,
            file=str(asked.out / f"{asked.out.name}.toml"),
            languages=tuple(recalls(questions, library, teacher=teacher, student=written)),
            lines={each.language: len(each.taught) for each in asked.lessons},
            new_tokens=grown,
            cut=_cut(written, lessons),
            drift=_drift(teacher, written),
            trained=trained,
        )
        languages = [each.language for each in asked.lessons]
        declared = taught_space(space, languages=languages, name=name, tower=copied, written=written, folder=draft)
        (draft / f"{asked.out.name}.toml").write_text(space_toml(declared), encoding="utf-8")
        (draft / REPORT).write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    return report


def _images(asked: Teaching) -> ImageVectors | None:
    if asked.images is None:
        return None
    lines = (line for lesson in asked.lessons for line in (*lesson.taught, *lesson.held))
    names = [line.image for line in lines if line.image is not None]
    if not names:
        raise ConfigError("--images is given, and no line names an image in a third column.")
    return read_images(asked.images, [*names, *(each.image for each in asked.kept)], settings=asked.settings)


def _new_tokens(teacher: TextModel, lessons: Sequence[Lesson], kept: Sequence[Caption]) -> tuple[list[str], list[str]]:
    """The pieces and the words that a tokenizer is given."""
    tokenizer = cast(Any, teacher.tokenizer).backend_tokenizer
    lines = [line for lesson in lessons for line in lesson.taught]
    texts = teacher.preparation.of([line.text for line in lines])
    known = teacher.preparation.of([*(line.source for line in lines), *(each.text for each in kept)])
    return new_pieces(tokenizer, texts), new_words(tokenizer, texts, known=known)


def _cut(model: TextModel, lessons: Sequence[Lesson]) -> int:
    texts = model.preparation.of([line.text for lesson in lessons for line in lesson.taught])
    return sum(len(ids) > model.max_length for ids in model.tokenizer(texts, truncation=False)["input_ids"])


def _drift(teacher: TextModel, student: TextModel) -> float:
    texts = made_up_texts(teacher, DRIFT, rng=random.Random(1))
    return float((unit_vectors(teacher, texts) * unit_vectors(student, texts)).sum(dim=1).mean())


# --------------------------------------------------------------------------------------------------- what is checked


def _tower(asked: Teaching, *, space: Space) -> tuple[str, TextSpec]:
    spec = text_tower_of(asked.settings.model, space=space, name=asked.tower)
    name = asked.tower or next((each for each, known in space.text.items() if known == spec), None)
    return name or asked.settings.model.text_tower, spec


def _check_place(out: Path) -> None:
    """Raise ConfigError where nothing can be written, or the folder's name can be no space's."""
    if out.exists():
        raise ConfigError(f"--out {out} is there already. Name another folder, or take it away.")
    if out.name in space_names():
        raise ConfigError(f"--out {out}: {out.name} is a space that polyglance brings; give the folder another name.")
    if not SPACE_NAME.fullmatch(out.name):
        raise ConfigError(
            f"--out {out}: the space is named after it, in small letters, digits and hyphens, such as ./mini-bn."
        )


@contextmanager
def _draft(out: Path, *, needed: int) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place once all is written; after any error nothing is left of it."""
    out = out.absolute()
    free = disk_of(out).free
    if free < needed:
        raise ModelError(f"the disk of {out} has {free:,} bytes free; some {needed:,} are needed. Nothing was written.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be made: {error}.") from error
    try:
        yield draft
        draft.chmod(0o755)
        draft.rename(out)
    except OSError as error:
        why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error)
        raise ModelError(f"the space cannot be written to {out}: {why}. Nothing was left there.") from error
    except SafetensorError as error:  # what it raises where a disk is full, too
        raise ModelError(f"the space cannot be written to {out}: {error}. Nothing was left there.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check_written(written: TextModel, student: TextModel, lessons: Sequence[Lesson]) -> None:
    """Raise ModelError where the files do not give what was trained."""
    texts = [line.text for lesson in lessons for line in lesson.held[:32]]
    cosine = float((unit_vectors(written, texts) * unit_vectors(student, texts)).sum(dim=1).min())
    if not cosine >= LEAST_COSINE:
        raise ModelError(
            f"the tower that was written gives other vectors than the one that was trained (cosine {cosine:.4f}, "
            f"{LEAST_COSINE} is wanted). Nothing was kept; a lower --rate may help."
        )


def _bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
