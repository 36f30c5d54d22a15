"""The gallery's wall in a real browser over a large collection: document, memory and frames while it is scrolled.

    python -m benchmarks.bench_gallery [--points 100000] [--seconds 20] [--step 400] [--size 1440x900] [--keep FOLDER]

Points have structured vectors (benchmarks/structured.py) in space mini and the bundled images' files, with dates over
ten years. A script in the page scrolls by ``--step`` pixels in every frame and notes each frame's length; nodes and
memory are read from Chromium after a collection of garbage, before and after. ``blank_frames`` are those in which no
tile lay in the middle of the window, ``gaps`` places without a tile in the rows at the end. ``leap_ms`` are the times
from opening a month of the timeline to its images, ``page_ms`` those of all requests for a page of images.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.record import spread, write
from benchmarks.structured import structured_blocks
from connector.records import Payload, Point
from connector.settings import Settings
from connector.store.open import open_engine
from connector.store.schema import Fingerprint, schema_for
from tests.connector.service.conftest import address_in, ready
from workers.demo import tour

ROOT = Path(__file__).parents[1]
SCHEMA = schema_for(Fingerprint("mini", dims=128, image_size=64), Settings())
NEWEST = datetime(2025, 6, 1, tzinfo=UTC)
DAYS = 3650
UPSERT = 1_000
SCROLL = """async ([seconds, step]) => {
    const wall = document.getElementById("wall");
    const frames = [];
    const begun = performance.now();
    let before = begun, blank = 0;
    while (performance.now() - begun < seconds * 1000) {
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        frames.push(now - before);
        before = now;
        const { left, width } = wall.getBoundingClientRect();
        const middle = [0.2, 0.5, 0.8].map((share) => document.elementFromPoint(left + width * share, innerHeight / 2));
        if (!middle.some((one) => one?.closest(".card"))) blank += 1;
        scrollBy(0, step);
    }
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    frames.sort((a, b) => a - b);
    const places = [...wall.querySelectorAll(".card")].map((one) => Number(one.dataset.index)).sort((a, b) => a - b);
    return {
        frames: frames.length, blank_frames: blank, reached_image: places.at(-1),
        gaps: places.filter((place, each) => each && place !== places[each - 1] + 1).length,
        frame_ms: {
            median: frames.at(frames.length / 2), p99: frames.at(frames.length * 0.99), longest: frames.at(-1),
        },
        over_50_ms: frames.filter((one) => one > 50).length,
    };
}"""
PAGES = """() => performance.getEntriesByType("resource").filter((one) => one.name.includes("v1/images"))
    .map((one) => [one.duration, one.responseEnd])"""
MONTHS = ("2024-11", "2022-02", "2020-06", "2018-09", "2016-01")


def main() -> None:
    """Measure and write ``results/gallery-POINTS-SIZE.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--step", type=int, default=400, help="pixels scrolled in every frame")
    parser.add_argument("--size", default="1440x900", help="the window, in pixels")
    parser.add_argument("--note", help="what else ran on the machine")
    parser.add_argument("--keep", type=Path, help="a folder for the collection; one that is there is taken as it is")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="polyglance-bench-") as scratch:
        folder = given.keep or Path(scratch)
        if not (folder / "data").exists():
            fill(folder / "data", given.points)
        load = os.getloadavg()[0]
        with served(folder) as address:
            found = measured(address, seconds=given.seconds, step=given.step, size=given.size)
    noted = {} if given.note is None else {"note": given.note}
    results = {"points": given.points, "size": given.size, "pixels_a_frame": given.step, "load": load, **noted, **found}
    print(json.dumps(results, indent=1))
    print(write(f"gallery-{given.points}-{given.size}", results))


def fill(folder: Path, count: int) -> None:
    """Write so many points that share the bundled images."""
    files = sorted(Path(str(tour.IMAGES)).rglob("*.png"))
    sizes = [Image.open(file).size for file in files]
    settings = Settings.load({"qdrant.path": str(folder), "model.space": "mini"})
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        engine.create(SCHEMA)
        number = 0
        for block in structured_blocks(count, dims=128, seed=0):
            for start in range(0, len(block), UPSERT):
                vectors = block[start : start + UPSERT]
                points = []
                for vector in vectors:
                    which = number % len(files)
                    payload = _payload(number, count=count, file=files[which], size=sizes[which])
                    points.append(Point(str(uuid.UUID(int=number + 1)), vector, payload))
                    number += 1
                engine.upsert(points)


def _payload(number: int, *, count: int, file: Path, size: tuple[int, int]) -> Payload:
    taken = NEWEST - timedelta(days=DAYS * number / count)
    found = file.stat()
    return {
        "uri": file.as_uri(),
        "object_key": str(file),
        "source": ["file:///photos"],
        "folder": [f"{taken.year}/trip-{number % 97}"],
        "filename": f"IMG_{number:08d}.png",
        "version": f"{found.st_size}-{found.st_mtime_ns}",
        "format": "png",
        "width": size[0] * (2 + number % 3),  # several shapes
        "height": size[1] * (2 + number * 7 % 4),
        "bytes": found.st_size,
        "taken_at": taken.isoformat(),
        "taken_local": taken.replace(tzinfo=None).isoformat(),
        "taken_on": taken.date().isoformat(),
        "location": {"lat": -40 + number * 7919 % 10_000 / 90, "lon": -170 + number * 104_729 % 10_000 / 30},
        "tags": [("beach", "snow", "city", "dog")[number % 4]],
        "ingested_at": (NEWEST - timedelta(days=DAYS * number / count)).isoformat(),
    }


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a service over the collection; it ends with the block."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "POLYGLANCE_QDRANT__PATH": str(folder / "data"),
        "POLYGLANCE_SERVE__ROOTS": json.dumps([Path(str(tour.IMAGES)).as_uri()]),
        "POLYGLANCE_SERVE__THUMBNAIL_FOLDER": str(folder / "thumbnails"),
    }
    log = folder / "service.log"
    command = [sys.executable, "-m", "polyglance", "serve", "--space", "mini", "--port", "0"]
    with log.open("w") as out, subprocess.Popen(command, env=environment, stderr=out, cwd=folder) as process:
        try:
            address = address_in(log)
            ready(address)
            yield address
        finally:
            process.send_signal(signal.SIGTERM)


def measured(address: str, *, seconds: float, step: int, size: str) -> dict[str, Any]:
    """What the wall takes: at its beginning, while it is scrolled, and after a leap into the middle."""
    width, height = (int(each) for each in size.split("x"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.add_init_script("performance.setResourceTimingBufferSize(100_000)")
        page.goto(address)
        page.locator("#wall .card .image").first.wait_for(timeout=60_000)
        page.wait_for_load_state("networkidle")
        before = footprint(page)
        halves = [page.evaluate(SCROLL, [seconds / 2, step]) for _ in range(2)]
        after = footprint(page)
        pages, leaps = page.evaluate(PAGES), []
        for month in MONTHS:
            page.goto(f"{address}?month={month}")
            page.locator("#wall .card .image").first.wait_for()
            leapt = page.evaluate(PAGES)
            pages += leapt
            leaps.append(max(end for _, end in leapt))
        browser.close()
    p50, p95 = np.percentile([taken for taken, _ in pages], [50, 95])
    page_ms = {"n": len(pages), "p50": round(p50, 1), "p95": round(p95, 1), "max": round(max(pages)[0], 1)}
    count = httpx.get(f"{address}/v1/count").json()["count"]
    moves = {"leap_ms": spread(leaps), "page_ms": page_ms}
    return {"images": count, "before": before, "scrolled": halves, "after": after, **moves}


def footprint(page: Page) -> dict[str, Any]:
    """Nodes in the document and bytes of the page's heap, garbage collected."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("HeapProfiler.collectGarbage")
    heap = devtools.send("Runtime.getHeapUsage")["usedSize"]
    counters = devtools.send("Memory.getDOMCounters")
    devtools.detach()
    elements = "[document.getElementsByTagName('*').length, document.querySelectorAll('#wall .card').length]"
    nodes, tiles = page.evaluate(elements)
    return {
        "elements": nodes,
        "tiles": tiles,
        "dom_nodes_alive": counters["nodes"],
        "js_heap_mib": round(heap / 2**20, 2),
    }


if __name__ == "__main__":
    main()
