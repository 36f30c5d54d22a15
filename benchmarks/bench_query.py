"""From words to hits: how long, how right and how large, in the embedded engine.

    python -m benchmarks.bench_scale --points 100000 --keep    # makes the collection
    python -m benchmarks.bench_query --points 100000           # asks it; writes results/query_100000.json

Towers are random-weight twins in the full size of the published ones: they take the time of the real ones, but point
nowhere, so what is searched for is a vector of the collection's own kind.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_scale import FILTER, NAME, SCHEMA, batches, kept
from benchmarks.record import write
from benchmarks.structured import structured_vectors
from connector.search.client import ImageSearch
from connector.settings import Settings
from connector.store.edge.engine import EmbeddedEngine
from connector.store.engine import Engine

CACHE = Path(".cache/bench_query")
SEED = 1
WARM_UP = 20
EXACT = 100
FILTERS = {
    "none": None,
    "a tenth": "width >= 1800",
    "a half": "width >= 1178",
    "a fifth by two": FILTER,
    "the folders of a year": 'folder startswith "2007"',
}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--plain", type=int, default=20_000, help="points of the plain script's collection")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = kept(given.points)
    if given.memory:
        print(json.dumps(_memory(folder)))
    else:
        results = measure(folder, points=given.points, queries=given.queries, plain=given.plain)
        print(json.dumps(results, indent=1))
        print(write(f"query_{given.points}", results))


def measure(folder: Path, *, points: int, queries: int, plain: int) -> dict[str, Any]:
    """Every figure of this benchmark."""
    twins = _twins()
    results: dict[str, Any] = {"points": points, "queries": queries}
    vectors = structured_vectors(queries, seed=SEED)
    with closing(_engine(folder)) as engine:
        info = engine.info()
        results |= {"stored": info.points, "in_graph": info.indexed, "disk_mib": round(_disk(folder) / 2**20, 1)}
        results["towers"] = dict(_towers(engine, twins=twins, vectors=vectors))
        search = ImageSearch(settings=_settings(twins, runtime="auto"), engine=engine)
        results["filters_ms"] = dict(_filtered(search, vectors=vectors))
        results["recall_at_10"] = _recall(search, vectors=vectors[:EXACT])
    results["memory_without_model"] = _memory_apart(points)
    results["plain"] = _plain(twins, points=plain, queries=queries)
    return results


def _towers(engine: Engine, *, twins: Any, vectors: Any) -> Iterator[tuple[str, Any]]:
    """Words to hits with the multilingual tower in each runtime: the parts and the whole."""
    for runtime in ("onnx", "torch"):
        search = ImageSearch(settings=_settings(twins, runtime=runtime), engine=engine)
        texts = _texts(len(vectors) + WARM_UP)
        started = time.perf_counter()
        search.embed_texts(["to begin with"])
        loaded = time.perf_counter() - started
        search.nearest(vectors[:1], modality="text")
        calibrated = time.perf_counter() - started - loaded
        said, found = [], []
        for text, vector in zip(texts, np.concatenate([vectors[:WARM_UP], vectors]), strict=True):
            said.append(_timed(partial(search.embed_texts, [text])))
            found.append(_timed(partial(search.nearest, vector[None], modality="text")))
        whole = [text + search for text, search in zip(said, found, strict=True)]
        yield (
            runtime,
            {
                "load_s": round(loaded, 2),
                "calibrate_s": round(calibrated, 2),
                "text_ms": percentiles(said[WARM_UP:]),
                "search_ms": percentiles(found[WARM_UP:]),
                "words_to_hits_ms": percentiles(whole[WARM_UP:]),
            },
        )


def _filtered(search: ImageSearch, *, vectors: Any) -> Iterator[tuple[str, Any]]:
    for name, where in FILTERS.items():
        search.nearest(vectors[:WARM_UP], where=where)
        yield name, percentiles([_timed(partial(search.nearest, vector[None], where=where)) for vector in vectors])


def _recall(search: ImageSearch, *, vectors: Any) -> dict[str, float]:
    """The share of the exact ten that the graph finds."""
    found = {}
    for name, where in FILTERS.items():
        exact, quick = search.exact(vectors, where=where), search.nearest(vectors, where=where)
        shares = [
            len({hit.id for hit in ours} & {hit.id for hit in theirs}) / max(len(theirs), 1)
            for ours, theirs in zip(quick, exact, strict=True)
        ]
        found[name] = round(float(np.mean(shares)), 4)
    return found


def _memory_apart(points: int) -> dict[str, float]:
    """Resident memory of a process that searches by vectors and loads no model."""
    command = [sys.executable, "-m", "benchmarks.bench_query", "--points", str(points), "--memory"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _memory(folder: Path) -> dict[str, float]:
    vectors = structured_vectors(300, seed=SEED)
    before = _resident()
    with closing(_engine(folder)) as engine:
        search = ImageSearch(settings=Settings.load({"model.space": "clip-vit-b-32"}), engine=engine)
        for vector in vectors:
            search.nearest(vector[None])
        after = _resident()
    return {**{f"{name}_mib": value for name, value in after.items()}, "before_mib": before["resident"]}


def _resident() -> dict[str, float]:
    """Resident memory, MiB: all of it, and what is the process's own rather than a mapped file's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "RssAnon"))}
    return {"resident": round(kib["VmRSS"] / 1024, 1), "anonymous": round(kib["RssAnon"] / 1024, 1)}


def _plain(twins: Any, *, points: int, queries: int) -> dict[str, Any]:
    """What a user writes first: ``encode`` and ``QdrantClient(path=…)``."""
    from qdrant_client import QdrantClient, models
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(twins.text), device="cpu")
    with tempfile.TemporaryDirectory() as folder, closing(QdrantClient(path=folder)) as client:
        params = models.VectorParams(size=SCHEMA.fingerprint.dims, distance=models.Distance.COSINE)
        client.create_collection("photos", vectors_config=params)
        for batch in batches(points):
            structs = [models.PointStruct(id=p.id, vector=p.vector.tolist(), payload=dict(p.payload)) for p in batch]
            client.upsert("photos", structs)
        said, found = [], []
        for text, vector in zip(_texts(queries), structured_vectors(queries, seed=SEED), strict=True):
            said.append(_timed(partial(model.encode, text, show_progress_bar=False)))
            found.append(_timed(partial(client.query_points, "photos", query=vector, limit=10)))
    whole = [text + search for text, search in zip(said, found, strict=True)]
    return {
        "points": points,
        "text_ms": percentiles(said),
        "search_ms": percentiles(found),
        "words_to_hits_ms": percentiles(whole),
    }


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99."""
    p50, p95, p99 = np.percentile(samples, (50, 95, 99))
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2), "p99": round(float(p99), 2)}


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def _texts(count: int) -> list[str]:
    """Texts of some 14 tokens, none twice: no vector is remembered."""
    from tests.twins import SENTENCES

    return [f"{SENTENCES[number % len(SENTENCES)]} {number}" for number in range(count)]


def _twins() -> Any:
    from tests.twins import Twins, write_twins

    root = CACHE / "twins"
    if not root.exists():
        draft = CACHE / "twins.new"
        write_twins(draft, size="full")
        draft.rename(root)
    return Twins(image=root / "clip-ViT-B-32", text=root / "clip-ViT-B-32-multilingual-v1")


def _settings(twins: Any, *, runtime: str) -> Settings:
    names = {"model.space": "clip-vit-b-32", "model.text_model": str(twins.text), "model.device": "cpu"}
    return Settings.load({**names, "model.text_runtime": runtime})


def _engine(folder: Path) -> EmbeddedEngine:
    return EmbeddedEngine.open(folder, collection=NAME)


def _disk(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
