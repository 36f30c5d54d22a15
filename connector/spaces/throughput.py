"""How many pictures a GPU takes at a time, and whether compiling pays: found by trying, on this very device.

Nothing here knows a device: a trial is a function that embeds so many pictures and returns the seconds it took.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

log = logging.getLogger(__name__)

Trial = Callable[[int], float]
"""Embeds so many pictures; returns the seconds, and raises torch.OutOfMemoryError where they do not fit."""

BATCHES = (64, 128, 256, 512, 1024)
"""Sizes that are tried on a GPU; published figures for ViT-B/32 stop growing between 256 and 512."""

WORTH = 1.03
"""How much quicker a larger batch or a compiled model must be: less than that is noise."""

REPEATS = 3


@dataclass(frozen=True, slots=True)
class Trials:
    """What trying gave: the batch to use, and pictures a second by batch."""

    batch: int
    rates: dict[int, float]


def find_batch(trial: Trial, *, candidates: Sequence[int] = BATCHES) -> Trials:
    """The smallest of the candidates, in rising order, than which no larger one is quicker by ``WORTH``.

    Growing ends where memory does. Where not even the first fits it is halved until it does; raises
    torch.OutOfMemoryError where not even one picture fits.
    """
    rates: dict[int, float] = {}
    for batch in candidates:
        try:
            rates[batch] = rate(trial, batch)
        except torch.OutOfMemoryError:
            break
        if rates[batch] * WORTH < max(rates.values()):
            break
    batch = candidates[0]
    while not rates:
        batch //= 2
        try:
            rates[batch] = rate(trial, batch)
        except torch.OutOfMemoryError:
            if batch <= 1:
                raise
    best = max(rates.values())
    chosen = min(batch for batch, found in rates.items() if found * WORTH >= best)
    return Trials(batch=chosen, rates=rates)


def rate(trial: Trial, batch: int) -> float:
    """Pictures a second in batches of this size: the best of a few, after one to warm up."""
    trial(batch)
    return batch / min(trial(batch) for _ in range(REPEATS))


def compiled_pays(eager: Trial, compiled: Trial, *, batch: int) -> bool:
    """Whether the compiled model embeds batches of this size quicker by ``WORTH``; the log has both rates.

    Compiling that fails, for lack of a compiler or for any other reason, does not pay either; the log says why.
    """
    before = rate(eager, batch)
    try:
        after = rate(compiled, batch)
    except Exception as error:  # noqa: BLE001  (whatever the compiler raises: the model runs without it)
        lines = str(error).strip().splitlines()
        log.warning("compile_fallback reason=%s: %s", type(error).__name__, lines[0] if lines else "no message")
        return False
    log.info("compile_measured batch=%d eager=%.0f/s compiled=%.0f/s", batch, before, after)
    if after < WORTH * before:
        log.info("compile_fallback reason=no quicker")
        return False
    return True
