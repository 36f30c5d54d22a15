"""Pixels to vectors: images a second by device, precision, batch and compiling, beside what the machine can multiply.

    python -m benchmarks.bench_forward [--seconds 2] [--compiled] [--model FOLDER]

The model is a random-weight twin of ViT-B/32 in full size. On a CPU a forward pass has one thread, as in ingestion;
``cores`` says how many ran at once. The limit is the best of several matrix products in the same precision on the same
threads; the share is the arithmetic of our pass, counted by torch, over that limit.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.record import write
from connector.models.catalog import find_space
from connector.models.image_families import load_image_model
from connector.models.image_tower import ImageTower, canonical_pixels
from connector.models.vision import Reference, Vision
from connector.process import usable_cores
from connector.settings import ModelSettings
from tests.twins import write_twins

SPACE = find_space("clip-vit-b-32")
CPU_BATCHES = (1, 4, 16, 64)
GPU_BATCHES = (1, 16, 64, 256, 512, 1024)
PRODUCTS = ((800, 768, 3072), (800, 3072, 768), (4096, 4096, 4096))
"""Shapes (rows, inner, columns) of the products that the limit is taken from: two of our pass, and a large one."""


def main() -> None:
    """Measure and write ``results/forward.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement")
    parser.add_argument("--compiled", action="store_true", help="compile for the CPU too, which takes a minute each")
    parser.add_argument("--model", type=Path, help="a folder in place of the random-weight twin")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="polyglance-bench-") as work:
        model = options.model or write_twins(Path(work), size="full").image
        results: dict[str, Any] = {"gflop_per_image": _arithmetic(model), "rows": []}
        for row in _rows(model, seconds=options.seconds, compiled=options.compiled, work=results["gflop_per_image"]):
            results["rows"].append(row)
            print(json.dumps(row), flush=True)
    print(write("forward", results))


def _rows(model: Path, *, seconds: float, compiled: bool, work: dict[str, float]) -> Iterator[dict[str, Any]]:
    """One row for each way to run the tower that this machine has."""
    torch.set_num_threads(1)
    yield from _reference_rows(model, seconds=seconds)
    yield _int8_row(model, seconds=seconds)
    for device, precision in _ways():
        tower = ImageTower.load(
            ModelSettings(image_model=str(model), device=device, precision=precision, compiling="off")
        )
        limit = _limit(torch.device(device), getattr(torch, precision))
        for batch in GPU_BATCHES if device == "cuda" else CPU_BATCHES:
            yield _row(tower, batch=batch, cores=1, compiled=False, seconds=seconds, limit=limit, work=work)
        cores = tower.callers(cores=usable_cores())
        yield _row(tower, batch=tower.prepare(0), cores=cores, compiled=False, seconds=seconds, limit=limit, work=work)
        if compiled or device == "cuda":
            tower = ImageTower.load(
                ModelSettings(image_model=str(model), device=device, precision=precision, compiling="on")
            )
            batch = tower.prepare(0)
            yield _row(tower, batch=batch, cores=cores, compiled=True, seconds=seconds, limit=limit, work=work)


def _ways() -> Iterator[tuple[str, Any]]:
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        yield device, "float32"
        yield device, "bfloat16"


def _row(
    tower: ImageTower,
    *,
    batch: int,
    cores: int,
    compiled: bool,
    seconds: float,
    limit: float,
    work: dict[str, float],
) -> dict[str, Any]:
    rate = _rate(tower.embed, tower.slot(batch), callers=cores, seconds=seconds)
    used = cores if tower.device == "cpu" else 1
    return {
        "tower": "polyglance",
        "device": tower.device,
        "precision": tower.precision,
        "batch": batch,
        "callers": cores,
        "compiled": compiled and tower.compiled,
        "images_per_second": round(rate, 1),
        "limit_gflops": round(limit * used),
        "share_of_limit": round(rate * work["polyglance"] / (limit * used), 3),
    }


def _reference_rows(model: Path, *, seconds: float) -> Iterator[dict[str, Any]]:
    """transformers' own forward pass on one core, as sentence-transformers runs it."""
    reference = _reference(model)
    for precision in ("float32", "bfloat16"):
        reference = reference.to(getattr(torch, precision))

        def embed(pixels: Any, run: Reference = reference) -> Any:
            with torch.inference_mode():
                return run(torch.from_numpy(pixels)).float().numpy()

        rate = _rate(embed, np.resize(canonical_pixels(224), (16, 224, 224, 3)), callers=1, seconds=seconds)
        row = {"tower": "transformers", "device": "cpu", "precision": precision, "batch": 16, "callers": 1}
        yield {**row, "compiled": False, "images_per_second": round(rate, 1)}


def _int8_row(model: Path, *, seconds: float) -> dict[str, Any]:
    """The tower in 8 bits on one core; torch multiplies none of them, so there is no limit to compare with."""
    tower = ImageTower.load(ModelSettings(image_model=str(model), device="cpu", precision="int8"))
    rate = _rate(tower.embed, tower.slot(16), callers=1, seconds=seconds)
    row = {"tower": "polyglance", "device": "cpu", "precision": "int8", "batch": 16, "callers": 1, "compiled": False}
    return {**row, "images_per_second": round(rate, 1)}


def _rate(embed: Callable[[Any], Any], batch: Any, *, callers: int, seconds: float) -> float:
    """Images a second of so many threads, each with batches of its own, for about so many seconds."""
    embed(batch)
    done = threading.Event()

    def work() -> int:
        torch.set_num_threads(1)
        mine, count = batch.copy(), 0
        while not done.is_set():
            embed(mine)
            count += len(mine)
        return count

    with ThreadPoolExecutor(callers) as pool:
        started = time.perf_counter()
        counts = [pool.submit(work) for _ in range(callers)]
        done.wait(seconds)
        done.set()
        total = sum(count.result() for count in counts)
        return total / (time.perf_counter() - started)


def _limit(device: torch.device, dtype: torch.dtype) -> float:
    """The most that one thread, or the GPU, multiplies and adds: 10^9 floating-point operations a second."""
    best = 0.0
    for rows, inner, columns in PRODUCTS:
        left = torch.randn(rows, inner, device=device, dtype=dtype)
        right = torch.randn(columns, inner, device=device, dtype=dtype)
        torch.nn.functional.linear(left, right)
        for _ in range(5):
            best = max(best, 2 * rows * inner * columns / _seconds(left, right) / 1e9)
    return best


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    if left.device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    torch.nn.functional.linear(left, right)
    if left.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _arithmetic(model: Path) -> dict[str, float]:
    """Billions of floating-point operations for one image, in transformers' pass and in ours."""
    reference = _reference(model)
    ours = Vision(reference)
    return {"transformers": _count(reference), "polyglance": _count(ours)}


def _count(module: torch.nn.Module) -> float:
    pixels = torch.zeros((1, 224, 224, 3), dtype=torch.uint8)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(pixels)
    return round(float(counter.get_total_flops()) / 1e9, 3)


def _reference(model: Path) -> Reference:
    return load_image_model(model, SPACE.image)


if __name__ == "__main__":
    main()
