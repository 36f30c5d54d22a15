"""The corpus against the decoder: every file ends as it must, and in no other way."""

import warnings
from collections import Counter
from pathlib import Path

import pytest

from connector.errors import IMAGE_FAULTS, UnreadableImage
from connector.images.decode import decode
from connector.images.formats import FORMATS
from tests import corpus, corpus_broken
from tests.corpus_files import Case

_WHOLE = [case for case in corpus.CASES if case.expect == "ok"]
_BROKEN = [case for case in corpus.CASES if case.expect != "ok"]


def _named(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", _WHOLE, ids=_named)
def test_a_sound_file_is_read_whatever_its_name(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = decode(case.make(), size=64, max_pixels=corpus.MAX_PIXELS)
    assert decoded.format == case.format
    assert decoded.pixels.shape == (64, 64, 3)
    assert decoded.pixels.dtype == "uint8"
    assert decoded.pixels.std() > 0 or decoded.width == 1


@pytest.mark.parametrize("case", _BROKEN, ids=_named)
def test_a_broken_file_is_refused_for_the_right_reason(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnreadableImage) as refused:
            decode(case.make(), size=64, max_pixels=corpus.MAX_PIXELS)
    assert refused.value.reason == case.expect, str(refused.value)
    assert len(str(refused.value)) > 10


def test_the_corpus_is_wide_enough() -> None:
    broken_or_odd = Counter(case.format for case in _BROKEN)
    assert sum(broken_or_odd.values()) >= 60
    assert set(broken_or_odd) == {*FORMATS, "none"}
    assert {case.expect for case in _BROKEN} == set(IMAGE_FAULTS) - {"decoder_error"}
    assert {case.format for case in _WHOLE} == set(FORMATS)
    assert len({case.name for case in corpus.CASES}) == len(corpus.CASES)


def test_the_bomb_is_small() -> None:
    bomb = next(case for case in corpus_broken.cases() if case.name == "png-broken-bomb.png")
    assert len(bomb.make()) < 60_000


def test_the_page_of_formats_is_the_generated_one() -> None:
    committed = Path(__file__).parent.parent / "docs" / "formats.md"
    assert committed.read_text("utf-8") == corpus.page(), "run: python -m tests.corpus > docs/formats.md"


def test_the_corpus_can_be_laid_out_as_files(tmp_path: Path) -> None:
    corpus.write(tmp_path)
    assert len(list(tmp_path.iterdir())) == len(corpus.CASES)
