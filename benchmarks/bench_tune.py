"""What `polyglance tune` predicts, against a real run over other images of the same kind.

python -m benchmarks.bench_tune [--share 1.0] [--seconds 4]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.photos import make_many, make_photos
from benchmarks.record import write
from tests.twins import write_twins

KINDS = {"500x375": (500, 375), "1920x1080": (1920, 1080)}
SAMPLE = 64
COUNTS = {"mini": 6_000, "clip-vit-b-32": 800}
"""Images of a real run: enough that its beginning and its end, where not all stages work, hardly count."""


def main() -> None:
    """Predict, run, compare; write ``results/tune.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the images of a real run, to try it out")
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(prefix="polyglance-bench-") as work:
        folder = Path(work)
        image_model = write_twins(folder / "models", size="full").image
        spaces: dict[str, dict[str, Any]] = {
            "mini": {"model.space": "mini"},
            "clip-vit-b-32": {"model.image_model": image_model},
        }
        for kind, size in KINDS.items():
            sample = make_photos(folder / "sample" / kind, size=size, count=SAMPLE)
            others = make_photos(folder / "others" / kind, size=size, count=SAMPLE, first=SAMPLE)
            for space, model in spaces.items():
                count = round(options.share * COUNTS[space])
                photos = make_many(folder / "photos" / space / kind, of=others, count=count)
                name = f"{space}, {kind}"
                settings = {**model, "qdrant.path": folder / "store" / space / kind}
                results[name] = _compared(photos, sample, settings, options)
                print(name, json.dumps(results[name]), flush=True)
    print(write("tune", results))


def _compared(photos: Path, sample: Path, settings: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    tuned = _json(["tune", str(sample), "--seconds", str(options.seconds), *given])
    counts = _json(["ingest", str(photos), *given])
    predicted, real = tuned["together"]["rate"], counts["images_per_second"]
    return {
        "predicted_images_per_second": round(predicted, 1),
        "real_images_per_second": real,
        "predicted_over_real": round(predicted / real, 3),
        "limit": tuned["together"]["limit"],
        "stages": {stage["stage"]: {k: round(stage[k], 6) for k in ("rate", "cpu_s")} for stage in _stages(tuned)},
    }


def _stages(tuned: dict[str, Any]) -> list[dict[str, Any]]:
    stages: list[dict[str, Any]] = tuned["measured"]["stages"]
    return stages


def _json(arguments: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "polyglance", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
