"""Which arithmetic the image tower runs in: every kind forced, and nothing assumed of the machine."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from connector.models.image_kernels import Embed, choose, load_choice, processor, remember
from connector.models.image_tower import ImageTower, canonical_pixels
from connector.models.kernel_choice import Choice, Measured
from connector.models.weights import digest
from connector.records import Vectors
from connector.settings import ModelSettings
from tests.conftest import CommandLine
from tests.twins import Twins

EXACT: Vectors = np.eye(4, dtype=np.float32)
OTHER: Vectors = np.roll(EXACT, 1, axis=0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "polyglance" / "onnx"


def weights_of(twins: Twins) -> str:
    return digest(twins.image / "0_CLIPModel")


def load(twins: Twins) -> ImageTower:
    return ImageTower.load(ModelSettings(image_model=str(twins.image), device="cpu"))


class Passes:
    """Two forms of a tower on one clock, on which a pass of each takes so long."""

    def __init__(self, *, whole_s: float, half_s: float, half: Vectors = EXACT) -> None:
        self.now = 0.0
        self.half_passes = 0
        self._whole_s, self._half_s, self._half = whole_s, half_s, half

    def clock(self) -> float:
        return self.now

    def whole(self) -> Vectors:
        self.now += self._whole_s
        return EXACT

    def half(self) -> Vectors:
        self.now += self._half_s
        self.half_passes += 1
        return self._half

    def choose(self) -> Choice:
        whole: Embed = self.whole
        return choose(whole, self.half, exact=EXACT, clock=self.clock)


def test_bfloat16_that_holds_and_gains_is_taken() -> None:
    choice = Passes(whole_s=0.3, half_s=0.1).choose()
    assert choice.kernel == "bfloat16"
    assert choice.measured["float32"] == Measured(1.0, 0.3)
    assert str(choice) == "float32 cosine 1.00000, 300 ms; bfloat16 cosine 1.00000, 100 ms"


@pytest.mark.parametrize("half_s", [0.29, 0.3, 0.5])
def test_bfloat16_that_gains_nothing_is_not_taken(half_s: float) -> None:
    assert Passes(whole_s=0.3, half_s=half_s).choose().kernel == "float32"


def test_bfloat16_that_changes_the_vectors_is_not_taken() -> None:
    choice = Passes(whole_s=0.3, half_s=0.1, half=OTHER).choose()
    assert choice.kernel == "float32"
    assert choice.measured["bfloat16"].cosine == 0


def test_arithmetic_that_is_emulated_is_tried_once_and_given_up() -> None:
    passes = Passes(whole_s=0.3, half_s=60.0)
    assert passes.choose().kernel == "float32"
    assert passes.half_passes == 1


@pytest.mark.parametrize("kernel", ["float32", "bfloat16"])
def test_what_was_found_before_runs_on_any_processor(
    tiny_twins: Twins, kernel: str, caplog: pytest.LogCaptureFixture
) -> None:
    forced = Choice("bfloat16" if kernel == "bfloat16" else "float32", {"float32": Measured(1.0, 0.1)})
    remember(forced, weights_of(tiny_twins), device=processor())
    exact = ImageTower.load(ModelSettings(image_model=str(tiny_twins.image), device="cpu", precision="float32"))
    caplog.set_level(logging.INFO)
    tower = load(tiny_twins)
    assert tower.precision == kernel
    pixels = canonical_pixels(224)
    assert float((tower.embed(pixels) * exact.embed(pixels)).sum(axis=1).min()) >= 0.9999
    assert sum("image_tower model=" in line and f"kernel={kernel}" in line for line in caplog.messages) == 1


def test_a_tower_is_measured_once_and_the_settings_say_what_was_found(
    tiny_twins: Twins, cli: CommandLine, caplog: pytest.LogCaptureFixture
) -> None:
    asked = ("settings", "--set", f"model.image_model={tiny_twins.image}", "--set", "model.device=cpu")
    assert "The image tower runs in bfloat16 or float32, by measuring when it is first loaded here." in cli(*asked).out
    caplog.set_level(logging.INFO)
    first, second = load(tiny_twins), load(tiny_twins)
    assert first.precision == second.precision
    assert sum("image_kernel_chosen" in line for line in caplog.messages) == 1
    told = cli(*asked, "--json").json["model.precision"]
    assert told["value"] == "auto"
    assert told["runs"].startswith(f"{first.precision}: ")
    assert f"The image tower runs in {told['runs']}." in cli(*asked).out


def test_other_weights_and_other_processors_are_measured_for_themselves(tiny_twins: Twins, mini_twins: Twins) -> None:
    remember(Choice("bfloat16"), weights_of(tiny_twins), device="another processor")
    assert load_choice(weights_of(tiny_twins), device=processor()) is None
    remember(Choice("bfloat16"), weights_of(tiny_twins), device=processor())
    assert load_choice(weights_of(mini_twins), device=processor()) is None


DAMAGE: list[Callable[[str], str]] = [
    lambda _: "",
    lambda _: "[]",
    lambda _: '{"kernel": "bfloat16"}',
    lambda text: text[:-9],
    lambda text: text.replace("cosine", "angle"),
]


@pytest.fixture
def remembered(tiny_twins: Twins, cache: Path) -> Path:
    remember(Choice("bfloat16", {"float32": Measured(1.0, 0.1)}), weights_of(tiny_twins), device=processor())
    (path,) = cache.glob("image-kernel-*.json")
    assert json.loads(path.read_text())["kernel"] == "bfloat16"
    return path


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_memory_counts_as_none(tiny_twins: Twins, remembered: Path, damage: Callable[[str], str]) -> None:
    remembered.write_text(damage(remembered.read_text()))
    assert load_choice(weights_of(tiny_twins), device=processor()) is None
