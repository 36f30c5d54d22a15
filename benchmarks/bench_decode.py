"""Bytes to pixels: images a second of one core by method, format and size, and how far the pixels are from CLIP's own.

    python -m benchmarks.bench_decode [--rounds 5]

The methods are CLIP's preprocessing in Pillow (the reference), polyglance without simplejpeg, polyglance with it, and
the bare calls of simplejpeg and torch: what polyglance would be without header, checks, EXIF and odd shapes. Each runs
in a process of its own, on one thread, in seconds of processor time, so that neighbours on the machine do not count.
``together`` is the wall-clock rate of one thread on each core.
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import simplejpeg
import torch
from PIL import Image

from benchmarks.photos import SIZES, make_photos
from benchmarks.record import spread, write
from connector.images.decode import decode
from connector.process import usable_cores
from connector.records import Pixels

Method = Literal["reference", "pillow", "simplejpeg", "bare"]
SIZE = 224
FORMATS: Mapping[str, Mapping[str, Any]] = {
    "progressive": {"format": "JPEG", "quality": 88, "progressive": True},
    "png": {"format": "PNG"},
    "webp": {"format": "WEBP", "quality": 80},
}
COUNTS = {"500x375": 24, "1920x1080": 8, "4000x3000": 3}


def main() -> None:
    """Measure and write ``results/decode.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", choices=get_args(Method), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(_measured(options.child, options.folder, rounds=options.rounds)))
        return
    with tempfile.TemporaryDirectory(prefix="polyglance-bench-") as work:
        folder = Path(work)
        for name, data in _files():
            (folder / name).mkdir(exist_ok=True)
            (folder / name / f"{len(list((folder / name).iterdir())):03d}").write_bytes(data)
        results = {method: _in_child(method, folder, rounds=options.rounds) for method in get_args(Method)}
    print(json.dumps(results, indent=1))
    print(write("decode", results))


def _files() -> Iterator[tuple[str, bytes]]:
    """Every size as baseline JPEG, and the smallest in other formats."""
    with tempfile.TemporaryDirectory() as work:
        for name, size in SIZES.items():
            photos = sorted(make_photos(Path(work) / name, size=size, count=COUNTS[name]).rglob("*.jpg"))
            for path in photos:
                yield f"jpeg {name}", path.read_bytes()
                if name == "500x375":
                    yield from _in_other_formats(Image.open(path), name)


def _in_other_formats(image: Image.Image, size: str) -> Iterator[tuple[str, bytes]]:
    for name, saving in FORMATS.items():
        file = io.BytesIO()
        image.save(file, **saving)
        yield f"{name} {size}", file.getvalue()


def _in_child(method: Method, folder: Path, *, rounds: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.bench_decode", "--child", method, "--folder", str(folder)]
    done = subprocess.run([*command, "--rounds", str(rounds)], capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _measured(method: Method, folder: Path, *, rounds: int) -> dict[str, Any]:
    if method == "pillow":
        sys.modules["simplejpeg"] = None  # type: ignore[assignment]  # for our decoder, as where it is not installed
    torch.set_num_threads(1)
    work = {"reference": reference, "bare": _bare}.get(method, _ours)
    found = {}
    for kind in sorted(folder.iterdir()):
        if method == "bare" and not kind.name.startswith("jpeg"):
            continue
        blobs = [path.read_bytes() for path in sorted(kind.iterdir())]
        work(blobs[0])
        found[kind.name] = {
            "images_per_core_second": spread([_rate(work, blobs) for _ in range(rounds)]),
            "together": round(_together(work, blobs), 1),
            "difference": _difference(work, blobs[:4]),
        }
    return found


def reference(data: bytes) -> Pixels:
    """CLIP's preprocessing in Pillow: RGB, bicubic, shortest edge, centre crop."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    short = min(image.size)
    wide, high = SIZE * image.width // short, SIZE * image.height // short
    left, top = (wide - SIZE) // 2, (high - SIZE) // 2
    resized = image.resize((wide, high), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + SIZE, top + SIZE)))


def _bare(data: bytes) -> Pixels:
    """The least that can be done with the same two libraries."""
    plane = simplejpeg.decode_jpeg(data, "RGB", min_width=2 * SIZE, min_height=2 * SIZE)
    high, wide = plane.shape[:2]
    short = min(high, wide)
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(plane)[None].permute(0, 3, 1, 2),
        size=(SIZE * high // short, SIZE * wide // short),
        mode="bicubic",
        antialias=True,
    )
    pixels = resized[0].permute(1, 2, 0).numpy()
    top, left = (pixels.shape[0] - SIZE) // 2, (pixels.shape[1] - SIZE) // 2
    return np.ascontiguousarray(pixels[top : top + SIZE, left : left + SIZE])


def _ours(data: bytes) -> Pixels:
    return decode(data, size=SIZE, max_pixels=10**9).pixels


def _rate(work: Callable[[bytes], Pixels], blobs: Sequence[bytes]) -> float:
    started = time.thread_time()
    for blob in blobs:
        work(blob)
    return len(blobs) / (time.thread_time() - started)


def _together(work: Callable[[bytes], Pixels], blobs: Sequence[bytes]) -> float:
    """Wall-clock images a second of one thread a core, each with its share of the images four times over."""
    many = [*blobs] * 4
    with ThreadPoolExecutor(usable_cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        started = time.perf_counter()
        for _ in pool.map(work, many):
            pass
        return len(many) / (time.perf_counter() - started)


def _difference(work: Callable[[bytes], Pixels], blobs: Sequence[bytes]) -> dict[str, float]:
    """Grey levels between these pixels and the reference's: the most, and on average."""
    apart = [np.abs(work(blob).astype(int) - reference(blob).astype(int)) for blob in blobs]
    return {
        "most": int(max(each.max() for each in apart)),
        "mean": round(statistics.mean(float(each.mean()) for each in apart), 4),
    }


if __name__ == "__main__":
    main()
