"""A text tower without torch: the files of a model, bundled or exported, give torch's tokens and torch's vectors."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from connector.errors import ConfigError
from connector.models.text_export import AWKWARD, PROBES
from connector.models.text_models import load_text_model
from connector.models.text_onnx import SHIPPED, cached_folder, find_exports, fingerprint
from connector.models.text_tower import TextTower
from connector.settings import ModelSettings
from tests.twins import SENTENCES, Twins, write_mclip

MINI = Path(__file__).parents[3] / "connector/models/mini/text"
TEXTS = [
    *PROBES,
    *AWKWARD,
    *SENTENCES,
    *(f"{sentence} {'na ' * (number % 40)}" for number, sentence in enumerate(SENTENCES * 6)),
    *(" ".join(SENTENCES[start:]) * 3 for start in range(len(SENTENCES))),
    *(chr(code) * 3 for code in range(0x20, 0x30000, 997) if not 0xD800 <= code < 0xE000),
]
FORBIDDEN = ("torch", "transformers", "sentence_transformers", "sklearn", "scipy", "onnx", "onnxscript")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "polyglance" / "onnx"


def settings(twins: Twins, *, tower: str = "multilingual", runtime: str = "onnx") -> ModelSettings:
    return ModelSettings.model_validate(
        {
            "image_model": str(twins.image),
            "text_model": str(twins.text) if tower == "multilingual" else None,
            "text_tower": tower,
            "text_runtime": runtime,
            "device": "cpu",
        }
    )


def load(twins: Twins, *, tower: str = "multilingual", runtime: str = "onnx") -> TextTower:
    return TextTower.load(settings(twins, tower=tower, runtime=runtime))


def without_torch(model: ModelSettings, texts: list[str]) -> np.ndarray:
    """The vectors of texts by a fresh process in which torch and its like cannot be imported."""
    code = (
        f"import json, sys\nsys.modules.update(dict.fromkeys({FORBIDDEN}))\n"
        "from connector.models.text_tower import TextTower\nfrom connector.settings import ModelSettings\n"
        "tower = TextTower.load(ModelSettings.model_validate_json(sys.argv[1]))\n"
        "print(json.dumps(tower.embed(json.loads(sys.argv[2])).tolist()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, model.model_dump_json(), json.dumps(texts)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    return np.array(json.loads(ran.stdout))


def test_the_bundled_tower_answers_where_torch_cannot_be_imported() -> None:
    plain = TextTower.load(ModelSettings(space="mini", text_runtime="torch", device="cpu"))
    assert plain.runtime == "torch"

    found = without_torch(ModelSettings(space="mini"), list(SENTENCES))

    assert (found * plain.embed(SENTENCES)).sum(axis=1).min() >= 0.9999


def test_the_bundled_towers_tokens_and_vectors_are_torchs_for_any_text() -> None:
    (exported,) = find_exports(MINI)
    read, model = exported.tokenizer(), load_text_model(MINI)
    for text in TEXTS:
        np.testing.assert_array_equal(read([text]).ids, model.tokenize([text]).ids.numpy(), err_msg=ascii(text))
    together, expected = read(TEXTS), model.tokenize(TEXTS)
    np.testing.assert_array_equal(together.ids, expected.ids.numpy())
    np.testing.assert_array_equal(together.mask, expected.mask.numpy())

    quick = TextTower.load(ModelSettings(space="mini", device="cpu"))
    plain = TextTower.load(ModelSettings(space="mini", text_runtime="torch", device="cpu"))
    assert (quick.runtime, quick.kernel) == ("onnx", "float32")
    assert (quick.embed(TEXTS) * plain.embed(TEXTS)).sum(axis=1).min() >= 0.9999


def test_the_bundled_files_belong_to_the_bundled_weights_and_are_no_larger() -> None:
    told = json.loads((MINI / SHIPPED / "tower.json").read_text(encoding="utf-8"))

    assert told["made_of"] == fingerprint(MINI), "run python -m demo.export"
    weights = (MINI / "model.safetensors").stat().st_size
    assert (MINI / SHIPPED / "float32.onnx").stat().st_size < 1.1 * weights


def test_files_of_other_weights_are_passed_over(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy = Path(shutil.copytree(MINI, tmp_path / "text"))
    weights = copy / "2_Dense" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)

    tower = TextTower.load(ModelSettings(space="mini", text_model=str(copy), device="cpu"))

    assert tower.runtime == "torch"
    assert "onnx_stale" in caplog.text
    assert not cache.exists()


def test_a_damaged_bundled_file_leaves_the_tower_to_torch(tmp_path: Path, cache: Path) -> None:
    for number, name in enumerate(("float32.onnx", "tower.json", "probes.npy")):
        copy = Path(shutil.copytree(MINI, tmp_path / str(number)))
        (copy / SHIPPED / name).write_bytes((copy / SHIPPED / name).read_bytes()[:100])

        tower = TextTower.load(ModelSettings(space="mini", text_model=str(copy), device="cpu"))

        assert tower.runtime == "torch", name
    assert not cache.exists()


@pytest.mark.parametrize("tower", ["multilingual", pytest.param("english", marks=pytest.mark.slow)])
def test_another_model_is_exported_once_and_then_needs_no_torch(tiny_twins: Twins, cache: Path, tower: str) -> None:
    first, plain = load(tiny_twins, tower=tower), load(tiny_twins, tower=tower, runtime="torch")
    assert (first.runtime, first.kernel, plain.runtime) == ("onnx", "float32", "torch")
    assert (first.embed(TEXTS) * plain.embed(TEXTS)).sum(axis=1).min() >= 0.9999
    (folder,) = cache.iterdir()
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}

    for runtime in ("onnx", "auto"):
        found = without_torch(settings(tiny_twins, tower=tower, runtime=runtime), TEXTS[:20])
        np.testing.assert_allclose(found, first.embed(TEXTS[:20]), atol=1e-5)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == written


@pytest.mark.slow
def test_m_clips_layout_is_exported_too(tmp_path: Path, cache: Path) -> None:
    folder = write_mclip(tmp_path / "XLM-Roberta-Large-Vit-B-32")
    model = ModelSettings(text_tower="xlm-roberta-large", text_model=str(folder), device="cpu", text_runtime="onnx")
    plain = TextTower.load(model.model_copy(update={"text_runtime": "torch"}))

    assert TextTower.load(model).runtime == "onnx"
    found = without_torch(model, TEXTS[:40])

    assert (found * plain.embed(TEXTS[:40])).sum(axis=1).min() >= 0.9999
    assert len(list(cache.iterdir())) == 1


@pytest.mark.slow
def test_a_damaged_export_is_made_anew(tiny_twins: Twins, cache: Path) -> None:
    first = load(tiny_twins).embed(SENTENCES)
    (folder,) = cache.iterdir()
    whole = folder / "float32.onnx"
    size = whole.stat().st_size
    whole.write_bytes(whole.read_bytes()[:1000])

    np.testing.assert_allclose(load(tiny_twins).embed(SENTENCES), first, atol=1e-6)
    assert whole.stat().st_size == size
    assert list(cache.iterdir()) == [folder]


def test_other_weights_and_another_tokenizer_have_another_folder(
    tiny_twins: Twins, copied_twins: Twins, cache: Path
) -> None:
    seen = {cached_folder(copied_twins.text)}
    assert seen == {cached_folder(tiny_twins.text)}
    for name in ("2_Dense/model.safetensors", "tokenizer.json", "sentence_bert_config.json", "1_Pooling/config.json"):
        file = copied_twins.text / name
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        seen.add(cached_folder(copied_twins.text))

    assert len(seen) == 5
    assert {folder.parent for folder in seen} == {cache}


def test_a_tokenizer_that_cannot_be_had_without_torch_is_refused_once(
    copied_twins: Twins, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="connector.models.text_export")
    config = copied_twins.text / "tokenizer_config.json"
    told = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**told, "padding_side": "left"}), encoding="utf-8")

    first, second = load(copied_twins), load(copied_twins)

    assert (first.runtime, second.runtime) == ("torch", "torch")
    assert caplog.text.count("onnx_export") == 1
    assert caplog.text.count("pads or cuts texts at their start") == 2
    assert [path.suffix for path in cache.iterdir()] == [".refused"]


def test_where_nothing_can_be_kept_torch_runs_and_the_log_says_why(
    tiny_twins: Twins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))

    assert load(tiny_twins).runtime == "torch"
    assert "onnx_failed" in caplog.text
    assert "NotADirectoryError" in caplog.text


def test_by_itself_only_a_large_model_is_exported(tiny_twins: Twins, cache: Path) -> None:
    assert load(tiny_twins, runtime="auto").runtime == "torch"
    assert not cache.exists()


@pytest.mark.slow
def test_without_the_exporter_torch_runs_and_a_wish_for_onnx_says_what_to_install(tiny_twins: Twins) -> None:
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'onnxscript' else find(name, *rest)\n"
        "from connector.settings import ModelSettings\n"
        "from connector.models.text_tower import TextTower\n"
        "settings = lambda r: ModelSettings(text_model=sys.argv[1], text_runtime=r, device='cpu')\n"
        "print(TextTower.load(settings('auto')).runtime)\n"
        "TextTower.load(settings('onnx'))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tiny_twins.text)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3],
    )  # fmt: skip

    assert ran.stdout.strip() == "torch"
    assert "needs onnxscript: pip install 'polyglance[onnx]'" in ran.stderr
    assert ConfigError.__name__ in ran.stderr
