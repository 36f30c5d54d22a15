"""Which arithmetic the image tower runs in on this processor: found by measuring, never by the processor's name.

The rule: a form is taken where its vectors of the canonical images are float32's (cosine >= 0.9999) and it is quicker
than float32. What was found is remembered for these weights, this release of torch and this processor; the vectors
are compared again at every load. Imports no torch: `polyglance settings` says what runs, and why.
"""

import hashlib
import logging
import platform
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeAlias

from connector.models.catalog import find_space, image_tower_of
from connector.models.kernel_choice import Choice, Measured, keep_choice, median_seconds, read_choice
from connector.models.lookup import find_model, is_present, tower_digest
from connector.models.onnx_files import cache_folder
from connector.process import has_gpu
from connector.records import Vectors
from connector.settings import ModelSettings

log = logging.getLogger(__name__)

Precision: TypeAlias = Literal["float32", "bfloat16", "int8"]
Embed: TypeAlias = Callable[[], Vectors]
"""The vectors of the canonical images, by one form of the tower."""

LEAST_COSINE = 0.9999
"""How near every vector of the canonical batch must come to float32 on the CPU for a device or precision to be used."""
WORTH = 1.1
"""How much quicker than float32 a form must be: less is noise."""
HOPELESS = 3.0
"""How much slower its first pass may be before it is not measured further: where arithmetic is emulated."""


def choose(whole: Embed, half: Embed, *, exact: Vectors, clock: Callable[[], float] = time.perf_counter) -> Choice:
    """bfloat16 where it holds and gains, else float32. ``whole`` and ``half`` are the tower in either."""
    slow = _measured(whole, exact=exact, clock=clock, most=None)
    quick = _measured(half, exact=exact, clock=clock, most=slow.seconds * HOPELESS)
    taken = quick.cosine >= LEAST_COSINE and quick.seconds * WORTH <= slow.seconds
    return Choice("bfloat16" if taken else "float32", {"float32": slow, "bfloat16": quick})


def _measured(embed: Embed, *, exact: Vectors, clock: Callable[[], float], most: float | None) -> Measured:
    """The median of a few rounds, after one that warms up; of one that takes more than ``most`` that one."""
    started = clock()
    cosine = least_cosine(embed(), exact)
    first = clock() - started
    if most is not None and first > most:
        return Measured(round(cosine, 6), round(first, 6))
    return Measured(round(cosine, 6), round(median_seconds(embed, clock=clock), 6))


def least_cosine(ours: Vectors, theirs: Vectors) -> float:
    """The least cosine between unit vectors of the same images."""
    return float((ours * theirs).sum(axis=1).min())


# ------------------------------------------------------------------------------------------------ what was found before


def load_choice(weights: str, *, device: str) -> Choice | None:
    """What was found for these weights on this device, named by ``processor`` or as torch names a GPU."""
    return read_choice(_file(weights, device=device))


def remember(choice: Choice, weights: str, *, device: str) -> None:
    """Keep what was found, for the next load; where that cannot be written it is measured again."""
    log.info("image_kernel_chosen kernel=%s tried: %s", choice.kernel, choice)
    keep_choice(choice, _file(weights, device=device), device=device)


def _file(weights: str, *, device: str) -> Path:
    key = hashlib.sha256("\n".join([weights, version("torch"), device]).encode()).hexdigest()[:16]
    return cache_folder() / f"image-kernel-{key}.json"


@cache
def processor() -> str:
    """What tells this processor from another that shares the folder: its name and what it says it can do."""
    told = ("model name", "flags", "Features", "CPU part")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({line for line in lines if line.startswith(told)})) or platform.machine()


# ------------------------------------------------------------------------------------------------------ what will run


def plan_kernel(model: ModelSettings) -> str:
    """What will run the image tower of the settings and why, from files alone: nothing is loaded or fetched.

    Raises ConfigError for an unknown space.
    """
    tower = image_tower_of(model, space=find_space(model.space))
    if not is_present(tower):
        return f"not known yet: {tower.model} is not on this machine"
    if model.precision != "auto":
        return f"{model.precision}: model.precision says so, where it holds"
    if model.device not in ("auto", "cpu") or (model.device == "auto" and has_gpu()):
        return f"bfloat16 or float32, by measuring at load: model.device is {model.device}, and a GPU may serve it"
    choice = load_choice(tower_digest(find_model(tower), tower), device=processor())
    if choice is None:
        return "bfloat16 or float32, by measuring when it is first loaded here"
    if not choice.measured:
        return f"{choice.kernel}: this processor has no instructions for bfloat16"
    return f"{choice.kernel}: measured here ({choice})"
