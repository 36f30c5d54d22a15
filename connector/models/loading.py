"""Loading a model's folder through sentence-transformers, quietly, and choosing where it runs.

The rule: a broken folder is one ModelError. What torch, transformers and safetensors raise while loading is
translated here and nowhere else.
"""

import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from numpy.typing import NDArray
from safetensors import SafetensorError

from connector.errors import ConfigError, ModelError
from connector.models.weights import Half
from connector.records import Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer  # it takes seconds to import: where a model is loaded

_LOADING = threading.Lock()
"""Quieting the loaders changes the whole process, so one model loads at a time."""

BROKEN = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    ImportError,
    RuntimeError,  # and RecursionError
    MemoryError,
    EOFError,
    SafetensorError,
    StrictDataclassError,
    pickle.UnpicklingError,
)
"""What the loaders have been seen to raise on broken folders."""


def load_model(folder: Path, *, half: Half) -> "SentenceTransformer":
    """A folder's model on the CPU, in float32 whatever its file holds, ready to run; nothing is fetched.

    Raises ModelError where the folder is broken, lacks some weights, or is of the wrong kind for this half.
    """
    from sentence_transformers import SentenceTransformer

    try:
        with _LOADING, _quiet() as reports:
            model = SentenceTransformer(
                str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
            )
    except Exception as error:  # a damaged tokenizer raises Exception itself
        raise ModelError(
            f"the {half} model in {folder} cannot be loaded ({type(error).__name__}: {first_line(error)}). "
            "Its files are damaged or of another kind; fetch it again."
        ) from error
    if lost := next((line for report in reports for line in report.splitlines() if "MISSING" in line), None):
        raise ModelError(
            f"the {half} model in {folder} is incomplete: its weights lack {lost.split('|')[0].strip()}. "
            "Fetch it again."
        )
    if half not in model.modalities:
        raise ModelError(f"the model in {folder} embeds {', '.join(map(str, model.modalities))}, not {half}.")
    return model.eval().float().requires_grad_(False)


def choose_device(device: str) -> torch.device:
    """The device a setting names; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises ConfigError where it is unknown or not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"model.device = {device!r} is no device; use auto, cpu, cuda, cuda:1 or mps.") from error
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.mps.is_available())}.get(chosen.type, 0)
    if (chosen.index or 0) >= there:
        raise ConfigError(f"model.device = {device!r} is not on this machine: it has {_devices()}.")
    return chosen


class WithinMemory:
    """Runs a forward pass over a batch, in smaller pieces once the device has run out of memory.

    What was too large once is not tried again. Raises ModelError where not even one item fits.
    """

    def __init__(self) -> None:
        self._largest: int | None = None

    def run(self, forward: Callable[[NDArray[np.uint8]], Vectors], batch: NDArray[np.uint8]) -> Vectors:
        """The vectors of a batch that is not empty, whole or in pieces."""
        done: list[Vectors] = []
        start = 0
        while start < len(batch):
            piece = batch[start : start + (self._largest or len(batch))]
            vectors = self._try(forward, piece)
            if vectors is not None:
                done.append(vectors)
                start += len(piece)
        return done[0] if len(done) == 1 else np.concatenate(done)

    def _try(self, forward: Callable[[NDArray[np.uint8]], Vectors], piece: NDArray[np.uint8]) -> Vectors | None:
        try:
            return forward(piece)
        except torch.OutOfMemoryError as error:
            if len(piece) == 1:
                raise ModelError(
                    f"the device has too little memory for a single image: {first_line(error)} "
                    "End what else runs on it, or set model.device = cpu."
                ) from error
            self._largest = len(piece) // 2
        logging.getLogger(__name__).warning("device_memory_short batch=%d from_now=%d", len(piece), self._largest)
        torch.cuda.empty_cache()
        return None


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep the loaders' bars and advice off the terminal; what transformers would have said is collected."""
    from transformers.utils import logging as transformers_logging

    reports = _Collector()
    advice = logging.getLogger("sentence_transformers")
    level, bars = advice.level, transformers_logging.is_progress_bar_enabled()
    advice.setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.disable_default_handler()
    transformers_logging.add_handler(reports)
    try:
        yield reports.messages
    finally:
        transformers_logging.remove_handler(reports)
        transformers_logging.enable_default_handler()
        advice.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def first_line(error: Exception) -> str:
    """The first line of an error's message that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")


def _devices() -> str:
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ", ".join(["cpu", *cuda, *(["mps"] if torch.mps.is_available() else [])])
