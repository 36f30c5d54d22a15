"""What a space is, as its file declares it: two towers, the pixels they take, the licence, and what a score means.

The rule: what a family of models needs stands here or in the family's module; nothing is guessed from names. A file
names its keys as these classes do; one that is unknown is an error that names the nearest known one.
"""

import difflib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from connector.errors import ConfigError
from connector.records import CLIP_RESIZING, Resizing

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
SPACE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")

ImageFamily: TypeAlias = Literal["sentence-transformers", "clip", "siglip", "open-clip", "efficientnet-lite"]
TextFamily: TypeAlias = Literal["sentence-transformers", "clip", "siglip", "xlm-roberta"]
Channels: TypeAlias = tuple[float, float, float]
Positive = Annotated[int, Field(ge=1)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


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

    width: Positive
    layers: Positive
    heads: Positive
    mlp: Positive | None = None
    """Width between the two linear layers; none means four times the width."""
    patch: Positive
    activation: Literal["gelu", "quick_gelu", "gelu_pytorch_tanh"]
    eps: Annotated[float, Field(gt=0)]


class ImageSpec(TowerSpec):
    """The image half: its family, and the pixels that it takes."""

    family: ImageFamily
    """How the files are read: sentence-transformers, clip and siglip (transformers), open-clip, efficientnet-lite."""
    size: Positive
    """Pixels along each side of what the tower sees."""
    resize: Literal["crop", "squash"] = "crop"
    """crop: the shortest edge to the size, the middle kept; squash: both edges, the shape lost."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    """How pixels are interpolated, with antialiasing."""
    mean: Channels = CLIP_MEAN
    """Mean by channel of RGB values from 0 to 1."""
    std: Channels = CLIP_STD
    """Deviation by channel."""
    shape: Shape | None = None
    """The transformer's shape, where the folder says none (open-clip)."""

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
    max_length: Positive | None = None
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
        return self


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

    image: tuple[float, ...] = ()
    """Of the first canonical image, L2-normalised (`polyglance space check` prints them)."""
    text: str = "a dog in the snow"
    """The words."""
    tower: str = "multilingual"
    """The text tower that reads them."""
    vector: tuple[float, ...] = ()
    """Of the words, L2-normalised."""


class Space(_Declared):
    """One vector space: an image tower, and the text towers that speak its language."""

    name: str
    dims: Positive
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
    unverified: str | None = None
    """What of this declaration nobody could hold against the model's files: it is refused until `space check` has."""
    image: ImageSpec
    text: Annotated[dict[str, TextSpec], Field(min_length=1)]
    score: Score = Score()
    probe: Probe = Probe()

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
        told: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        for tower in _towers(told):
            if str(tower.get("model", "")).startswith("."):
                tower["model"] = os.path.normpath(file.parent.absolute() / tower["model"])
        return Space.model_validate({**told, "name": name})
    except FileNotFoundError as error:
        raise ConfigError(f"{file} does not exist: --space names a known space or a file that declares one.") from error
    except ValidationError as error:
        raise ConfigError(f"{file} declares no space: {_explained(error)}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}.") from error


def _towers(told: dict[str, Any]) -> list[dict[str, Any]]:
    text = told.get("text")
    towers = (told.get("image"), *(text.values() if isinstance(text, dict) else ()))
    return [each for each in towers if isinstance(each, dict)]


def _explained(error: ValidationError) -> str:
    """What does not fit, each key with its place; an unknown one with the nearest that there is."""
    return "; ".join(_problem(each) for each in error.errors())


def _problem(problem: Any) -> str:
    place = [str(part) for part in problem["loc"]]
    name = ".".join(place) or "the file"
    if problem["type"] == "missing":
        return f"{name} is missing"
    if problem["type"] == "extra_forbidden":
        known = sorted(_keys_at(place[:-1]) - {"name"})
        close = difflib.get_close_matches(place[-1], known, n=1, cutoff=0.5)
        meant = f"; {close[0]} is meant" if close else ""
        return f"there is no key {name}{meant} (known here: {', '.join(known)})"
    return f"{name} = {problem['input']!r} does not fit: {problem['msg'].removeprefix('Value error, ')}"


def _keys_at(place: list[str]) -> set[str]:
    kinds: dict[str, type[BaseModel]] = {"image": ImageSpec, "text": TextSpec, "score": Score, "probe": Probe}
    if not place:
        return set(Space.model_fields)
    return set(Shape.model_fields) if place[-1] == "shape" else set(kinds[place[0]].model_fields)


def _listed(values: Channels) -> str:
    return " ".join(f"{value:g}" for value in values)
