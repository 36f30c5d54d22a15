"""One image's peak of memory: bounded by its pixels, and next to nothing for a bomb."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from connector.images.decode import BYTES_PER_PIXEL
from tests.corpus import CASES
from tests.corpus_files import saved, scene

WIDTH, HEIGHT = 1800, 1200
CONSTANT = 20_000_000

_CHILD = """
import gc, json, sys
from pathlib import Path
import PIL.ImageCms
from connector.errors import UnreadableImage
from connector.images.decode import decode
import pillow_heif
import torch

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

grown = {}
for path in [Path(sys.argv[1]) / "warm-up", *sorted(Path(sys.argv[1]).glob("*-*.*"))]:
    data = path.read_bytes()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    start = peak()
    try:
        decode(data, size=224, max_pixels=100_000_000)
    except UnreadableImage as refused:
        assert refused.reason == "too_many_pixels", refused
    grown[path.name] = peak() - start
print(json.dumps(grown))
"""


def _large() -> dict[str, Callable[[], bytes]]:
    """The dearest modes of each format."""
    rgb = scene(600, 400).resize((WIDTH, HEIGHT))
    rgba = rgb.copy()
    rgba.putalpha(Image.linear_gradient("L").resize(rgb.size))
    return {
        "large-plain.jpg": lambda: saved(rgb, "JPEG"),
        "large-progressive.jpg": lambda: saved(rgb, "JPEG", progressive=True, subsampling=0),
        "large-cmyk.jpg": lambda: saved(rgb.convert("CMYK"), "JPEG", progressive=True, subsampling=0),
        "large-alpha.png": lambda: saved(rgba, "PNG", compress_level=1),
        "large-greyalpha.png": lambda: saved(rgba.convert("LA"), "PNG", compress_level=1),
        "large-palette.png": lambda: saved(rgb.quantize(64), "PNG", transparency=bytes(range(64))),
        "large-alpha.webp": lambda: saved(rgba, "WEBP", method=0),
        "large-alpha.avif": lambda: saved(rgba, "AVIF", speed=10),
        "large-clear.gif": lambda: saved(rgb.quantize(64), "GIF", transparency=5),
        "large-float.tif": lambda: saved(rgb.convert("F"), "TIFF"),
        "large-cmyk.tif": lambda: saved(rgb.convert("CMYK"), "TIFF", compression="tiff_lzw"),
        "large-plain.bmp": lambda: saved(rgb, "BMP"),
        "large-alpha.jp2": lambda: saved(rgba, "JPEG2000", irreversible=True, quality_layers=[40]),
    }


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can begin a peak anew")
def test_the_peak_of_memory_is_bounded_by_the_pixels(tmp_path: Path) -> None:
    (tmp_path / "warm-up").write_bytes(saved(scene(300, 200), "JPEG"))
    for name, make in _large().items():
        (tmp_path / name).write_bytes(make())
    bombs = [case for case in CASES if case.expect == "too_many_pixels"]
    for case in bombs:
        (tmp_path / f"bomb-{case.name}").write_bytes(case.make())
    every_free_counts = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path)], capture_output=True, text=True, check=True, env=every_free_counts
    )
    grown: dict[str, int] = json.loads(child.stdout)
    for name, size in grown.items():
        bound = BYTES_PER_PIXEL * WIDTH * HEIGHT if name.startswith("large") else 0
        assert size <= bound + CONSTANT, f"{name} took {size:,} bytes"
    assert len(grown) == 1 + len(_large()) + len(bombs)
    assert grown["large-alpha.webp"] > 8 * WIDTH * HEIGHT, "a peak was seen at all"
