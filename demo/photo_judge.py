"""Measure `mini-photos` beside `mini`: `python -m demo.photo_judge CACHE` writes PHOTOGRAPHS.md and photographs.json.

Every word that a photograph is labelled with is asked, by its name in every language, of all photographs together; it
is right when one that shows it is the first answer (@1) or among the first ten (@10). Images and words go through
`connector.models`, files to vectors, as in the product. Drawings are measured as `demo.judge` does.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from connector.models.image_tower import ImageTower
from connector.models.text_tower import TextTower
from connector.settings import ModelSettings
from demo.concepts import Concept, Words, read_concepts, read_vocabulary
from demo.judge import Recall, embed_files, measured_files
from demo.photo_sources import read_drawings, read_photographs, summary

DEPTH = 10
FULL_SET = 0.9  # a language with names for fewer of the words is not counted
SPACES = ("mini", "mini-photos")
Found = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Library:
    """Files to be searched, and by concept code which of them are right."""

    name: str
    about: str
    files: tuple[bytes, ...]
    right: dict[str, frozenset[int]]


@dataclass(frozen=True, slots=True)
class Score:
    """Of one space over one library: the means over the languages, the weakest language, and every language."""

    space: str
    library: str
    files: int
    words: int
    mean: Recall
    weakest: str
    weakest_at_10: float
    languages: dict[str, Recall]


def libraries(cache: Path, concepts: Sequence[Concept]) -> list[Library]:
    """The photographs, with the words of all and of each source, and two sets of drawings."""
    codes = {concept.name: concept.code for concept in concepts}
    photographs = read_photographs(cache / "photographs")
    files = tuple(each.data for each in photographs)
    made = []
    for source, about in (
        ("", "photographs"),
        ("gcompris", "photographs, only words of those with a background"),
        ("tuxpaint", "photographs, only words of those cut out"),
    ):
        asked = {name for each in photographs if each.source.startswith(source) for name in each.concepts}
        right = {
            codes[name]: frozenset(place for place, each in enumerate(photographs) if name in each.concepts)
            for name in sorted(asked)
        }
        made.append(Library(source or "all", about, files, right))
    cards = [each for each in read_drawings(cache / "photographs") if each.concepts[0] in codes]
    ordered = {codes[each.concepts[0]]: frozenset((place,)) for place, each in enumerate(cards)}
    made.append(Library("cards", "drawings, a style never trained on", tuple(each.data for each in cards), ordered))
    own = {concept.code: frozenset((place,)) for place, concept in enumerate(concepts)}
    made.append(Library("Twemoji", "drawings, a style never trained on", tuple(measured_files(cache, concepts)), own))
    return made


def judge(cache: Path) -> list[Score]:
    """Every space over every library."""
    concepts = read_concepts(cache / "packages")
    every, vocabulary = libraries(cache, concepts), read_vocabulary(cache / "packages")
    scores = []
    for space in SPACES:
        model = ModelSettings(space=space, device="cpu", precision="float32")
        tower, words = ImageTower.load(model), TextTower.load(model)
        kept: dict[int, npt.NDArray[np.float32]] = {}
        for library in every:
            key = hash(library.files)
            if key not in kept:
                kept[key] = embed_files(library.files, tower)
            scores.append(_score(space, library, kept[key], words, vocabulary))
    return scores


def _score(
    space: str,
    library: Library,
    vectors: npt.NDArray[np.float32],
    words: TextTower,
    vocabulary: Mapping[str, Mapping[str, Words]],
) -> Score:
    languages = {}
    for language, names in vocabulary.items():
        asked = [code for code in library.right if code in names]
        if len(asked) < FULL_SET * len(library.right):
            continue
        nearest = np.argsort(-(words.embed([names[code].name for code in asked]) @ vectors.T), axis=1, kind="stable")
        hits: Found = np.array(
            [
                [place in library.right[code] for place in row[:DEPTH]]
                for code, row in zip(asked, nearest.tolist(), strict=True)
            ]
        )
        languages[language] = Recall(float(hits[:, 0].mean()), float(hits.any(axis=1).mean()))
    weakest = min(languages, key=lambda language: languages[language].at_10)
    mean = Recall(fmean(each.at_1 for each in languages.values()), fmean(each.at_10 for each in languages.values()))
    return Score(
        space=space,
        library=library.name,
        files=len(library.files),
        words=len(library.right),
        mean=mean,
        weakest=weakest,
        weakest_at_10=languages[weakest].at_10,
        languages=languages,
    )


def table(scores: Sequence[Score], about: Mapping[str, str]) -> str:
    """The page PHOTOGRAPHS.md."""
    text = [
        "# Photographs: recall of `mini-photos` and of `mini`",
        "",
        "Made by `python -m demo.photo_judge CACHE`. Every word that an image is labelled with is asked by its name in "
        f"{len(scores[0].languages)} languages of all images of the set; it is right when an image that shows it is "
        "the first answer (@1) or among the first ten (@10). No photograph was trained on; how the labels were made, "
        "and what a setting was chosen by, is told in [demo/README.md](README.md).",
        "",
        "| set | images | words | space | mean @1 | mean @10 | weakest language | its @10 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for library, told in about.items():
        for score in scores:
            if score.library == library:
                text.append(
                    f"| {library}: {told} | {score.files:,} | {score.words:,} | `{score.space}` | "
                    f"{score.mean.at_1:.3f} | {score.mean.at_10:.3f} | {score.weakest} | {score.weakest_at_10:.3f} |"
                )
    ours = {score.library: score for score in scores if score.space == SPACES[-1]}
    shown = ("all", "gcompris", "Twemoji")
    text += [
        "",
        f"By language, `{SPACES[-1]}`:",
        "",
        "| language | " + " | ".join(f"{name} @1 | {name} @10" for name in shown) + " |",
        "| --- " * (1 + 2 * len(shown)) + "|",
    ]
    for language in ours["all"].languages:
        found = [ours[name].languages.get(language) for name in shown]
        numbers = " | ".join(f"{each.at_1:.3f} | {each.at_10:.3f}" if each else " | " for each in found)
        text.append(f"| {language} | {numbers} |")
    return "\n".join(text) + "\n"


def main(
    cache: Annotated[Path, typer.Argument(help="Folder with packages and images (demo.fetch, demo.render).")],
    folder: Annotated[Path, typer.Option(help="Where the table goes.")] = Path("demo"),
) -> None:
    """Measure the spaces `mini` and `mini-photos` over photographs and drawings, and write the table."""
    scores = judge(cache)
    concepts = read_concepts(cache / "packages")
    about = {library.name: library.about for library in libraries(cache, concepts)}
    sources = summary(read_photographs(cache / "photographs"))
    (folder / "PHOTOGRAPHS.md").write_text(table(scores, about), encoding="utf-8")
    document = {"sources": sources, "scores": [asdict(score) for score in scores]}
    (folder / "photographs.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
