"""The tour: the bundled images into a collection, questions in many languages, and a page to look at.

Every answer is a real search through the public doors; nothing here knows what should come out.
"""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from jinja2 import Environment
from rich.table import Table
from rich.text import Text

from connector.errors import ConfigError
from connector.records import Hit, path_of
from connector.search.client import ImageSearch
from connector.settings import FieldType, Settings
from workers.sources.disk import uri_of

IMAGES = files("workers.demo") / "images"

META_FIELDS: dict[str, FieldType] = {
    "name": "keyword",
    "category": "keyword",
    "subcategory": "keyword",
    "year": "integer",
    "unicode_version": "float",
}
"""The metadata beside the bundled images that filters may use."""

ANSWERS = 6
"""Images shown for each question."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of the tour: words, or a bundled image; ``meaning`` is the words in English."""

    language: str
    words: str | None = None
    meaning: str = ""
    image: str | None = None
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A question and its nearest images, best first."""

    question: Question
    hits: Sequence[Hit]


QUESTIONS: tuple[Question, ...] = (
    Question("German", "ein Hund", "a dog"),
    Question("Russian", "поезд", "train"),
    Question("Arabic", "فراشة", "butterfly"),
    Question("Hindi", "मछली", "fish"),
    Question("Japanese", "雪だるま", "snowman"),
    Question("Chinese", "苹果", "apple"),
    Question("Korean", "고양이", "cat"),
    Question("Hebrew", "עץ", "tree"),
    Question("Greek", "παγωτό", "ice cream"),
    Question("Thai", "ดอกไม้", "flower"),
    Question("Georgian", "მთვარე", "moon"),
    Question("Spanish", "fruta", "fruit, newest images only", where="meta.year >= 2016"),
    Question("no language", image="travel-places/sailboat.png", meaning="an image as the question"),
)


NEXT_COMMANDS = (
    'polyglance search "собака"',
    'polyglance search "dessert" --where \'meta.category == "Food & Drink"\'',
    "polyglance ingest ~/Pictures --space mini-photos",
)
"""What a newcomer would type next."""


def ask(questions: Sequence[Question], *, settings: Settings) -> list[Answer]:
    """Put the questions to the collection, one after the other."""
    with ImageSearch.open(settings=settings) as search:
        return [Answer(question, _hits(question, search=search)) for question in questions]


def _hits(question: Question, *, search: ImageSearch) -> list[Hit]:
    with as_file(IMAGES) as folder:
        bundled = f'source == "{uri_of(folder.absolute())}"'  # the collection may hold the user's own images too
        where = f"{bundled} and ({question.where})" if question.where else bundled
        if question.image is None:
            return search.text(question.words or "", limit=ANSWERS, where=where, mode="visual")
        return search.image(folder / question.image, limit=ANSWERS, where=where)


def table(answers: Sequence[Answer]) -> Table:
    """The answers for a terminal: the question, its meaning and the names of the nearest images."""
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("question", "which is", "nearest images"):
        rows.add_column(heading, overflow="fold")
    for answer in answers:
        question = answer.question
        about = f"{question.language}: {question.meaning}" + (f" ({question.where})" if question.where else "")
        names = ", ".join(name_of(hit) for hit in answer.hits[:3])
        rows.add_row(Text(question.words or str(question.image)), Text(about), Text(names))
    return rows


def check_page(path: Path) -> None:
    """Raise ConfigError where ``write_page`` could not write."""
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(f"the page cannot be written to {path}; name a file in a folder that is there with --page.")


def write_page(answers: Sequence[Answer], *, to: Path) -> None:
    """Write one self-contained HTML page of questions and answers."""
    template = (files("workers.demo") / "page.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    to.write_text(page.render(cards=[_card(answer) for answer in answers]), encoding="utf-8")


def _card(answer: Answer) -> dict[str, object]:
    question = answer.question
    asked = None if question.image is None else _as_data_uri((IMAGES / question.image).read_bytes())
    hits = [{"name": name_of(hit), "score": hit.score, "image": _as_data_uri(_bytes_of(hit))} for hit in answer.hits]
    return {"question": question, "asked": asked, "hits": hits}


def name_of(hit: Hit) -> str:
    """The image's name from its metadata, or its file's."""
    meta = hit.payload.get("meta", {})
    return str(meta.get("name", hit.payload.get("filename", hit.uri)))


def _bytes_of(hit: Hit) -> bytes:
    return path_of(hit.uri).read_bytes()


def _as_data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")
