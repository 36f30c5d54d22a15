"""Zero-shot labels on the bundled images, and as tags in a collection."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector import ImageSearch, InvalidQuery, Settings, point
from connector.search.classify import Label, Labels, classify, classify_stored
from connector.search.prompt_templates import PLAIN, TEMPLATES, templates_of
from connector.search.tagging import merged, tag
from tests.conftest import CommandLine
from tests.scratch import scratch_folder
from workers.demo import tour

IMAGES = Path(str(tour.IMAGES))
DOG, BOAT, APPLE = (
    IMAGES / name for name in ("animals-nature/dog.png", "travel-places/sailboat.png", "food-drink/red-apple.png")
)


@pytest.fixture(scope="module")
def search(noto: Settings) -> Iterator[ImageSearch]:
    with ImageSearch.open(settings=noto) as opened:
        yield opened


@pytest.mark.parametrize(
    "labels", [("dog", "sailboat", "apple"), ("Hund", "Segelboot", "Apfel"), ("собака", "парусник", "яблоко")]
)
def test_labels_of_any_language_fit_their_images(search: ImageSearch, labels: tuple[str, ...]) -> None:
    found = classify(search, [DOG, BOAT, APPLE.read_bytes()], labels=labels)

    assert [best[0].name for best in found] == list(labels)
    for best in found:
        assert sum(label.probability for label in best) == pytest.approx(1)
        assert [label.score for label in best] == sorted((label.score for label in best), reverse=True)


def test_stored_images_get_the_labels_of_their_files(search: ImageSearch) -> None:
    hit = search.image(DOG, limit=1)[0]
    (stored, file) = classify(search, [point(hit.id), DOG], labels=["dog", "cat"], language="en")
    assert stored[0].name == file[0].name == "dog"
    assert stored[0].score == pytest.approx(file[0].score, abs=2e-3)  # stored as float16


@pytest.mark.parametrize(
    ("labels", "templates", "says"),
    [
        (["dog"], ["{}"], "2 to 10,000 labels"),
        (["dog", "dog"], ["{}"], "'dog' is given twice"),
        (["dog", " "], ["{}"], "label 2 is empty"),
        (["dog", "c\x07t"], ["{}"], "character 2 of label 2 is U\\+0007, a control character"),
        ("dog,cat", ["{}"], "give a list of 2 to 10,000 labels"),
        (["dog", "cat"], ["a photo"], "each template needs one {}"),
        (["dog", "cat"], [], "give a list of templates"),
        (["dog", "cat"], "a {}", "give a list of templates"),
        (["dog", "cat"], ["{} {}"], "each template needs one {}"),
        ([f"{n}".zfill(60) for n in range(1000)], ["{}"] * 20, "1,000 labels in 20 templates are 1,200,000 letters"),
        (["dog", "cat"], ["x" * 9_990 + "{}"] * 60, "1,000,000 are allowed. Give shorter labels"),
    ],
)
def test_labels_and_templates_that_mean_nothing_are_told(
    search: ImageSearch, labels: Any, templates: Any, says: str
) -> None:
    with pytest.raises(InvalidQuery, match=says):
        classify(search, [DOG], labels=labels, templates=templates)


def test_probabilities_are_the_softmax_at_the_sharpness_of_the_space(search: ImageSearch) -> None:
    labels = Labels.embedded(search, ["dog", "cat", "boat"], templates=["{}", "a photo of a {}"])
    vectors = search.embed_images([DOG, BOAT])

    sentences = search.embed_texts(["cat", "a photo of a cat"]).mean(axis=0)
    assert labels.vectors[1] == pytest.approx(sentences / np.linalg.norm(sentences), abs=1e-6)
    for vector, best in zip(vectors, labels.ranked(vectors), strict=True):
        scores = labels.vectors @ vector
        odds = np.exp(20.0 * scores)  # 20 is what space mini was trained with
        shares = dict(zip(labels.names, odds / odds.sum(), strict=True))
        assert {label.name: label.probability for label in best} == pytest.approx(shares, abs=1e-5)


def test_every_language_has_sentences_with_one_place_for_the_label() -> None:
    assert all(each.count("{}") == 1 for sentences in TEMPLATES.values() for each in sentences)
    assert all(PLAIN[0] in sentences for sentences in TEMPLATES.values())
    assert templates_of("pt-BR") == templates_of("PT_pt") == TEMPLATES["pt"]
    assert templates_of("xx") == templates_of(None) == PLAIN


# tags


@pytest.fixture
def own(noto: Settings) -> Iterator[Settings]:
    """A copy of the bundled images' collection, to write into."""
    with scratch_folder() as folder:
        shutil.copytree(str(noto.qdrant.path), folder / "data", ignore=shutil.ignore_patterns("host.sock", "lock*"))
        yield noto.model_copy(update={"qdrant": noto.qdrant.model_copy(update={"path": folder / "data"})})


def test_tags_are_those_of_the_labels_above_the_threshold_and_again_changes_nothing(own: Settings) -> None:
    where = 'folder == "food-drink"'
    with ImageSearch.open(settings=own) as search:
        labels = Labels.embedded(search, ["fruit", "drink", "animal"])
        expected = {
            point.id: {label.name for label in best if label.probability >= 0.6}
            for point, best in classify_stored(search, labels=labels, where=where)
        }
        on_progress: list[int] = []

        first = tag(search, labels=labels, threshold=0.6, where=where, on_progress=on_progress.append)
        again = tag(search, labels=labels, threshold=0.6, where=where)

        assert first.seen == len(expected) == on_progress[-1]
        assert first.changed == sum(bool(names) for names in expected.values()) > 20
        assert (again.changed, again.images) == (0, first.images)
        assert {p.id for p in search.each(where='"fruit" in tags')} == {i for i, n in expected.items() if "fruit" in n}
        assert search.count(where='"fruit" in tags') == first.images["fruit"]
        stricter = tag(search, labels=labels, threshold=0.9, where=where)
        assert stricter.images["fruit"] < first.images["fruit"]
        assert search.count(where='"fruit" in tags') == stricter.images["fruit"]


def best(**shares: float) -> list[Label]:
    return [Label(name, share, 0.0) for name, share in shares.items()]


@pytest.mark.parametrize(
    ("payload", "chosen", "asked", "expected"),
    [
        ({}, best(), ["a", "b"], {}),
        ({}, best(a=0.91234), ["a", "b"], {"tags": ["a"], "labels": {"a": 0.912}}),
        ({"tags": ["mine"]}, best(a=0.9), ["a"], {"tags": ["mine", "a"], "labels": {"a": 0.9}}),
        ({"tags": "mine"}, best(a=0.9), ["a"], {"tags": ["mine", "a"], "labels": {"a": 0.9}}),
        ({"tags": ["a", "x"]}, best(a=0.9), ["a"], {"tags": ["a", "x"]}),  # the user's own stays the user's
        ({"tags": ["a", "x"]}, best(), ["a"], {"tags": ["a", "x"]}),
        ({"tags": ["x", "a"], "labels": {"a": 0.9}}, best(), ["a", "b"], {"tags": ["x"], "labels": {}}),
        (
            {"tags": ["a", "x"], "labels": {"a": 0.9}},
            best(b=0.8),
            ["b", "c"],  # another set of labels leaves the earlier one alone
            {"tags": ["a", "x", "b"], "labels": {"a": 0.9, "b": 0.8}},
        ),
    ],
)
def test_only_what_an_earlier_run_wrote_is_taken_away(
    payload: dict[str, Any], chosen: list[Label], asked: list[str], expected: dict[str, Any]
) -> None:
    found = merged(payload, chosen, asked=asked)
    assert found == expected
    after = {**payload, **found}
    assert after | merged(after, chosen, asked=asked) == after


@pytest.mark.parametrize("language", ["", "d", "de\x00", "german language", 5])
def test_a_language_is_named_by_its_code(search: ImageSearch, language: Any) -> None:
    with pytest.raises(InvalidQuery, match=r"language is .*; a tag such as en, de or zh-TW is wanted"):
        classify(search, [DOG], labels=["Hund", "Katze"], language=language)


@pytest.mark.parametrize("threshold", [0, -1, 1.01, float("nan"), "0.5", True])
def test_a_threshold_is_a_probability(search: ImageSearch, threshold: Any) -> None:
    labels = Labels.embedded(search, ["dog", "cat"])
    with pytest.raises(InvalidQuery, match=r"the threshold is .*; a probability above 0 and up to 1"):
        tag(search, labels=labels, threshold=threshold)


# the command


def use(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGLANCE_QDRANT__PATH", str(settings.qdrant.path))
    monkeypatch.setenv("POLYGLANCE_MODEL__SPACE", "mini")


def test_the_command_tags_a_collection_and_says_what_it_did(
    own: Settings, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(own, monkeypatch)
    arguments = ("--where", 'folder == "food-drink"', "--labels", "fruit,drink,animal", "--threshold", 0.6)

    shown = [json.loads(line) for line in cli("classify", *arguments, "--json").out.splitlines()]
    done = cli("classify", *arguments, "--tag", "--json").json

    assert done["seen"] == len(shown) > 50
    likely = [label["name"] for row in shown for label in row["labels"] if label["probability"] >= 0.6]
    counts = {name: likely.count(name) for name in ("fruit", "drink", "animal")}
    assert done["images"] == counts
    again = cli("classify", *arguments, "--tag")
    assert f"{done['seen']} images, 0 with other tags than before" in again.out
    assert (
        len(cli("search", "--order-by", "bytes", "--where", '"fruit" in tags', "-n", 1000, "--json").json["points"])
        == counts["fruit"]
    )


@pytest.fixture
def on_noto(noto: Settings, search: ImageSearch, cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line on the bundled images."""
    search.close()  # the embedded engine serves one at a time; these are the module's last tests
    use(noto, monkeypatch)
    return cli


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give either images, or --where FILTER, or --all"),
        (["a.jpg", "--all"], "give either images, or --where FILTER, or --all"),
        (["--all", "--where", "width > 1"], "--all and --where exclude one another"),
        (["a.jpg", "--tag"], "--tag is for stored images"),
        (["nowhere.jpg"], "'nowhere.jpg' cannot be read"),
        (["no-id", "--stored"], "'no-id' is no point id"),
        (["--where", "widht > 1"], "The nearest one is 'width'"),
        (["--all", "--tag", "--threshold", "2"], "the threshold is 2.0"),
        (["--all", "--template", "a photo"], "each template needs one {}"),
    ],
)
def test_a_wrong_call_is_told(on_noto: CommandLine, arguments: list[str], says: str) -> None:
    ran = on_noto("classify", *arguments, "--labels", "dog,cat")
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err.replace("\n", " ")


def test_the_command_names_the_best_labels(noto: Settings, on_noto: CommandLine) -> None:
    said = on_noto("classify", DOG, "--labels", "Hund, Segelboot", "--language", "de").out
    assert said.startswith(f"{DOG}\tHund ")
    with ImageSearch.open(settings=noto) as opened:
        hit = opened.image(BOAT, limit=1)[0]
    row = on_noto("classify", hit.id, "--stored", "--labels", "Hund, Segelboot", "--json").json
    assert (row["image"], row["labels"][0]["name"]) == (hit.id, "Segelboot")
