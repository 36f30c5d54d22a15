"""Families of models: how exactly each is read, and how fast its image tower runs beside transformers' own pass.

    python -m benchmarks.bench_families [--tiny] [--seconds 2] [--family clip]

Each family is a random-weight twin, by default in the size of its published base model; one is in memory at a time. An
error is the largest difference over the largest value of the vectors before they are normalised. Speed is images a
second on one thread, normalising included for both: the median of rounds that take turns, so that other work on the
machine slows both alike. The tower takes bfloat16 where its own probe finds that it holds and gains (`tower_takes`).
"""

import argparse
import copy
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.record import write
from connector.models.catalog import find_space
from connector.models.image_families import load_image_model
from connector.models.image_tower import ImageTower, canonical_pixels
from connector.models.text_models import load_text_model
from connector.models.vision import Vision
from connector.settings import ModelSettings
from tests.family_twins import FULL, TINY, write_family

FAMILIES = ("clip", "siglip", "open-clip")
BATCH = 16
TEXTS = ("a dog in the snow", "ein Hund im Schnee", "собака на снегу")


def main() -> None:
    """Measure each family and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--tiny", action="store_true", help="Twins of two layers: a try of the benchmark itself.")
    parser.add_argument("--seconds", type=float, default=2.0, help="Time for each way of running a family.")
    parser.add_argument("--family", action="append", choices=FAMILIES)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for family in given.family or FAMILIES:
        rows.append(_row(family, tiny=given.tiny, seconds=given.seconds))
        print(json.dumps(rows[-1]))
        gc.collect()
    if not given.tiny:
        write("families", {"batch": BATCH, "families": rows})


@torch.inference_mode()
def _row(family: str, *, tiny: bool, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        twin = write_family(family, Path(folder), size=TINY if tiny else FULL[family])
        space = find_space(str(twin.space))
        reference = load_image_model(twin.folder, space.image)
        vision = Vision(reference)
        few = torch.from_numpy(np.ascontiguousarray(canonical_pixels(space.image_size)))
        many = few.repeat(BATCH // len(few), 1, 1, 1)
        expected, found = reference(few), vision(few)
        half = copy.deepcopy(vision).bfloat16()
        ways: dict[str, Callable[[], object]] = {
            "transformers": lambda: reference(many),
            "rebuilt_float32": lambda: vision(many),
            "rebuilt_bfloat16": lambda: half(many),
        }
        tower = ImageTower.load(ModelSettings(space=str(twin.space), device="cpu"))
        rates = _rates(ways, seconds=seconds)
        text = load_text_model(twin.folder, space.text["multilingual"])
        tokens = text.tokenize(TEXTS)
        alone = torch.cat([text.module(*text.tokenize([each])) for each in TEXTS])
        return {
            "family": family,
            "size": space.image_size,
            "image_error": _error(found, expected),
            "bfloat16_cosine": round(float(torch.cosine_similarity(half(few).float(), expected).min()), 6),
            "tower_takes": tower.precision,
            "text_error_alone_and_together": _error(alone, text.module(*tokens)),
            "images_per_s": rates,
            "times_transformers": {name: round(rate / rates["transformers"], 2) for name, rate in rates.items()},
        }


def _error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def _rates(ways: dict[str, Callable[[], object]], *, seconds: float) -> dict[str, float]:
    """Images a second, the median of rounds in which the ways take turns."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for run in ways.values():
        run()
    until = time.perf_counter() + seconds * len(ways)
    while time.perf_counter() < until or len(next(iter(taken.values()))) < 3:
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - started)
    return {name: round(BATCH / statistics.median(each), 1) for name, each in taken.items()}


if __name__ == "__main__":
    main()
