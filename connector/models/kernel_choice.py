"""What measuring found the best form of a tower to be, remembered in a file: the arithmetic of one processor.

The rule: a choice that cannot be read or written costs a measurement, never a load.
"""

import json
import logging
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from connector.files import replacing

log = logging.getLogger(__name__)

_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """What one form of a tower did: the least cosine of its vectors to the exact ones, and the seconds of a batch."""

    cosine: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The form that runs, and what every form that was tried did; nothing where there was none to try."""

    kernel: str
    measured: Mapping[str, Measured] = field(default_factory=dict)

    def __str__(self) -> str:
        tried = (
            f"{name} cosine {each.cosine:.5f}, {each.seconds * 1000:.0f} ms" for name, each in self.measured.items()
        )
        return "; ".join(tried)


def median_seconds(run: Callable[[], object], *, clock: Callable[[], float] = time.perf_counter) -> float:
    """The median of a few rounds; whoever calls has run it once already, to warm up."""
    seconds = []
    for _ in range(_ROUNDS):
        started = clock()
        run()
        seconds.append(clock() - started)
    return statistics.median(seconds)


def read_choice(path: Path) -> Choice | None:
    """What was found before; None where nothing was, or nothing that can be read."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        measured = {str(name): Measured(**each) for name, each in told["measured"].items()}
        return Choice(str(told["kernel"]), measured)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("kernel_unreadable path=%s: %s: %s", path, type(error).__name__, error)
        return None


def keep_choice(choice: Choice, path: Path, **more: str) -> None:
    """Keep what was found for the next load, with what else is to be told of it."""
    text = json.dumps({**more, **asdict(choice)}, indent=2)
    try:
        with replacing(path) as draft:
            draft.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        log.warning("kernel_not_remembered path=%s: %s", path, error)
