"""KeptVectors: the vectors of questions that stay asked, computed once for a space and kept on this machine.

The rule: what is kept is named by everything that made it: the space, its weights, the text tower and the text.
"""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from connector.files import replacing
from connector.records import Vector, Vectors
from connector.search.text_encoder import TextEncoder
from connector.settings import ModelSettings
from connector.store.schema import Fingerprint

KEPT = 20_000
"""Vectors in one file; the questions that were asked last are kept."""


class KeptVectors:
    """Embeds the texts that it has not met before. Where its files cannot be, nothing is lost but time."""

    def __init__(self, encoder: TextEncoder, *, model: ModelSettings, fingerprint: Fingerprint, folder: Path) -> None:
        self._encoder = encoder
        self._folder = folder
        self._dims = fingerprint.dims
        self._made_by = (fingerprint.space, fingerprint.dims, fingerprint.weights, str(model.text_model))

    def vectors(self, texts: Sequence[str], *, tower: str) -> Vectors:
        """The vectors of texts: (n, dims) float32, L2-normalised. Raises ModelError."""
        path = self._folder / f"{_digest(repr((self._made_by, tower)))}.npz"
        names = [_digest(each) for each in texts]
        kept = self._read(path)
        missing = {name: text for name, text in zip(names, texts, strict=True) if name not in kept}
        if missing:
            made = self._encoder.embed([*missing.values()], tower=tower)
            kept = {**dict(zip(missing, made, strict=True)), **kept}
            with contextlib.suppress(OSError):  # a full disk keeps nothing: the next process embeds again
                _write(path, dict([*kept.items()][:KEPT]))
        return np.stack([kept[name] for name in names])

    def _read(self, path: Path) -> Mapping[str, Vector]:
        with contextlib.suppress(OSError, ValueError, KeyError, EOFError), np.load(path, allow_pickle=False) as file:
            names, vectors = file["names"].tolist(), file["vectors"]
            if vectors.shape == (len(names), self._dims) and np.isfinite(vectors).all():
                return dict(zip(names, vectors, strict=True))
        return {}


def _write(path: Path, kept: Mapping[str, Vector]) -> None:
    with replacing(path) as draft, draft.open("wb") as file:
        np.savez(file, names=np.array([*kept]), vectors=np.stack([*kept.values()]))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
