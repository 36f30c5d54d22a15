"""Recall and MRR on captions of the bundled images."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from connector import ImageSearch, InvalidQuery, Settings
from connector.search.captions import Caption, read_captions
from connector.search.evaluate import Evaluation, Score, evaluate
from connector.search.evaluate_plot import check_plot, plot
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
    nearest = search.nearest(search.embed_texts(texts), limit=10)
    assert english.approximate_10 == sum(target.id in {hit.id for hit in hits} for hits in nearest) / 4
    assert english.kept > 0.9


def test_images_are_known_by_every_name_and_strangers_are_told(search: ImageSearch) -> None:
    hit = search.text("Hund", limit=1)[0]
    names = [hit.id, hit.uri, str(hit.payload["object_key"]), str(hit.payload["filename"])]
    on_progress: list[int] = []

    found = evaluate(
        search, [Caption(name, "Hund", "de") for name in (*names, "stranger.jpg")], on_progress=on_progress.append
    )

    assert found.languages[0].captions == 4
    assert found.languages[0].recall_1 == 1.0
    assert (found.missing, found.ambiguous) == (("stranger.jpg",), ())
    assert on_progress == [4]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.jsonl", "", "holds no captions"),
        ("a.jsonl", "{", "line 1, is no JSON"),
        ("a.jsonl", "[1]", "line 1, is no object"),
        ("a.jsonl", '{"image": "x"}', "row 1, needs an image and a caption"),
        ("a.csv", "image,text\nx,y\n", "row 1, needs an image and a caption"),
        ("a.csv", "image,caption\n", "holds no captions"),
        ("a.csv", "image,caption\nx.png,\n", "the caption in .*a.csv, row 1 is empty"),
        ("a.csv", "image,caption\nx.png,a\x00b\n", "cannot be read|character 2"),
        ("a.jsonl", '{"image": "x", "caption": "\\u0007"}', r"character 1 of the caption in .*row 1 is U\+0007"),
        ("a.jsonl", "[" * 100_000, "line 1, is no JSON"),
        ("a.jsonl", '{"image/key": "x", "de": {"caption": "ein Hund"}}', "row 1, has no list of captions in 'de'"),
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


# published data sets, laid out as they are published


def write_xtd(folder: Path) -> None:
    """The names and files of the XTD-10 repository, with a few captions of ours."""
    names = ["COCO_train2014_000000000001.jpg", "COCO_val2014_000000000002.jpg"]
    texts = {
        "XTD10/test_1kcaptions_es.txt": ["un perro", "un barco"],
        "XTD10/test_1kcaptions_zh.txt": ["一只狗", "一艘船"],
        "MIC/test_1kcaptions_de.txt": ["ein Hund", "ein Boot "],
        "MIC/test_1kcaptions_en.txt": ["a dog", "a boat"],
        "STAIR/test_1kcaptions_jp.txt": ["犬", "船"],
    }
    for name, lines in {"XTD10/test_image_names.txt": names, **texts}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_xtd_is_read_as_it_is_published(tmp_path: Path) -> None:
    write_xtd(tmp_path)
    (tmp_path / "XTD10/test_1kcaptions_en.txt").write_text("one dog\none boat\n")  # beside the names: it comes first

    captions = read_captions(tmp_path)

    assert {caption.language for caption in captions} == {"es", "zh", "de", "en", "ja"}
    assert Caption("COCO_val2014_000000000002.jpg", "ein Boot", "de") in captions
    assert [c.text for c in captions if c.language == "en"] == ["one dog", "one boat"]
    (tmp_path / "XTD10/test_1kcaptions_es.txt").write_text("un perro\n")
    with pytest.raises(InvalidQuery, match=r"test_1kcaptions_es\.txt has 1 captions for the 2 images"):
        read_captions(tmp_path)


def test_crossmodal_is_read_as_it_is_published(tmp_path: Path) -> None:
    row = {
        "image/key": "0012b2b5fc2fb1b1",
        "image/locale": "de",
        "de": {"caption": ["ein Hund", "Hund auf Gras"], "caption/tokenized": ["ein Hund", "Hund auf Gras"]},
        "ja": {"caption": ["犬"], "caption/tokenized": ["犬"], "caption/tokenized/lowercase": ["犬"]},
    }
    (tmp_path / "captions.jsonl").write_text(json.dumps(row), encoding="utf-8")

    for path in (tmp_path, tmp_path / "captions.jsonl"):
        assert read_captions(path) == [
            Caption("0012b2b5fc2fb1b1.jpg", "ein Hund", "de"),
            Caption("0012b2b5fc2fb1b1.jpg", "Hund auf Gras", "de"),
            Caption("0012b2b5fc2fb1b1.jpg", "犬", "ja"),
        ]


@pytest.mark.parametrize(("make", "says"), [(False, "cannot be read"), (True, "neither test_image_names.txt")])
def test_a_place_without_captions_is_told(tmp_path: Path, make: bool, says: str) -> None:
    if make:
        (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidQuery, match=says):
        read_captions(tmp_path / "empty")


# plots


def score(language: str, at_10: float) -> Score:
    return Score(language, 1000, at_10 / 2, at_10 * 0.8, at_10, at_10 * 0.6, at_10 * 0.99, 0.99)


def test_a_plot_has_a_bar_for_each_language(tmp_path: Path) -> None:
    scores = tuple(score(language, 0.5 + 0.01 * n) for n, language in enumerate(["de", "$x^{$", "ja", "ar"]))
    plot(Evaluation(scores, scores[0], (), ()), tmp_path / "recall.svg", title="Deutsch, 日本語")
    plot(Evaluation(scores, scores[0], (), ()), tmp_path / "recall.png", title="English")

    drawn = (tmp_path / "recall.svg").read_text(encoding="utf-8")
    for shown in ("de (1,000)", "ar (1,000)", "recall@1", "recall@10", "MRR", "mean @10: 0.500"):
        assert f"<!-- {shown} -->" in drawn
    with Image.open(tmp_path / "recall.png") as image:
        assert image.size[0] == 960


@pytest.mark.parametrize(
    ("name", "says"), [("a.gif", "is none of"), ("a", "is none of"), ("no/a.png", "does not exist")]
)
def test_a_plot_that_cannot_be_drawn_is_told_before_the_work(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(InvalidQuery, match=says):
        check_plot(tmp_path / name)


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

    ran = cli("evaluate", "captions.jsonl", "--plot", "recall.png")
    assert (workplace / "recall.png").stat().st_size > 5_000
    assert ran.code == 0
    assert "mean " in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "left out, 1 images not in the collection: no.png" in ran.err
    found = cli("evaluate", "captions.jsonl", "--json").json
    assert [score["language"] for score in found["languages"]] == ["de", "ru"]
    assert found["mean"]["recall_1"] == 1.0
    (workplace / "strangers.jsonl").write_text(json.dumps(rows[2]))
    assert cli("evaluate", "strangers.jsonl").code == 2
