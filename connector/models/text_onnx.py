"""A text tower by ONNX Runtime on the CPU: its files, and how they are opened. Imports no torch.

The rule: what was exported answers only where its vectors are those that torch gave for the same weights. These were
kept for fixed texts when the files were made, so that every load can compare without torch.
"""

import hashlib
import importlib.util
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np

from connector.models.onnx_files import cache_folder, open_session
from connector.models.text_tokens import TextTokenizer, TokenizerRules
from connector.models.weights import digest, module_folders, weight_files
from connector.process import usable_threads
from connector.records import Vectors

log = logging.getLogger(__name__)

Encode: TypeAlias = Callable[[Sequence[str]], Vectors]
"""One batch of texts -> (n, dims) float32, not normalised."""
Runtime: TypeAlias = Literal["torch", "onnx"]

EXPORT = 2
"""Raised whenever the export makes other files of the same weights."""
SHIPPED = "onnx"
"""The folder inside a model's own where its export lies when it is shipped with the weights."""
DESCRIPTION, WHOLE, PROBES_FILE, TOKENIZER = "tower.json", "float32.onnx", "probes.npy", "tokenizer.json"
LEAST_COSINE = 0.9999
"""How near the float32 file must come to torch's vectors."""
_RULES = ("*.json", "*.txt", "*.model")
"""Files of a model's folder that say how its weights and its tokenizer are read."""


class TextRunner(NamedTuple):
    """A text tower that is ready to run: what runs it, and in which arithmetic."""

    encode: Encode
    runtime: Runtime
    kernel: str


@dataclass(frozen=True, slots=True)
class ExportedTower:
    """The files that were made of one model: ``folder`` holds them, ``model`` its weights.

    ``expected`` is what torch made of the probes: (probes, dims) float32.
    """

    folder: Path
    model: Path
    rules: TokenizerRules
    probes: tuple[str, ...]
    expected: Vectors = field(compare=False)

    @classmethod
    def read(cls, folder: Path, *, model: Path, fingerprint: str) -> Self | None:
        """The export in a folder; None where there is none, or it was made of other weights than the model's."""
        try:
            told: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            rules, probes = TokenizerRules(**told["tokenizer"]), tuple(told["probes"])
            made_of = told["made_of"]
            expected: Vectors = np.load(folder / PROBES_FILE, allow_pickle=False)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("onnx_unreadable path=%s: %s: %s", folder, type(error).__name__, error)
            return None
        if made_of != fingerprint:
            log.warning("onnx_stale path=%s made_of=%s weights=%s", folder, made_of, fingerprint)
            return None
        return cls(folder, model, rules, probes, expected)

    def write(self, fingerprint: str) -> None:
        """Write all but the graphs and the tokenizer into the folder, for ``read``."""
        told = {"made_of": fingerprint, "tokenizer": asdict(self.rules), "probes": self.probes}
        text = json.dumps(told, indent=2, ensure_ascii=False)
        (self.folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
        np.save(self.folder / PROBES_FILE, self.expected, allow_pickle=False)

    @property
    def whole(self) -> Path:
        """The graph in float32."""
        return self.folder / WHOLE

    def tokenizer(self) -> TextTokenizer:
        """Its tokenizer: of the export where that has one of its own, else the model's."""
        own = self.folder / TOKENIZER
        return TextTokenizer.read(own if own.exists() else self.model / TOKENIZER, self.rules)


def fingerprint(folder: Path, *, reading: str = "") -> str:
    """What a model's export is named after: its weights, and every file and declaration that says how they are read."""
    parts = [str(EXPORT), *([reading] if reading else [])]
    for module in dict.fromkeys([folder, *module_folders(folder)]):
        parts += [digest(module)] if weight_files(module) else []
        names = sorted({file.name for pattern in _RULES for file in module.glob(pattern)})
        parts += [f"{name} {hashlib.sha256((module / name).read_bytes()).hexdigest()}" for name in names]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def cached_folder(model: Path, *, reading: str = "") -> Path:
    """Where the export of a model is kept that was not shipped with it."""
    return cache_folder() / f"{model.resolve().name}-{fingerprint(model, reading=reading)}"


def find_exports(model: Path, *, reading: str = "") -> Iterator[ExportedTower]:
    """The exports of a model's very weights that are on this machine, read so, the shipped one first."""
    made_of = fingerprint(model, reading=reading)
    for folder in (model / SHIPPED, cached_folder(model, reading=reading)):
        if (found := ExportedTower.read(folder, model=model, fingerprint=made_of)) is not None:
            yield found


def is_runtime_there() -> bool:
    """Whether ONNX Runtime can be imported on this machine."""
    return importlib.util.find_spec("onnxruntime") is not None


def encoder_of(exported: ExportedTower, file: Path) -> Encode | None:
    """One of an export's graphs, ready to run; None where it or the tokenizer is damaged."""
    session = open_session(file, threads=usable_threads())
    if session is None:
        return None
    try:
        tokenize = exported.tokenizer()
    except Exception as error:  # noqa: BLE001  (the tokenizers' errors have no common type; torch reads the model then)
        log.warning("tokenizer_unreadable path=%s: %s", exported.folder, error)
        return None

    names = {each.name for each in session.get_inputs()}  # a model without a mask has no input for one

    def encode(texts: Sequence[str]) -> Vectors:
        tokens = tokenize(texts)._asdict()
        (vectors,) = session.run(None, {name: tokens[name] for name in names})
        return np.asarray(vectors, dtype=np.float32)

    return encode


def least_cosine(encode: Encode, exported: ExportedTower) -> float:
    """The least cosine of the probes' vectors, alone and among others, to those of torch."""
    expected = exported.expected
    some = range(0, len(expected), 8)
    found = np.concatenate([encode(exported.probes), *[encode([exported.probes[number]]) for number in some]])
    wanted = np.concatenate([expected, expected[list(some)]])
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    return float(((wanted * found).sum(axis=1) / lengths).min())


def weight_bytes(folder: Path) -> int:
    """The bytes of a model's weights as they lie on disk."""
    return sum(file.stat().st_size for each in module_folders(folder) for file in weight_files(each))
