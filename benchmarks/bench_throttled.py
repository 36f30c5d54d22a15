"""Reading from a store that refuses a share of all requests (SlowDown): ours beside boto3 alone, in its two modes.

    python -m benchmarks.bench_throttled [--images 600] [--refused 0.15]

The store is ``benchmarks.s3_server`` in a process of its own. All are measured in turns, with as many threads each.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal

import boto3
from botocore.config import Config

from benchmarks.bench_sources import CHUNK, MAX_BYTES, THREADS, s3_bucket
from benchmarks.photos import SIZES, make_photos
from benchmarks.record import spread, write
from connector.settings import S3Settings
from workers.records import Blob, Ref
from workers.sources.s3 import S3Source

ROUNDS = 3


def main() -> None:
    """Measure and write ``results/throttled.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--refused", type=float, default=0.15)
    options = parser.parse_args()
    results: dict[str, Any] = {"threads": THREADS, "images": options.images, "refused": options.refused}
    with tempfile.TemporaryDirectory(prefix="polyglance-bench-") as work:
        photos = make_photos(Path(work) / "photos", size=SIZES["500x375"], count=options.images)
        for share in (0.0, options.refused):
            with s3_bucket(photos, copies=1, refused=share) as settings:
                results[f"{share:.0%} refused"] = _measured(settings)
    print(json.dumps(results, indent=1))
    print(write("throttled", results))


def _measured(settings: S3Settings) -> dict[str, Any]:
    """Images a second, by reader; what ours counted as refused stands beside them."""
    refused: dict[str, int] = {}
    readers: dict[str, Callable[[], float]] = {
        "ours, by obstore": partial(_ours, settings.model_copy(update={"reader": "obstore"}), refused),
        "ours, by boto3": partial(_ours, settings.model_copy(update={"reader": "boto3"}), refused),
        "boto3 alone, standard": partial(_alone, settings, "standard"),
        "boto3 alone, adaptive": partial(_alone, settings, "adaptive"),
    }
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(ROUNDS):
        for name, read in readers.items():
            rates[name].append(read())
    return {name: spread(some) for name, some in rates.items()} | {"refused": refused}


def _ours(settings: S3Settings, refused: dict[str, int]) -> float:
    source = S3Source("s3://bucket", settings=settings, threads=THREADS, hidden=False, max_bytes=MAX_BYTES)
    with closing(source), ThreadPoolExecutor(THREADS) as pool:
        refs = [item for item in source.list() if isinstance(item, Ref)]
        chunks = [refs[start : start + CHUNK] for start in range(0, len(refs), CHUNK)]
        started = time.perf_counter()
        outcomes = [one for chunk in pool.map(lambda chunk: list(source.read(chunk)), chunks) for one in chunk]
        seconds = time.perf_counter() - started
        refused[settings.reader] = refused.get(settings.reader, 0) + source.throttled
    assert all(isinstance(outcome, Blob) for outcome in outcomes)
    return len(outcomes) / seconds


def _alone(settings: S3Settings, mode: Literal["standard", "adaptive"]) -> float:
    config = Config(
        max_pool_connections=THREADS, retries={"total_max_attempts": 10, "mode": mode}, s3={"addressing_style": "path"}
    )
    client = boto3.client("s3", endpoint_url=settings.endpoint_url, config=config)

    def read(keys: Sequence[str]) -> int:
        return sum(bool(client.get_object(Bucket="bucket", Key=key)["Body"].read()) for key in keys)

    with closing(client), ThreadPoolExecutor(THREADS) as pool:
        keys = [each["Key"] for each in client.list_objects_v2(Bucket="bucket")["Contents"]]
        started = time.perf_counter()
        done = sum(pool.map(read, [keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK)]))
        return done / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
