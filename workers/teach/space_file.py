"""The file of a taught space: its parent's declaration, with the tower that was taught in place of what it was."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from connector.models.catalog import SPACES
from connector.models.declaration import Probe, Space, TextSpec
from connector.models.text_models import TextModel
from connector.models.weights import module_folders, whole_digest
from workers.teach.training import unit_vectors

PROBED = 8
"""Values of a vector that a probe holds."""


def taught_space(
    parent: Space, *, languages: Sequence[str], name: str, tower: TextSpec, written: TextModel, folder: Path
) -> Space:
    """The declaration of the space in ``folder``, whose tower ``name`` was ``written`` there as ``tower`` declares it.

    An image tower that polyglance brings is copied into the folder; any other stays where it is.
    """
    listed = ", ".join(languages)
    image = parent.image
    if Path(image.model).is_relative_to(SPACES.parent):
        shutil.copytree(image.model, folder / "image")
        image = image.model_copy(update={"model": "./image"})
    weights = whole_digest(module_folders(folder / "text")[0])
    known = f"{tower.languages or parent.languages}, and taught: {listed}"
    probe = parent.probe
    said = unit_vectors(written, [tower.prompt.replace("{}", probe.text)])[0, :PROBED].tolist()
    vector = tuple(round(value, 5) for value in said)
    return parent.model_copy(
        update={
            "about": f"{parent.name}, taught {listed} by polyglance teach",
            "languages": f"{parent.languages}, and taught: {listed}",
            "image": image,
            "unverified": None,  # or it could not have been taught
            "text": {**parent.text, name: tower.model_copy(update={"sha256": weights, "languages": known})},
            "probe": Probe(image=probe.image, text=probe.text, tower=name, vector=vector),
        }
    )


def space_toml(space: Space) -> str:
    """A space as the TOML file that declares it; what is as by default stays unsaid."""
    return "\n".join(_table(space, name="", skipped={"name"})).strip() + "\n"


def _table(declared: BaseModel, *, name: str, skipped: set[str]) -> Iterator[str]:
    told = {key: value for key, value in declared if key not in skipped and key in declared.model_fields_set}
    tables = {key: value for key, value in told.items() if isinstance(value, BaseModel | Mapping)}
    if name:
        yield f"\n[{name}]"
    for key, value in told.items():
        if key not in tables and value is not None:
            yield f"{key} = {_value(value)}"
    for key, value in tables.items():
        place = f"{name}.{key}" if name else key
        if isinstance(value, BaseModel):
            yield from _table(value, name=place, skipped=set())
        else:
            for tower, spec in value.items():
                yield from _table(spec, name=f"{place}.{tower}", skipped=set())


def _value(value: Any) -> str:
    return f"[{', '.join(map(_value, value))}]" if isinstance(value, tuple) else json.dumps(value, ensure_ascii=False)
