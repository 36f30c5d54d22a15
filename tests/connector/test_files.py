"""Files that are replaced as a whole: the old one or the new one is there, and nothing else."""

from pathlib import Path

import pytest

from connector.files import replacing


def test_a_file_is_the_old_one_until_it_is_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "notes.json"
    for text in ("first", "second"):
        before = path.read_text() if path.exists() else None
        with replacing(path) as draft:
            draft.write_text(text)
            assert (path.read_text() if path.exists() else None) == before
        assert path.read_text() == text
    assert [*path.parent.iterdir()] == [path]


def test_what_fails_midway_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    path.write_text("whole")

    with pytest.raises(UnicodeEncodeError), replacing(path) as draft:
        draft.write_text("half of it, and no text: \ud800", encoding="utf-8")

    assert path.read_text() == "whole"
    assert [*tmp_path.iterdir()] == [path]


def test_where_no_file_can_stand_no_draft_is_left(tmp_path: Path) -> None:
    (tmp_path / "a folder" / "in use").mkdir(parents=True)

    with pytest.raises(OSError, match="a folder"), replacing(tmp_path / "a folder") as draft:
        draft.write_text("whole")

    assert [*tmp_path.iterdir()] == [tmp_path / "a folder"]
