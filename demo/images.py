"""The bundled images: Noto at 128 px, in a palette, with a metadata file beside each.

The metadata is what a person may filter by; the model learns nothing of it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from demo.concepts import Concept, slugify
from demo.render import Images, read_style
from demo.sources import Use, styles

COLOURS = 256


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was written."""

    images: int
    bytes: int


def write_images(cache: Path, concepts: Sequence[Concept], folder: Path) -> Bundle:
    """Write the bundled style's images as `<category>/<name>.png` and `<name>.png.json`, in place of those there."""
    (source,) = styles(Use.BUNDLED)
    style = read_style(cache, source)
    rows = {code: row for row, code in enumerate(style.codes)}
    kept: set[Path] = set()
    for concept in concepts:
        path = image_path(folder, concept)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(style.images[rows[concept.code]]))
        sidecar = path.with_name(f"{path.name}.json")
        sidecar.write_text(json.dumps(metadata(concept), ensure_ascii=False) + "\n", encoding="utf-8")
        kept |= {path, sidecar}
    for stale in (path for path in folder.rglob("*") if path.is_file() and path not in kept):
        stale.unlink()
    return Bundle(len(concepts), sum(path.stat().st_size for path in kept))


def image_path(folder: Path, concept: Concept) -> Path:
    """Where a concept's image is kept."""
    return folder / slugify(concept.category) / f"{concept.slug}.png"


def metadata(concept: Concept) -> dict[str, str | float | int]:
    """What is known of an image, flat."""
    return {
        "name": concept.name,
        "category": concept.category,
        "subcategory": concept.subcategory,
        "unicode_version": concept.version,
        "year": concept.year,
        "emoji": concept.emoji,
    }


def encode(rgba: Images) -> bytes:
    """(128, 128, 4) straight RGBA -> PNG bytes with a palette of its own."""
    image = Image.fromarray(np.ascontiguousarray(rgba), "RGBA")
    small = image.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    buffer = BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
