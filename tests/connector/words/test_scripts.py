"""Words of many scripts are found alike in the process and on a server, and the page says which are."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from connector.store.edge.engine import EmbeddedEngine
from connector.store.engine import Engine, WordsQuery
from connector.store.server.engine import ServerEngine
from tests.qdrant_standin.standin import running
from tests.scratch import scratch_folder
from tests.words_table import CASES, KINDS, PAGE, Answer, answers, fill, table


@pytest.fixture(scope="module", params=["embedded", "grpc"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine with the captions of every case."""
    if request.param == "embedded":
        with scratch_folder() as folder, closing(EmbeddedEngine.open(folder, collection="scripts")) as embedded:
            fill(embedded)
            yield embedded
        return
    with (
        running() as standin,
        closing(ServerEngine.connect(standin.settings(request.param), collection="scripts")) as server,
    ):
        fill(server)
        yield server


@pytest.fixture(scope="module")
def found(engine: Engine) -> list[Answer]:
    """What the engine answers to every question of the table."""
    return answers(engine)


def test_every_word_is_found_but_those_that_the_page_names(found: list[Answer]) -> None:
    wrong = [
        (answer.case.language, answer.kind, answer.case.asked[answer.kind], answer.by_words, answer.by_filter)
        for answer in found
        if {answer.by_words, answer.by_filter} != {answer.kind not in answer.case.missed}
    ]

    assert not wrong


def test_there_are_twenty_scripts_and_every_kind_of_question(found: list[Answer]) -> None:
    assert len({case.script for case in CASES}) >= 20
    assert {answer.kind for answer in found} == set(KINDS)


def test_the_page_has_the_table(found: list[Answer]) -> None:
    assert table(found) in PAGE.read_text(encoding="utf-8"), "python -m tests.words_table writes it anew"


@pytest.mark.parametrize("text", ["京都", "看东", "cat", "Rewe", "1235", "RE17", "16tk", "ลอนดอน", "кот", "כלבה שחורה"])
def test_what_no_caption_holds_is_not_found_by_a_whole_word(engine: Engine, text: str) -> None:
    (hits,) = engine.query([WordsQuery(text)])

    assert all(hit.score < 4 for hit in hits), "a syllable in common is a far cry from a word"
