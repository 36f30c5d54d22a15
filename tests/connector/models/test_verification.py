"""A declaration that nobody could verify: refused until the model's files were held against it, and found to see."""

from pathlib import Path

import numpy as np
import pytest

from connector.errors import ConfigError, ModelError
from connector.models.catalog import find_space
from connector.models.image_tower import ImageTower
from connector.models.text_tower import TextTower
from connector.models.verification import CARDS, draw_cards, verify
from connector.settings import ModelSettings
from tests.conftest import CommandLine
from tests.family_twins import write_family

UNVERIFIED = 'unverified = "how its text tower pools"\n'


@pytest.fixture(autouse=True)
def own_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A data folder of the test's own, where what was checked is noted."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))


def declared(root: Path, family: str) -> Path:
    twin = write_family(family, root)
    twin.space.write_text(UNVERIFIED + twin.space.read_text(encoding="utf-8"), encoding="utf-8")
    return twin.space


def mini_declared(root: Path) -> Path:
    """The bundled space under another name, as if nobody had seen its files."""
    folder = Path(find_space("mini").image.model).parent
    file = root / "unseen.toml"
    text = (folder.parent / "spaces" / "mini.toml").read_text(encoding="utf-8")
    file.write_text(UNVERIFIED + text.replace("../mini", str(folder)), encoding="utf-8")
    return file


def test_mexma_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(ConfigError, match=r"CC-BY-NC-4\.0, which does not allow commercial use"):
        TextTower.load(ModelSettings(space="mexma-siglip2"))

    space = find_space("mexma-siglip2").model_copy(update={"commercial": True})
    with pytest.raises(ModelError, match="could not be verified: the names of its tensors"):
        TextTower.load(ModelSettings(space="mexma-siglip2"), declared=space)


def test_towers_that_load_and_find_nothing_stay_refused(cli: CommandLine, tmp_path: Path) -> None:
    file = declared(tmp_path, "mexma")
    settings = ModelSettings(space=str(file), device="cpu", precision="float32")
    ran = cli("space", "check", file, "--json")
    assert ran.code == 1
    assert [row["outcome"] for row in ran.json["towers"]] == ["sound", "sound", "unverified"]
    assert f"of {len(CARDS)} drawn cards" in ran.json["towers"][-1]["detail"]
    with pytest.raises(ModelError, match=r"could not be verified: how its text tower pools.*space check"):
        ImageTower.load(settings)


def test_towers_that_find_what_they_read_are_refused_no_more(tmp_path: Path) -> None:
    file = mini_declared(tmp_path)
    settings = ModelSettings(space=str(file), device="cpu", precision="float32")
    with pytest.raises(ModelError, match="could not be verified"):
        ImageTower.load(settings)
    space = find_space(str(file))
    trusted = space.model_copy(update={"unverified": None})
    drawn = ImageTower.load(settings, declared=trusted).embed(draw_cards(space.image_size))
    wrong = TextTower.load(settings, declared=trusted).embed(["a dog"] * len(CARDS))
    with pytest.raises(ModelError, match="find only 1 of 6 drawn cards"):
        verify(space, cards=drawn, captions=wrong)
    verify(space, cards=drawn, captions=drawn)
    ImageTower.load(settings)
    changed = file.read_text(encoding="utf-8").replace("scale = 20.0", "scale = 21.0")
    file.write_text(changed, encoding="utf-8")
    with pytest.raises(ModelError, match="could not be verified"):
        ImageTower.load(settings)


@pytest.mark.parametrize("size", [64, 224, 512])
def test_the_cards_are_what_their_captions_say(size: int) -> None:
    circle, square, triangle, checkers, star, black = draw_cards(size)
    middle = size // 2
    assert [tuple(card[middle, middle]) for card in (circle, square, triangle)] == [
        (220, 20, 30),
        (20, 50, 220),
        (20, 160, 40),
    ]
    assert tuple(star[middle, middle]) == (250, 210, 20)
    assert 0.45 < (checkers == 0).mean() < 0.55
    assert not black.any()
    for card in (circle, square, triangle, star):
        assert (card[0, 0] == 255).all()
    assert len({np.packbits(card != 255).tobytes() for card in draw_cards(size)}) == len(CARDS)
