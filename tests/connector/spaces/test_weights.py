"""What happens where weights are not on this machine: asked in a fresh process, as a user meets it."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connector.errors import ModelError
from connector.spaces.catalog import find_space
from connector.spaces.weights import digest, find_model, weight_files
from tests.twins import Twins

ASK = """
from connector.errors import ModelError
from connector.spaces.weights import find_model
try:
    print("found", find_model("sentence-transformers/clip-ViT-B-32", half="image"))
except ModelError as error:
    print(error)
"""
LONGEST_S = 60.0
"""Ten times what a refusal takes; the hub client alone would go on for six minutes."""


def ask(home: Path, **environment: str) -> str:
    """What a process with its own hub cache answers. The time limit bounds how long a refusal may take."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    process = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**inherited, "HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=True,
    )
    return process.stdout.strip()


@contextmanager
def silent_server() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def cache_snapshot(home: Path, model: Path) -> Path:
    """Lay a model into a hub cache as the hub client would."""
    repository = home / "hub" / "models--sentence-transformers--clip-ViT-B-32"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("c" * 40)
    return Path(shutil.copytree(model, repository / "snapshots" / ("c" * 40)))


def test_offline_the_error_says_where_it_looked_and_how_to_get_the_weights(tmp_path: Path) -> None:
    answer = ask(tmp_path, HF_HUB_OFFLINE="1")

    assert answer == (
        "the image model sentence-transformers/clip-ViT-B-32 is not on this machine. Looked in the hub's cache "
        f"{tmp_path}/hub and for the hub's https://huggingface.co/sentence-transformers/clip-ViT-B-32: the hub was not "
        "asked, because HF_HUB_OFFLINE is set. Where there is a network, run `hf download "
        "sentence-transformers/clip-ViT-B-32`; or set POLYGLANCE_MODEL__IMAGE_MODEL=/path/to/folder to use a copy; or "
        "use --space mini, which is bundled and works without."
    )


def test_a_hub_that_refuses_fails_within_seconds(tmp_path: Path) -> None:
    answer = ask(tmp_path, HF_ENDPOINT="http://127.0.0.1:9")

    assert "the hub gave no answer (ConnectError" in answer
    assert "--space mini" in answer


def test_a_hub_that_never_answers_fails_within_seconds(tmp_path: Path) -> None:
    with silent_server() as address:
        answer = ask(tmp_path, HF_ENDPOINT=address)

    assert "the hub gave no answer (ReadTimeout" in answer
    assert "--space mini" in answer


def test_what_the_hubs_cache_holds_is_used_without_asking_the_hub(tmp_path: Path, tiny_twins: Twins) -> None:
    snapshot = cache_snapshot(tmp_path, tiny_twins.image)

    assert ask(tmp_path, HF_ENDPOINT="http://127.0.0.1:9") == f"found {snapshot}"
    assert ask(tmp_path, HF_HUB_OFFLINE="1") == f"found {snapshot}"


def test_a_download_that_was_cut_off_counts_as_missing(tmp_path: Path, tiny_twins: Twins) -> None:
    snapshot = cache_snapshot(tmp_path, tiny_twins.image)
    (snapshot / "0_CLIPModel" / "model.safetensors").unlink()

    assert "is not on this machine" in ask(tmp_path, HF_HUB_OFFLINE="1")


def test_finding_weights_imports_no_torch() -> None:
    check = "import sys, connector.spaces.weights, connector.spaces.catalog; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=LONGEST_S).returncode == 0


def test_a_folder_wins_over_a_hub_name(tiny_twins: Twins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tiny_twins.image, tmp_path / "my" / "clip")
    monkeypatch.chdir(tmp_path)

    assert find_model("my/clip", half="image") == Path("my/clip")


@pytest.mark.parametrize("name", ["not a name", "a/b/c", "nowhere", ""])
def test_what_is_neither_folder_nor_hub_name_is_a_model_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ModelError):
        find_model(name, half="text")


def test_the_digest_is_the_files_own_sha256(tiny_twins: Twins, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    assert digest(tmp_path) == "ba7816bf8f01cfea"  # the published SHA-256 of "abc"

    (tmp_path / "pytorch_model.bin").write_bytes(b"an older copy beside it")
    assert digest(tmp_path) == "ba7816bf8f01cfea"
    assert weight_files(tiny_twins.image) == []


def test_the_bundled_space_needs_no_hub() -> None:
    space = find_space("mini")

    assert space.bundled
    assert all(Path(name).is_absolute() for name in (space.image_model, *space.text_models.values()))
