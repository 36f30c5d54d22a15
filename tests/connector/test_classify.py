"""Zero-shot labels on the bundled pictures."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector import ImageSearch, InvalidQuery, Settings, point
from connector.classify import classify, templates_of
from tests.conftest import CommandLine
from workers.demo import tour

PICTURES = Path(str(tour.PICTURES))
DOG, BOAT, APPLE = (
    PICTURES / name for name in ("animals-nature/dog.png", "travel-places/sailboat.png", "food-drink/red-apple.png")
)


@pytest.fixture(scope="module")
def search(noto: Settings) -> Iterator[ImageSearch]:
    with ImageSearch.open(settings=noto) as opened:
        yield opened


@pytest.mark.parametrize(
    "labels", [("dog", "sailboat", "apple"), ("Hund", "Segelboot", "Apfel"), ("собака", "парусник", "яблоко")]
)
def test_labels_of_any_language_fit_their_pictures(search: ImageSearch, labels: tuple[str, ...]) -> None:
    found = classify(search, [DOG, BOAT, APPLE.read_bytes()], labels=labels)

    assert [best[0].name for best in found] == list(labels)
    for best in found:
        assert sum(label.probability for label in best) == pytest.approx(1)
        assert [label.score for label in best] == sorted((label.score for label in best), reverse=True)


def test_stored_pictures_get_the_labels_of_their_files(search: ImageSearch) -> None:
    hit = search.image(DOG, limit=1)[0]
    (stored, file) = classify(search, [point(hit.id), DOG], labels=["dog", "cat"], templates=templates_of("en"))
    assert stored[0].name == file[0].name == "dog"
    assert stored[0].score == pytest.approx(file[0].score, abs=2e-3)  # stored as float16


@pytest.mark.parametrize(
    ("labels", "templates", "says"),
    [
        (["dog"], ["{}"], "2 to 10,000 labels"),
        (["dog", "dog"], ["{}"], "'dog' is given twice"),
        (["dog", " "], ["{}"], "a label is empty"),
        (["dog", "cat"], ["a photo"], "each template needs one {}"),
        (["dog", "cat"], [], "each template needs one {}"),
    ],
)
def test_labels_and_templates_that_mean_nothing_are_told(
    search: ImageSearch, labels: list[str], templates: list[str], says: str
) -> None:
    with pytest.raises(InvalidQuery, match=says):
        classify(search, [DOG], labels=labels, templates=templates)


def test_the_command_names_the_best_labels(
    noto: Settings, search: ImageSearch, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hit = search.image(BOAT, limit=1)[0]
    search.close()  # the embedded engine serves one at a time; this is the module's last test
    monkeypatch.setenv("POLYGLANCE_QDRANT__PATH", str(noto.qdrant.path))
    monkeypatch.setenv("POLYGLANCE_MODEL__SPACE", "mini")

    assert cli("classify", DOG, "--labels", "Hund, Segelboot", "--language", "de").out.startswith(f"{DOG}\tHund ")
    (row,) = cli("classify", hit.id, "--stored", "--labels", "Hund, Segelboot", "--json").json
    assert row["labels"][0]["name"] == "Segelboot"
    assert cli("classify", "nowhere.jpg", "--labels", "a,b").code == 2
