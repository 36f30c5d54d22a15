"""Measure `mini` as it is served: `python -m demo.judge CACHE` writes RECALL.md and recall.json.

Every name of every language is a query; its answer is right when the concept's own image is among the nearest 1 or
10. Images and words go through `connector.models`, files to vectors, as in the product. Noto is the bundled library,
which training has seen; Twemoji it has never seen.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image

from connector.images.decode import decode
from connector.models.image_tower import ImageTower
from connector.models.text_tower import TextTower
from connector.settings import ModelSettings
from demo.concepts import Concept, read_concepts, read_vocabulary
from demo.images import image_path
from demo.render import read_style
from demo.sources import Use, styles

DEPTHS = (1, 10)
FULL_SET = 0.9  # a language with names for fewer of the concepts is reported, but is not the weakest
AIMS = {"Noto": (0.97, 0.90), "Twemoji": (0.65, None)}  # recall@10: on the mean, in the weakest language
FILE_LIMIT = 10_000_000  # pixels
Vectors = npt.NDArray[np.float32]  # (n, dims), rows of length 1


@dataclass(frozen=True, slots=True)
class Recall:
    """How often a name found its own image first, and among the first ten."""

    at_1: float
    at_10: float


@dataclass(frozen=True, slots=True)
class Line:
    """One language: how many names it has, and the recall over each library."""

    language: str
    names: int
    recall: dict[str, Recall]


def embed_files(files: Sequence[bytes], tower: ImageTower) -> Vectors:
    """Image files -> vectors, by the product's decoder and image tower."""
    size = tower.space.image_size
    pixels = np.stack([decode(data, size=size, max_pixels=FILE_LIMIT).pixels for data in files])
    return np.concatenate([tower.embed(pixels[start : start + 64]) for start in range(0, len(pixels), 64)])


def measured_files(cache: Path, concepts: Sequence[Concept]) -> list[bytes]:
    """The unseen style as PNG files, in the order of `concepts`."""
    (source,) = styles(Use.MEASURED)
    style = read_style(cache / "images", source)
    rows = {code: row for row, code in enumerate(style.codes)}
    return [_png(np.array(style.images[rows[concept.code]])) for concept in concepts]


def _png(rgba: npt.NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG")
    return buffer.getvalue()


def recall(queries: Vectors, library: Vectors, own: npt.NDArray[np.intp]) -> Recall:
    """Recall of `queries`, whose right answers are the rows `own` of `library`."""
    nearest = np.argsort(-(queries @ library.T), axis=1, kind="stable")[:, : max(DEPTHS)]
    found = nearest == own[:, np.newaxis]
    return Recall(*(float(found[:, :depth].any(axis=1).mean()) for depth in DEPTHS))


def judge(cache: Path, images: Path) -> tuple[Line, ...]:
    """Every language, over the bundled images and over the unseen style."""
    concepts = read_concepts(cache / "packages")
    model = ModelSettings(space="mini", device="cpu", precision="float32")
    tower, words = ImageTower.load(model), TextTower.load(model)
    libraries = {
        "Noto": embed_files([image_path(images, concept).read_bytes() for concept in concepts], tower),
        "Twemoji": embed_files(measured_files(cache, concepts), tower),
    }
    lines = []
    for language, vocabulary in read_vocabulary(cache / "packages").items():
        own = np.array([place for place, concept in enumerate(concepts) if concept.code in vocabulary])
        queries = words.embed([vocabulary[concepts[place].code].name for place in own])
        found = {name: recall(queries, library, own) for name, library in libraries.items()}
        lines.append(Line(language, len(own), found))
    return tuple(lines)


def summarise(lines: Sequence[Line]) -> dict[str, dict[str, Any]]:
    """Library -> means over the languages with a full set of names, and the weakest of those."""
    most = max(line.names for line in lines)
    full = [line for line in lines if line.names >= FULL_SET * most]
    summary = {}
    for library in lines[0].recall:
        weakest = min(full, key=lambda line: line.recall[library].at_10)
        summary[library] = {
            "mean_at_1": fmean(line.recall[library].at_1 for line in full),
            "mean_at_10": fmean(line.recall[library].at_10 for line in full),
            "weakest": weakest.language,
            "weakest_at_1": weakest.recall[library].at_1,
            "weakest_at_10": weakest.recall[library].at_10,
            "aim_mean_at_10": AIMS[library][0],
            "aim_weakest_at_10": AIMS[library][1],
        }
    return summary


def table(lines: Sequence[Line], facts: Mapping[str, Any]) -> str:
    """The page RECALL.md."""
    summary, training, polish = summarise(lines), facts["training"], facts["training"]["polish"]
    most = max(line.names for line in lines)
    text = [
        "# Recall of `mini`",
        "",
        f"Made by `python -m demo.judge` on {facts['cores']} cores, from a model trained for {training['seconds']:,} s "
        f"({training['steps']:,} steps) by `python -m demo.train` and taught words for {polish['seconds']:,.0f} s "
        f"({polish['steps']:,} steps) by `python -m demo.polish`. Every name is a query over a library of "
        f"{most:,} images, one of each concept; it is right when its own image is the first answer (@1) or among "
        "the first ten (@10). Noto is what is bundled, and training has seen it; Twemoji it has never seen.",
        "",
        "| library | mean @1 | mean @10 | aim | weakest language | its @1 | its @10 | aim |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for library, row in summary.items():
        aims = [f"{row[key]:.2f}" if row[key] else "" for key in ("aim_mean_at_10", "aim_weakest_at_10")]
        text.append(
            f"| {library} | {row['mean_at_1']:.3f} | {row['mean_at_10']:.3f} | {aims[0]} | {row['weakest']} | "
            f"{row['weakest_at_1']:.3f} | {row['weakest_at_10']:.3f} | {aims[1]} |"
        )
    few = [line for line in lines if line.names < FULL_SET * most]
    note = "; ".join(f"`{line.language}` with {line.names} names" for line in few)
    text += ["", f"Means and weakest are of the languages with a full set of names, so without {note}." if note else ""]
    text += [
        "",
        "| language | names | Noto @1 | Noto @10 | Twemoji @1 | Twemoji @10 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for line in lines:
        numbers = " | ".join(f"{one.at_1:.3f} | {one.at_10:.3f}" for one in line.recall.values())
        text.append(f"| {line.language} | {line.names:,} | {numbers} |")
    return "\n".join(text) + "\n"


def write(cache: Path, images: Path, folder: Path) -> None:
    """Judge, and write `RECALL.md` and `recall.json` to `folder`; `training.json` is read there."""
    lines = judge(cache, images)
    facts = {"training": json.loads((folder / "training.json").read_text()), "cores": os.cpu_count()}
    (folder / "RECALL.md").write_text(table(lines, facts), encoding="utf-8")
    document = {**facts, "summary": summarise(lines), "languages": [asdict(line) for line in lines]}
    (folder / "recall.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main(
    cache: Annotated[Path, typer.Argument(help="Folder with packages and images (demo.fetch, demo.render).")],
    images: Annotated[Path, typer.Option(help="The bundled images.")] = Path("workers/demo/images"),
    folder: Annotated[Path, typer.Option(help="Where the table goes.")] = Path("demo"),
) -> None:
    """Measure the bundled space `mini` and write the table."""
    write(cache, images, folder)


if __name__ == "__main__":
    typer.run(main)
