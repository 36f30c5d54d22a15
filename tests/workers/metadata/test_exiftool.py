"""We read of images' metadata what exiftool reads, file by file; the table in docs/formats.md says of how many."""

from pathlib import Path

import pytest

from tests import exiftool

PAGE = Path(__file__).parents[3] / "docs" / "formats.md"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(exiftool.missing() is not None, reason=str(exiftool.missing()))]


def test_exiftool_reads_the_same_and_the_page_says_so() -> None:
    found = exiftool.compared()
    assert {name: each.differences for name, each in found.items() if each.differences} == {}
    assert exiftool.table(found) in PAGE.read_text(encoding="utf-8"), "run: python -m tests.exiftool"
