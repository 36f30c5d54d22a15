"""A language that `mini` was never shown, taught from 2,000 lines: recall@10 by language, before and after.

    python -m benchmarks.bench_teach PACKAGES [--language bn] [--lines 2000] [--minutes 20]

PACKAGES is the folder of npm packages that `python -m demo.make` fetches. A line is two names joined by "and", in
English and in the language, as CLDR has them; no name stands alone in any line. What is asked are the 1,112 names
alone, and right is the bundled image of the concept among the first ten of 1,112. The other languages are those that
`mini` was trained on: none of their texts is used for teaching; with `--keep` two of each concept's keywords are.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import write
from connector.models.image_tower import ImageTower
from connector.models.text_tower import TextTower
from connector.settings import ModelSettings
from demo.concepts import Concept, read_concepts, read_words
from demo.images import image_path
from demo.judge import Vectors, embed_files, recall
from demo.sources import LANGUAGES

IMAGES = Path(__file__).parent.parent / "workers" / "demo" / "images"
AND = {"bn": "এবং", "sw": "na", "am": "እና", "ta": "மற்றும்", "is": "og", "cy": "a"}
"""How the languages say "and"."""


def main() -> None:
    """Teach, measure every language before and after, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("packages", type=Path)
    parser.add_argument("--language", action="append", choices=sorted(AND))
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--set", action="append", default=[], help="More options of `polyglance teach`, one word each.")
    parser.add_argument("--keep", action="store_true", help="Replay keywords of the other languages.")
    parser.add_argument("--dry", action="store_true", help="Write no result.")
    given = parser.parse_args()
    concepts = read_concepts(given.packages)
    rows = []
    for language in given.language or ("bn", "sw"):
        rows.append(_taught(concepts, given, language=language))
        print(json.dumps(rows[-1]))
    if not given.dry:
        write("teach", {"lines": given.lines, "names": len(concepts), "languages": rows})


def _taught(concepts: Sequence[Concept], given: argparse.Namespace, *, language: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lines = list(islice(_lines(concepts, given.packages, language=language), given.lines))
        (root / "lines.tsv").write_text("".join(f"{source}\t{text}\n" for source, text in lines), encoding="utf-8")
        out = root / f"mini-{language}"
        command = [
            *(sys.executable, "-m", "polyglance", "teach", "--space", "mini", "--json", "--language", language),
            *("--parallel", str(root / "lines.tsv"), "--out", str(out), "--minutes", str(given.minutes), *given.set),
        ]
        if given.keep:
            command += ["--keep", str(_keywords(concepts, given.packages, root / "keep.jsonl"))]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        spaces = {"before": "mini", "after": str(out / f"mini-{language}.toml")}
        found = {when: _recalls(space, concepts, given.packages, language) for when, space in spaces.items()}
    lost = {each: found["before"][each] - found["after"][each] for each in LANGUAGES}
    return {
        "language": language,
        "recall_10_before": found["before"][language],
        "recall_10_after": found["after"][language],
        "english_10": found["after"]["en"],
        "share_of_english": round(found["after"][language] / found["before"]["en"], 4),
        "others_mean_before": _mean([found["before"][each] for each in LANGUAGES]),
        "others_mean_after": _mean([found["after"][each] for each in LANGUAGES]),
        "others_most_lost_points": round(100 * max(lost.values()), 2),
        "others_most_lost": max(lost, key=lambda each: lost[each]),
        "others_points_lost": {each: round(100 * points, 2) for each, points in lost.items()},
        "teaching": {key: told[key] for key in ("new_tokens", "drift", "trained", "languages")},
    }


def _lines(concepts: Sequence[Concept], packages: Path, *, language: str) -> Iterator[tuple[str, str]]:
    """Two names and an "and" between them, each name as often as any other; no pair of one concept with itself."""
    english, words = read_words(packages, "en"), read_words(packages, language)
    known = [each.code for each in concepts if each.code in words]
    for seed in count():
        order = random.Random(seed).sample(known, len(known))
        for first, second in zip(order[::2], order[1::2], strict=False):
            yield (
                f"{english[first].name} and {english[second].name}",
                f"{words[first].name} {AND[language]} {words[second].name}",
            )


def _keywords(concepts: Sequence[Concept], packages: Path, file: Path) -> Path:
    rows = [
        {"image": one.code, "caption": keyword, "language": language}
        for language in LANGUAGES
        for words in (read_words(packages, language),)
        for one in concepts
        for keyword in (words[one.code].keywords[:2] if one.code in words else ())
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def _recalls(space: str, concepts: Sequence[Concept], packages: Path, language: str) -> dict[str, float]:
    """Recall@10 of the names of each language, through the towers as a search loads them."""
    model = ModelSettings(space=space, device="cpu", precision="float32")
    library = _library(model, concepts)
    tower = TextTower.load(model)
    found = {}
    for each in (*LANGUAGES, language):
        words = read_words(packages, each)
        own = np.array([place for place, concept in enumerate(concepts) if concept.code in words])
        queries = tower.embed([words[concepts[place].code].name for place in own])
        found[each] = round(recall(queries, library, own).at_10, 5)
    return found


def _library(model: ModelSettings, concepts: Sequence[Concept]) -> Vectors:
    return embed_files([image_path(IMAGES, one).read_bytes() for one in concepts], ImageTower.load(model))


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 5)


if __name__ == "__main__":
    main()
