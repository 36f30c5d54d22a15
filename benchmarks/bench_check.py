"""How long `polyglance check` takes over a large collection that is sound, without reading images.

    python -m benchmarks.bench_check [--points 100000] [--rounds 5] [--keep FOLDER]

Points are as an ingestion of one folder writes them, with structured vectors (benchmarks/structured.py) of space mini,
sealed and optimized; beside them lie the files of the run that wrote them. ``command_s`` is the wall time of the
command, ``processor_s`` its processor time with its children's, ``reported_s`` what it says of itself, and
``program_s`` the wall time of the same in a process that has imported it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path

from benchmarks.record import spread, write
from benchmarks.structured import structured_blocks
from connector.records import Payload, Point, id_of
from connector.run_status import RunStatus
from connector.settings import Settings
from connector.store.open import open_engine
from connector.store.schema import Fingerprint, schema_for
from workers.run.check import check
from workers.run.shards import Manifest, RunFolder

ROOT = Path(__file__).parents[1]
SOURCE = "file:///album"
SCHEMA = schema_for(Fingerprint("mini", dims=128, image_size=64), Settings())
UPSERT = 1_000


def main() -> None:
    """Measure and write ``results/check-POINTS.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--note", help="what else ran on the machine")
    parser.add_argument("--keep", type=Path, help="a folder for the collection; one that is there is taken as it is")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="polyglance-bench-") as scratch:
        folder = given.keep or Path(scratch)
        if not (folder / "data").exists():
            fill(folder / "data", given.points)
        settings = Settings.load({"qdrant.path": str(folder / "data"), "model.space": "mini"})
        _command(folder)  # reads the files once, and writes byte code
        load = os.getloadavg()[0]
        ran = [_command(folder) for _ in range(given.rounds)]
        inside = [_inside(settings) for _ in range(given.rounds)]
    results = {
        "points": given.points,
        "load": load,
        **({} if given.note is None else {"note": given.note}),
        **{name: spread([each[name] for each in ran]) for name in ran[0]},
        "program_s": spread(inside),
    }
    print(json.dumps(results, indent=1))
    print(write(f"check-{given.points}", results))


def fill(folder: Path, count: int) -> None:
    """Write so many points, and the files of the run that wrote them."""
    settings = Settings.load({"qdrant.path": str(folder), "model.space": "mini"})
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        engine.create(SCHEMA)
        number = 0
        for block in structured_blocks(count, dims=128, seed=0):
            for start in range(0, len(block), UPSERT):
                points = []
                for vector in block[start : start + UPSERT]:
                    payload = _payload(number)
                    points.append(Point(id_of(payload["uri"]), vector, payload))
                    number += 1
                engine.upsert(points)
        engine.optimize()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = Manifest("one", place="/album", source=SOURCE, started_at=now)
    status = RunStatus("one", SOURCE, settings.collection, "done", started_at=now, updated_at=now)
    run = RunFolder.of(SOURCE, settings=settings)
    run.begin(manifest)
    run.write_status(replace(status, listed=count, listed_all=True, stored=count, rate=500.0))


def _payload(number: int) -> Payload:
    folder, name = f"{number // 500:04d}", f"IMG_{number:07d}.jpg"
    taken = datetime(2015, 1, 1, tzinfo=UTC) + timedelta(minutes=53 * number)
    return {
        "uri": f"{SOURCE}/{folder}/{name}",
        "object_key": f"/album/{folder}/{name}",
        "source": [SOURCE],
        "folder": [folder],
        "filename": name,
        "format": "jpeg",
        "width": 4000,
        "height": 3000,
        "bytes": 2_000_000 + number,
        "version": f"{2_000_000 + number}-{number}",
        "content_hash": blake2b(name.encode(), digest_size=16).hexdigest(),
        "taken_at": taken.isoformat(),
        "taken_local": taken.isoformat()[:19],
        "taken_on": taken.date().isoformat(),
        "taken_month": taken.month,
        "taken_hour": taken.hour,
        "taken_weekday": taken.strftime("%A").lower(),
        "camera": f"Camera {number % 7}",
        "lens": f"Lens {number % 11}",
        "location": {"lat": number % 160 - 80.0, "lon": number % 340 - 170.0},
        "tags": [f"tag {number % 97}", f"tag {number % 31}"],
        "ingested_at": taken.isoformat(),
    }


def _command(folder: Path) -> dict[str, float]:
    """Seconds of one ``polyglance check``: of the wall, of the processor, and by its own clock."""
    code = "import sys, polyglance; polyglance.main(sys.argv[1:])"
    flags = ["check", "--space", "mini", "--set", f"qdrant.path={folder / 'data'}", "--json"]
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", code, *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    told = json.loads(child.stdout.read())
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if not told["sound"]:
        raise RuntimeError(f"the collection is not sound: {told['findings'][:3]}")
    wall = time.perf_counter() - began
    return {"command_s": wall, "processor_s": used.ru_utime + used.ru_stime, "reported_s": told["seconds"]}


def _inside(settings: Settings) -> float:
    began = time.perf_counter()
    check(settings)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
