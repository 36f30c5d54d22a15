"""Fetching a space's models on purpose, so that nothing is asked of a network afterwards; what came is noted.

The rule: a model is fetched once, at the revision that is declared, else at the newest one, which then stays. A note
keeps revision and SHA-256 of every model, for `polyglance space check`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from connector.errors import ModelError
from connector.files import replacing
from connector.models.declaration import ImageSpec, TextSpec
from connector.models.lookup import half_of, is_on_hub, is_present, snapshot
from connector.models.weights import (
    check_folder,
    check_sha256,
    check_whole,
    local_folder,
    module_folders,
    weight_files,
    whole_digest,
)


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model on this machine: where, at which commit of the hub's (None for a folder), and its weights' SHA-256."""

    model: str
    folder: str
    revision: str | None
    sha256: str
    fetched: bool = False
    converted: bool = False


def pull(tower: ImageSpec | TextSpec) -> Pulled:
    """A tower's model, fetched where it is not here whole, a pickle made into safetensors; what came is noted.

    Raises ModelError where it cannot be had, or is not what the declaration says.
    """
    if not is_on_hub(tower):
        return _told(check_folder(local_folder(tower.model), tower, half=half_of(tower)), tower, revision=None)
    if is_present(tower):
        folder = _snapshot(tower)
        return _told(folder, tower, revision=folder.name)
    from connector.models.hub import download

    if (half := snapshot(tower)) is not None:
        _drop_halves(half)
    converted = False
    try:
        folder = download(tower, half=half_of(tower))
    except ModelError:
        if (found := snapshot(tower)) is None or weight_files(module_folders(found)[0], name=tower.weights):
            raise  # it is no pickle that stands in the way
        from connector.models.conversion import convert

        folder = download(tower, half=half_of(tower), with_pickles=True)
        converted = bool(convert(folder))
    check_folder(folder, tower, half=half_of(tower))
    check_sha256(folder, tower)
    told = _told(folder, tower, revision=folder.name, fetched=True, converted=converted)
    _note(told)
    return told


def check_noted(tower: ImageSpec | TextSpec, *, folder: Path) -> None:
    """Raise ModelError where a model's weights are not those that were fetched once."""
    known = _notes().get(tower.model)
    found = whole_digest(module_folders(folder)[0], name=tower.weights)
    if known and known.get("revision") == folder.name and known.get("sha256") != found:
        raise ModelError(
            f"the weights in {folder} are not those that were fetched: their SHA-256 is {found}, {known.get('sha256')} "
            "was noted. Take the folder away and run `polyglance space pull`."
        )


def _told(
    folder: Path, tower: ImageSpec | TextSpec, *, revision: str | None, fetched: bool = False, converted: bool = False
) -> Pulled:
    digest = whole_digest(module_folders(folder)[0], name=tower.weights)
    return Pulled(tower.model, str(folder), revision, digest, fetched=fetched, converted=converted)


def _snapshot(tower: ImageSpec | TextSpec) -> Path:
    folder = snapshot(tower)
    if folder is None:
        raise ModelError(f"{tower.model} is not in the hub's cache any more.")
    return folder


def _drop_halves(folder: Path) -> None:
    """Take away the weights of a folder of the cache that are not all there: the hub's client takes them for whole."""
    for file in folder.rglob("*.safetensors"):
        try:
            check_whole(file)
        except ModelError:
            file.resolve().unlink(missing_ok=True)
            file.unlink(missing_ok=True)


def _note(told: Pulled) -> None:
    notes = {**_notes(), told.model: asdict(told)}
    with replacing(_path()) as draft:
        draft.write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")


def _notes() -> dict[str, dict[str, str]]:
    try:
        found = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _path() -> Path:
    return platformdirs.user_data_path("polyglance") / "models.json"
