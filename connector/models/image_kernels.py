"""Which arithmetic the image tower runs in on this processor: found by measuring, never by the processor's name.

The rule: a form is taken where its vectors of the canonical images are float32's (cosine >= 0.9999) and it is quicker
than float32. What was found is remembered for these weights, this release of torch and this processor; the vectors
are compared again at every load. Imports no torch: `polyglance settings` says what runs, and why.
"""

import hashlib
import json
import logging
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeAlias

from connector.models.catalog import find_space
from connector.models.lookup import find_model, is_present
from connector.models.onnx_files import cache_folder, publish
from connector.models.weights import digest, module_folders
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
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """What one form of the tower did with the canonical images: its least cosine to float32, and the seconds."""

    cosine: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The form that runs, and what every form that was tried did; nothing where there was none to try."""

    kernel: Precision
    measured: Mapping[str, Measured] = field(default_factory=dict)

    def __str__(self) -> str:
        tried = (
            f"{name} cosine {each.cosine:.5f}, {each.seconds * 1000:.0f} ms" for name, each in self.measured.items()
        )
        return "; ".join(tried)


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
    seconds = []
    for _ in range(_ROUNDS):
        started = clock()
        embed()
        seconds.append(clock() - started)
    return Measured(round(cosine, 6), round(statistics.median(seconds), 6))


def least_cosine(ours: Vectors, theirs: Vectors) -> float:
    """The least cosine between unit vectors of the same images."""
    return float((ours * theirs).sum(axis=1).min())


# ------------------------------------------------------------------------------------------------ what was found before


def load_choice(weights: str, *, device: str) -> Choice | None:
    """What was found for these weights on this device, named by ``processor`` or as torch names a GPU."""
    path = _file(weights, device=device)
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        measured = {str(name): Measured(**each) for name, each in told["measured"].items()}
        kernel: Precision = "bfloat16" if told["kernel"] == "bfloat16" else "float32"
        return Choice(kernel, measured)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("image_kernel_unreadable path=%s: %s: %s", path, type(error).__name__, error)
        return None


def remember(choice: Choice, weights: str, *, device: str) -> None:
    """Keep what was found, for the next load; where that cannot be written it is measured again."""
    path = _file(weights, device=device)
    log.info("image_kernel_chosen kernel=%s tried: %s", choice.kernel, choice)
    text = json.dumps({"device": device, **asdict(choice)}, indent=2)
    try:
        publish(path, lambda draft: draft.write_text(text + "\n", encoding="utf-8"))
    except OSError as error:
        log.warning("image_kernel_not_remembered path=%s: %s", path, error)


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
    name = model.image_model or find_space(model.space).image_model
    if not is_present(name, half="image"):
        return f"not known yet: {name} is not on this machine"
    if model.precision != "auto":
        return f"{model.precision}: model.precision says so, where it holds"
    if model.device not in ("auto", "cpu") or (model.device == "auto" and has_gpu()):
        return f"bfloat16 or float32, by measuring at load: model.device is {model.device}, and a GPU may serve it"
    folder = find_model(name, half="image")
    choice = load_choice(digest(module_folders(folder)[0]), device=processor())
    if choice is None:
        return "bfloat16 or float32, by measuring when it is first loaded here"
    if not choice.measured:
        return f"{choice.kernel}: this processor has no instructions for bfloat16"
    return f"{choice.kernel}: measured here ({choice})"
