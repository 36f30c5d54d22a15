"""Words to vectors: the text half of a space, in any of its languages.

The rule: a text tower speaks into the space of one image tower. Texts go through sentence-transformers' ``encode``;
what is longer than the model's limit (128 word pieces, 77 for CLIP's own English) is cut off at its end.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from connector.errors import ConfigError, ModelError
from connector.records import Vectors
from connector.settings import ModelSettings
from connector.spaces.catalog import Space, find_space
from connector.spaces.loading import choose_device, first_line, load_model
from connector.spaces.weights import find_model

BATCH = 64
"""Texts in one forward pass."""


class TextTower:
    """The text half of a space, loaded and ready. One caller at a time."""

    def __init__(self, model: SentenceTransformer, *, space: Space, device: torch.device) -> None:
        self.space = space
        self.device = str(device)
        self._model = model.to(device)

    @classmethod
    def load(cls, model: ModelSettings) -> "TextTower":
        """The tower ``model.text_tower`` of ``model.space``, from ``model.text_model`` where that is set.

        Raises ConfigError for an unknown space, tower or device, ModelError where the weights are missing, broken,
        of another kind or of other dims.
        """
        space = find_space(model.space)
        device = choose_device(model.device)
        name = model_name(model, space=space)
        loaded = load_model(find_model(name, half="text"), half="text")
        _keep_text_half(loaded)
        tower = cls(loaded, space=space, device=device)
        dims = tower.embed(["a"]).shape[1]
        if dims != space.dims:
            raise ModelError(f"the text model {name} gives {dims} dims, space {space.name} has {space.dims}.")
        return tower

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The vectors of many texts, in order: (n, dims) float32, L2-normalised; no texts give (0, dims).

        Half a surrogate pair, as a terminal makes of bytes that are no UTF-8, counts as a question mark.
        Raises ModelError where the device has no memory for a batch of them.
        """
        if not texts:
            return np.empty((0, self.space.dims), dtype=np.float32)
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        try:
            vectors = self._model.encode(
                clean, batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True, normalize_embeddings=True
            )
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"the device has too little memory for {min(len(texts), BATCH)} texts: {first_line(error)} "
                "End what else runs on it, or set model.device = cpu."
            ) from error
        return np.asarray(vectors, dtype=np.float32)


def model_name(model: ModelSettings, *, space: Space) -> str:
    """The name or folder of the text tower that the settings ask for. Raises ConfigError for an unknown tower.

    Where the tower is the text half of the image model, ``model.image_model`` stands in for both.
    """
    if model.text_model is not None:
        return model.text_model
    try:
        name = space.text_models[model.text_tower]
    except KeyError:
        known = ", ".join(space.text_models)
        raise ConfigError(f"space {space.name} has no text tower {model.text_tower!r}; it has: {known}.") from None
    return model.image_model if model.image_model is not None and name == space.image_model else name


def _keep_text_half(model: SentenceTransformer) -> None:
    """Let go of CLIP's vision half, where the tower has one."""
    inner: Any = model[0].model
    for name in ("vision_model", "visual_projection"):
        if hasattr(inner, name):
            delattr(inner, name)
