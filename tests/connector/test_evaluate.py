"""Recall and MRR on captions of the bundled pictures."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector import ImageSearch, InvalidQuery, Settings
from connector.evaluate import Caption, evaluate, read_captions
from tests.conftest import CommandLine


@pytest.fixture(scope="module")
def search(noto: Settings) -> Iterator[ImageSearch]:
    with ImageSearch.open(settings=noto) as opened:
        yield opened


def test_scores_are_what_the_ranks_say(search: ImageSearch) -> None:
    """Checked against the definition, on captions whose ranks are looked up one by one."""
    texts = ["dog", "fruit", "a red sailboat", "happy"]
    target = search.text("dog", limit=1)[0]
    ranks = [
        next(
            (
                place
                for place, hit in enumerate(search.exact(search.embed_texts([text]), limit=100)[0], 1)
                if hit.id == target.id
            ),
            None,
        )
        for text in texts
    ]

    found = evaluate(search, [Caption(str(target.payload["filename"]), text, "en") for text in texts])

    (english,) = found.languages
    assert english.captions == 4
    assert english.recall_1 == sum(rank == 1 for rank in ranks) / 4
    assert english.recall_10 == sum(rank is not None and rank <= 10 for rank in ranks) / 4
    assert english.mrr == pytest.approx(sum(1 / rank for rank in ranks if rank) / 4)
    assert english.kept > 0.9


def test_pictures_are_known_by_every_name_and_strangers_are_told(search: ImageSearch) -> None:
    hit = search.text("Hund", limit=1)[0]
    names = [hit.id, hit.uri, str(hit.payload["object_key"]), str(hit.payload["filename"])]
    told: list[int] = []

    found = evaluate(search, [Caption(name, "Hund", "de") for name in (*names, "stranger.jpg")], told=told.append)

    assert found.languages[0].captions == 4
    assert found.languages[0].recall_1 == 1.0
    assert (found.missing, found.ambiguous) == (("stranger.jpg",), ())
    assert told == [4]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.jsonl", "", "holds no captions"),
        ("a.jsonl", "{", "line 1, is no JSON"),
        ("a.jsonl", "[1]", "line 1, is no object"),
        ("a.jsonl", '{"image": "x"}', "row 1, needs an image and a caption"),
        ("a.csv", "image,text\nx,y\n", "row 1, needs an image and a caption"),
        ("a.csv", "image,caption\n", "holds no captions"),
    ],
)
def test_broken_captions_are_told_with_their_row(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidQuery, match=says):
        read_captions(tmp_path / name)


def test_captions_come_from_csv_too(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text('\ufeffimage,caption,language\ndog.png,"ein Hund, braun",de\n', encoding="utf-8")
    assert read_captions(path) == [Caption("dog.png", "ein Hund, braun", "de")]


def test_the_command_prints_a_table_and_json(
    noto: Settings, search: ImageSearch, cli: CommandLine, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search.close()  # the embedded engine serves one at a time; this is the module's last test
    monkeypatch.setenv("POLYGLANCE_QDRANT__PATH", str(noto.qdrant.path))
    monkeypatch.setenv("POLYGLANCE_MODEL__SPACE", "mini")
    rows: list[dict[str, Any]] = [
        {"image": "dog.png", "caption": "ein Hund", "language": "de"},
        {"image": "dog.png", "caption": "собака", "language": "ru"},
        {"image": "no.png", "caption": "nichts", "language": "de"},
    ]
    (workplace / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows))

    ran = cli("evaluate", "captions.jsonl")
    assert ran.code == 0
    assert "mean of languages" in ran.out
    assert "left out, 1 pictures not in the collection: no.png" in ran.err
    found = cli("evaluate", "captions.jsonl", "--json").json
    assert [score["language"] for score in found["languages"]] == ["de", "ru"]
    assert found["mean"]["recall_1"] == 1.0
    (workplace / "strangers.jsonl").write_text(json.dumps(rows[2]))
    assert cli("evaluate", "strangers.jsonl").code == 2
