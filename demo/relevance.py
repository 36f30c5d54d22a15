"""Measure relevance over `mini`: `python -m demo.relevance CACHE` writes RELEVANCE.md and relevance.json.

Every concept's name in every language is asked of collections that hold a part of the images. Where the concept's
image is among them, something fits; where it is not, nothing does. Two rules tell the two apart: one threshold on
the cosine of the best hit, and one on its relevance. The cosine's is chosen where it does best on the first
collection, as a user would who tunes it once; relevance has its own, 0.5, and is not tuned.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from connector.models.image_tower import ImageTower
from connector.models.text_tower import TextTower
from connector.search.relevance import RELEVANT, SAMPLE, Background, Calibration, gumbel, hubness, usual_nearness
from connector.search.relevance_cohort import EVERY_LANGUAGE
from connector.settings import ModelSettings
from demo.concepts import read_concepts, read_vocabulary
from demo.images import image_path
from demo.judge import embed_files, measured_files

SIZES = (60, 200, 556, 1000)
DRAWS = 4
Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Asked:
    """One language's names over one collection: what the best hits had where something fits, and where nothing does."""

    library: str
    size: int
    language: str
    cosine_in: Numbers
    cosine_out: Numbers
    relevance_in: Numbers
    relevance_out: Numbers


@dataclass(frozen=True, slots=True)
class Line:
    """A part of all that was asked: areas under the curve, and how many questions got an answer by each rule."""

    name: str
    questions: int
    cosine_area: float
    relevance_area: float
    cosine_found: float
    cosine_false: float
    relevance_found: float
    relevance_false: float


def area(fits: Numbers, none: Numbers) -> float:
    """The area under the ROC curve: how often what fits lies above what does not, ties half."""
    both = np.concatenate([fits, none])
    values, places = np.unique(both, return_inverse=True)
    counts = np.bincount(places, minlength=len(values))
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # 1-based, ties in the middle
    return float((ranks[: len(fits)].mean() - (len(fits) + 1) / 2) / len(none))


def calibrated(images: Vectors, cohort: Vectors) -> tuple[Calibration, Numbers]:
    """As ``connector.search.relevance.calibrate_text`` over these images; also what is taken off each of them."""
    background = Background.of(images[:SAMPLE])
    assert background is not None
    standard = background.standard(cohort, cohort @ images.T)
    off = hubness(standard, usual=usual_nearness(background, cohort))
    mode, scale = gumbel((standard - off).max(axis=1))
    return Calibration(background, mode=mode, scale=scale), off


def ask(
    libraries: Mapping[str, Vectors], queries: Mapping[str, tuple[Vectors, Any]], cohort: Vectors
) -> Iterator[Asked]:
    """Every language over every collection; a collection is a random draw of a library's images."""
    for library, images in libraries.items():
        for size in SIZES:
            for draw in range(DRAWS):
                chosen = np.random.default_rng((draw, size)).permutation(len(images))[:size]
                calibration, off = calibrated(images[chosen], cohort)
                for language, (vectors, own) in queries.items():
                    cosines = vectors @ images[chosen].T
                    found = calibration.relevance(calibration.background.standard(vectors, cosines) - off)
                    best, relevance = cosines.max(axis=1).astype(np.float64), found.max(axis=1)
                    there = np.isin(own, chosen)
                    yield Asked(library, size, language, best[there], best[~there], relevance[there], relevance[~there])


def tuned(asked: Sequence[Asked]) -> float:
    """The cosine that tells best, by found less false, in the first library's collections of 556."""
    first = [each for each in asked if each.library == asked[0].library and each.size == SIZES[2]]
    fits, none = _joined(first, "cosine_in"), _joined(first, "cosine_out")
    thresholds = np.quantile(np.concatenate([fits, none]), np.linspace(0.01, 0.99, 197))
    return float(max(thresholds, key=lambda least: (fits >= least).mean() - (none >= least).mean()))


def line(name: str, asked: Sequence[Asked], *, cosine: float) -> Line:
    """One line of a table."""
    cosine_in, cosine_out = _joined(asked, "cosine_in"), _joined(asked, "cosine_out")
    relevance_in, relevance_out = _joined(asked, "relevance_in"), _joined(asked, "relevance_out")
    return Line(
        name,
        len(cosine_in) + len(cosine_out),
        cosine_area=area(cosine_in, cosine_out),
        relevance_area=area(relevance_in, relevance_out),
        cosine_found=float((cosine_in >= cosine).mean()),
        cosine_false=float((cosine_out >= cosine).mean()),
        relevance_found=float((relevance_in >= RELEVANT).mean()),
        relevance_false=float((relevance_out >= RELEVANT).mean()),
    )


def _joined(asked: Sequence[Asked], name: str) -> Numbers:
    return np.concatenate([getattr(each, name) for each in asked])


def study(cache: Path, images: Path) -> tuple[float, list[Line], list[Line]]:
    """The tuned cosine, a line for each library and size, and a line for each language."""
    concepts = read_concepts(cache / "packages")
    model = ModelSettings(space="mini", device="cpu", precision="float32")
    tower, words = ImageTower.load(model), TextTower.load(model)
    libraries = {
        "Noto": embed_files([image_path(images, concept).read_bytes() for concept in concepts], tower),
        "Twemoji": embed_files(measured_files(cache, concepts), tower),
    }
    queries = {}
    for language, vocabulary in read_vocabulary(cache / "packages").items():
        own = np.array([place for place, concept in enumerate(concepts) if concept.code in vocabulary])
        queries[language] = (words.embed([vocabulary[concepts[place].code].name for place in own]), own)
    asked = [*ask(libraries, queries, words.embed(EVERY_LANGUAGE))]
    cosine = tuned(asked)
    collections = [
        line(f"{library}, {size:,}", [e for e in asked if (e.library, e.size) == (library, size)], cosine=cosine)
        for library in libraries
        for size in SIZES
    ]
    noto = [each for each in asked if (each.library, each.size) == ("Noto", SIZES[2])]
    languages = [line(name, [e for e in noto if e.language == name], cosine=cosine) for name in queries]
    return cosine, collections, languages


def table(cosine: float, collections: Sequence[Line], languages: Sequence[Line]) -> str:
    """The page RELEVANCE.md."""
    weakest = min(languages, key=lambda each: each.relevance_area)
    text = [
        "# Something fits, or nothing does: relevance over `mini`",
        "",
        "Made by `python -m demo.relevance CACHE`; [docs/relevance.md](../docs/relevance.md) has the method. Every "
        f"concept's name in {len(languages)} languages is asked of collections drawn at random, {DRAWS} of each size. "
        "*Found*: the share of questions whose image is there that get an answer. *False*: the share of those whose "
        f"image is not there that get one. The cosine's threshold, {cosine:.2f}, is the best one for Noto in "
        f"collections of {SIZES[2]}; relevance's is {RELEVANT}, for everything. Many questions without their image "
        "have a near relative left in the collection, so that some of the false answers are none.",
        "",
        *_rows("collection", collections),
        "",
        f"By language, over Noto in collections of {SIZES[2]}: the mean area is "
        f"{fmean(e.relevance_area for e in languages):.3f} by relevance and "
        f"{fmean(e.cosine_area for e in languages):.3f} by cosine; the weakest by relevance is "
        f"`{weakest.name}` with {weakest.relevance_area:.3f}.",
        "",
        *_rows("language", languages),
    ]
    return "\n".join(text) + "\n"


def _rows(what: str, lines: Sequence[Line]) -> list[str]:
    return [
        f"| {what} | questions | area, cosine | area, relevance | found, cosine | false, cosine | found, relevance | "
        "false, relevance |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {each.name} | {each.questions:,} | {each.cosine_area:.3f} | {each.relevance_area:.3f} | "
            f"{each.cosine_found:.2f} | {each.cosine_false:.2f} | {each.relevance_found:.2f} | "
            f"{each.relevance_false:.2f} |"
            for each in lines
        ),
    ]


def main(
    cache: Annotated[Path, typer.Argument(help="Folder with packages and images (demo.fetch, demo.render).")],
    images: Annotated[Path, typer.Option(help="The bundled images.")] = Path("workers/demo/images"),
    folder: Annotated[Path, typer.Option(help="Where the table goes.")] = Path("demo"),
) -> None:
    """Measure how well relevance tells that nothing fits, and write the table."""
    cosine, collections, languages = study(cache, images)
    (folder / "RELEVANCE.md").write_text(table(cosine, collections, languages), encoding="utf-8")
    document = {
        "cosine_threshold": cosine,
        "relevance_threshold": RELEVANT,
        "collections": [asdict(each) for each in collections],
        "languages": [asdict(each) for each in languages],
    }
    (folder / "relevance.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
