"""The text tower in 8 bits: used where its vectors are torch's, and nowhere else."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from connector.errors import ConfigError
from connector.models.text_onnx import LEAST_COSINE, cached_path
from connector.models.text_tower import TextTower
from connector.settings import ModelSettings
from tests.twins import SENTENCES, Twins

MINI = Path(__file__).parents[3] / "connector/models/mini/text"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "polyglance" / "onnx"


def load(twins: Twins, *, tower: str = "multilingual", runtime: str = "onnx") -> TextTower:
    return TextTower.load(
        ModelSettings.model_validate(
            {
                "image_model": str(twins.image),
                "text_model": str(twins.text) if tower == "multilingual" else None,
                "text_tower": tower,
                "text_runtime": runtime,
                "device": "cpu",
            }
        )
    )


@pytest.mark.parametrize("tower", ["multilingual", pytest.param("english", marks=pytest.mark.slow)])
def test_its_vectors_are_torchs(tiny_twins: Twins, cache: Path, tower: str) -> None:
    quick, plain = load(tiny_twins, tower=tower), load(tiny_twins, tower=tower, runtime="torch")
    assert (quick.runtime, plain.runtime) == ("onnx", "torch")

    texts = [*SENTENCES, *(f"{sentence} {'na ' * (number % 11)}" for number, sentence in enumerate(SENTENCES * 6))]
    assert ((quick.embed(texts) * plain.embed(texts)).sum(axis=1) > 0.998).all()
    assert [path.suffix for path in cache.iterdir()] == [".onnx"]


@pytest.mark.slow
def test_it_is_exported_once_and_anew_where_the_file_is_damaged(
    tiny_twins: Twins, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="connector.models.text_onnx")
    first = load(tiny_twins).embed(SENTENCES)
    (path,) = cache.iterdir()
    written = path.stat().st_mtime_ns

    np.testing.assert_array_equal(load(tiny_twins).embed(SENTENCES), first)
    assert path.stat().st_mtime_ns == written
    path.write_bytes(path.read_bytes()[:1000])
    np.testing.assert_array_equal(load(tiny_twins).embed(SENTENCES), first)
    assert caplog.text.count("onnx_export") == 2


def test_other_weights_have_another_file(tiny_twins: Twins, copied_twins: Twins, cache: Path) -> None:
    weights = copied_twins.text / "2_Dense" / "model.safetensors"
    before = cached_path(copied_twins.text)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)

    assert before == cached_path(tiny_twins.text)
    assert cached_path(copied_twins.text) != before
    assert before.parent == cache


def test_a_model_that_8_bits_change_stays_with_torch_and_is_tried_once(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Space mini is such a model: its matrices are small, and int8 turns its vectors by more than allowed."""
    caplog.set_level(logging.INFO, logger="connector.models.text_onnx")
    settings = ModelSettings(space="mini", text_runtime="onnx", device="cpu")

    first, second = TextTower.load(settings), TextTower.load(settings)

    assert (first.runtime, second.runtime) == ("torch", "torch")
    assert caplog.text.count("onnx_export") == 1
    (path,) = cache.iterdir()
    assert path == cached_path(MINI).with_suffix(".refused")
    assert 0.9 < float(path.read_text()) < LEAST_COSINE
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1
    assert "torch runs it" in warned[0].getMessage()


def test_where_nothing_can_be_kept_torch_runs_and_the_log_says_why(
    tiny_twins: Twins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))

    assert load(tiny_twins).runtime == "torch"
    assert "onnx_failed" in caplog.text
    assert "NotADirectoryError" in caplog.text


def test_by_itself_it_is_taken_for_large_models_alone(tiny_twins: Twins, cache: Path) -> None:
    assert load(tiny_twins, runtime="auto").runtime == "torch"
    assert not cache.exists()


def test_without_the_extra_torch_runs_and_a_wish_for_onnx_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules.update(onnxruntime=None)\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'onnxruntime' else find(name, *rest)\n"
        "from connector.settings import ModelSettings\n"
        "from connector.models.text_tower import TextTower\n"
        "settings = lambda r: ModelSettings(space='mini', text_runtime=r, device='cpu')\n"
        "print(TextTower.load(settings('auto')).runtime)\n"
        "TextTower.load(settings('onnx'))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3]
    )

    assert ran.stdout.strip() == "torch"
    assert "needs onnxruntime: pip install 'polyglance[onnx]'" in ran.stderr
    assert ConfigError.__name__ in ran.stderr
