"""What a space is, as its file declares it: two towers, the pixels they take, the licence, and what a score means.

The rule: what a family of models needs stands here or in the family's module; nothing is guessed from names. A file
names its keys as these classes do; one that is unknown is an error that names the nearest known one.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from connector.errors import ConfigError
from connector.records import CLIP_RESIZING, Resizing

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
SPACE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")

ImageFamily: TypeAlias = Literal["sentence-transformers", "clip", "siglip", "open-clip", "efficientnet-lite"]
TextFamily: TypeAlias = Literal["sentence-transformers", "clip", "siglip", "xlm-roberta"]
Channels: TypeAlias = tuple[float, float, float]
_Mean = Annotated[float, Field(ge=0, le=1)]
_Deviation = Annotated[float, Field(ge=1e-3, le=1)]
Values: TypeAlias = Annotated[tuple[float, ...], Field(strict=False)]
Mean: TypeAlias = Annotated[tuple[_Mean, _Mean, _Mean], Field(strict=False)]
Deviation: TypeAlias = Annotated[tuple[_Deviation, _Deviation, _Deviation], Field(strict=False)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MOST_BYTES = 1 << 20
"""Of a file that declares a space: a larger one is something else."""
MOST_SHOWN = 80
"""Characters of a value that does not fit, in a message."""

_READ_ALWAYS = frozenset({"model", "revision", "weights", "sha256", "family", "languages", "prompt"})
_TOKENS = frozenset({"lowercase", "clean", "max_length", "padding"})
_TEXT_KEYS: Mapping[TextFamily, frozenset[str]] = MappingProxyType(
    {
        "sentence-transformers": frozenset(),
        "clip": _TOKENS | {"mask"},
        "siglip": _TOKENS | {"mask"},
        "xlm-roberta": _TOKENS | {"prefix", "pooling", "projection", "projection_bias"},
    }
)
"""What each family of text towers reads of its declaration, beside what all do."""


class _Declared(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class TowerSpec(_Declared):
    """Where a tower's files are, and which they are."""

    model: Annotated[str, Field(min_length=1)]
    """Name on the hub, or a folder; in a file, a folder that begins with a dot lies beside the file."""
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    """Commit on the hub; none means the one that was fetched first, which `space pull` notes."""
    weights: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = None
    """Name of the file of weights, where its folder has several."""
    sha256: Digest | None = None
    """Digest of that file, which is compared at every load."""


class Shape(_Declared):
    """The shape of a vision transformer, for models whose folder has no configuration."""

    width: Annotated[int, Field(ge=1, le=1 << 14)]
    layers: Annotated[int, Field(ge=1, le=1 << 8)]
    heads: Annotated[int, Field(ge=1, le=1 << 10)]
    mlp: Annotated[int, Field(ge=1, le=1 << 16)] | None = None
    """Width between the two linear layers; none means four times the width."""
    patch: Annotated[int, Field(ge=1, le=1 << 10)]
    activation: Literal["gelu", "quick_gelu", "gelu_pytorch_tanh"]
    eps: Annotated[float, Field(gt=0, le=0.1)]

    @model_validator(mode="after")
    def _divides(self) -> "Shape":
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be shared by {self.heads} heads")
        return self


class ImageSpec(TowerSpec):
    """The image half: its family, and the pixels that it takes."""

    family: ImageFamily
    """How the files are read: sentence-transformers, clip and siglip (transformers), open-clip, efficientnet-lite."""
    size: Annotated[int, Field(ge=1, le=1 << 12)]
    """Pixels along each side of what the tower sees."""
    resize: Literal["crop", "squash"] = "crop"
    """crop: the shortest edge to the size, the middle kept; squash: both edges, the shape lost."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    """How pixels are interpolated, with antialiasing."""
    mean: Mean = CLIP_MEAN
    """Mean by channel of RGB values from 0 to 1."""
    std: Deviation = CLIP_STD
    """Deviation by channel, of the same values."""
    shape: Shape | None = None
    """The transformer's shape, where the folder says none (open-clip)."""

    @model_validator(mode="after")
    def _fits_its_family(self) -> "ImageSpec":
        if self.shape is None and self.family == "open-clip":
            raise ValueError("open-clip keeps no configuration: declare [image.shape]")
        if self.shape is not None and self.family not in ("open-clip", "siglip"):
            raise ValueError(f"a shape is declared for open-clip and siglip alone; {self.family} reads its own files")
        if self.shape is not None and self.shape.patch > self.size:
            raise ValueError(f"patches of {self.shape.patch} pixels do not fit into size = {self.size}")
        return self

    @property
    def resizing(self) -> Resizing:
        """How an image becomes the tower's pixels."""
        return Resizing(self.resize, self.interpolation)

    @property
    def preparation(self) -> str:
        """What tells preparations of the same size apart, for the collection's fingerprint; empty for CLIP's own."""
        parts = [] if self.resizing == CLIP_RESIZING else [f"{self.resize} {self.interpolation}"]
        if (self.mean, self.std) != (CLIP_MEAN, CLIP_STD):
            parts += [f"mean {_listed(self.mean)}", f"std {_listed(self.std)}"]
        return ", ".join(parts)


class TextSpec(TowerSpec):
    """A text half: its family, and how texts become tokens and tokens a vector."""

    family: TextFamily
    """How the files are read; xlm-roberta is that with a linear map or MLP behind it: M-CLIP, open_clip, MEXMA."""
    languages: str = ""
    """What it understands, for people."""
    prompt: Annotated[str, Field(pattern=r"\{\}")] = "{}"
    """What a text is put into before it is read."""
    lowercase: bool = False
    """Whether texts are lower-cased."""
    clean: Literal["no", "whitespace"] = "no"
    """whitespace: HTML entities are resolved and runs of white space folded, as open_clip does."""
    max_length: Annotated[int, Field(ge=4, le=1 << 16)] | None = None
    """Tokens at which a text is cut; none means what the family or the files say."""
    padding: Literal["longest", "max_length"] = "longest"
    """What texts are padded to: the longest of a batch, or always to max_length."""
    mask: bool = True
    """Whether padding is hidden from the model."""
    prefix: str = ""
    """What the names of the transformer's tensors begin with (xlm-roberta)."""
    pooling: Literal["mean", "first"] = "mean"
    """What becomes of the tokens: their mean, or the first one (xlm-roberta)."""
    projection: str | None = None
    """What the names of the map into the space begin with: one linear layer, or an MLP of layers 0 and 2."""
    projection_bias: bool = False
    """Whether the layers of that map have biases."""

    @property
    def reading(self) -> str:
        """How weights and texts are read, as far as the files do not say it; empty for sentence-transformers' own."""
        if self.family == "sentence-transformers":
            return ""
        return json.dumps(self.model_dump(exclude={"model", "revision", "languages", "prompt"}), sort_keys=True)

    @model_validator(mode="after")
    def _fits_its_family(self) -> "TextSpec":
        if self.padding == "max_length" and self.max_length is None:
            raise ValueError('padding = "max_length" needs max_length')
        if self.family == "xlm-roberta" and self.projection is None:
            raise ValueError("xlm-roberta needs projection: what the names of the map into the space begin with")
        if unread := sorted(self.model_fields_set - _READ_ALWAYS - _TEXT_KEYS[self.family]):
            raise ValueError(f"{self.family} does not read {', '.join(unread)}: take that out")
        if self.family == "siglip" and (self.padding == "longest" or self.mask):
            raise ValueError('siglip reads its padding: padding = "max_length" and mask = false are needed')
        return self


TowerName = Annotated[str, Field(pattern=f"^{SPACE_NAME.pattern}$")]


class Score(_Declared):
    """What a cosine means: softmax(scale * cosine) among labels, or sigmoid(scale * cosine + bias) of a pair."""

    kind: Literal["softmax", "sigmoid"] = "softmax"
    """What the model was trained with."""
    scale: Annotated[float, Field(gt=0)] | Literal["weights"] = "weights"
    """What cosines are multiplied by; weights: exp(logit_scale) of the file of weights."""
    bias: float | Literal["weights"] = 0.0
    """What is added; weights: logit_bias of the file of weights."""


class Probe(_Declared):
    """The first values of vectors that are known: a model that gives others is not the one that was meant."""

    image: Values = ()
    """Of the first canonical image, L2-normalised (`polyglance space check` prints them)."""
    text: str = "a dog in the snow"
    """The words."""
    tower: str = "multilingual"
    """The text tower that reads them."""
    vector: Values = ()
    """Of the words, L2-normalised."""


class Space(_Declared):
    """One vector space: an image tower, and the text towers that speak its language."""

    name: str
    dims: Annotated[int, Field(ge=1, le=1 << 16)]
    """Numbers in a vector, of every tower."""
    about: str = ""
    """One line for people."""
    languages: str
    """What its towers understand together, for people."""
    licence: Annotated[str, Field(min_length=2)]
    """Of the weights: SPDX identifiers where there are some."""
    commercial: bool = True
    """Whether the licence allows commercial use; where not, it has to be accepted once."""
    accept_licence: str | None = None
    """The licence once more, in a file of one's own: it is accepted."""
    unverified: Annotated[str, Field(min_length=1)] | None = None
    """What of this declaration nobody could hold against the model's files: it is refused until `space check` has."""
    image: ImageSpec
    text: Annotated[dict[TowerName, TextSpec], Field(min_length=1)]
    score: Score = Score()
    probe: Probe = Probe()
    _file: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _probes_what_it_has(self) -> "Space":
        if "image" in self.text:
            raise ValueError("a text tower cannot be called image")
        if self.probe.vector and self.probe.tower not in self.text:
            raise ValueError(f"probe.tower = {self.probe.tower!r} is no text tower; there are: {', '.join(self.text)}")
        if max(len(self.probe.image), len(self.probe.vector)) > self.dims:
            raise ValueError(f"a probe has more values than dims = {self.dims}")
        return self

    @property
    def given(self) -> str:
        """What ``--space`` takes for it: its name, or the file that declares it."""
        return self.name if self._file is None else str(self._file)

    @property
    def image_size(self) -> int:
        """Pixels along each side of what the image tower sees."""
        return self.image.size


def read_space(file: Path) -> Space:
    """The space that a TOML file declares, named after the file. Raises ConfigError for one that does not hold."""
    name = file.name.removesuffix(".toml")
    if not SPACE_NAME.fullmatch(name):
        raise ConfigError(
            f"{file}: a space is named after its file, in small letters, digits and hyphens, such as my-space.toml."
        )
    try:
        told: dict[str, Any] = tomllib.loads(_text_of(file))
        if "name" in told:
            raise ValueError(f"it has a key name, and a space is named after its file, here {name}; take the key out")
        for tower in _towers(told):
            if str(tower.get("model", "")).startswith("."):
                tower["model"] = os.path.normpath(file.parent.absolute() / tower["model"])
        space = Space.model_validate({**told, "name": name})
    except FileNotFoundError as error:
        raise ConfigError(f"{file} does not exist: --space names a known space or a file that declares one.") from error
    except ValidationError as error:
        raise ConfigError(f"{file} declares no space: {_explained(error)}") from error
    except RecursionError as error:
        raise ConfigError(f"{file} cannot be read: its values are nested too deeply.") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}.") from error
    space._file = file  # no key of a file
    return space


def _text_of(file: Path) -> str:
    """A file's text, with or without a byte-order mark. Raises OSError or ValueError for what is no text file."""
    if file.exists() and not file.is_file():
        raise ValueError("it is no file" if not file.is_dir() else "it is a folder, not a file")
    with file.open("rb") as stream:
        found = stream.read(MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes, so it is something else than a declaration")
    return found.decode("utf-8-sig").replace("\r\n", "\n")


def _towers(told: dict[str, Any]) -> list[dict[str, Any]]:
    text = told.get("text")
    towers = (told.get("image"), *(text.values() if isinstance(text, dict) else ()))
    return [each for each in towers if isinstance(each, dict)]


def _explained(error: ValidationError) -> str:
    """What does not fit, each key with its place; an unknown one with the nearest that there is."""
    found: dict[str, list[str]] = {}
    for each in error.errors():
        what, why = _problem(each)
        found.setdefault(what, []).append(why)
    return "; ".join(what + " or ".join(why) for what, why in found.items()) + "."


def _problem(problem: Any) -> tuple[str, str]:
    """What does not fit, and why; of a value that may be one of two kinds there are two reasons."""
    place = [str(part) for part in problem["loc"] if not str(part).startswith(("constrained-", "literal["))]
    name = ".".join(place) or "the file"
    if problem["type"] == "missing":
        return f"{name} is missing", ""
    if problem["type"] == "extra_forbidden":
        known = sorted(_keys_at(place[:-1]) - {"name"})
        close = difflib.get_close_matches(place[-1], known, n=1, cutoff=0.5)
        meant = f"; {close[0]} is meant" if close else ""
        return f"there is no key {name}{meant} (known here: {', '.join(known)})", ""
    seen = "" if problem["type"] == "value_error" and isinstance(problem["input"], dict) else f" = {_short(problem)}"
    return f"{name}{seen} does not fit: ", problem["msg"].removeprefix("Value error, ")


def _short(problem: Any) -> str:
    seen = repr(problem["input"])
    return seen if len(seen) <= MOST_SHOWN else f"{seen[:MOST_SHOWN]}…"


def _keys_at(place: list[str]) -> set[str]:
    kinds: dict[str, type[BaseModel]] = {"image": ImageSpec, "text": TextSpec, "score": Score, "probe": Probe}
    if not place:
        return set(Space.model_fields)
    return set(Shape.model_fields) if place[-1] == "shape" else set(kinds[place[0]].model_fields)


def _listed(values: Channels) -> str:
    return " ".join(f"{value:g}" for value in values)
