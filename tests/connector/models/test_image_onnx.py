"""The image tower in 8 bits: asked for, exported once, and refused where it does not hold."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from connector.errors import ModelError
from connector.models.image_kernels import least_cosine
from connector.models.image_tower import ImageTower, canonical_pixels
from connector.models.onnx_files import missing_libraries
from connector.settings import ModelSettings
from tests.twins import Twins

pytestmark = pytest.mark.skipif(
    bool(missing_libraries()), reason="needs the extra onnx: pip install 'polyglance[onnx]'"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "polyglance" / "onnx"


def load(twins: Twins, precision: str) -> ImageTower:
    return ImageTower.load(
        ModelSettings.model_validate({"image_model": str(twins.image), "device": "cpu", "precision": precision})
    )


@pytest.mark.slow
def test_8_bits_that_hold_give_nearly_the_same_vectors_and_are_exported_once(cache: Path) -> None:
    """With the bundled tower, whose weights are trained ones."""
    settings = {"space": "mini", "device": "cpu"}
    exact = ImageTower.load(ModelSettings.model_validate({**settings, "precision": "float32"}))

    tower = ImageTower.load(ModelSettings.model_validate({**settings, "precision": "int8"}))
    files = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    again = ImageTower.load(ModelSettings.model_validate({**settings, "precision": "int8"}))

    assert tower.precision == "int8"
    pixels = np.ascontiguousarray(canonical_pixels(64))
    assert least_cosine(tower.embed(pixels), exact.embed(pixels)) >= 0.999
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == files
    np.testing.assert_array_equal(tower.embed(pixels), again.embed(pixels))


@pytest.mark.slow
def test_8_bits_that_change_the_vectors_are_refused_with_the_cosine_seen(copied_twins: Twins) -> None:
    weights = copied_twins.image / "0_CLIPModel" / "model.safetensors"
    sharp = {n: t * 40 if "_proj.weight" in n and "self_attn" in n else t for n, t in load_file(weights).items()}
    save_file(sharp, weights, metadata={"format": "pt"})  # attention that flips at the smallest rounding

    with pytest.raises(ModelError, match=r"int8 brings .* only to cosine -?0\.\d+ .*Set model\.precision = auto"):
        load(copied_twins, "int8")


def test_8_bits_are_never_taken_unasked(tiny_twins: Twins) -> None:
    assert load(tiny_twins, "auto").precision != "int8"
