"""Make the bundled space `mini` and its images from nothing: `python -m demo.make`.

Each step leaves its result in the cache folder and is skipped where that is there already; a training that was stopped
goes on from its last checkpoint. demo/README.md says what each step does and how long it takes.
"""

import logging
import shutil
from pathlib import Path
from typing import Annotated

import typer

from demo.concepts import read_concepts
from demo.export import export_text
from demo.fetch import fetch_packages
from demo.images import write_images
from demo.judge import write
from demo.polish import Polish, polish_words
from demo.render import render_styles
from demo.train import Recipe, train

log = logging.getLogger(__name__)
HERE = Path(__file__).parent
SPACE = HERE.parent / "connector" / "models" / "mini"
IMAGES = HERE.parent / "workers" / "demo" / "images"


def make(cache: Path, recipe: Recipe, polish: Polish) -> None:
    """Fetch, render, bundle, train, install and judge."""
    sources, images, run = cache / "packages", cache / "images", cache / "run"
    log.info("fetching the packages")
    fetch_packages(sources)
    concepts = read_concepts(sources)
    log.info("rendering %d concepts in every style", len(concepts))
    render_styles(sources, images, concepts)
    bundle = write_images(images, concepts, IMAGES)
    log.info("bundled %d images, %.1f MB", bundle.images, bundle.bytes / 1e6)
    if not (run / "training.json").exists():
        log.info("training for %.0f s", recipe.seconds)
        train(cache, run, recipe)
        log.info("teaching words for %.0f s", polish.seconds)
        polish_words(cache, run, polish)
    install(run)
    log.info("judging")
    write(cache, IMAGES, HERE)


def install(run: Path) -> None:
    """Put the towers of a finished run where the product finds them."""
    for part in ("image", "text"):
        shutil.rmtree(SPACE / part, ignore_errors=True)
        shutil.copytree(run / part, SPACE / part)
    export_text(SPACE / "text")
    shutil.copy(run / "training.json", HERE / "training.json")


def main(
    cache: Annotated[Path, typer.Argument(help="Where packages, images and checkpoints are kept.")],
    seconds: Annotated[float, typer.Option(help="How long to train both towers.")] = Recipe().seconds,
    words: Annotated[float, typer.Option(help="How long to teach words afterwards.")] = Polish().seconds,
) -> None:
    """Make the bundled space `mini` and its images."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    make(cache, Recipe(seconds=seconds), Polish(seconds=words))


if __name__ == "__main__":
    typer.run(main)
