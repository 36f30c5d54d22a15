"""Ingestion from end to end, against the plain script, and its memory as the library grows.

Both embed the same JPEGs with the same full-size random-weight ViT-B/32, one after the other, round by round; the
ratio of each round is what counts. Beside it stands what the arithmetic allows on this machine: decoding and the
forward pass measured alone on one thread, perfectly overlapped over all cores.

    python -m benchmarks.bench_ingest [--rounds 3] [--share 1.0] [--counts 1000 10000 100000] [--skip-growth]

Of the images on S3 (``benchmarks.s3_server``, which shares the cores) ours is measured alone. Growth is the cost of an
image, and the peak of memory, as the collection grows: many small images with space mini.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.bench_sources import s3_bucket
from benchmarks.photos import SIZES, make_many, make_photos
from benchmarks.record import spread, write
from connector.images.decode import decode
from connector.models.image_tower import ImageTower, canonical_pixels
from connector.process import usable_cores
from connector.records import Pixels
from connector.settings import ModelSettings
from tests.twins import write_twins

IMAGES = {"500x375": 480, "1920x1080": 320, "4000x3000": 96}
"""Images of a round: enough that its beginning and its end, where not all stages work, hardly count."""
DIFFERENT = {"500x375": 96, "1920x1080": 32, "4000x3000": 8}
"""How many of them differ in more than a comment."""
COUNTS = (1_000, 10_000, 100_000)


def main() -> None:
    """Run what the options ask for and write ``results/ingest.json``."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="polyglance-bench-") as work:
        folder = Path(work)
        twins = write_twins(folder / "models", size="full")
        results: dict[str, Any] = {"against_plain_script": {}}
        for name, size in SIZES.items():
            different = make_photos(folder / "different" / name, size=size, count=DIFFERENT[name])
            photos = make_many(folder / "photos" / name, of=different, count=round(options.share * IMAGES[name]))
            results["against_plain_script"][name] = _compare(photos, twins.image, rounds=options.rounds, folder=folder)
            print(name, json.dumps(results["against_plain_script"][name], indent=1), flush=True)
        if not options.skip_growth:
            results["growth"] = _growth(folder, options.counts)
            print("growth", json.dumps(results["growth"], indent=1), flush=True)
        print(write("ingest", results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the images of a round, to try it out")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--skip-growth", action="store_true")
    return parser.parse_args()


def _compare(photos: Path, model: Path, *, rounds: int, folder: Path) -> dict[str, Any]:
    plain, ours, ratios = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=folder) as store:
            plain.append(_plain_rate(photos, model, Path(store) / "plain"))
            counts = _counts(photos, {"model.image_model": model, "qdrant.path": Path(store) / "ours"})
        ours.append(float(counts["images_per_second"]))
        ratios.append(ours[-1] / plain[-1])
    limit = _limit(photos, model)
    reached = sorted(ours)[len(ours) // 2] / limit["images_per_second"]
    return {
        "busy": counts["busy"],
        "s3": _from_s3(photos, model, folder=folder),
        "plain_images_per_second": spread(plain),
        "polyglance_images_per_second": spread(ours),
        "ratio": spread(ratios),
        "limit": limit,
        "share_of_limit": round(reached, 3),
    }


def _plain_rate(photos: Path, model: Path, store: Path) -> float:
    done = _last_line([sys.executable, "-m", "benchmarks.plain_script", str(photos), str(model), str(store)])
    return float(done["images"] / done["seconds"])


def _from_s3(photos: Path, model: Path, *, folder: Path) -> dict[str, Any]:
    """Ours, from a bucket that holds each photo once."""
    with tempfile.TemporaryDirectory(dir=folder) as store, s3_bucket(photos, copies=1) as s3:
        settings = {"model.image_model": model, "qdrant.path": store}
        given = {f"s3.{name}": value for name, value in s3.model_dump(exclude_defaults=True).items()}
        counts = _counts("s3://bucket", {**settings, **given})
    return {"images_per_second": counts["images_per_second"], "busy": counts["busy"]}


def _counts(place: object, settings: Mapping[str, object]) -> dict[str, Any]:
    return _last_line(_ingest_command(place, settings))


def _ingest_command(photos: object, settings: Mapping[str, object]) -> list[str]:
    pairs = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return [sys.executable, "-m", "polyglance", "ingest", str(photos), "--json", *pairs]


def _last_line(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _limit(photos: Path, model: Path) -> dict[str, float]:
    """What perfect overlap over all cores would give: cores / (decode + forward), each on one thread, in seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        decoding = _decode_seconds(sorted(photos.rglob("*.jpg"))[:24])
        forward = _forward_seconds(ImageTower.load(ModelSettings(image_model=str(model))))
    finally:
        torch.set_num_threads(threads)
    return {
        "decode_seconds": round(decoding, 5),
        "forward_seconds": round(forward, 5),
        "images_per_second": round(usable_cores() / (decoding + forward), 3),
    }


def _decode_seconds(paths: list[Path]) -> float:
    blobs = [path.read_bytes() for path in paths]
    decode(blobs[0], size=224, max_pixels=10**9)
    started = time.perf_counter()
    for blob in blobs:
        decode(blob, size=224, max_pixels=10**9)
    return (time.perf_counter() - started) / len(blobs)


def _forward_seconds(tower: ImageTower) -> float:
    batch: Pixels = canonical_pixels(224).repeat(8, axis=0)  # (32, 224, 224, 3)
    tower.embed(batch)
    started = time.perf_counter()
    for _ in range(3):
        tower.embed(batch)
    return (time.perf_counter() - started) / (3 * len(batch))


def _growth(folder: Path, counts: Sequence[int]) -> dict[str, Any]:
    """Milliseconds an image and peak resident memory in MiB, by the number of images."""
    found = {}
    for count in counts:
        photos = make_photos(folder / "small" / str(count), size=(240, 180), count=count)
        settings = {"model.space": "mini", "qdrant.path": folder / "small-store" / str(count)}
        probe = _last_line([sys.executable, "-m", "benchmarks.peak", *_ingest_command(photos, settings)])
        report = probe["counts"]
        found[str(count)] = {
            "ms_per_image": round(1000 * report["seconds"] / count, 3),
            "peak_mib": probe["peak_mib"],
            "busy": report["busy"],
        }
    return found


if __name__ == "__main__":
    main()
