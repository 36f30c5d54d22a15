"""The tour that `make demo` gives: every question has its answers, and the page stands alone."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import CommandLine
from tests.corpus_files import saved, scene
from workers.demo import tour

ADDRESSED = ("src", "href", "srcset", "data", "action", "poster")


class References(HTMLParser):
    """What a page shows, and what it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.images += tag == "img"
        self.found += [value or "" for name, value in attrs if name in ADDRESSED]


def check_page(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    page = References()
    page.feed(text)
    for question in tour.QUESTIONS:
        assert (question.words or "the image that was asked with") in text
        assert question.meaning in text
    assert page.images == len(tour.QUESTIONS) * tour.ANSWERS + sum(q.image is not None for q in tour.QUESTIONS)
    assert all(reference.startswith("data:image/png;base64,") for reference in page.found)
    assert not re.search(r"https?://|@import|url\(", text)


def test_the_questions_show_what_was_promised() -> None:
    """Eight questions in eight scripts, a filter in one, an image in another."""
    assert sum(question.words is not None for question in tour.QUESTIONS) >= 8
    assert any(question.where for question in tour.QUESTIONS)
    assert any(question.image for question in tour.QUESTIONS)
    assert len({question.language for question in tour.QUESTIONS}) == len(tour.QUESTIONS)
    assert all((tour.IMAGES / question.image).is_file() for question in tour.QUESTIONS if question.image)


@pytest.mark.slow
@pytest.mark.usefixtures("data_folder")
def test_the_tour_can_be_taken_twice_and_beside_ones_own_images(cli: CommandLine, workplace: Path) -> None:
    first = cli("demo")

    assert first.code == 0, first.err
    assert re.search(r"listed ([\d,]+) = stored \1 \+ unchanged 0 \+ rejected 0", first.out)
    check_page(workplace / "polyglance-demo.html")
    for command in tour.NEXT_COMMANDS:
        assert command in first.out
    for question in tour.QUESTIONS:
        assert (question.words or question.language) in first.out

    (workplace / "own").mkdir()
    (workplace / "own/boat.png").write_bytes((tour.IMAGES / "travel-places/sailboat.png").read_bytes())
    (workplace / "own/photo.jpg").write_bytes(saved(scene(900, 600), "JPEG"))
    own = cli("ingest", "own", "--json").json
    assert (own["stored"], own["collection"]) == (2, "images-mini")  # in the demo's space, not in its collection

    second = cli("demo", "--page", "pages [1].html")

    assert second.code == 0, second.err
    assert re.search(r"listed ([\d,]+) = stored 0 \+ unchanged \1 \+ rejected 0", second.out)
    assert "pages [1].html" in second.out
    assert "boat.png" not in (workplace / "pages [1].html").read_text(encoding="utf-8").replace("sailboat.png", "")
    check_page(workplace / "pages [1].html")


@pytest.mark.parametrize("page", ["no/such/folder/page.html", "."])
def test_a_page_that_cannot_be_written_is_told_before_the_work(cli: CommandLine, data_folder: Path, page: str) -> None:
    ran = cli("demo", "--page", page)

    assert ran.code == 2
    assert "the page cannot be written to" in ran.err
    assert not data_folder.exists()


def test_a_hit_without_metadata_is_named_by_its_file() -> None:
    from connector.records import Hit

    assert tour.name_of(Hit("i", 1.0, {"uri": "file:///a.jpg", "filename": "a.jpg"})) == "a.jpg"
    assert tour.name_of(Hit("i", 1.0, {"uri": "file:///a.jpg"})) == "file:///a.jpg"
    assert tour.name_of(Hit("i", 1.0, {"uri": "file:///a.jpg", "meta": {"name": "dog"}})) == "dog"
