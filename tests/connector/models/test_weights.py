"""What happens where weights are not on this machine: asked in a fresh process, as a user meets it."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest

from connector.errors import ModelError
from connector.models.catalog import find_space
from connector.models.conversion import convert
from connector.models.lookup import find_model
from connector.models.weights import digest, weight_files
from tests.twins import Twins, write_twins

ASK = """
from connector.errors import ModelError
from connector.models.catalog import find_space
from connector.models.lookup import find_model
try:
    print("found", find_model(find_space("clip-vit-b-32").image))
except ModelError as error:
    print(error)
"""
COMMIT = "c" * 40
LONGEST_S = 120.0
"""Far more than a refusal takes on a busy machine; the hub client alone would go on for over six minutes."""


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


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a download needs, over one folder."""

    folder: ClassVar[Path]
    name: ClassVar[str]

    def do_GET(self) -> None:
        """The model's record, its list of files, or a file."""
        path = urlsplit(self.path).path
        if path in (f"/api/models/{self.name}", f"/api/models/{self.name}/revision/main"):
            self._answer(json.dumps({"id": self.name, "sha": COMMIT, "siblings": []}).encode())
        elif path == f"/api/models/{self.name}/tree/{COMMIT}":
            files = [file for file in self.folder.rglob("*") if file.is_file()]
            self._answer(
                json.dumps(
                    [
                        {
                            "type": "file",
                            "path": file.relative_to(self.folder).as_posix(),
                            "size": file.stat().st_size,
                            "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
                        }
                        for file in files
                    ]
                ).encode()
            )
        elif path.startswith(f"/{self.name}/resolve/{COMMIT}/"):
            self._answer((self.folder / path.partition(f"{COMMIT}/")[2]).read_bytes())
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET  # noqa: N815  (the name is the base class's)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def published(folder: Path, *, name: str = "sentence-transformers/clip-ViT-B-32") -> Iterator[str]:
    """The address of a hub that knows one model."""
    handler = type("HubOfOne", (Hub,), {"folder": folder, "name": name})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def cache_snapshot(home: Path, model: Path) -> Path:
    """Lay a model into a hub cache as the hub client would."""
    repository = home / "hub" / "models--sentence-transformers--clip-ViT-B-32"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(model, repository / "snapshots" / COMMIT))


def test_offline_the_error_says_where_it_looked_and_how_to_get_the_weights(tmp_path: Path) -> None:
    answer = ask(tmp_path, HF_HUB_OFFLINE="1")

    assert answer == (
        "the image model sentence-transformers/clip-ViT-B-32 is not on this machine. Looked in the hub's cache "
        f"{tmp_path}/hub and for the hub's https://huggingface.co/sentence-transformers/clip-ViT-B-32: the hub was not "
        "asked, because HF_HUB_OFFLINE is set. Where there is a network, run `hf download "
        "sentence-transformers/clip-ViT-B-32`; or set POLYGLANCE_MODEL__IMAGE_MODEL=/path/to/folder to use a copy; or "
        "use --space mini-photos, which is bundled and works without."
    )


def test_a_hub_that_refuses_fails_within_seconds(tmp_path: Path) -> None:
    answer = ask(tmp_path, HF_ENDPOINT="http://127.0.0.1:9")

    assert "the hub gave no answer (ConnectError" in answer
    assert "--space mini" in answer


@pytest.mark.slow
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


def test_a_model_is_downloaded_once_and_without_what_it_does_not_need(tmp_path: Path, tiny_twins: Twins) -> None:
    twins = tiny_twins.copy(tmp_path / "published")
    (twins.image / "0_CLIPModel" / "pytorch_model.bin").touch()  # the repositories keep both formats
    (twins.image / "modeling.py").touch()
    (twins.image / "onnx").mkdir()
    (twins.image / "onnx" / "model.onnx").touch()

    with published(twins.image) as address:
        answer = ask(tmp_path / "home", HF_ENDPOINT=address)
    folder = Path(answer.removeprefix("found "))

    assert (folder / "0_CLIPModel" / "vocab.json").is_file()
    assert [file.name for file in weight_files(folder / "0_CLIPModel")] == ["model.safetensors"]
    assert not (folder / "0_CLIPModel" / "pytorch_model.bin").exists()
    assert not (folder / "modeling.py").exists()
    assert not (folder / "onnx").exists()
    assert ask(tmp_path / "home", HF_HUB_OFFLINE="1") == answer


def test_a_model_that_the_hub_has_as_a_pickle_alone_is_not_downloaded_unasked(tmp_path: Path) -> None:
    with published(write_twins(tmp_path / "published", weights="bin").image) as address:
        answer = ask(tmp_path / "home", HF_ENDPOINT=address)

    assert answer.startswith("the hub has no safetensors of the image model sentence-transformers/clip-ViT-B-32.")
    assert "`polyglance space pull`" in answer
    assert not list((tmp_path / "home").rglob("*.bin"))


def test_a_model_the_hub_does_not_know_is_a_model_error(tmp_path: Path, tiny_twins: Twins) -> None:
    with published(tiny_twins.image, name="someone/else") as address:
        answer = ask(tmp_path, HF_ENDPOINT=address)

    assert "the hub knows no such model, or keeps it private" in answer


def test_finding_weights_imports_no_torch() -> None:
    check = "import sys, connector.models.weights, connector.models.catalog; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=LONGEST_S).returncode == 0


def test_a_folder_wins_over_a_hub_name(tiny_twins: Twins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tiny_twins.image, tmp_path / "my" / "clip")
    monkeypatch.chdir(tmp_path)

    spec = find_space("clip-vit-b-32").image.model_copy(update={"model": "my/clip"})
    assert find_model(spec) == Path("my/clip")


@pytest.mark.parametrize("name", ["not a name", "a/b/c", "nowhere", ""])
def test_what_is_neither_folder_nor_hub_name_is_a_model_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ModelError):
        find_model(find_space("clip-vit-b-32").image.model_copy(update={"model": name}))


def test_the_digest_is_the_files_own_sha256(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    assert digest(tmp_path) == "ba7816bf8f01cfea"  # the published SHA-256 of "abc"

    (tmp_path / "pytorch_model.bin").write_bytes(b"an older copy beside it")
    assert digest(tmp_path) == "ba7816bf8f01cfea"


def test_a_converted_pickle_keeps_its_digest_so_that_collections_stay_valid(tmp_path: Path) -> None:
    image = write_twins(tmp_path, weights="bin").image
    before = hashlib.sha256((image / "0_CLIPModel" / "pytorch_model.bin").read_bytes()).hexdigest()

    convert(image)

    assert digest(image / "0_CLIPModel") == before[:16]


def test_weight_files_stand_in_the_modules(tiny_twins: Twins) -> None:
    assert weight_files(tiny_twins.image) == []


def test_the_bundled_space_needs_no_hub() -> None:
    space = find_space("mini")

    assert all(Path(each.model).is_absolute() for each in (space.image, *space.text.values()))
