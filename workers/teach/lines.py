"""Parallel lines: what a language is taught from. A file of them has two or three columns, and every line is checked.

The rule: nothing is skipped in silence. A line that does not fit is a ConfigError with its place.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

from connector.errors import ConfigError
from connector.printable import printable

LONGEST = 1000
"""Characters of a text; what is longer is no caption."""
FEWEST = 20
"""Lines of a language: fewer leave nothing to measure by."""
HELD_OUT = 10
"""One line of so many is not trained on: the report is of these."""


@dataclass(frozen=True, slots=True)
class Line:
    """A text that the space understands, its translation, and the image that it describes, where there is one."""

    source: str
    text: str
    image: str | None = None

    def within(self, prompt: str) -> Self:
        """Both texts in a prompt."""
        return replace(self, source=prompt.replace("{}", self.source), text=prompt.replace("{}", self.text))


@dataclass(frozen=True, slots=True)
class Lesson:
    """A language and the lines that it is taught from; those that are ``held`` are measured and never trained on."""

    language: str
    taught: tuple[Line, ...]
    held: tuple[Line, ...]

    def within(self, prompt: str) -> Self:
        """The same lines in what the tower puts every text into, such as ``a photo of {}``."""
        taught, held = (tuple(line.within(prompt) for line in lines) for lines in (self.taught, self.held))
        return replace(self, taught=taught, held=held)


class Named(NamedTuple):
    """A file of lines, and the language that its translations are in."""

    file: Path
    language: str


def read_lessons(named: Sequence[Named], *, with_images: bool) -> list[Lesson]:
    """The lesson of each file. Raises ConfigError for a language that is named twice, and for what does not fit."""
    languages = [each.language for each in named]
    for language in languages:
        if not language.strip() or len(language) > 35 or not language.isprintable():
            raise ConfigError(f"--language {printable(language)!r} is no language's code, such as bn or pt-BR.")
        if languages.count(language) > 1:
            raise ConfigError(f"--language {language} is named twice. Put its lines into one file.")
    return [_lesson(each, with_images=with_images) for each in named]


def _lesson(named: Named, *, with_images: bool) -> Lesson:
    lines = list(dict.fromkeys(read_lines(named.file, with_images=with_images)))
    if len(lines) < FEWEST:
        raise ConfigError(
            f"{named.file} holds {len(lines):,} different lines; {FEWEST} are needed, and some 2,000 teach a language."
        )
    sources = {source: place for place, source in enumerate(dict.fromkeys(line.source for line in lines))}
    # all lines of one source are on the same side: what is measured was not seen in other words either
    held = [line for line in lines if sources[line.source] % HELD_OUT == HELD_OUT - 1]
    if not held:
        raise ConfigError(f"{named.file} has only {len(sources)} different sentences in its first column.")
    taught = [line for line in lines if sources[line.source] % HELD_OUT != HELD_OUT - 1]
    return Lesson(named.language, tuple(taught), tuple(held))


def read_lines(file: Path, *, with_images: bool) -> Iterator[Line]:
    """The lines of a file of tab-separated values: source, translation and, ``with_images``, an image's name.

    Blank lines are passed over. Raises ConfigError that says which line does not fit, and why.
    """
    wanted = 3 if with_images else 2
    for number, row in _rows(file):
        where = f"{file}, line {number:,}"
        columns = [each.strip() for each in row.split("\t")]
        if len(columns) not in (2, wanted):
            raise ConfigError(f"{where}, has {_counted(len(columns))}; {_layout(with_images=with_images)}")
        if not all(columns):
            raise ConfigError(f"{where}, has an empty column {columns.index('') + 1}.")
        for each in columns:
            if len(each) > LONGEST:
                raise ConfigError(
                    f"{where}, has a text of {len(each):,} characters; {LONGEST:,} are allowed. Is a tab or a line "
                    "break missing?"
                )
        yield Line(*columns)


def _rows(file: Path) -> Iterator[tuple[int, str]]:
    try:
        with file.open(encoding="utf-8-sig") as opened:
            yield from ((number, row) for number, row in enumerate(opened, 1) if row.strip())
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a NUL in the path
        raise ConfigError(f"the lines {str(file)!r} cannot be read: {error}.") from error


def _counted(columns: int) -> str:
    return "1 column" if columns == 1 else f"{columns:,} columns"


def _layout(*, with_images: bool) -> str:
    if with_images:
        return "source, translation and the image's name are wanted, with tabs between them."
    return "source and translation are wanted, with a tab between them (and an image's name where --images is given)."
