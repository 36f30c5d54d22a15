"""Listing and reading by source, beside decoding: which of them would hold the others up?

    python -m benchmarks.bench_sources [--images 500] [--copies 20]

The S3 server is ``benchmarks.s3_server``, in a process of its own on the same cores; its own share of the processor
is given beside the client's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.photos import SIZES, make_photos
from benchmarks.record import spread, write
from connector.images.decode import decode
from connector.settings import S3Settings
from workers.records import Blob, Ref
from workers.sources.disk import DiskSource
from workers.sources.s3 import S3Source
from workers.sources.source import Source

ROUNDS = 5
THREADS = 4
CHUNK = 32
READERS: tuple[Literal["boto3", "obstore"], ...] = ("boto3", "obstore")
MAX_BYTES = 1 << 28


def main() -> None:
    """Measure and write ``results/sources.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--copies", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="polyglance-bench-") as work:
        photos = make_photos(Path(work) / "photos", size=SIZES["500x375"], count=options.images)
        results: dict[str, Any] = {"threads": THREADS, "image": "500x375", "decode": _decoding(photos)}
        results["disk"] = _measured(lambda: DiskSource(photos, hidden=False, max_bytes=MAX_BYTES))
        with s3_bucket(photos, copies=options.copies) as settings:
            for reader in READERS:
                chosen = settings.model_copy(update={"reader": reader})
                results[f"s3 by {reader}"] = _measured(partial(_bucket, chosen), at_most=2 * options.images)
    print(json.dumps(results, indent=1))
    print(write("sources", results))


def _decoding(photos: Path) -> dict[str, Any]:
    blobs = [path.read_bytes() for path in sorted(photos.rglob("*.jpg"))]

    def decode_all() -> int:
        with ThreadPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return sum(
                1 for _ in pool.map(lambda blob: decode(blob, size=224, max_pixels=10**9), blobs, chunksize=CHUNK)
            )

    return {"images_per_second": spread([_rate(decode_all) for _ in range(ROUNDS)])}


def _bucket(settings: S3Settings) -> S3Source:
    return S3Source("s3://bucket", settings=settings, threads=THREADS, hidden=False, max_bytes=MAX_BYTES)


def _measured(open_source: Callable[[], Source], *, at_most: int | None = None) -> dict[str, Any]:
    source = open_source()
    try:
        refs = [item for item in source.list() if isinstance(item, Ref)]
        listing = [_rate(lambda: sum(1 for _ in source.list())) for _ in range(ROUNDS)]
        chosen = refs[:at_most]
        before = time.process_time()
        reading = [_rate(lambda: _read_all(source, chosen)) for _ in range(ROUNDS)]
        cpu = (time.process_time() - before) / (ROUNDS * len(chosen))
    finally:
        source.close()
    return {
        "listed": len(refs),
        "keys_per_second": spread(listing),
        "images_per_second": spread(reading),
        "cpu_ms_per_image": round(cpu * 1000, 4),
    }


def _read_all(source: Source, refs: Sequence[Ref]) -> int:
    chunks = [refs[start : start + CHUNK] for start in range(0, len(refs), CHUNK)]
    with ThreadPoolExecutor(THREADS) as pool:
        outcomes = [outcome for chunk in pool.map(lambda chunk: list(source.read(chunk)), chunks) for outcome in chunk]
    broken = [outcome for outcome in outcomes if not isinstance(outcome, Blob)]
    if broken:
        raise SystemExit(f"reading failed: {broken[0]}")
    return len(outcomes)


def _rate(work: Callable[[], int]) -> float:
    started = time.perf_counter()
    count = work()
    return count / (time.perf_counter() - started)


@contextmanager
def s3_bucket(photos: Path, *, copies: int, refused: float = 0.0) -> Iterator[S3Settings]:
    """A bucket of these photos, each so many times, on a server of its own; and how to reach it.

    ``refused`` is the share of requests that it answers with SlowDown.
    """
    os.environ.update(AWS_ACCESS_KEY_ID="benchmark", AWS_SECRET_ACCESS_KEY="benchmark", AWS_DEFAULT_REGION="us-east-1")
    command = [sys.executable, "-m", "benchmarks.s3_server", str(photos), str(copies), str(refused)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        yield S3Settings(endpoint_url=f"http://127.0.0.1:{port}", addressing="path")
        server.terminate()


if __name__ == "__main__":
    main()
