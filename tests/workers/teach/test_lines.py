"""Parallel lines: every line of a file is checked, and what does not fit is said with its place."""

from pathlib import Path

import pytest

from connector.errors import ConfigError
from workers.teach.lines import FEWEST, LONGEST, Line, Named, read_lessons

GOOD = [f"a word {number}\tপদ {number}" for number in range(FEWEST)]


def written(folder: Path, *rows: str) -> Path:
    file = folder / "lines.tsv"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("a dog", r"line 21, has 1 column; source and translation are wanted"),
        ("a dog\tকুকুর\tdog.png\tmore", "line 21, has 4 columns"),
        ("a dog\tকুকুর\tdog.png", r"line 21, has 3 columns.*--images"),
        ("a dog\t ", "line 21, has an empty column 2"),
        ("a dog\t" + "ক" * (LONGEST + 1), "line 21, has a text of 1,001 characters; 1,000 are allowed"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, row: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_lessons([Named(written(tmp_path, *GOOD, row), "bn")], with_images=False)


def test_a_file_of_few_lines_or_none_is_refused(tmp_path: Path) -> None:
    for rows in ([], [""], GOOD[: FEWEST - 1], [GOOD[0]] * FEWEST):
        with pytest.raises(ConfigError, match="different lines; 20 are needed"):
            read_lessons([Named(written(tmp_path, *rows), "bn")], with_images=False)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    latin = tmp_path / "latin.tsv"
    latin.write_bytes("ein Hund\tÄffchen\n".encode("latin-1") * FEWEST)
    for file in (tmp_path / "none.tsv", tmp_path, latin):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_lessons([Named(file, "bn")], with_images=False)


@pytest.mark.parametrize("language", ["", "  ", "b" * 36, "b\nn"])
def test_a_language_is_a_code(tmp_path: Path, language: str) -> None:
    with pytest.raises(ConfigError, match="no language's code"):
        read_lessons([Named(written(tmp_path, *GOOD), language)], with_images=False)


def test_a_language_is_named_once(tmp_path: Path) -> None:
    file = written(tmp_path, *GOOD)
    with pytest.raises(ConfigError, match="bn is named twice"):
        read_lessons([Named(file, "bn"), Named(file, "bn")], with_images=False)


def test_all_lines_of_a_source_are_trained_on_or_none(tmp_path: Path) -> None:
    rows = [f"a word {number // 3}\tপদ {number}" for number in range(90)]
    (lesson,) = read_lessons([Named(written(tmp_path, *rows, *rows), "bn")], with_images=False)
    assert len(lesson.taught) + len(lesson.held) == 90, "a line that stands twice counts once"
    assert len(lesson.held) == 9
    assert not {line.source for line in lesson.taught} & {line.source for line in lesson.held}


def test_an_image_stands_in_the_third_column(tmp_path: Path) -> None:
    (lesson,) = read_lessons([Named(written(tmp_path, "a dog\tকুকুর\tdog.png", *GOOD), "bn")], with_images=True)
    assert lesson.taught[0] == Line("a dog", "কুকুর", "dog.png")
    assert lesson.taught[1].image is None
