"""Reading text in images, on the set that ``benchmarks.written`` draws: what is read, what is found by it, how long.

    python -m benchmarks.bench_ocr FOLDER [--count 1000] [--seed 21] [--minutes 60]

FOLDER takes the images and the texts, so that a run that broke off goes on; all scripts come on alike, and after so
many minutes the results are those of the images that were read. Latin, Han, Kana and codes are read by rapidocr's own
model; the other scripts by Tesseract, with English and the script's languages, behind it. The texts go into a
collection as ``ocr_text``, and each word is asked for there, among the words of all others: country names are parts of
the names of languages that stand in other images, which may come before.
"""

import argparse
import json
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write
from benchmarks.written import LANGUAGES, Written, plan
from benchmarks.written import write as write_set
from connector.ocr_settings import OcrSettings
from connector.process import usable_cores
from connector.records import Point, id_of
from connector.settings import Settings
from connector.store.engine import Engine, WordsQuery
from connector.store.open import open_scratch
from connector.store.schema import Fingerprint, schema_for
from connector.words.phrases import asked_phrase, searchable
from workers.ocr.process import ReaderProcess, Unread
from workers.ocr.texts import TextStage

PACKS = {
    "ru": "rus", "uk": "ukr", "el": "ell", "ar": "ara", "fa": "fas", "he": "heb", "hi": "hin", "bn": "ben",
    "ta": "tam", "th": "tha", "ko": "kor",
}  # fmt: skip
"""Tesseract's files, by language; those that are not here are read by rapidocr alone."""
DIMS = 8
PAGES = ("screenshot", "page")


def settings_for(what: Written) -> OcrSettings:
    """What reads this image."""
    script = [PACKS[each] for each in LANGUAGES.get(what.script, ()) if each in PACKS]
    return OcrSettings(reader="tesseract", languages=("eng", *script)) if script else OcrSettings()


ROUND = 8
"""Images of one script that are read in a row."""


def texts(folder: Path, made: Sequence[Written], *, seconds: float) -> dict[str, dict[str, Any]]:
    """What was read in each image, read now where the folder does not hold it yet and there is time."""
    began = time.monotonic()
    kept = folder / "texts.jsonl"
    known = {row["image"]: row for row in _rows(kept)}
    scripts: dict[str, list[Written]] = defaultdict(list)
    for each in made:
        scripts[each.script].append(each)
    rounds: dict[tuple[int, OcrSettings], list[Written]] = defaultdict(list)
    for group in scripts.values():
        for number, each in enumerate(group):
            if each.image not in known:
                rounds[number // ROUND, settings_for(each)].append(each)
    with kept.open("a", encoding="utf-8") as file:
        for (_, settings), group in sorted(rounds.items(), key=lambda item: item[0][0]):
            if time.monotonic() - began > seconds:
                break
            halves = [group[start :: usable_cores()] for start in range(usable_cores())]
            with ThreadPoolExecutor(len(halves)) as pool:
                for rows in pool.map(lambda half, how=settings: [*_read(folder, half, how)], halves):
                    for row in rows:
                        known[row["image"]] = row
                        file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    file.flush()
    return known


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def _read(folder: Path, images: Sequence[Written], settings: OcrSettings) -> Iterator[dict[str, Any]]:
    stage = TextStage(settings, max_pixels=10**8, only_documents=False)
    with stage.reading() as process:
        process.start()
        for each in images:
            data = (folder / each.image).read_bytes()
            began = time.perf_counter()
            outcome, fields = stage.of(data, known={}, process=process)
            spent = time.perf_counter() - began
            yield {
                "image": each.image, "outcome": outcome, "ocr_text": fields.get("ocr_text", ""), "seconds": spent,
                "document": _is_document(stage, data, process),
            }  # fmt: skip


def _is_document(stage: TextStage, data: bytes, process: ReaderProcess) -> bool | None:
    """What the quick look says; None where it says nothing."""
    try:
        return process.is_document(stage.pixels(data))
    except Unread:
        return None


def found(engine: Engine, made: Sequence[Written]) -> dict[str, dict[str, Any]]:
    """By script: how many words were asked for, and in how many answers their image stands first, and at all."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"asked": 0, "first": 0, "in_ten": 0})
    for each in made:
        if each.caption:
            _count(counts[each.script], engine, each.caption, each)
            if each.kind == "plate":
                for part in each.caption.split():
                    _count(counts["parts of codes"], engine, part, each)
    return {
        name: {**each, "recall@1": round(each["first"] / each["asked"], 4)} for name, each in sorted(counts.items())
    }


def _count(row: dict[str, int], engine: Engine, text: str, what: Written) -> None:
    """Whether the image stands first, or among the first ten behind one that holds the very words as well."""
    (hits,) = engine.query([WordsQuery(text, limit=10)])
    names = [hit.payload["image"] for hit in hits]
    there = what.image in names
    row["asked"] += 1
    row["in_ten"] += there
    row["first"] += there and (names[0] == what.image or _holds(hits[0].payload["ocr_text"], text))


def _holds(text: str, words: str) -> bool:
    return f" {asked_phrase(words)} " in f" {searchable([text])} "


def main() -> None:
    """Run it, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=21, help="20 is the set that the reader was set by")
    parser.add_argument("--minutes", type=float, default=math.inf)
    given = parser.parse_args()
    made = plan(given.count, seed=given.seed)
    if not (given.folder / "captions.jsonl").exists():
        write_set(given.folder, given.count, seed=given.seed)
    read = texts(given.folder, made, seconds=60 * given.minutes)
    made = [each for each in made if each.image in read]
    settings = Settings.load({"model.space": "mini"})
    with open_scratch(settings.qdrant, collection="bench-ocr") as engine:
        engine.create(schema_for(Fingerprint("bench", DIMS, 224), settings))
        chance = np.random.default_rng(0)
        for each in made:
            vector = chance.normal(size=DIMS).astype(np.float32)
            payload = {"uri": f"file:///{each.image}", "image": each.image, "ocr_text": read[each.image]["ocr_text"]}
            engine.upsert([Point(id_of(each.image), vector / np.linalg.norm(vector), payload)])
        words = found(engine, made)
    documents = [read[each.image]["document"] for each in made if each.kind in PAGES]
    others = [read[each.image]["document"] for each in made if each.kind not in PAGES]
    plain = [read[each.image]["outcome"] for each in made if each.kind == "plain"]
    results = {
        "drawn": given.count,
        "seed": given.seed,
        "images": len(made),
        "by_script": words,
        "without_text": {"images": len(plain), "nothing_read": plain.count("no_text")},
        "documents": {
            "screenshots_and_pages": len(documents),
            "missed": documents.count(False),
            "other_images": len(others),
            "taken_for_documents": others.count(True),
        },
        "seconds_an_image": {
            reader: round(statistics.median(spent), 2)
            for reader in ("rapidocr", "tesseract")
            if (spent := [read[each.image]["seconds"] for each in made if settings_for(each).reader == reader])
        },
    }
    print(write("ocr", results))
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
