"""The embedding spaces we know, as data. A space is one image tower and the text towers that speak its language."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from connector.errors import ConfigError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_MINI = Path(__file__).parent / "mini"

BEST_TOWERS: Mapping[str, str] = MappingProxyType({"en": "english"})
"""The text tower to prefer where the language is known, in spaces that have it: CLIP's own was trained on English."""


@dataclass(frozen=True, slots=True)
class Space:
    """One vector space. ``image_model`` and the text models are hub names or folders for sentence-transformers.

    ``mean`` and ``std`` normalise RGB values that were scaled to 0–1, per channel. ``logit_scale`` is what the space's
    training multiplied cosines by before a softmax: 100 for CLIP (Radford et al., 2021), 20 for mini (demo/polish.py).
    """

    name: str
    dims: int
    image_size: int
    image_model: str
    text_models: Mapping[str, str]
    languages: str
    licence: str
    logit_scale: float
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    bundled: bool = False


SPACES: Mapping[str, Space] = MappingProxyType(
    {
        space.name: space
        for space in (
            Space(
                name="clip-vit-b-32",
                dims=512,
                image_size=224,
                image_model="sentence-transformers/clip-ViT-B-32",
                text_models={
                    "multilingual": "sentence-transformers/clip-ViT-B-32-multilingual-v1",
                    "english": "sentence-transformers/clip-ViT-B-32",
                    "xlm-roberta-large": "M-CLIP/XLM-Roberta-Large-Vit-B-32",
                },
                languages="50+ languages",
                licence="MIT (image tower), Apache-2.0 (multilingual text tower)",
                logit_scale=100.0,
            ),
            Space(
                name="mini",
                dims=128,
                image_size=64,
                image_model=str(_MINI / "image"),
                text_models={"multilingual": str(_MINI / "text")},
                languages="53 languages",
                licence="Apache-2.0",
                logit_scale=20.0,
                bundled=True,
            ),
        )
    }
)


def find_space(name: str) -> Space:
    """The space of this name. Raises ConfigError that lists the known ones."""
    try:
        return SPACES[name]
    except KeyError:
        raise ConfigError(f"unknown space {name!r}; known: {', '.join(SPACES)}.") from None
