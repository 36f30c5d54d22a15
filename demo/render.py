"""Images of every style as one array each: straight RGBA, 128 px, centred, in the cache folder.

Kept as `<style>.npy` (n, 128, 128, 4) uint8 with `<style>.json`, the concepts' codes in the same order.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import resvg_py
from PIL import Image

from demo.concepts import Concept, Names, read_icons
from demo.sources import Layout, Source, Use, styles

SIZE = 128
Images = npt.NDArray[np.uint8]  # (n, 128, 128, 4) straight RGBA


@dataclass(frozen=True, slots=True)
class Style:
    """One set's images, in memory."""

    name: str
    codes: tuple[str, ...]
    images: Images


def render_styles(sources: Path, cache: Path, concepts: Sequence[Concept]) -> None:
    """Render every style that is not in `cache` yet."""
    cache.mkdir(parents=True, exist_ok=True)
    every = styles(Use.BUNDLED, Use.TRAINED, Use.MEASURED)
    names = Names(sources, every)
    for style in every:
        codes = cache / f"{style.name}.json"
        if codes.exists():
            continue
        icons = read_icons(sources, style, concepts, names)
        np.save(cache / f"{style.name}.npy", _render(sources, style, tuple(icons.values())))
        codes.write_text(json.dumps(list(icons)))


def read_style(cache: Path, style: Source) -> Style:
    """One rendered style, its images mapped from disk."""
    codes = json.loads((cache / f"{style.name}.json").read_text())
    return Style(style.name, tuple(codes), np.load(cache / f"{style.name}.npy", mmap_mode="r"))


def _render(sources: Path, style: Source, icons: Sequence[str]) -> Images:
    folder = sources / style.name
    if style.layout is Layout.WEBP:
        return np.stack([_open((folder / "assets" / f"{icon}.webp").read_bytes()) for icon in icons])
    document = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    return np.stack([_open(_draw(document, icon)) for icon in icons])


def _open(data: bytes) -> Images:
    with Image.open(BytesIO(data)) as image:
        rgba = image.convert("RGBA")
    if rgba.size != (SIZE, SIZE):
        rgba = rgba.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(rgba)


def _draw(document: dict[str, Any], icon: str) -> bytes:
    """PNG bytes of one icon; an alias is drawn as its parent (turned and mirrored aliases are not among ours)."""
    while icon not in document["icons"]:
        icon = document["aliases"][icon]["parent"]
    entry = document["icons"][icon]
    box = [entry.get(key, document.get(key, default)) for key, default in
           (("left", 0), ("top", 0), ("width", 16), ("height", 16))]  # fmt: skip
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{SIZE}" '
        f'height="{SIZE}" viewBox="{" ".join(map(str, box))}">{entry["body"]}</svg>'
    )
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE, skip_system_fonts=True))
