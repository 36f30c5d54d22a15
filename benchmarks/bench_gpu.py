"""Everything that a GPU decides, in one command under nine minutes: ``make bench-gpu``.

    python -m benchmarks.bench_gpu [--images 20000]

Nothing is fetched: the model is a random-weight twin, the images are made here, the store is embedded. First the
tests marked ``gpu``, then the forward pass by precision, batch and compiling, then ingestion from end to end from local
JPEGs of 500x375. The embedded engine takes one process; ``processes`` decode and embed side by side without a store,
sharing the GPU as workers on a server would.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.photos import SIZES, make_many, make_photos
from benchmarks.record import machine, write
from connector.models.image_tower import ImageTower
from connector.process import usable_cores
from connector.settings import ModelSettings
from tests.twins import write_twins

PHOTOS = 500
"""Different images; a longer run takes each of them several times, each time as another file."""
LIMIT_S = 240
PROCESSES = (1, 2, 4)


def main() -> None:
    """Measure and write ``results/gpu.json``. Ends with 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000, help="images for each measurement of ingestion")
    parser.add_argument("--device", default="cuda", help="cpu tries the command itself out where there is no GPU")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("bench-gpu needs a CUDA device; torch sees none here.", file=sys.stderr)
        sys.exit(2)
    results: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="polyglance-bench-") as work:
        folder = Path(work)
        model = write_twins(folder / "models", size="full").image
        photos = make_photos(folder / "photos", size=SIZES["500x375"], count=PHOTOS)
        if options.device == "cuda":
            results["tests"] = _command([sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"])
            _command([sys.executable, "-m", "benchmarks.bench_forward", "--seconds", "1", "--model", str(model)])
        many = make_many(folder / "many", of=photos, count=options.images)
        results["end_to_end"] = _end_to_end(many, model, device=options.device)
        print(json.dumps(results["end_to_end"]), flush=True)
        results["processes"] = {
            str(count): round(_rate(count, options.images, photos, model, device=options.device), 1)
            for count in PROCESSES
            if count <= usable_cores()
        }
    print(json.dumps(results["processes"]))
    print(write("gpu", results))


def _command(command: list[str]) -> str:
    """Run it; its last line of output."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=LIMIT_S)
    print(done.stdout, flush=True)
    return (done.stdout.strip().splitlines() or ["no output"])[-1]


def _end_to_end(photos: Path, model: Path, *, device: str) -> dict[str, Any]:
    """One process, with the embedded engine."""
    with tempfile.TemporaryDirectory() as store:
        given = {"model.image_model": model, "model.device": device, "qdrant.path": store, "ingest.shard_size": 100_000}
        pairs = [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
        command = [sys.executable, "-m", "polyglance", "ingest", str(photos), "--json", *pairs]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT_S)
    counts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {name: counts[name] for name in ("stored", "images_per_second", "seconds", "busy", "bottleneck")}


def _rate(count: int, images: int, photos: Path, model: Path, *, device: str) -> float:
    """Images a second that so many processes decode and embed together, from the moment that all are ready."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count + 1)
    share, threads = images // count, max(1, usable_cores() // count)
    children = [
        context.Process(target=_work, args=(barrier, share, threads, photos, model, device)) for _ in range(count)
    ]
    for child in children:
        child.start()
    barrier.wait(LIMIT_S)
    started = time.perf_counter()
    for child in children:
        child.join()
    if any(child.exitcode for child in children):
        raise SystemExit("a process of the benchmark failed; its message is above.")
    return share * count / (time.perf_counter() - started)


def _work(barrier: Any, images: int, threads: int, photos: Path, model: Path, device: str) -> None:
    """Decode and embed so many images in this process, with so many decoding threads."""
    from benchmarks.decode_and_embed import decode_and_embed

    tower = ImageTower.load(ModelSettings(image_model=str(model), device=device))
    blobs = [path.read_bytes() for path in sorted(photos.rglob("*.jpg"))]
    batch = tower.prepare(0)
    barrier.wait(LIMIT_S)
    decode_and_embed(tower, blobs, count=images, batch=batch, threads=threads)


if __name__ == "__main__":
    main()
