"""Points per second into a collection, by batch size and batches in flight, and what our layer adds to a query.

    python -m benchmarks.bench_engine [--points 10000]

The embedded engine is real; the server is the tests' stand-in, so its figures tell our share of the work and nothing
about a Qdrant server. Vectors are low rank plus noise, as embeddings are.
"""

import argparse
import json
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import qdrant_edge as edge
from qdrant_client import QdrantClient, models

from benchmarks.record import spread, write
from benchmarks.structured import structured_vectors
from connector.records import Point
from connector.store.edge.engine import EmbeddedEngine
from connector.store.edge.requests import CANDIDATES
from connector.store.engine import Engine, NearestQuery
from connector.store.schema import CollectionSchema, Fingerprint
from connector.store.server.engine import ServerEngine
from tests.qdrant_standin.standin import TRANSPORTS, running

DIMS = 512
SCHEMA = CollectionSchema(Fingerprint("clip-vit-b-32", dims=DIMS, image_size=224))
BATCHES = (64, 256, 1024)
QUERIES = 400


def main() -> None:
    """Measure and write ``results/engine.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=10_000)
    count = parser.parse_args().points
    points = make_points(count)
    results: dict[str, Any] = {"points": count, "dims": DIMS}
    with tempfile.TemporaryDirectory(prefix="polyglance-bench-") as work:
        results["embedded"] = _embedded(Path(work), points)
    results["standin"] = dict(_standin(points[: count // 5]))
    print(json.dumps(results, indent=1))
    print(write("engine", results))


def make_points(count: int) -> list[Point]:
    """Points with a payload of the usual size."""
    vectors = structured_vectors(count, seed=0)
    return [
        Point(
            str(uuid.UUID(int=number)),
            vector,
            {"uri": f"file:///photos/{number}.jpg", "width": 500, "height": 375, "version": f"55000-{number}"},
        )
        for number, vector in enumerate(vectors)
    ]


def _embedded(folder: Path, points: list[Point]) -> dict[str, Any]:
    written = {}
    for batch in BATCHES:
        with closing(EmbeddedEngine.open(folder, collection=f"b{batch}")) as engine:
            engine.create(SCHEMA)
            written[str(batch)] = _write(engine, points, batch=batch)
    with closing(EmbeddedEngine.open(folder, collection=f"b{BATCHES[0]}")) as engine:
        ours = _query_times(engine)
    shard = edge.EdgeShard.load(str(_shard_of(folder / f"b{BATCHES[0]}")), None)
    try:
        bare = _bare_edge_times(shard)
    finally:
        shard.close()
    return {"points_per_second_by_batch": written, "query_ms": _overhead(ours, bare)}


def _standin(points: list[Point]) -> Iterator[tuple[str, Any]]:
    with running() as standin:
        for transport in TRANSPORTS:
            written = {}
            for in_flight in (1, 3):
                for batch in BATCHES:
                    settings = standin.settings(transport, in_flight=in_flight, timeout_s=60.0)
                    with closing(
                        ServerEngine.connect(settings, collection=f"{transport}-{in_flight}-{batch}")
                    ) as engine:
                        engine.create(SCHEMA)
                        written[f"batch {batch}, {in_flight} in flight"] = _write(engine, points, batch=batch)
            name = f"{transport}-1-{BATCHES[0]}"
            with closing(ServerEngine.connect(standin.settings(transport), collection=name)) as engine:
                ours = _query_times(engine)
            client = QdrantClient(
                url=standin.url, grpc_port=standin.grpc_port, prefer_grpc=transport == "grpc", check_compatibility=False
            )
            with closing(client):
                yield (
                    transport,
                    {
                        "points_per_second": written,
                        "query_ms": _overhead(ours, _bare_client_times(client, name)),
                    },
                )


def _write(engine: Engine, points: list[Point], *, batch: int) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(points), batch):
        engine.upsert(points[start : start + batch])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"points_per_second": round(len(points) / wall, 1), "cpu_us_per_point": round(cpu / len(points) * 1e6, 1)}


def _query_times(engine: Engine) -> list[float]:
    vectors = structured_vectors(QUERIES, seed=1)
    engine.query([NearestQuery(vectors[0])])
    return [_timed(lambda vector=vector: engine.query([NearestQuery(vector)])) for vector in vectors]


def _bare_edge_times(shard: edge.EdgeShard) -> list[float]:
    def ask(vector: Any) -> Any:
        (answer,) = shard.query_batch(edge.QueryBatchRequest([_edge_request(vector)]))
        return [(hit.id, hit.score, hit.payload) for hit in answer]  # made into Python's values only when asked for

    vectors = structured_vectors(QUERIES, seed=1)
    ask(vectors[0].tolist())
    return [_timed(lambda vector=vector: ask(vector.tolist())) for vector in vectors]


def _edge_request(vector: list[float]) -> edge.QueryRequest:
    rescored = edge.QuantizationSearchParams(ignore=False, rescore=True, oversampling=CANDIDATES / 10)
    return edge.QueryRequest(
        limit=10,
        query=edge.Query.Nearest(vector, using=SCHEMA.vector_name),
        with_payload=True,
        params=edge.SearchParams(hnsw_ef=128, quantization=rescored),
    )


def _bare_client_times(client: QdrantClient, name: str) -> list[float]:
    params = models.SearchParams(
        hnsw_ef=128, quantization=models.QuantizationSearchParams(rescore=True, oversampling=2.0)
    )

    def ask(vector: Any) -> Any:
        request = models.QueryRequest(
            query=vector, using=SCHEMA.vector_name, limit=10, with_payload=True, params=params
        )
        return client.query_batch_points(name, requests=[request])

    vectors = structured_vectors(QUERIES, seed=1)
    ask(vectors[0])
    return [_timed(lambda vector=vector: ask(vector)) for vector in vectors]


def _timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def _overhead(ours: list[float], bare: list[float]) -> dict[str, Any]:
    summary = {"ours": spread(ours), "bare": spread(bare)}
    for side in summary.values():
        del side["samples"]
    return {**summary, "ratio_of_medians": round(summary["ours"]["median"] / summary["bare"]["median"], 3)}


def _shard_of(collection: Path) -> Path:
    return next(path.parent for path in collection.rglob("edge_config.json"))


if __name__ == "__main__":
    main()
