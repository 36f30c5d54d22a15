"""Questions by sight and by words over a large embedded collection: how long each takes, and both together.

    python -m benchmarks.bench_hybrid [--points 1000000] [--questions 200] [--keep FOLDER] [--fill]

Points have the bundled images' vectors in space mini with noise, so that questions find what they ask for, and what
photographs bring: names and folders of a camera, dates over ten years, places, tags; two in three have a caption in
one of twenty languages, and one in ten a code that was read in it. ``--fill`` makes the collection and asks nothing.

Milliseconds of one question after another: ``wall_ms`` as somebody waits for it, text tower and understanding included,
and ``cpu_ms``, the processor time of all threads, which other work on the machine changes less. No question comes twice
in one mode, and hybrid is asked first, when nothing is known of the words. ``sorted_page`` is a page of all images by
date, without a question.
"""

import argparse
import json
import os
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import stopwordsiso
from PIL import Image

from benchmarks.bench_query import percentiles
from benchmarks.record import write
from connector.models.image_tower import ImageTower
from connector.places.gazetteer import names_at
from connector.records import Payload, Point, Vectors
from connector.search.client import ImageSearch
from connector.settings import ModelSettings, Settings
from connector.store.open import open_engine
from connector.store.schema import CollectionSchema, Fingerprint, Words
from connector.words.settings import WordsSettings
from demo.judge import embed_files
from workers.demo import tour

LANGUAGES = (
    *("en", "de", "fr", "es", "it", "pt", "nl", "pl", "cs", "sv"),
    *("ru", "uk", "el", "tr", "ar", "he", "hi", "zh", "ja", "ko"),
)
TOWNS = (
    *((41.9, 12.5), (48.86, 2.35), (52.52, 13.4), (53.55, 10.0), (35.68, 139.7), (35.01, 135.77), (40.42, -3.7)),
    *((38.72, -9.14), (37.98, 23.73), (59.91, 10.75), (52.23, 21.01), (41.01, 28.98), (55.75, 37.62), (50.45, 30.52)),
    *((40.71, -74.01), (37.77, -122.42), (-33.87, 151.21), (-22.91, -43.17), (30.04, 31.24), (13.75, 100.5)),
    *((28.61, 77.21), (31.23, 121.47), (37.57, 126.98), (1.35, 103.82), (-1.29, 36.82), (19.43, -99.13)),
)
NEWEST = datetime(2025, 6, 1, tzinfo=UTC)
DAYS = 3650
NOISE = 0.7
"""Length of the noise beside vectors of length one: cosines of some .8 to the image that they come from."""
UPSERT = 1_000
WARM_UP = 20
BLOCK = 10_000


@dataclass(frozen=True, slots=True)
class Library:
    """The bundled images: files, names, sizes, and their vectors (n, 128) float32."""

    files: Sequence[Path]
    names: Sequence[str]
    sizes: Sequence[tuple[int, int]]
    vectors: Vectors

    @classmethod
    def load(cls) -> "Library":
        """Read and embed them."""
        files = sorted(Path(str(tour.IMAGES)).rglob("*.png"))
        names = [json.loads(file.with_suffix(".png.json").read_text(encoding="utf-8"))["name"] for file in files]
        tower = ImageTower.load(ModelSettings(space="mini", device="cpu", precision="float32"))
        vectors = embed_files([file.read_bytes() for file in files], tower)
        return cls(files, names, [Image.open(file).size for file in files], vectors)


def main() -> None:
    """Measure and write ``results/hybrid-POINTS.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--keep", type=Path, help="a folder for the collection; one that is there is taken as it is")
    parser.add_argument("--fill", action="store_true", help="make the collection, and ask nothing")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="polyglance-bench-") as scratch:
        settings = _settings(given.keep or Path(scratch))
        if not settings.qdrant.path.exists():
            fill(settings, given.points)
        if given.fill:
            return
        results = {"load": os.getloadavg()[0], **measure(settings, questions=given.questions)}
    print(json.dumps(results, indent=1))
    print(write(f"hybrid-{results['points']}", results))


def measure(settings: Settings, *, questions: int) -> dict[str, Any]:
    """The times of questions."""
    with (
        ImageSearch.open(settings=settings) as search,
        closing(open_engine(settings.qdrant, collection=settings.collection)) as engine,
    ):
        info = engine.info()
        texts = [*islice(_questions(search), questions + WARM_UP)]
        results: dict[str, Any] = {"points": info.points, "in_graph": info.indexed, "questions": questions}
        for name, ask in _asks(search).items():
            times = [_timed(partial(ask, text)) for text in texts][WARM_UP:]
            results[name] = {
                "wall_ms": percentiles([wall for wall, _ in times]),
                "cpu_ms": percentiles([spent for _, spent in times]),
            }
        found = [len(search.text(text, mode="words", limit=10)) for text in texts]
        results["with_words"] = round(sum(map(bool, found)) / len(found), 3)
    return results


def _asks(search: ImageSearch) -> dict[str, Callable[[str], object]]:
    """What is asked, by name."""
    return {
        "hybrid": partial(search.text, mode="hybrid"),
        "visual": partial(search.text, mode="visual"),
        "words": partial(search.text, mode="words"),
        "hybrid, relevant": partial(search.text, mode="hybrid", relevant=True),
        "hybrid, relevant, sorted": partial(search.text, mode="hybrid", relevant=True, order_by="-taken_at"),
        "text tower": lambda text: search.embed_texts([f"{text}."]),
        "sorted_page": lambda _: search.page(order_by="-taken_at", limit=10),
    }


def _questions(search: ImageSearch) -> Iterator[str]:
    """Questions as people ask them: what is seen, where, whose; parts of codes; words of several languages."""
    chance = random.Random(11)
    images = [*islice(search.each(fields=["description", "ocr_text", "place", "tags"]), 20_000)]
    names = sorted({json.loads(each.read_text(encoding="utf-8"))["name"] for each in tour_names()})
    while True:
        payload = chance.choice(images).payload
        match chance.randrange(4):
            case 0:
                yield chance.choice(names)
            case 1:
                yield f"{chance.choice(names)} {payload['place'][0]}"
            case 2:
                yield " ".join(chance.sample(str(payload.get("description", "holiday family work")).split(), 3))
            case _:
                yield str(payload.get("ocr_text", chance.choice(names))).split("\n")[0].split()[0]


def tour_names() -> Iterator[Path]:
    """The files that name the bundled images."""
    return Path(str(tour.IMAGES)).rglob("*.png.json")


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds on the wall, and of processor time."""
    wall, spent = time.perf_counter(), time.process_time()
    work()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - spent)


def _settings(folder: Path) -> Settings:
    return Settings.load({"qdrant.path": str(folder / "data"), "model.space": "mini"})


def fill(settings: Settings, count: int) -> None:
    """Write so many points that share the bundled images, and build the graph."""
    schema = CollectionSchema(Fingerprint("mini", dims=128, image_size=64), words=Words(WordsSettings().all_weights))
    library, began = Library.load(), time.monotonic()
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        engine.create(schema)
        for done, points in enumerate(batches(library, count), 1):
            engine.upsert(points)
            if not done % 20:
                print(f"{done * UPSERT} points after {time.monotonic() - began:.0f} s", flush=True)
        engine.optimize()


def batches(library: Library, count: int) -> Iterator[list[Point]]:
    """So many points in batches of ``UPSERT``, the same ones each time."""
    places = [names_at(*town) for town in TOWNS]
    common = {language: sorted(stopwordsiso.stopwords(language)) for language in LANGUAGES}
    for first in range(0, count, BLOCK):
        noise = np.random.default_rng((3, first)).standard_normal((BLOCK, library.vectors.shape[1]), dtype=np.float32)
        chance = random.Random(first)
        points = []
        for number in range(first, min(first + BLOCK, count)):
            which = chance.randrange(len(library.files))
            away = noise[number - first]
            vector = library.vectors[which] + NOISE * away / np.linalg.norm(away)
            payload = _payload(number, which, library=library, chance=chance, places=places, common=common)
            points.append(Point(str(uuid.UUID(int=number + 1)), vector / np.linalg.norm(vector), payload))
        for start in range(0, len(points), UPSERT):
            yield points[start : start + UPSERT]


def _payload(
    number: int,
    which: int,
    *,
    library: Library,
    chance: random.Random,
    places: Sequence[Sequence[str]],
    common: dict[str, list[str]],
) -> Payload:
    taken = NEWEST - timedelta(days=DAYS * chance.random())
    town = chance.randrange(len(TOWNS))
    (lat, lon), place = TOWNS[town], places[town]
    file, size = library.files[which], library.sizes[which]
    found = file.stat()
    payload: dict[str, Any] = {
        "uri": file.as_uri(),
        "object_key": str(file),
        "source": ["file:///photos"],
        "folder": [f"{taken.year}/{place[0]} {taken.month:02}"],
        "filename": f"IMG_{number:08d}.png",
        "version": f"{found.st_size}-{found.st_mtime_ns}",
        "format": "png",
        "width": size[0] * (2 + number % 3),  # several shapes
        "height": size[1] * (2 + number * 7 % 4),
        "bytes": found.st_size,
        "camera": ("Canon EOS 80D", "Pixel 8", "Nikon Z6")[number % 3],
        "taken_at": taken.isoformat(),
        "taken_local": taken.replace(tzinfo=None).isoformat(),
        "taken_on": taken.date().isoformat(),
        "taken_month": taken.month,
        "taken_weekday": f"{taken:%A}".lower(),
        "location": {"lat": lat + chance.gauss(0, 0.03), "lon": lon + chance.gauss(0, 0.03)},
        "place": list(place),
        "tags": [file.parent.name, ("holiday", "family", "work", "friends")[chance.randrange(4)]],
        "rating": chance.randrange(6),
        "ingested_at": NEWEST.isoformat(),
    }
    if number % 3:
        language = chance.choice(LANGUAGES)
        said = [
            *chance.sample(common[language], 5),
            library.names[which],
            library.names[_rare(chance, len(library.names))],
        ]
        chance.shuffle(said)
        payload["description"] = " ".join([*said, chance.choice(place)])
    if number % 10 == 0:
        letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
        code = (
            f"{''.join(chance.choices(letters, k=2))}{chance.randrange(100):02} {''.join(chance.choices(letters, k=3))}"
        )
        payload["ocr_text"] = f"{code}\n{library.names[which]}"
    return payload


def _rare(chance: random.Random, count: int) -> int:
    """A number below ``count``: some come often and most seldom, as words do."""
    return int(count ** chance.random()) - 1


if __name__ == "__main__":
    main()
