"""Many callers of the service, with and without micro-batching: throughput and how long an answer takes.

    python -m benchmarks.bench_service [--seconds 20] [--rounds 3] [--clients 1 8 64] [--set model.NAME=VALUE]
    python -m benchmarks.bench_service --soak 600
    python -m benchmarks.bench_service --attacks FOLDER

Texts of several languages, each asked once, against full-size random-weight towers; ``serve.batch=1`` is the service
without batching. The service is a process of its own, and so are the callers, on the same cores. ``--soak`` keeps
eight callers at it and notes the service's memory. ``--attacks`` lets callers be hostile, with every file of a folder.
"""

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import attacks
from benchmarks.http_load import Load, load
from benchmarks.record import spread, write
from connector.records import Point
from connector.settings import Settings
from connector.store.open import open_engine
from connector.store.schema import CollectionSchema, Fingerprint
from tests.twins import SENTENCES, SHAPES, write_twins

POINTS = 2000
BATCHED, ALONE = "batched", "alone"
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})
SOAK_CLIENTS = 8
SAMPLE_S = 2.0
HUNG_UP = 5
SLOW = {
    "slow headers": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
    "slow bodies": b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1000000\r\n\r\n",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running service: where it listens, and its process."""

    host: str
    port: int
    process: psutil.Process

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    def get(self, path: str) -> str:
        """What the service answers to a GET."""
        with urllib.request.urlopen(f"http://{self.host}:{self.port}{path}", timeout=60) as answer:
            return str(answer.read().decode())

    def count(self, name: str) -> float:
        """One of the service's counts."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics"), flags=re.MULTILINE)
        return float(found[1]) if found else 0.0

    @property
    def memory_mib(self) -> float:
        return float(self.process.memory_info().rss) / 2**20


def main() -> None:
    """Measure and write ``results/service.json``, the values of ``--set`` in its name, or ``service_soak.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each load lasts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--size", choices=[*SHAPES], default="full", help="size of the towers")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the service")
    parser.add_argument("--soak", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--attacks", type=Path, metavar="FOLDER", help="images to send and hang up on")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="polyglance-bench-") as work:
        settings = _prepare(Path(work), size=options.size, given=options.set)
        if options.soak:
            results = soak(settings, for_s=options.soak)
            name = "service_soak"
        elif options.attacks:
            results = attack(settings, files=sorted(each for each in options.attacks.iterdir() if each.is_file()))
            name = "service_attacks"
        else:
            shutil.copytree(Path(work) / "data", Path(work) / "copy")  # the engine's data is open in one process
            other = [*settings, f"qdrant.path={work}/copy"]
            results = compare(settings, other, clients=options.clients, rounds=options.rounds, for_s=options.seconds)
            name = "-".join(["service", *(value.partition("=")[2] for value in options.set)])
    results = {"size": options.size, "points": POINTS, "set": options.set, **results}
    print(json.dumps(results, indent=1))
    print(write(name, results))


def compare(
    settings: Sequence[str], other: Sequence[str], *, clients: Sequence[int], rounds: int, for_s: float
) -> dict[str, Any]:
    """Each number of callers against the service with batching and without, in turns."""
    arms: dict[str, dict[int, list[dict[str, float]]]] = {
        arm: {number: [] for number in clients} for arm in (BATCHED, ALONE)
    }
    with serving([*settings, "serve.batch=64"]) as batched, serving([*other, "serve.batch=1"]) as alone:
        for _ in range(rounds):
            for number in clients:
                for arm, server in ((BATCHED, batched), (ALONE, alone)):
                    arms[arm][number].append(_measured(server, clients=number, for_s=for_s))
    shown = {f"{number} clients": {arm: _summary(arms[arm][number]) for arm in (BATCHED, ALONE)} for number in clients}
    for number in clients:
        pairs = zip(arms[BATCHED][number], arms[ALONE][number], strict=True)
        gains = [one["per_second"] / other["per_second"] for one, other in pairs]
        shown[f"{number} clients"]["gain"] = spread(gains)
    return {"seconds": for_s, **shown}


def soak(settings: Sequence[str], *, for_s: float) -> dict[str, Any]:
    """Load without a pause: the service's memory over time, and what callers met."""
    with serving(settings) as server:
        samples, met = asyncio.run(_soaked(server, for_s=for_s))
    quarter = max(1, len(samples) // 4)
    early = statistics.median(samples[quarter : 2 * quarter] or samples)
    late = statistics.median(samples[-quarter:])
    return {
        "seconds": for_s,
        "clients": SOAK_CLIENTS,
        "answers": len(met.seconds),
        "statuses": dict(met.statuses),
        "memory_mib": {"second quarter": round(early, 1), "last quarter": round(late, 1), "samples": samples},
        "growth": round(late / early - 1, 4),
    }


def attack(settings: Sequence[str], *, files: Sequence[Path]) -> dict[str, Any]:
    """What each attack costs one service, one after the other."""
    with serving(settings) as server:
        found: dict[str, Any] = {}
        for file in files:
            request = attacks.post_image("/v1/search/image", file.read_bytes())
            with attacks.measured(server.process) as cost:
                attacks.hang_up(server.address, [request] * HUNG_UP)
            found[f"{HUNG_UP} x {file.name}, hung up on"] = asdict(cost)
        labels = [f"{number} ".ljust(950, "x") for number in range(1000)]
        question = {"ids": ["00000000-0000-0000-0000-000000000000"], "labels": labels, "templates": ["{}"]}
        request = attacks.post_json("/v1/classify", question)
        with attacks.measured(server.process) as cost:
            attacks.others_wait(server.address, cost, lambda: cost.note(attacks.ask(server.address, request)))
        found["1,000 labels of 950 letters"] = asdict(cost)
        for name, start in SLOW.items():
            with attacks.measured(server.process) as cost:
                left, lasted = attacks.hold_open(server.address, start, times=500, at_most_s=60)
            found[f"500 {name}"] = {**asdict(cost), "left": left, "lasted_s": lasted}
        return found


@contextmanager
def serving(settings: Sequence[str]) -> Iterator[Server]:
    """A ready service of its own with these settings."""
    command = [sys.executable, "-m", "polyglance", "serve", "--port", "0"]
    for setting in settings:
        command += ["--set", setting]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stderr=log, env={**os.environ, "PYTHONPATH": str(Path.cwd())}) as process,
    ):
        try:
            server = _ready(process, log)
            yield server
        finally:
            process.terminate()


def _ready(process: "subprocess.Popen[bytes]", log: Any) -> Server:
    while process.poll() is None:
        log.seek(0)
        said = log.read()
        if found := re.search(r"http://([\d.]+):(\d+)", said):
            server = Server(found[1], int(found[2]), psutil.Process(process.pid))
            try:
                server.get("/readyz")
            except (urllib.error.HTTPError, urllib.error.URLError):
                pass
            else:
                return server
        time.sleep(0.1)
    log.seek(0)
    raise SystemExit(f"the service ended: {log.read()}")


def _prepare(work: Path, *, size: str, given: Sequence[str]) -> list[str]:
    """Towers and a collection of random points; the settings that lead to them."""
    twins = write_twins(work / "twins", size=size)
    space = "mini" if size == "mini" else "clip-vit-b-32"
    shape = SHAPES[size]
    settings = Settings.load({"model.space": space, "qdrant.path": str(work / "data")})
    random_numbers = np.random.default_rng(0)
    vectors = random_numbers.standard_normal((POINTS, shape.dims)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        engine.create(CollectionSchema(Fingerprint(space, dims=shape.dims, image_size=shape.image_size)))
        points = [
            Point(f"00000000-0000-0000-0000-{number:012d}", vector, {"uri": f"file:///{number}.jpg", "width": number})
            for number, vector in enumerate(vectors)
        ]
        engine.upsert(points)
        engine.optimize()
    towers = [f"model.image_model={twins.image}", f"model.text_model={twins.text}"]
    return [f"model.space={space}", f"qdrant.path={work / 'data'}", *towers, *given]


def _measured(server: Server, *, clients: int, for_s: float) -> dict[str, float]:
    names = ("polyglance_batch_texts_sum", "polyglance_batch_texts_count", "polyglance_batch_seconds_sum")
    before = [server.count(name) for name in names]
    met = asyncio.run(load(server.address, clients=clients, for_s=for_s, body=_question))
    texts, passes, seconds = (server.count(name) - old for name, old in zip(names, before, strict=True))
    refused = sum(met.statuses.values()) - met.statuses[200] - met.statuses[429]
    if refused:
        raise SystemExit(f"answers that are neither 200 nor 429: {dict(met.statuses)}")
    return {
        "per_second": len(met.seconds) / met.lasted,
        "p50_ms": 1000 * float(np.percentile(met.seconds, 50)),
        "p99_ms": 1000 * float(np.percentile(met.seconds, 99)),
        "busy": met.statuses[429],
        "texts_in_a_pass": texts / max(1, passes),
        "pass_ms": 1000 * seconds / max(1, passes),
    }


def _summary(rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {name: spread([each[name] for each in rounds]) for name in rounds[0]}


def _question() -> dict[str, Any]:
    """A text that was not asked before: no cache helps."""
    return {"text": " ".join(random.choices(WORDS, k=random.randint(2, 7))), "limit": 10}


async def _soaked(server: Server, *, for_s: float) -> tuple[list[float], Load]:
    samples: list[float] = []

    async def sample() -> None:
        while True:
            await asyncio.sleep(min(SAMPLE_S, for_s / 8))
            samples.append(round(server.memory_mib, 1))

    sampling = asyncio.create_task(sample())
    met = await load(server.address, clients=SOAK_CLIENTS, for_s=for_s, body=_question)
    sampling.cancel()
    return samples, met


if __name__ == "__main__":
    main()
