"""What every benchmark writes: its samples, and under which circumstances they were taken."""

import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("torch", "transformers", "sentence-transformers", "pillow", "qdrant-client", "qdrant-edge-py")


def machine() -> dict[str, Any]:
    """The machine, as far as a reader needs it to compare."""
    import torch

    from connector.process import usable_cores

    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "bfloat16_on_cpu": any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16")),
        "system": platform.system(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def spread(samples: Sequence[float]) -> dict[str, Any]:
    """Median, least and greatest of the samples, and the samples."""
    return {
        "median": round(statistics.median(samples), 3),
        "least": round(min(samples), 3),
        "greatest": round(max(samples), 3),
        "samples": [round(sample, 3) for sample in samples],
    }


def write(name: str, results: Mapping[str, Any]) -> Path:
    """Write ``results/NAME.json`` with machine, commit, command and time beside the results."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    module = Path(sys.argv[0]).stem
    record = {
        "command": " ".join(["python -m", f"benchmarks.{module}", *sys.argv[1:]]),
        "commit": _commit(),
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "results": results,
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _commit() -> str:
    git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return git.stdout.strip() or "unknown"
