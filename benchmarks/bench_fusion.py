"""Which fusion of seeing and words finds most, and whether questions that only eyes can answer lose by it.

    python -m benchmarks.bench_fusion CACHE          # writes results/fusion.json; CACHE as of demo.fetch

The bundled images in space mini, under names that say nothing. Every other image has a caption, its name in one of
twenty languages, and one in ten a code that was read in it. Asked is: by eyes alone, names in a language in which no
caption of theirs is, while captions of other images hold the same words; by words, the captions, and parts of codes;
a part of a code with the name of what is seen with it, or of something else; and what no image answers.
"""

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

import numpy as np

from benchmarks.record import write
from connector.models.image_tower import ImageTower
from connector.records import Point, Vector, id_of
from connector.search.client import ImageSearch
from connector.search.fusion import dbsf, ranks_of, weighted_rrf
from connector.search.options import Mode
from connector.search.query import QueryWords
from connector.search.relevance import RELEVANT
from connector.search.relevance_cohort import EVERY_LANGUAGE
from connector.search.word_match import AskedWords
from connector.search.word_statistics import WordStatistics
from connector.settings import ModelSettings, Settings
from connector.store.engine import Engine, NearestQuery, WordsQuery
from connector.store.open import open_engine
from connector.store.schema import Fingerprint, schema_for
from demo.concepts import Concept, read_concepts, read_vocabulary
from demo.images import image_path
from demo.judge import embed_files

CAPTIONS = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "uk", "el", "tr", "ar", "he", "hi", "zh-CN", "ja")
DEPTH = 100
QUESTIONS = 400
"""Of each kind."""
SEED = 1
KINDS = ("eyes", "captions", "codes", "parts of codes", "part and what is seen", "part and another")

Fused: TypeAlias = Mapping[str, float]
Fusion: TypeAlias = Callable[["Lists"], Fused]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of one kind, and the image that answers it; None where none does."""

    kind: str
    text: str
    target: str | None


@dataclass(frozen=True, slots=True)
class Lists:
    """What both lists of one question say: scores by id, and how much of the words each image holds."""

    seen: Mapping[str, float]
    read: Mapping[str, float]
    strength: Mapping[str, float]

    @property
    def ranks(self) -> list[Mapping[str, int]]:
        """The places in both lists."""
        return [ranks_of([*self.seen.items()]), ranks_of([*self.read.items()])]


def rrf(weight: float) -> Fusion:
    """Reciprocal rank fusion with a weight for words."""
    return lambda lists: weighted_rrf(lists.ranks, weights=[1.0, weight])


def strong_rrf(weight: float, *, power: float = 1.0) -> Fusion:
    """The same, the weight times how much of the question's words an image holds."""
    return lambda lists: weighted_rrf(
        lists.ranks, weights=[1.0, {point: weight * much**power for point, much in lists.strength.items()}]
    )


def distribution(weight: float) -> Fusion:
    """Distribution-based score fusion with a weight for words."""
    return lambda lists: dbsf([lists.seen, lists.read], weights=[1.0, weight])


def strong_distribution(weight: float) -> Fusion:
    """The same over the words' scores times how much of the question's words an image holds."""
    return lambda lists: dbsf(
        [lists.seen, {point: score * lists.strength[point] for point, score in lists.read.items()}],
        weights=[1.0, weight],
    )


FUSIONS: Mapping[str, Fusion] = {
    "seen alone": lambda lists: lists.seen,
    "words alone": lambda lists: lists.read,
    **{f"RRF, words {weight}": rrf(weight) for weight in (0.5, 1.0, 2.0)},
    **{f"DBSF, words {weight}": distribution(weight) for weight in (0.5, 1.0, 2.0)},
    **{f"DBSF by strength, words {weight}": strong_distribution(weight) for weight in (1.0, 2.0)},
    **{f"RRF by strength, words {weight}": strong_rrf(weight) for weight in (1.0, 1.5, 2.0, 3.0, 4.0)},
    **{f"RRF by squared strength, words {weight}": strong_rrf(weight, power=2.0) for weight in (1.5, 2.0, 3.0)},
    "RRF by cubed strength, words 2.0": strong_rrf(2.0, power=3.0),
}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    given = parser.parse_args()
    concepts = read_concepts(given.cache / "packages")
    vocabulary = {
        language: {code: names.name for code, names in known.items()}
        for language, known in read_vocabulary(given.cache / "packages").items()
    }
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load(
            {
                "model.space": "mini",
                "qdrant.path": folder,
                "qdrant.collection": "fusion",
                "qdrant.meta_fields": {"caption": "text"},
            }
        )
        asked = _fill(settings, concepts, vocabulary)
        results = {"questions": _counts(asked), **_measure(settings, asked)}
    print(*_table(results), sep="\n")
    print(write("fusion", results))


def _fill(settings: Settings, concepts: Sequence[Concept], vocabulary: Mapping[str, Mapping[str, str]]) -> list[Asked]:
    """Write the images with captions and codes; the questions."""
    chance = random.Random(SEED)
    tower = ImageTower.load(ModelSettings(space="mini", device="cpu", precision="float32"))
    images = Path("workers/demo/images")
    vectors = embed_files([image_path(images, concept).read_bytes() for concept in concepts], tower)
    points: list[Point] = []
    asked: dict[str, list[Asked]] = {kind: [] for kind in KINDS}
    others = sorted(set(vocabulary) - set(CAPTIONS))
    for number, (concept, vector) in enumerate(zip(concepts, vectors, strict=True)):
        uri = f"file:///photos/IMG_{number:04}.png"
        point = id_of(uri)
        payload: dict[str, Any] = {"uri": uri, "filename": f"IMG_{number:04}.png", "folder": ["photos"]}
        language = CAPTIONS[number % len(CAPTIONS)]
        name = vocabulary[language].get(concept.code)
        if number % 2 and name:
            payload["meta"] = {"caption": name}
            asked["captions"].append(Asked("captions", name, point))
        for other in chance.sample([*CAPTIONS, *others], 2):
            eyes = vocabulary[other].get(concept.code)
            if eyes and not (number % 2 and other == language):
                asked["eyes"].append(Asked("eyes", eyes, point))
        if number % 10 == 0:
            letters = "".join(chance.choices("ABCDEFGHKLMNPRSTUVWXYZ", k=5))
            code = f"{letters[:2]}{chance.randrange(10, 99)} {letters[2:]}"
            payload["ocr_text"] = code
            asked["codes"].append(Asked("codes", code, point))
            asked["parts of codes"].append(Asked("parts of codes", code[:4], point))
            english = vocabulary["en"]
            another = english[chance.choice([each.code for each in concepts if each.code in english])]
            for kind, name in (("what is seen", english.get(concept.code)), ("another", another)):
                if name:
                    asked[f"part and {kind}"].append(Asked(f"part and {kind}", f"{name} {code[:4]}", point))
        points.append(Point(point, vector, payload))
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        engine.create(
            schema_for(Fingerprint(space="mini", dims=vectors.shape[1], image_size=tower.space.image_size), settings)
        )
        engine.upsert(points)
    chosen = [one for kind in asked.values() for one in chance.sample(kind, min(QUESTIONS, len(kind)))]
    return chosen + [Asked("nothing", text, None) for text in EVERY_LANGUAGE]


def _measure(settings: Settings, asked: Sequence[Asked]) -> dict[str, object]:
    fused: dict[str, dict[str, list[int | None]]] = {name: {} for name in FUSIONS}
    modes: dict[str, dict[str, list[int | None]]] = {}
    fitting: dict[str, dict[str, list[bool]]] = {}
    with (
        ImageSearch.open(settings=settings) as search,
        closing(open_engine(settings.qdrant, collection=settings.collection)) as engine,
    ):
        statistics = WordStatistics(engine)
        for one in asked:
            lists = _lists(engine, statistics, text=one.text, vector=search.embed_texts([one.text])[0])
            for name, fusion in FUSIONS.items():
                scores = fusion(lists)
                order = sorted(scores, key=lambda point: (-scores[point], -lists.seen.get(point, 0.0)))
                fused[name].setdefault(one.kind, []).append(_rank(one.target, order))
            for mode in MODES:
                hits = search.text(one.text, limit=DEPTH, mode=mode)
                modes.setdefault(mode, {}).setdefault(one.kind, []).append(_rank(one.target, [hit.id for hit in hits]))
                fits = any((hit.relevance or 0.0) >= RELEVANT for hit in hits)
                fitting.setdefault(mode, {}).setdefault(one.kind, []).append(fits)
    return {
        "fusions": {name: _recalls(ranks) for name, ranks in fused.items()},
        "modes": {mode: _recalls(ranks) for mode, ranks in modes.items()},
        "something fits": {
            mode: {kind: round(fmean(some), 4) for kind, some in found.items()} for mode, found in fitting.items()
        },
    }


MODES: tuple[Mode, ...] = ("visual", "words", "hybrid")


def _lists(engine: Engine, statistics: WordStatistics, *, text: str, vector: Vector) -> Lists:
    seen, read = engine.query([NearestQuery(vector, limit=DEPTH), WordsQuery(text, limit=DEPTH)])
    asked = AskedWords.of(QueryWords(text))
    information = statistics.information(asked)
    stored = engine.retrieve([hit.id for hit in read], fields=[], terms=[*asked.terms])
    strength = {each.id: asked.strength(frozenset(dict(each.terms)), information) for each in stored}
    return Lists({hit.id: hit.score for hit in seen}, {hit.id: hit.score for hit in read}, strength)


def _rank(target: str | None, order: Sequence[str]) -> int | None:
    return order.index(target) + 1 if target in order else None


def _recalls(ranks: Mapping[str, Sequence[int | None]]) -> dict[str, dict[str, float]]:
    def within(some: Sequence[int | None], k: int) -> float:
        return round(float(np.mean([rank is not None and rank <= k for rank in some])), 4)

    return {kind: {f"@{k}": within(some, k) for k in (1, 10)} for kind, some in ranks.items() if kind != "nothing"}


def _counts(asked: Sequence[Asked]) -> dict[str, int]:
    return {kind: sum(one.kind == kind for one in asked) for kind in dict.fromkeys(one.kind for one in asked)}


def _table(results: dict[str, object]) -> Iterator[str]:
    for part in ("fusions", "modes", "something fits"):
        found = results[part]
        assert isinstance(found, dict)
        yield f"# {part}"
        for name, kinds in found.items():
            yield f"{name:40}" + "  ".join(f"{kind} {_shown(value)}" for kind, value in kinds.items())


def _shown(value: object) -> str:
    return " ".join(f"{each:.3f}" for each in value.values()) if isinstance(value, dict) else f"{value:.3f}"


if __name__ == "__main__":
    main()
