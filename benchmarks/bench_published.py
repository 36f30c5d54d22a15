"""Recall of published weights on published captions, beside the figures that were published of them.

    python -m benchmarks.bench_published IMAGES CAPTIONS [--space siglip2-b32] [--keep DIR]

CAPTIONS is Crossmodal-3600 (`captions.jsonl`) or XTD-10 as `polyglance evaluate` takes them, IMAGES the images. A space
whose weights are not on this machine is passed over, and said to be. Figures are text to image by exact search; those
that were published are means over the 36 languages of Crossmodal-3600.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.record import write
from connector.models.catalog import find_space, space_names
from connector.models.lookup import is_present
from connector.search.captions import Caption, read_captions
from connector.search.client import ImageSearch
from connector.search.evaluate import evaluate
from connector.settings import Settings
from workers.api import ingest

PUBLISHED: Mapping[str, tuple[float, str]] = MappingProxyType(
    {
        "xlm-roberta-b32": (0.426, "open_clip, table of multilingual retrieval"),
        "xlm-roberta-h14": (0.502, "open_clip, table of multilingual retrieval"),
        "siglip2-b32": (0.383, "Tschannen et al., 2025"),
        "siglip2-b16": (0.403, "Tschannen et al., 2025"),
        "siglip2-b16-256": (0.407, "Tschannen et al., 2025"),
        "mexma-siglip2": (0.625, "its model card"),
    }
)
"""Recall@1 of text to image on Crossmodal-3600, and who published it."""
NEAR = 0.02
"""How far a figure may be from the published one: captions and preparation differ a little."""


def main() -> None:
    """Measure each space that is here; exit with 1 where one is further from its published figure than ``NEAR``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("images", type=Path)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--space", action="append", choices=[each for each in space_names() if each != "mini"])
    parser.add_argument("--keep", type=Path, help="Keep the collections in this folder, to go on from.")
    given = parser.parse_args()
    captions = read_captions(given.captions)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.space or PUBLISHED:
            space = find_space(name)
            if not (is_present(space.image) and is_present(next(iter(space.text.values())))):
                print(f"{name}: passed over, its weights are not on this machine (polyglance space pull {name})")
                continue
            rows.append(_row(name, given.images, captions, folder=given.keep or Path(scratch)))
            print(json.dumps(rows[-1]))
    if rows:
        write("published", {"captions": len(captions), "spaces": rows})
    sys.exit(any(row["near"] is False for row in rows))


def _row(name: str, images: Path, captions: list[Caption], *, folder: Path) -> dict[str, Any]:
    settings = Settings.load({"model.space": name, "qdrant.path": str(folder / name)})
    ingest(images, settings=settings)
    with ImageSearch.open(overrides={"model.space": name, "qdrant.path": str(folder / name)}) as search:
        found = evaluate(search, captions)
    if found.mean is None:
        sys.exit(f"none of the {len(found.missing):,} images that the captions name is in {images}")
    figure, source = PUBLISHED.get(name, (None, ""))
    return {
        "space": name,
        "recall_1": round(found.mean.recall_1, 4),
        "published": figure,
        "source": source,
        "near": None if figure is None else abs(found.mean.recall_1 - figure) <= NEAR,
        "languages": {each.language: round(each.recall_1, 4) for each in found.languages},
        "missing": len(found.missing),
    }


if __name__ == "__main__":
    main()
