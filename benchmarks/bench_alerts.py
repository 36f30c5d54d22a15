"""What alerts cost an ingestion: the same images with 1,000 questions in 20 languages that stay asked, and without.

    python -m benchmarks.bench_alerts [--images 400] [--questions 1000] [--rounds 3] [--note TEXT]

Space mini, the embedded engine, in this process, in turns within one run: each ingestion goes into a copy of one
collection, of the bundled images of other kinds. Processor time is that of the whole process, the thread that tells
included; nothing is sent. The questions are names of countries as CLDR has them: real words of 20 languages.
"""

import argparse
import shutil
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from babel import Locale

from benchmarks.record import spread, write
from connector.alerts.alert import make_alert
from connector.settings import Settings
from connector.store.open import open_engine
from workers.alerts.judge import judge_of
from workers.api import ingest
from workers.demo import tour

LANGUAGES = (
    *("en", "de", "fr", "es", "it", "pt", "nl", "pl", "cs", "sv"),
    *("ru", "uk", "el", "tr", "ar", "he", "hi", "zh", "ja", "ko"),
)
STORED = ("animals-nature", "food-drink", "travel-places")
ARRIVING = ("objects", "activities", "people-body")


def main() -> None:
    """Measure and write ``results/alerts.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--questions", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--note", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        arriving = chosen(ARRIVING, into=top / "arriving", at_most=given.images)
        ingest(chosen(STORED, into=top / "stored", at_most=10_000), settings=settings_of(top / "without"))
        ingest(top / "stored", settings=settings_of(top / "with"))
        asked = ask(settings_of(top / "with"), count=given.questions)
        for arm in ("with", "without"):  # the vectors of the questions are computed once
            measured(arriving, top=top, arm=arm)
        rounds = [
            {arm: measured(arriving, top=top, arm=arm) for arm in order}
            for number in range(given.rounds)
            for order in [("with", "without") if number % 2 else ("without", "with")]
        ]
        alone = judged_alone(settings_of(top / "with"))
    arms = {
        arm: {name: spread([each[arm][name] for each in rounds]) for name in ("cpu_s", "wall_s")}
        for arm in ("without", "with")
    }
    cost = [each["with"]["cpu_s"] / each["without"]["cpu_s"] - 1 for each in rounds]
    result: dict[str, Any] = {
        "images": given.images,
        "questions": asked,
        "languages": len(LANGUAGES),
        "arms": arms,
        "cost_of_processor_time": spread(cost),
        "judging": alone,
        "note": given.note,
    }
    write("alerts", result)


def chosen(categories: tuple[str, ...], *, into: Path, at_most: int) -> Path:
    """A folder of bundled images of these kinds."""
    into.mkdir()
    found = [each for kind in categories for each in sorted((Path(str(tour.IMAGES)) / kind).glob("*.png"))]
    for each in found[:at_most]:
        shutil.copyfile(each, into / f"{each.parent.name}-{each.name}")
    return into


def settings_of(data: Path) -> Settings:
    """Settings of one collection, worked on in this process."""
    return Settings.load({"model.space": "mini", "ingest.workers": 0, "qdrant.path": str(data)})


def ask(settings: Settings, *, count: int) -> int:
    """Let so many questions stay asked, as many of each language."""
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        schema = engine.info().schema
        texts = [
            (name, language)
            for language in LANGUAGES
            for name in [*Locale(language).territories.values()][: -(-count // len(LANGUAGES))]
        ]
        alerts = [make_alert(name, schema=schema, language=language) for name, language in texts[:count]]
        engine.set_alerts({each.id: each.as_json() for each in alerts})
        return len(engine.info().schema.alerts)


def judged_alone(settings: Settings) -> dict[str, Any]:
    """Processor time of judging by itself: what a process pays once, and what each image takes from then on."""
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        points = engine.scroll(limit=400, vectors=True).points
        images = [(each.vector, each.payload) for each in points if each.vector is not None]
        schema = engine.info().schema
        judge_of(engine, schema=schema, settings=settings).marks_of(images[:1])  # keeps the questions' vectors
        began = time.process_time()
        judge = judge_of(engine, schema=schema, settings=settings)
        judge.marks_of(images[:1])
        once = time.process_time() - began
        each_us = []
        for _ in range(5):
            began = time.process_time()
            judge.marks_of(images)
            each_us.append(1e6 * (time.process_time() - began) / len(images))
    return {"once_s": round(once, 3), "microseconds_an_image": spread(each_us)}


def measured(arriving: Path, *, top: Path, arm: str) -> dict[str, float]:
    """Seconds of one ingestion into a copy of an arm's collection."""
    copy = top / "copy"
    shutil.copytree(top / arm, copy, ignore=shutil.ignore_patterns("*.sock"))
    if (top / "questions").is_dir():
        shutil.copytree(top / "questions", copy / ".alerts" / "questions", dirs_exist_ok=True)
    settings = settings_of(copy)
    began, worked = time.perf_counter(), time.process_time()
    report = ingest(arriving, settings=settings)
    took = {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - worked}
    assert report.counts.stored + report.counts.unchanged == report.counts.listed
    if (copy / ".alerts" / "questions").is_dir():
        shutil.copytree(copy / ".alerts" / "questions", top / "questions", dirs_exist_ok=True)
    shutil.rmtree(copy)
    return took


if __name__ == "__main__":
    main()
