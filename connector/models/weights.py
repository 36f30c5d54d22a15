"""A model's folder on this machine: its modules, its weights, their digest; and what to do where there is none.

The rule: weights are safetensors, whole to the byte. A pickle is never read here (`connector.models.conversion` makes
safetensors of one), and a model that needs code of its own is refused.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from connector.errors import ModelError
from connector.models.declaration import ImageSpec, TextSpec
from connector.settings_sources import variable_of

Half = Literal["image", "text"]
"""Which tower a model is wanted for; also names the setting: model.image_model, model.text_model."""

PICKLES = ("pytorch_model*.bin", "open_clip_pytorch_model.bin")
LIBRARY = "sentence_transformers."
"""What the type of a module begins with."""
MOST_SHOWN = 200
"""Characters of a name that can be none, in a message."""
MADE_OF = "made_of"
"""The note in the header of a converted file: the SHA-256 of the pickles it was made of, whose digest it keeps."""


def is_mclip(folder: Path) -> bool:
    """Whether a folder holds a text model in the layout of M-CLIP, see ``connector.models.text_models``."""
    return "modelBase" in read_json(folder / "config.json") and not (folder / "modules.json").exists()


def read_json(path: Path) -> Mapping[str, Any]:
    """The object in a file; an empty one where it is missing or holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def digest(folder: Path, *, name: str | None = None) -> str:
    """The first 16 hex digits of the SHA-256 over a folder's weight files, in the order of their names.

    Files that were converted count as the pickles they were made of.
    """
    return whole_digest(folder, name=name)[:16]


def whole_digest(folder: Path, *, name: str | None = None) -> str:
    """All 64 of them."""
    files = weight_files(folder, name=name)
    if len(files) == 1:
        with suppress(ModelError):  # what is no safetensors file at all notes nothing
            if made_of := (_header(files[0]).get("__metadata__") or {}).get(MADE_OF):
                return str(made_of)
    return sha256(files)


def sha256(files: "list[Path]") -> str:
    """The SHA-256 over files, one behind the other."""
    sha = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()


def weight_files(folder: Path, *, name: str | None = None) -> list[Path]:
    """The files that hold the weights of one module, or the one of a name; a pickle's is that of what it became."""
    stem = "*" if name is None else name.removesuffix(".bin").removesuffix(".safetensors")
    return sorted(folder.glob(f"{stem}.safetensors"))


def pickles(folder: Path) -> list[Path]:
    """The pickles of weights in a folder."""
    return sorted(file for pattern in PICKLES for file in folder.glob(pattern))


def module_folders(folder: Path) -> list[Path]:
    """Where each module of a sentence-transformers model lies, in the order they run; other models are one.

    Raises ModelError where ``modules.json`` cannot be read.
    """
    listing = folder / "modules.json"
    if not listing.exists():
        return [folder]
    try:
        if not listing.is_file():
            raise ValueError("it is no file")
        modules: list[dict[str, Any]] = json.loads(listing.read_text(encoding="utf-8"))
        found = [folder / module["path"] for module in modules]
        if foreign := [each["type"] for each in modules if not str(each["type"]).startswith(LIBRARY)]:
            raise ValueError(
                f"it names code that is none of sentence-transformers', {foreign[0]!r}, which is never run"
            )
        if outside := [each for each in found if not each.resolve().is_relative_to(folder.resolve())]:
            raise ValueError(f"it names a module outside of its folder, {outside[0]}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{listing} cannot be read ({type(error).__name__}: {error}). Fetch the model again."
        ) from error
    return found or [folder]


def local_folder(model: str) -> Path:
    """Where a model lies that is a folder. Raises ModelError for what can be none, a web address for one."""
    try:
        if "://" in model:
            raise ValueError("it is an address")
        folder = Path(model).expanduser()
        folder.exists()  # which names that no file can have do not survive
    except (OSError, ValueError, RuntimeError) as error:
        shown = model if len(model) <= MOST_SHOWN else f"{model[:MOST_SHOWN]}…"
        raise ModelError(
            f"the model {shown!r} can be none ({error}): name a folder, or a model of the hub as owner/name."
        ) from error
    return folder


def check_folder(folder: Path, tower: ImageSpec | TextSpec, *, half: Half) -> Path:
    """The folder itself, where it holds a model of the tower's family. Raises ModelError that says what is missing."""
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "does not exist"
        raise ModelError(f"the {half} model {folder} {kind}. {ways_out(half, name=None)}")
    if tower.family == "sentence-transformers" and not (folder / "modules.json").exists():
        raise ModelError(
            f"{folder} is not a sentence-transformers model: it has no modules.json. Name the folder that holds it; "
            "for a model of another family write a file that declares a space (docs/spaces.md)."
        )
    first, *_ = [*module_folders(folder), folder]
    for wanted in (first, *([] if _is_declared(tower) else [first / "config.json"])):
        if not wanted.exists():
            raise ModelError(f"the {half} model in {folder} is incomplete: {wanted} is missing. Fetch it again.")
    _check_files(folder, first, half=half)
    files = weight_files(first, name=tower.weights)
    if not files and pickles(first):
        kept = pickles(first)[0].name
        raise ModelError(
            f"the {half} model in {folder} has its weights as a pickle, {kept}, which may hold code and is not loaded. "
            f"`polyglance space convert {folder}` makes safetensors of it, without running any."
        )
    if not files:
        raise ModelError(
            f"the {half} model in {folder} is incomplete: {first} has no weights "
            f"({tower.weights or 'model.safetensors'}). Fetch it again."
        )
    for file in files:
        check_whole(file)
    for name in _asking_for_code(tower):
        if "auto_map" in read_json(first / name):
            raise ModelError(
                f"the {half} model in {folder} needs code of its own (auto_map in {first / name}), which is never run. "
                "A file that declares its shape can load it where it is of a known family (docs/spaces.md)."
            )
    return folder


def _check_files(folder: Path, first: Path, *, half: Half) -> None:
    """Raise ModelError where what should be a file of a model is none: a folder, a pipe, a link to nothing."""
    for file in sorted({*first.glob("*.json"), *first.glob("*.txt"), *first.glob("*.safetensors")}):
        if not file.is_file():
            kind = "a folder" if file.is_dir() else "a link to nothing" if file.is_symlink() else "no file"
            raise ModelError(f"the {half} model in {folder} is damaged: {file} is {kind}. Fetch it again.")


def _asking_for_code(tower: ImageSpec | TextSpec) -> list[str]:
    """The files that can ask for code and that the tower's loader reads."""
    found = [] if _is_declared(tower) else ["config.json"]
    return found if isinstance(tower, ImageSpec) else [*found, "tokenizer_config.json"]


def check_whole(file: Path) -> None:
    """Raise ModelError where a file of safetensors is not all there, or none."""
    header = _header(file)
    size = file.stat().st_size
    try:
        ends = [int(each["data_offsets"][1]) for name, each in header.items() if name != "__metadata__"]
        whole = 8 + _header_bytes(file) + max(ends, default=0)
        if not ends or size != whole:
            raise ValueError(f"it has {size:,} bytes, its header says {whole:,}")
        with safe_open(file, framework="np") as opened:  # which checks every entry of the header
            opened.keys()
    except (SafetensorError, OSError, ValueError, TypeError, LookupError) as error:
        raise ModelError(f"{file} is damaged or half a download: {error}. Fetch it again.") from error


def tensor_shapes(files: "list[Path]") -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor's name and shape, from the headers alone."""
    for file in files:
        for name, each in _header(file).items():
            if name != "__metadata__":
                yield name, tuple(each["shape"])


def check_sha256(folder: Path, tower: ImageSpec | TextSpec) -> None:
    """Raise ModelError where the weights are not those that the declaration names."""
    first, *_ = [*module_folders(folder), folder]
    if tower.sha256 is not None and (found := whole_digest(first, name=tower.weights)) != tower.sha256:
        raise ModelError(
            f"the weights in {first} are not those that were declared: their SHA-256 is {found}, {tower.sha256} is "
            "wanted. Fetch them again; or correct sha256 in the space's file."
        )


def ways_out(half: Half, *, name: str | None) -> str:
    """What a user can do where a model is not there; ``name`` is what the hub calls it."""
    fetch = f"Where there is a network, run `hf download {name}`; or set" if name else "Set"
    variable = variable_of(f"model.{half}_model")
    return (
        f"{fetch} {variable}=/path/to/folder to use a copy; or use --space mini-photos, which is bundled and works "
        "without."
    )


def _is_declared(tower: ImageSpec | TextSpec) -> bool:
    """Whether the declaration says all that the loader needs, so that no config.json is read."""
    return tower.shape is not None if isinstance(tower, ImageSpec) else tower.family == "xlm-roberta"


def _header_bytes(file: Path) -> int:
    with file.open("rb") as stream:
        return int.from_bytes(stream.read(8), "little")


def _header(file: Path) -> dict[str, Any]:
    try:
        length = _header_bytes(file)
        if length > file.stat().st_size:
            raise ValueError(f"its header would be {length:,} bytes")
        with file.open("rb") as stream:
            stream.seek(8)
            found: dict[str, Any] = json.loads(stream.read(length))
        if not isinstance(found, dict):
            raise TypeError("its header is none of safetensors")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{file} is damaged or half a download: {error}. Fetch it again.") from error
    return found
