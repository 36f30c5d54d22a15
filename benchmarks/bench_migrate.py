"""A migration that is killed again and again, under questions throughout: answers, their speed, disk and memory.

    python -m benchmarks.bench_migrate [--images 20000] [--kills 100] [--to mini-photos] [--dry]

The images are the bundled ones, enlarged and varied into as many files; space ``mini`` ingests them. One process asks
texts and stored images all the time, opening its search anew now and then; another migrates, and is killed (SIGKILL) at
random moments and started again. At the end every hit of every answer is held against the cosines of the space that
the answer says it is of, computed over all vectors: a score that is another one's makes the answer a mixture.
``--dry`` writes no result.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from benchmarks.record import write
from connector.models.catalog import find_space, fingerprint_of
from connector.search.client import ImageSearch
from connector.search.query import Query, point, text
from connector.store.engine import FOLLOW_S, Engine, pages
from connector.store.open import open_engine
from connector.store.schema import schema_for
from tests.kill_migrations import Ended, Forked, settings_of
from workers.api import ingest
from workers.migrate import steps
from workers.migrate.compare import compare
from workers.migrate.fill import Filled
from workers.migrate.migration import migrate
from workers.sizing.plan import Collection, plan_migration

BUNDLED = Path(__file__).parents[1] / "workers/demo/images"
PX = 192
"""Edge of an image that is made."""
TEXTS = (
    "a dog", "ein Zug", "苹果", "красная машина", "a kite", "une maison", "una guitarra", "鍵", "cat", "pizza",
    "a boat on the water", "Hand", "uma flor", "時計", "kuş", "a smiling face",
)  # fmt: skip
STORED = 8
"""Stored images that are asked for their like."""
LIMIT = 10
PAUSE_S = 0.04
"""Between two questions."""
REOPENED = 60
"""Questions after which the search is opened anew, so that others come to host the collection."""
QUIET_S = 20.0
"""Of questions before the migration, and after it."""
TOLERANCE = 0.005
"""Of a hit's score: vectors lie in 16 bits in the store."""
EARLY = 5
"""Of so many kills one comes while the process still opens and loads, wherever that is."""
LATE = 20
"""Of so many kills one comes after the last image, where the embedded engine builds its graph."""
GRAPH_S = 4.0
FIRST_RATE = 25.0
"""Images a second, until it was seen."""
SAMPLED_S = 1.0


def main() -> None:
    """Measure, print and write what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--to", default="mini-photos", help="The space to migrate to.")
    parser.add_argument("--dry", action="store_true", help="A try of the benchmark itself: no result is written.")
    parser.add_argument("--note", help="What else ran on the machine.")
    parser.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder is not None:  # a process that has opened nothing yet, for it forks others
        print(json.dumps(_killed(given.folder, to=given.to, kills=given.kills)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_images(folder / "images", count=given.images)
        began = time.monotonic()
        report = ingest(folder / "images", settings=settings_of(folder / "data"))
        print(json.dumps({"ingested": report.counts.stored, "seconds": round(time.monotonic() - began, 1)}), flush=True)
        again = [sys.executable, "-m", "benchmarks.bench_migrate", "--in", scratch]
        command = [*again, "--to", given.to, "--kills", str(given.kills)]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(ran.stdout.splitlines()[-1])
    rate = round(given.images / told["seconds"], 1)
    found = {"images": given.images, "to": given.to, "note": given.note, "images_per_s_with_all_kills": rate, **told}
    print(json.dumps(found, indent=2))
    if not given.dry:
        write(f"migrate-{given.images}", found)


def make_images(folder: Path, *, count: int) -> None:
    """Write so many JPEGs, each a bundled image that is turned, cropped, coloured and lit in its own way."""
    chance = random.Random(11)
    paths = sorted(BUNDLED.rglob("*.png"))
    for number in range(count):
        to = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        to.parent.mkdir(parents=True, exist_ok=True)
        _varied(paths[number % len(paths)], chance=chance).save(to, quality=85)


def _varied(path: Path, *, chance: random.Random) -> Image.Image:
    with Image.open(path) as opened:
        drawn = opened.convert("RGBA")
    ground = Image.new("RGBA", drawn.size, (*(chance.randrange(160, 256) for _ in range(3)), 255))
    image: Image.Image = Image.alpha_composite(ground, drawn).convert("RGB")
    image = image.rotate(chance.uniform(-15, 15), resample=Image.Resampling.BILINEAR, fillcolor=(235, 235, 235))
    if chance.random() < 0.5:
        image = ImageOps.mirror(image)
    left, top = (chance.uniform(0, 0.1) * side for side in image.size)
    share = chance.uniform(0.85, 0.9)
    box = (left, top, left + share * image.width, top + share * image.height)
    image = image.resize((PX, PX), Image.Resampling.BICUBIC, box=box)
    return ImageEnhance.Brightness(image).enhance(chance.uniform(0.8, 1.2))


class Listing:
    """Names some stored images."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, said: BinaryIO) -> None:
        with ImageSearch.open(settings=settings_of(self._folder / "data")) as search:
            said.write(json.dumps([each.id for each in search.sample(STORED)]).encode())


class Asking:
    """Asks until it is told to stop, and writes down each question: when, how long, and what came."""

    def __init__(self, folder: Path, *, stored: Sequence[str]) -> None:
        self._folder, self._stored = folder, stored

    def __call__(self, said: BinaryIO) -> None:
        settings, questions = settings_of(self._folder / "data"), questions_of(self._stored)
        said.write(b"begun\n")
        number = 0
        with (self._folder / "asked.jsonl").open("w", encoding="utf-8") as log:
            while not (self._folder / "stop").exists():
                with ImageSearch.open(settings=settings) as search:
                    for asked in range(REOPENED):
                        told = self._ask(search, questions[number % len(questions)])
                        told |= {"question": number % len(questions), "first": asked < len(questions)}
                        log.write(json.dumps(told) + "\n")
                        number += 1
                        time.sleep(PAUSE_S)

    def _ask(self, search: ImageSearch, question: Query) -> dict[str, Any]:
        began = time.time()
        try:
            hits = search.query(question, limit=LIMIT, mode="visual", understand=False)
        except Exception as error:  # noqa: BLE001  (whatever it is, the question is unanswered)
            return {"at": began, "error": repr(error)}
        found = [(hit.id, hit.score) for hit in hits]
        return {"at": began, "seconds": time.time() - began, "space": hits.space, "hits": found}


class Migrating:
    """Migrates, and says how far it is."""

    def __init__(self, folder: Path, *, to: str) -> None:
        self._folder, self._to = folder, to

    def __call__(self, said: BinaryIO) -> None:
        def tell(done: Filled) -> None:
            said.write(json.dumps({"settled": done.settled, "missing": done.missing}).encode() + b"\n")

        done = migrate(settings_of(self._folder / "data"), to=self._to, on_progress=tell)
        said.write(json.dumps({"settled": done.settled, "rejected": len(done.rejects)}).encode() + b"\n")


class Stepping:
    """Does one step of a migration."""

    def __init__(self, folder: Path, *, step: Callable[[Engine], object]) -> None:
        self._folder, self._step = folder, step

    def __call__(self, said: BinaryIO) -> None:
        with closing(open_engine(settings_of(self._folder / "data").qdrant, collection="filled")) as engine:
            self._step(engine)
        said.write(b"done\n")


class Sampling:
    """Writes down, each second, what the collection takes on disk and another process of memory."""

    def __init__(self, folder: Path, *, pid: int) -> None:
        self._folder, self._pid = folder, pid

    def __call__(self, said: BinaryIO) -> None:
        said.write(b"begun\n")
        with (self._folder / "sampled.jsonl").open("w", encoding="utf-8") as log:
            while not (self._folder / "stop").exists():
                sample = {"at": time.time(), "disk": disk_bytes(self._folder / "data"), "memory": resident(self._pid)}
                log.write(json.dumps(sample) + "\n")
                time.sleep(SAMPLED_S)


class Knowing:
    """Works out, from all vectors, every question's cosine with every image in both spaces; and their overlap@10."""

    def __init__(self, folder: Path, *, stored: Sequence[str]) -> None:
        self._folder, self._stored = folder, stored

    def __call__(self, said: BinaryIO) -> None:
        questions = questions_of(self._stored)
        with ImageSearch.open(settings=settings_of(self._folder / "data")) as search:
            schema = search.info().schema
            assert schema.second is not None
            for space in (schema.fingerprint.space, schema.second.space):
                here = search.pinned(space).following.now()
                stored = [each for some in pages(here.engine, limit=1024, fields=[], vectors=True) for each in some]
                vectors = np.stack([each.vector for each in stored if each.vector is not None])
                scores = here.encoder.queries(questions) @ vectors.T  # (questions, images)
                np.savez(self._folder / f"{space}.npz", ids=np.array([each.id for each in stored]), scores=scores)
            payload = [len(json.dumps(each.payload)) for each in search.sample(256)]
            compared = compare(search, questions=TEXTS)
        told = {"overlap_10": compared.overlap, "payload_bytes": sum(payload) // len(payload)}
        said.write(json.dumps(told).encode())


def questions_of(stored: Sequence[str]) -> list[Query]:
    """What is asked: the texts, and the like of stored images."""
    return [*map(text, TEXTS), *map(point, stored)]


def disk_bytes(folder: Path) -> int:
    """What the file system has given to a folder; files may go meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(parent, name).stat().st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _killed(folder: Path, *, to: str, kills: int) -> dict[str, Any]:
    """Kill a migration so many times, let it finish, switch, roll back, switch and drop, asked throughout."""
    stored = json.loads(Forked(Listing(folder)).ended().said)
    asking = Forked(Asking(folder, stored=stored))
    asking.waits_for_word(60)
    sampling = Forked(Sampling(folder, pid=asking.pid))
    time.sleep(QUIET_S)
    marks = {"begun": time.time()}
    ends = [*_kills(folder, to=to, kills=kills), Forked(Migrating(folder, to=to)).ended()]
    marks["filled"] = time.time()
    known = json.loads(Forked(Knowing(folder, stored=stored)).ended().said)
    marks["known"] = time.time()
    for step in (steps.switch, steps.roll_back, steps.switch, steps.drop):
        Forked(Stepping(folder, step=step)).ended()
        time.sleep(2 * FOLLOW_S)  # every reader has noticed by then
    marks["dropped"] = time.time()
    time.sleep(QUIET_S)
    (folder / "stop").touch()
    codes = [asking.ended().code, sampling.ended().code]
    assert codes == [0, 0], "what asks or samples has died"
    return {
        "kills": len(ends) - 1,
        "ended": ends[-1].code,
        "rejected": json.loads(ends[-1].said.splitlines()[-1])["rejected"],
        "of_them_at_the_end": kills // LATE,
        "peak_memory_migrating": max(each.peak_bytes for each in ends),
        "overlap_10": round(known["overlap_10"], 3),
        **_answers(folder, marks),
        **_sizes(folder, marks, to=to, payload_bytes=known["payload_bytes"]),
    }


def _kills(folder: Path, *, to: str, kills: int) -> Iterator[Ended]:
    """The killed processes: most of them while they fill, spread over all images, some while the graph is built."""
    images, late = sum(1 for _ in (folder / "images").rglob("*.jpg")), kills // LATE
    chance, settled, lived = random.Random(5), 0, 0.0
    for number in range(kills):
        began, migrating = time.time(), Forked(Migrating(folder, to=to))
        if number >= kills - late:
            _wait_for_last_image(migrating)
            time.sleep(chance.random() * GRAPH_S)
        elif number % EARLY == 0 or not migrating.waits_for_word(120):
            time.sleep(chance.random())
        else:
            rate = settled / lived if settled else FIRST_RATE
            time.sleep(chance.uniform(0, 2) * (images - settled) / rate / (kills - late - number))
        ended = migrating.kill()
        lived += time.time() - began
        told = ended.said.splitlines()
        settled += json.loads(told[-1])["settled"] if told else 0
        yield ended


def _wait_for_last_image(migrating: Forked) -> None:
    for line in migrating.said:
        told = json.loads(line)
        if told["settled"] >= told.get("missing", 0):
            return


def _answers(folder: Path, marks: Mapping[str, float]) -> dict[str, Any]:
    """What became of the questions, and how long they took, before, during and after."""
    asked = [json.loads(line) for line in (folder / "asked.jsonl").read_text(encoding="utf-8").splitlines()]
    known = {}
    for file in folder.glob("*.npz"):
        with np.load(file) as kept:
            known[file.stem] = [dict(zip(kept["ids"].tolist(), row.tolist(), strict=True)) for row in kept["scores"]]
    answered = [each for each in asked if "error" not in each]
    mixed = [each for each in answered if not _of_one_space(each, known)]
    phases = {
        "before": (0.0, marks["begun"]),
        "during": (marks["begun"], marks["filled"]),
        "switching": (marks["known"], marks["dropped"]),
        "after": (marks["dropped"], float("inf")),
    }
    return {
        "questions": len(asked),
        "unanswered": len(asked) - len(answered),
        "errors": sorted({each["error"] for each in asked if "error" in each}),
        "mixtures": len(mixed),
        "answers_by_space": {name: sum(each["space"] == name for each in answered) for name in sorted(known)},
        "question_ms": {name: _milliseconds(answered, between) for name, between in phases.items()},
        "just_opened_ms": _spread_ms([each["seconds"] for each in answered if each["first"]]),
        "seconds": round(marks["filled"] - marks["begun"], 1),
    }


def _of_one_space(answer: Mapping[str, Any], known: Mapping[str, Sequence[Mapping[str, float]]]) -> bool:
    """Whether every hit's score is its cosine in the space that the answer says it is of."""
    cosines = known[answer["space"]][answer["question"]]
    return len(answer["hits"]) == LIMIT and all(abs(score - cosines[id]) < TOLERANCE for id, score in answer["hits"])


def _milliseconds(answered: Sequence[Mapping[str, Any]], between: tuple[float, float]) -> dict[str, float]:
    start, end = between
    return _spread_ms([each["seconds"] for each in answered if start <= each["at"] < end and not each["first"]])


def _spread_ms(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {"questions": 0}
    p50, p95 = np.percentile(seconds, [50, 95]) * 1000
    return {"questions": len(seconds), "p50": round(p50, 1), "p95": round(p95, 1), "max": round(max(seconds) * 1000, 1)}


def _sizes(folder: Path, marks: Mapping[str, float], *, to: str, payload_bytes: int) -> dict[str, Any]:
    """Disk of the collection and memory of the process that asks, beside what ``polyglance plan`` foretells."""
    samples = [json.loads(line) for line in (folder / "sampled.jsonl").read_text(encoding="utf-8").splitlines()]
    ends = {"before": marks["begun"], "filled": marks["known"], "dropped": float("inf")}
    settings = settings_of(folder / "data")
    ours, theirs = (schema_for(fingerprint_of(find_space(space)), settings) for space in (settings.model.space, to))
    images = sum(1 for _ in (folder / "images").rglob("*.jpg"))
    collection = Collection(schema=ours, payload_bytes=payload_bytes)
    foretold = plan_migration(images, collection=collection, to=theirs, replicas=1, rate=1.0)
    during = [each for each in samples if marks["begun"] <= each["at"] < marks["filled"]]
    last = {name: [each for each in samples if each["at"] < end][-1] for name, end in ends.items()}
    return {
        "disk_bytes": {
            **{name: each["disk"] for name, each in last.items()},
            "peak": max(each["disk"] for each in during),
        },
        "memory_of_the_asking_bytes": {name: each["memory"] for name, each in last.items()},
        "foretold_by_plan": {name: round(size) for name, size in asdict(foretold).items() if name.endswith("_bytes")},
    }


if __name__ == "__main__":
    main()
