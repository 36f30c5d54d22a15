"""Runs: a second pass over what is stored already, what shards and run files cost, and Ray beside local workers.

    python -m benchmarks.bench_runs [--unchanged 100000] [--images 2000] [--rounds 3] [--skip-ray]

The second pass reads nothing: every image is listed, its shard written down, its version looked up in the embedded
engine. Its points are written beforehand by this script, with the versions that listing gives and random vectors. Run
files are measured by the same images brought in with them and without. Ray and local workers fill the tests'
stand-in of a server, two workers each. Space mini throughout.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.photos import SIZES, make_photos
from benchmarks.record import spread, write
from connector.records import Point
from connector.settings import Settings
from connector.store.open import open_engine
from tests.qdrant_standin.standin import running
from workers.executors.in_process import InProcess
from workers.executors.worker import Worker
from workers.pipeline.counters import Counters
from workers.records import Ref
from workers.run.files import LocalFiles
from workers.run.ingestion import Ingestion, manifest_of
from workers.run.loop import Run
from workers.run.shards import RunFolder
from workers.sources.open import open_source

BATCH = 1_000


def main() -> None:
    """Measure and write ``results/runs.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unchanged", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-ray", action="store_true")
    options = parser.parse_args()
    os.environ.update(AWS_ACCESS_KEY_ID="benchmark", AWS_SECRET_ACCESS_KEY="benchmark", AWS_DEFAULT_REGION="us-east-1")
    with tempfile.TemporaryDirectory(prefix="polyglance-bench-") as work:
        folder = Path(work)
        results: dict[str, Any] = {
            "unchanged": _unchanged(folder / "many", count=options.unchanged, rounds=options.rounds)
        }
        photos = make_photos(folder / "photos", size=SIZES["500x375"], count=options.images)
        results["counts"] = _counts(folder, photos=photos, rounds=options.rounds)
        if not options.skip_ray:
            results["executors"] = _executors(folder, photos=photos, rounds=options.rounds)
    print(json.dumps(results, indent=1))
    print(write("runs", results))


# ---- what is stored already


def _unchanged(folder: Path, *, count: int, rounds: int) -> dict[str, Any]:
    """Images a second of a run that finds everything stored, by source, with the process that does it."""
    for number in range(count):
        path = folder / f"{number // 1000:04d}" / f"{number:08d}.jpg"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    results: dict[str, Any] = {"images": count}
    with _s3(folder) as endpoint:
        places = {
            "disk": (str(folder), {}),
            "s3": ("s3://bucket", {"s3.endpoint_url": endpoint, "s3.addressing": "path"}),
        }
        for name, (place, more) in places.items():
            data = folder.parent / f"data-{name}"
            settings = Settings.load({"model.space": "mini", "qdrant.path": str(data), **more})
            _store(place, settings=settings)
            reports = [_ingest(place, data=data, more=more) for _ in range(rounds)]
            assert all(report["unchanged"] == count for report in reports)
            results[name] = {
                "images_per_second": spread([report["images_per_second"] for report in reports]),
                "busy": reports[-1]["busy"],
            }
            shutil.rmtree(data)
    return results


def _store(place: str, *, settings: Settings) -> None:
    """Write a point for every image of a place, as a first run would."""
    worker = Worker.start(settings)
    worker.prepare(recreate=False)
    worker.close()
    random = np.random.default_rng(7)
    with (
        closing(open_source(place, settings=settings)) as source,
        closing(open_engine(settings.qdrant, collection=settings.collection)) as engine,
    ):
        refs = [item for item in source.list() if isinstance(item, Ref)]
        for start in range(0, len(refs), BATCH):
            batch = refs[start : start + BATCH]
            rows = random.standard_normal((len(batch), 128)).astype(np.float32)
            vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            engine.upsert(
                [
                    Point(ref.point_id, vector, {"uri": ref.uri, "source": ref.source, "version": ref.version})
                    for ref, vector in zip(batch, vectors, strict=True)
                ]
            )


def _ingest(place: str, *, data: Path, more: dict[str, str]) -> dict[str, Any]:
    pairs = [
        f"--set={name}={value}" for name, value in {"qdrant.path": data, "ingest.optimize_from": 10**9, **more}.items()
    ]
    command = [sys.executable, "-m", "polyglance", "ingest", place, "--space", "mini", "--json", *pairs]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    report: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return report


@contextmanager
def _s3(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.s3_server", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.terminate()


# ---- what shards and run files cost


def _counts(folder: Path, *, photos: Path, rounds: int) -> dict[str, Any]:
    """Seconds for the same images through the pipeline alone, and as a run with listing, shards and run files."""
    bare, kept = [], []
    for number in range(rounds):
        bare.append(_seconds(folder / f"bare-{number}", photos=photos, with_run_files=False))
        kept.append(_seconds(folder / f"kept-{number}", photos=photos, with_run_files=True))
    overhead = statistics.median(kept) / statistics.median(bare) - 1
    return {"pipeline_s": spread(bare), "run_s": spread(kept), "overhead": round(overhead, 4)}


def _seconds(folder: Path, *, photos: Path, with_run_files: bool) -> float:
    settings = Settings.load({"model.space": "mini", "qdrant.path": str(folder), "ingest.shard_size": 1_000})
    worker = Worker.start(settings)
    try:
        prepared = worker.prepare(recreate=False)
        with closing(open_source(str(photos), settings=settings)) as source:
            started = time.perf_counter()
            if with_run_files:
                Run(
                    source.list,
                    manifest=manifest_of(source.root, place=str(photos), settings=settings),
                    folder=RunFolder(LocalFiles(folder / "run")),
                    executor=InProcess(worker),
                    threads=prepared.threads,
                    shard_size=settings.ingest.shard_size,
                ).execute()
            else:
                refs = [item for item in source.list() if isinstance(item, Ref)]
                for start in range(0, len(refs), settings.ingest.shard_size):
                    shard = refs[start : start + settings.ingest.shard_size]
                    worker.pipeline.run(shard, source=source, counters=Counters(threads=prepared.threads))
            return time.perf_counter() - started
    finally:
        worker.close()
        shutil.rmtree(folder)


# ---- executors


def _executors(folder: Path, *, photos: Path, rounds: int) -> dict[str, Any]:
    """Images a second by executor, the start of its workers left out."""
    rates: dict[str, list[float]] = {"local": [], "ray": []}
    with running() as standin:
        server = standin.settings("grpc", path=folder / "runs", timeout_s=60.0)
        settings = Settings.load({"model.space": "mini", "ingest.workers": 2, "ingest.shard_size": 250})
        settings = settings.model_copy(update={"qdrant": server})
        for _ in range(rounds):
            for name, samples in rates.items():
                ingest = settings.ingest.model_copy(update={"executor": name, "ray_address": "local"})
                samples.append(_rate(settings.model_copy(update={"ingest": ingest}), photos=photos))
    return {
        **{name: {"images_per_second": spread(samples)} for name, samples in rates.items()},
        "ray_over_local": round(statistics.median(rates["ray"]) / statistics.median(rates["local"]), 3),
    }


def _rate(settings: Settings, *, photos: Path) -> float:
    with (
        closing(open_source(str(photos), settings=settings)) as source,
        Ingestion.open(settings, recreate=True, show=_unseen, wait=_unseen) as ingestion,
    ):
        report = ingestion.ingest(source, place=str(photos)).report
    if not report.counts.stored == report.counts.listed > 0:
        raise SystemExit(f"the counts are {report.counts}")
    return report.rate


def _unseen(_: object) -> AbstractContextManager[None]:
    return nullcontext()


if __name__ == "__main__":
    main()
