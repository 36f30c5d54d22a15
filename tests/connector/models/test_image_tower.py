import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from connector.errors import ConfigError, ModelError
from connector.images.decode import prepare
from connector.models.catalog import find_space
from connector.models.conversion import convert
from connector.models.image_tower import ImageTower, canonical_pixels, has_bfloat16
from connector.models.loading import WithinMemory
from connector.records import Pixels, Vectors
from connector.settings import ModelSettings
from tests.twins import SHAPES, Twins, write_clip, write_twins

CANONICAL = Path(__file__).parents[2] / "data" / "canonical_vectors.json"


def settings(twins: Twins, **changes: Any) -> ModelSettings:
    """The image twin on the CPU in float32."""
    return ModelSettings.model_validate(
        {"image_model": str(twins.image), "device": "cpu", "precision": "float32", **changes}
    )


@pytest.fixture(scope="module")
def tower(tiny_twins: Twins) -> ImageTower:
    return ImageTower.load(settings(tiny_twins))


@pytest.fixture(scope="module")
def reference(tiny_twins: Twins) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_twins.image), device="cpu", local_files_only=True)


@pytest.fixture
def any_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def photographs() -> list[Image.Image]:
    """Images with large and small detail, in the sizes and shapes of a library."""
    images = []
    for index, size in enumerate([(500, 375), (375, 500), (224, 224), (640, 200), (1000, 1000), (100, 80)]):
        coarse = np.random.default_rng(index).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        images.append(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    return images


def cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((ours * theirs).sum(axis=1))


# ------------------------------------------------------------------------------------------------ the same vectors


def test_the_products_pixels_give_the_reference_pipelines_vectors(
    tower: ImageTower, reference: SentenceTransformer
) -> None:
    images = photographs()
    expected = reference.encode(images, normalize_embeddings=True, show_progress_bar=False)

    found = tower.embed(np.stack([prepare(image, size=224) for image in images]))

    assert cosines(found, expected).min() >= 0.9999


def test_the_references_own_pixels_give_the_references_vectors(
    tower: ImageTower, reference: SentenceTransformer
) -> None:
    exact = [Image.fromarray(image) for image in canonical_pixels(224)]  # already 224x224: nothing is resized
    expected = reference.encode(exact, normalize_embeddings=True, show_progress_bar=False)

    found = tower.embed(canonical_pixels(224))

    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_unlike_images_have_unlike_vectors(tower: ImageTower) -> None:
    vectors = tower.embed(canonical_pixels(224))

    assert (vectors @ vectors.T)[~np.eye(4, dtype=bool)].max() < 0.98


@pytest.mark.parametrize("size", ["tiny", "mini"])
def test_the_canonical_vectors_hold(size: str, tiny_twins: Twins, mini_twins: Twins) -> None:
    twins, space = {"tiny": (tiny_twins, "clip-vit-b-32"), "mini": (mini_twins, "mini")}[size]
    tower = ImageTower.load(settings(twins, space=space))

    vectors = tower.embed(canonical_pixels(tower.space.image_size))

    np.testing.assert_allclose(vectors[:, :8], json.loads(CANONICAL.read_text())["image"][size], atol=2e-5)


def test_vectors_have_length_one_and_are_float32(tower: ImageTower) -> None:
    vectors = tower.embed(canonical_pixels(224))

    assert vectors.dtype == np.float32
    assert vectors.shape == (4, 512)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 7, 32])
def test_every_batch_size_gives_the_same_vectors(tower: ImageTower, batch: int) -> None:
    pixels = np.concatenate([np.rot90(canonical_pixels(224), k, axes=(1, 2)) for k in range(4)] * 2)
    whole = tower.embed(pixels)

    parts = [tower.embed(pixels[start : start + batch]) for start in range(0, len(pixels), batch)]

    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


@pytest.mark.usefixtures("any_threads")
def test_every_thread_count_gives_the_same_vectors(tower: ImageTower) -> None:
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(tower.embed(canonical_pixels(224)))

    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_the_old_file_format_and_half_precision_files_give_the_same_vectors(
    tower: ImageTower, copied_twins: Twins, tmp_path: Path
) -> None:
    pickled = write_twins(tmp_path / "old", weights="bin")
    convert(pickled.image)
    old = ImageTower.load(settings(pickled))
    np.testing.assert_array_equal(old.embed(canonical_pixels(224)), tower.embed(canonical_pixels(224)))

    halve(copied_twins.image / "0_CLIPModel")
    half = ImageTower.load(settings(copied_twins))
    assert half.precision == "float32"
    assert cosines(half.embed(canonical_pixels(224)), tower.embed(canonical_pixels(224))).min() >= 0.9999


def test_the_folders_own_normalisation_wins_over_the_spaces(tower: ImageTower, copied_twins: Twins) -> None:
    change_json(
        copied_twins.image / "0_CLIPModel" / "preprocessor_config.json", image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    pixels = canonical_pixels(224)
    reference = SentenceTransformer(str(copied_twins.image), device="cpu", local_files_only=True)
    expected = reference.encode([Image.fromarray(p) for p in pixels], normalize_embeddings=True)

    found = ImageTower.load(settings(copied_twins)).embed(pixels)

    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert np.abs(found - tower.embed(pixels)).max() > 1e-3


def test_read_only_and_strided_pixels_are_embedded_too(tower: ImageTower) -> None:
    pixels = canonical_pixels(224)
    pixels.flags.writeable = False

    np.testing.assert_allclose(tower.embed(pixels[::2]), tower.embed(pixels)[::2], atol=1e-5)


def test_no_images_give_no_vectors(tower: ImageTower) -> None:
    assert tower.embed(np.empty((0, 224, 224, 3), dtype=np.uint8)).shape == (0, 512)


@pytest.mark.parametrize("shape", [(2, 64, 64, 3), (224, 224, 3), (1, 3, 224, 224)])
def test_pixels_of_another_shape_are_refused(tower: ImageTower, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes \(n, 224, 224, 3\) uint8"):
        tower.embed(np.zeros(shape, dtype=np.uint8))


# ------------------------------------------------------------------------------------------------- the fingerprint


def test_the_fingerprint_knows_the_weights(tower: ImageTower, tiny_twins: Twins, tmp_path: Path) -> None:
    again = ImageTower.load(settings(tiny_twins))
    other = ImageTower.load(settings(write_twins(tmp_path, seed=1)))

    assert again.fingerprint == tower.fingerprint
    assert tower.fingerprint.differences(other.fingerprint) == [
        f"weights: {tower.fingerprint.weights} here, {other.fingerprint.weights} there"
    ]
    assert (tower.fingerprint.space, tower.fingerprint.dims, tower.fingerprint.image_size) == (
        "clip-vit-b-32",
        512,
        224,
    )
    assert len(tower.fingerprint.weights or "") == 16


def test_a_seed_gives_the_same_twins_and_another_seed_others(tiny_twins: Twins, tmp_path: Path) -> None:
    same = write_twins(tmp_path / "same")
    other = write_twins(tmp_path / "other", seed=1)

    files = sorted(path.relative_to(tiny_twins.image) for path in tiny_twins.image.rglob("*") if path.is_file())
    assert [(same.image / file).read_bytes() for file in files] == [(tiny_twins.image / f).read_bytes() for f in files]
    weights = "0_CLIPModel/model.safetensors"
    assert (other.image / weights).read_bytes() != (same.image / weights).read_bytes()


# ---------------------------------------------------------------------------------------------- precision and device


def test_explicit_bfloat16_comes_within_a_cosine_of_float32(tower: ImageTower, tiny_twins: Twins) -> None:
    bf16 = ImageTower.load(settings(tiny_twins, precision="bfloat16"))

    assert bf16.precision == "bfloat16"
    vectors = bf16.embed(canonical_pixels(224))
    assert vectors.dtype == np.float32
    assert cosines(vectors, tower.embed(canonical_pixels(224))).min() >= 0.9999


def test_explicit_bfloat16_that_changes_the_vectors_is_refused_with_the_cosine_seen(copied_twins: Twins) -> None:
    sharpen(copied_twins.image / "0_CLIPModel")

    with pytest.raises(ModelError, match=r"only to cosine -?0\.\d+ of float32.*Set model\.precision = float32"):
        ImageTower.load(settings(copied_twins, precision="bfloat16"))


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, True),
        ({}, False),
    ],
)
def test_only_a_processor_with_the_instructions_has_bfloat16(capabilities: dict[str, Any], expected: bool) -> None:
    assert has_bfloat16(torch.device("cpu"), capabilities) is expected


@pytest.mark.parametrize("device", ["cuda:99", "mps", "toaster", "meta"])
def test_a_device_that_is_not_there_is_a_config_error(tiny_twins: Twins, device: str) -> None:
    if device == "mps" and torch.mps.is_available():
        pytest.skip("this machine has an MPS device")

    with pytest.raises(ConfigError, match=rf"model\.device = '{device}'"):
        ImageTower.load(settings(tiny_twins, device=device))


# --------------------------------------------------------------------------------------------- how the pass is rebuilt


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_the_rebuilt_pass_gives_the_references_vectors(
    copied_twins: Twins, activation: str, caplog: pytest.LogCaptureFixture
) -> None:
    change_vision(copied_twins.image / "0_CLIPModel" / "config.json", hidden_act=activation)
    expected = encode(copied_twins, canonical_pixels(224))

    found = ImageTower.load(settings(copied_twins)).embed(canonical_pixels(224))

    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert "vision_fallback" not in caplog.text


def test_a_model_that_cannot_be_rebuilt_runs_as_sentence_transformers_runs_it(
    copied_twins: Twins, caplog: pytest.LogCaptureFixture
) -> None:
    change_vision(copied_twins.image / "0_CLIPModel" / "config.json", hidden_act="relu")
    expected = encode(copied_twins, canonical_pixels(224))

    for precision in ("float32", "bfloat16"):
        found = ImageTower.load(settings(copied_twins, precision=precision)).embed(canonical_pixels(224))
        assert cosines(found, expected).min() >= 0.9999
    assert "vision_fallback reason=a clip is no CLIP or SigLIP with one of quick_gelu, gelu" in caplog.text


# --------------------------------------------------------------------------------------------------- batches and slots


def test_a_cpu_takes_sixteen_at_a_time_unless_told_otherwise(tower: ImageTower) -> None:
    assert tower.prepare(0) == 16
    assert tower.prepare(5) == 5


def test_a_slot_may_be_filled_again_and_again(tower: ImageTower) -> None:
    pixels = canonical_pixels(224)
    slot = tower.slot(4)
    for count in (4, 2, 3):
        np.stack([*pixels[:count]], out=slot[:count])
        np.testing.assert_allclose(tower.embed(slot[:count]), tower.embed(pixels[:count]), atol=1e-5)


@pytest.mark.usefixtures("any_threads")
def test_many_threads_may_embed_at_once(tower: ImageTower) -> None:
    torch.set_num_threads(1)
    turned = [np.rot90(canonical_pixels(224), k, axes=(1, 2)) for k in range(4)] * 3
    alone = [tower.embed(pixels) for pixels in turned]

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(tower.embed, turned))

    np.testing.assert_allclose(np.stack(together), np.stack(alone), atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
def test_a_compiled_tower_gives_the_same_vectors(tower: ImageTower, tiny_twins: Twins) -> None:
    compiled = ImageTower.load(settings(tiny_twins, compiling="on"))
    assert compiled.prepare(4) == 4

    for count in (4, 3):  # the size it was compiled for, and another
        found = compiled.embed(canonical_pixels(224)[:count])
        np.testing.assert_allclose(found, tower.embed(canonical_pixels(224)[:count]), atol=1e-5)


# --------------------------------------------------------------------------------------------------------- on a GPU


def cuda_settings(twins: Twins, **changes: Any) -> ModelSettings:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    return settings(twins, **{"device": "cuda", **changes})


@pytest.mark.gpu
def test_a_gpu_gives_the_same_vectors(tower: ImageTower, tiny_twins: Twins) -> None:
    for precision in ("float32", "bfloat16"):
        on_gpu = ImageTower.load(cuda_settings(tiny_twins, precision=precision))
        assert on_gpu.device == "cuda"
        assert cosines(on_gpu.embed(canonical_pixels(224)), tower.embed(canonical_pixels(224))).min() >= 0.9999
    assert ImageTower.load(cuda_settings(tiny_twins, device="auto", precision="auto")).precision == "bfloat16"


@pytest.mark.gpu
def test_threads_share_a_gpu_through_pinned_slots(tower: ImageTower, tiny_twins: Twins) -> None:
    on_gpu = ImageTower.load(cuda_settings(tiny_twins))
    turned = [np.rot90(canonical_pixels(224), k, axes=(1, 2)) for k in range(4)] * 8
    assert torch.from_numpy(on_gpu.slot(4)).is_pinned()

    def embed(number: int) -> list[Vectors]:
        slot = on_gpu.slot(4)
        found = []
        for pixels in turned[number::4]:
            slot[:] = pixels
            found.append(on_gpu.embed(slot))
        return found

    with ThreadPoolExecutor(4) as threads:
        by_thread = list(threads.map(embed, range(4)))

    for number, found in enumerate(by_thread):
        for ours, pixels in zip(found, turned[number::4], strict=True):
            assert cosines(ours, tower.embed(pixels)).min() >= 0.9999


@pytest.mark.gpu
@pytest.mark.parametrize("compiling", ["auto", "off"])
def test_a_gpu_finds_its_batch_and_keeps_its_vectors(tower: ImageTower, tiny_twins: Twins, compiling: str) -> None:
    on_gpu = ImageTower.load(cuda_settings(tiny_twins, precision="bfloat16", compiling=compiling))

    batch = on_gpu.prepare(0)

    assert batch >= 64
    pixels = np.resize(canonical_pixels(224), (batch, 224, 224, 3))
    expected = np.resize(tower.embed(canonical_pixels(224)), (batch, 512))
    assert cosines(on_gpu.embed(pixels), expected).min() >= 0.9999


@pytest.mark.gpu
def test_a_full_gpu_does_a_batch_in_pieces(tower: ImageTower, tiny_twins: Twins) -> None:
    on_gpu = ImageTower.load(cuda_settings(tiny_twins))
    pixels = np.resize(canonical_pixels(224), (4096, 224, 224, 3))
    try:
        torch.cuda.set_per_process_memory_fraction(0.01)
        found = on_gpu.embed(pixels)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert cosines(found, np.resize(tower.embed(canonical_pixels(224)), (4096, 512))).min() >= 0.9999


# ------------------------------------------------------------------------------------------------------------ memory


class SmallDevice:
    """A forward pass on a device that holds ``room`` images at once."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.batches: list[int] = []

    def __call__(self, pixels: Pixels) -> Vectors:
        self.batches.append(len(pixels))
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return pixels[:, 0, 0].astype(np.float32)


def test_a_batch_too_large_for_the_device_is_done_in_pieces(caplog: pytest.LogCaptureFixture) -> None:
    device = SmallDevice(room=3)
    pixels = np.arange(10 * 3, dtype=np.uint8).reshape(10, 1, 1, 3)

    vectors = WithinMemory().run(device, pixels)

    np.testing.assert_array_equal(vectors, pixels[:, 0, 0])
    assert device.batches == [10, 5, 2, 2, 2, 2, 2]
    assert "device_memory_short" in caplog.text


def test_what_was_too_large_once_is_not_tried_again() -> None:
    device = SmallDevice(room=4)
    forward = partial(WithinMemory().run, device)
    forward(np.zeros((8, 1, 1, 3), dtype=np.uint8))
    device.batches.clear()

    forward(np.zeros((8, 1, 1, 3), dtype=np.uint8))

    assert device.batches == [4, 4]


def test_a_device_without_room_for_one_image_is_a_model_error() -> None:
    with pytest.raises(ModelError, match=r"single image: CUDA out of memory.*model\.device = cpu"):
        WithinMemory().run(SmallDevice(room=0), np.zeros((2, 1, 1, 3), dtype=np.uint8))


# ---------------------------------------------------------------------------------------------------- broken folders


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def rewrite(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def halve(folder: Path) -> None:
    rewrite(folder, {name: tensor.half() for name, tensor in tensors_of(folder).items()})


def sharpen(folder: Path) -> None:
    """Weights whose attention flips at the smallest rounding: bfloat16 cannot follow."""
    rewrite(
        folder, {n: t * 40 if "_proj.weight" in n and "self_attn" in n else t for n, t in tensors_of(folder).items()}
    )


def drop_a_tensor(folder: Path) -> None:
    tensors = tensors_of(folder)
    del tensors["vision_model.encoder.layers.1.mlp.fc1.weight"]
    rewrite(folder, tensors)


def change_vision(path: Path, **changes: Any) -> None:
    config = json.loads(path.read_text())
    change_json(path, vision_config={**config["vision_config"], **changes})


def encode(twins: Twins, pixels: Pixels) -> NDArray[np.float32]:
    """The vectors that sentence-transformers gives."""
    reference = SentenceTransformer(str(twins.image), device="cpu", local_files_only=True)
    vectors: NDArray[np.float32] = reference.encode([Image.fromarray(p) for p in pixels], normalize_embeddings=True)
    return vectors


def truncate(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size // 2)


BREAKAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no modules.json": (lambda f: (f / "modules.json").unlink(), "it has no modules.json"),
    "modules.json is no JSON": (lambda f: (f / "modules.json").write_text("{"), "modules.json cannot be read"),
    "modules.json lists nothing": (lambda f: (f / "modules.json").write_text("[]"), "config.json is missing"),
    "no module folder": (lambda f: (f / "0_CLIPModel").rename(f / "elsewhere"), "0_CLIPModel is missing"),
    "no config": (lambda f: (f / "0_CLIPModel" / "config.json").unlink(), "config.json is missing"),
    "no weights": (lambda f: (f / "0_CLIPModel" / "model.safetensors").unlink(), "has no weights"),
    "truncated weights": (lambda f: truncate(f / "0_CLIPModel" / "model.safetensors"), "half a download"),
    "corrupt weights": (
        lambda f: (f / "0_CLIPModel" / "model.safetensors").write_bytes(b"\xff" * 999),
        "half a download",
    ),
    "config is no JSON": (lambda f: (f / "0_CLIPModel" / "config.json").write_text("?"), "cannot be loaded"),
    "a tensor is missing": (
        lambda f: drop_a_tensor(f / "0_CLIPModel"),
        r"lack vision_model\.encoder\.layers\.1\.mlp\.fc1\.weight",
    ),
    "no preprocessor": (lambda f: (f / "0_CLIPModel" / "preprocessor_config.json").unlink(), "cannot be loaded"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_folder_is_one_clear_error(copied_twins: Twins, breakage: str) -> None:
    do, message = BREAKAGES[breakage]
    do(copied_twins.image)

    with pytest.raises(ModelError, match=message) as caught:
        ImageTower.load(settings(copied_twins))

    assert str(copied_twins.image) in str(caught.value)


def test_a_truncated_pickle_is_one_clear_error(tmp_path: Path) -> None:
    twins = write_twins(tmp_path, weights="bin")
    truncate(twins.image / "0_CLIPModel" / "pytorch_model.bin")

    with pytest.raises(ModelError, match=r"as a pickle, pytorch_model\.bin, which may hold code and is not loaded"):
        ImageTower.load(settings(twins))
    with pytest.raises(ModelError, match=r"is not converted: .* damaged .* Nothing of it was run"):
        convert(twins.image)


class Marks:
    """Unpickled without care, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_that_holds_code_is_refused_and_none_of_it_runs(tmp_path: Path) -> None:
    twins = write_twins(tmp_path, weights="bin")
    torch.save({"weight": Marks(tmp_path / "ran")}, twins.image / "0_CLIPModel" / "pytorch_model.bin")

    with pytest.raises(ModelError, match="it holds something else than tensors"):
        convert(twins.image)

    assert not (tmp_path / "ran").exists()
    assert not list(twins.image.rglob("*.safetensors"))


def test_a_model_that_needs_code_of_its_own_is_refused(copied_twins: Twins) -> None:
    change_json(copied_twins.image / "0_CLIPModel" / "config.json", auto_map={"AutoModel": "modeling.Mine"})

    with pytest.raises(ModelError, match=r"needs code of its own \(auto_map in .*config\.json\), which is never run"):
        ImageTower.load(settings(copied_twins))


def test_a_folder_that_does_not_exist_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        ImageTower.load(ModelSettings(image_model=str(tmp_path / "nowhere")))

    assert str(caught.value) == (
        f"the image model {tmp_path / 'nowhere'} does not exist. Set POLYGLANCE_MODEL__IMAGE_MODEL=/path/to/folder to "
        "use a copy; or use --space mini-photos, which is bundled and works without."
    )


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()

    with pytest.raises(ModelError, match="is a file, not a folder"):
        ImageTower.load(ModelSettings(image_model=str(tmp_path / "model.bin")))


def test_a_text_model_is_no_image_tower(tiny_twins: Twins) -> None:
    with pytest.raises(ModelError, match="embeds text, not image"):
        ImageTower.load(ModelSettings(image_model=str(tiny_twins.text)))


def test_a_model_of_another_image_size_is_refused(mini_twins: Twins) -> None:
    with pytest.raises(ModelError, match=r"takes images of 64 pixels, space clip-vit-b-32 224"):
        ImageTower.load(settings(mini_twins))


def test_a_model_of_other_dims_is_refused(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip", shape=replace(SHAPES["tiny"], dims=256), weights="safetensors", seed=0)

    with pytest.raises(ModelError, match=r"gives 256 dims, space clip-vit-b-32 has 512"):
        ImageTower.load(ModelSettings(image_model=str(folder)))


def test_loading_says_nothing(
    tiny_twins: Twins, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    ImageTower.load(settings(tiny_twins))

    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


# ----------------------------------------------------------------------------------------------- published weights


@pytest.mark.weights
def test_the_published_weights_give_the_reference_pipelines_vectors() -> None:
    name = os.environ.get("POLYGLANCE_TEST_IMAGE_MODEL", find_space("clip-vit-b-32").image.model)
    try:
        folder = name if Path(name).is_dir() else snapshot_download(name, local_files_only=True)
    except LocalEntryNotFoundError:
        pytest.skip(f"{name} is not on this machine; POLYGLANCE_TEST_IMAGE_MODEL=/path/to/folder names a copy")
    reference = SentenceTransformer(folder, device="cpu", local_files_only=True)
    images = photographs()
    expected = reference.encode(images, normalize_embeddings=True, show_progress_bar=False)

    tower = ImageTower.load(ModelSettings(image_model=folder))

    assert cosines(tower.embed(np.stack([prepare(p, size=224) for p in images])), expected).min() >= 0.9999
