"""Make docs/gallery/*.png: ``python -m tests.connector.service.screenshots``; ``NAME…`` makes those alone.

They show the bundled images with dates, places and descriptions, which are drawn by lot, always the same.
"""

import random
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

import httpx
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import sync_playwright

from benchmarks import scenes
from connector import Settings
from tests.connector.service.conftest import serving
from tests.corpus_files import saved, scene
from tests.images import xmp
from workers.api import ingest
from workers.demo import tour

FOLDER = Path(__file__).parents[3] / "docs/gallery"
Scheme: TypeAlias = Literal["light", "dark"]
SHOTS: dict[str, tuple[str, tuple[int, int], Scheme]] = {
    "collection": ("?by=taken", (1440, 900), "light"),
    "month": ("?by=taken&month=2024-05", (820, 1100), "light"),
    "map": ("?by=taken&map=1", (390, 844), "light"),
    "desktop": ("?q=ein+Hund+im+Sommer+2024", (1440, 900), "light"),
    "phone": ("?q=fruit", (390, 844), "light"),
    "dark": ("?q=%D1%84%D1%80%D1%83%D0%BA%D1%82", (1440, 900), "dark"),
    "arabic": ("?q=%D9%81%D8%B1%D8%A7%D8%B4%D8%A9", (1440, 900), "light"),
    "nothing": ("?q=Quartalsbericht+der+Buchhaltung", (1440, 900), "light"),
    "ingestions": ("ingestions", (1440, 900), "light"),
    "duplicates": ("duplicates?kind=same_image", (1440, 900), "light"),
    "error": ("?q=dog&where=widht+%3E+3", (1440, 900), "light"),
}

DESCRIBED: Mapping[str, tuple[str, str]] = {
    "dog": ("2024:06:15 09:12:00", "Unser Hund Bello im Garten"),
    "dog-face": ("2024:07:02 18:40:00", "Bello, der beste Hund der Welt"),
    "guide-dog": ("2024:08:21 11:05:00", "Erster Tag in der Schule für Hunde"),
    "service-dog": ("2024:08:09 15:30:00", "Immer im Dienst"),
    "poodle": ("2024:07:28 10:00:00", "Kira beim Friseur"),
    "butterfly": ("2023:05:20 13:00:00", "فراشة في حديقة جدتي"),
    "red-apple": ("2022:10:03 16:20:00", "Фрукты из бабушкиного сада"),
}
"""When some images were taken, and what is said of them."""

CITIES = {
    (53.55, 10.0): 6,
    (48.85, 2.35): 5,
    (51.5, -0.12): 5,
    (40.7, -74.0): 4,
    (37.8, -122.4): 3,
    (-23.5, -46.6): 2,
    (-33.9, 18.4): 3,
    (28.6, 77.2): 4,
    (35.7, 139.7): 5,
    (-33.9, 151.2): 3,
    (19.4, -99.1): 2,
}
"""Where images were taken, in degrees north and east, and how many as of the others."""


def main(*names: str) -> None:
    """Fill a collection, serve it and take each image of it."""
    with TemporaryDirectory(prefix="polyglance-") as folder:
        values = {"model.space": "mini", "qdrant.path": f"{folder}/data", "qdrant.meta_fields": tour.META_FIELDS}
        settings = Settings.load(values)
        _write_images(Path(folder) / "photos")
        _write_rejects(Path(folder) / "holiday")
        _write_copies(Path(folder) / "mail")
        ingest(f"{folder}/photos", settings=settings)
        ingest(f"{folder}/holiday", settings=Settings.load({**values, "limits.max_pixels": 100_000}))
        ingest(f"{folder}/mail", settings=settings)
        with serving(settings) as url:
            _look_for_duplicates(url)
            take(f"{url}/", names or SHOTS)


def _write_images(folder: Path) -> None:
    """The bundled images with EXIF, and what lies beside them."""
    lot = random.Random(19)
    for file in sorted(Path(str(tour.IMAGES)).rglob("*.png")):
        copy = folder / file.relative_to(str(tour.IMAGES))
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(f"{file}.json", f"{copy}.json")
        exif = Image.Exif()
        taken = datetime(2022, 9, 1) + timedelta(minutes=lot.randrange(60 * 24 * 1000))
        when, description = DESCRIBED.get(file.stem, (f"{taken:%Y:%m:%d %H:%M:%S}", ""))
        exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = when
        if lot.random() < 0.8:
            [(north, east)] = lot.choices([*CITIES], [*CITIES.values()])
            latitude, longitude = north + lot.gauss(0, 1.2), east + lot.gauss(0, 1.2)
            exif.get_ifd(IFD.GPSInfo).update(
                {
                    GPS.GPSLatitudeRef: "N" if latitude > 0 else "S",
                    GPS.GPSLatitude: (abs(latitude), 0, 0),
                    GPS.GPSLongitudeRef: "E" if longitude > 0 else "W",
                    GPS.GPSLongitude: (abs(longitude), 0, 0),
                }
            )
        packet = PngInfo()
        packet.add_itxt("XML:com.adobe.xmp", xmp(description=description))
        Image.open(file).save(copy, exif=exif.tobytes(), pnginfo=packet)


def _write_rejects(folder: Path) -> None:
    """Files that no ingestion can store, of several reasons."""
    folder.mkdir()
    for number in range(3):
        (folder / f"large-{number}.png").write_bytes(saved(scene(900, 600, seed=number), "PNG"))
    (folder / "cut.png").write_bytes(saved(scene(300, 200), "PNG")[:-100])
    (folder / "page.jpg").write_text("<html>")
    (folder / "good.jpg").write_bytes(saved(scene(900, 600), "JPEG"))


def _write_copies(folder: Path) -> None:
    """Two scenes, each in several forms."""
    folder.mkdir()
    for number in (7, 8):
        origin = scenes.draw(number, scenes.Exposure())
        (folder / f"IMG_{number}.jpg").write_bytes(scenes.encoded(origin))
        for name, data in scenes.forms(origin, seed=number):
            if name in ("quality 30", "scale 0.25", "watermark"):
                (folder / f"IMG_{number} {name.split()[0]}.jpg").write_bytes(data)


def _look_for_duplicates(url: str) -> None:
    """Have the service find them, and wait for it."""
    with httpx.Client(base_url=url, timeout=120) as client:
        where = client.post("/v1/duplicates", json={}).headers["location"]
        while client.get(where).json()["state"] == "running":
            time.sleep(0.2)


def take(address: str, names: Iterable[str]) -> None:
    """Take each image and keep it with few colours, so that the repository stays small."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name in names:
            query, (width, height), scheme = SHOTS[name]
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(address + query)
            page.wait_for_load_state("networkidle")
            if (reason := page.locator(".reasons button").first).is_visible():
                reason.click()
                page.locator(".rejects img").first.wait_for()
                page.wait_for_function(
                    "() => [...document.querySelectorAll('.rejects img')].every((one) => one.complete)"
                )
            path = FOLDER / f"{name}.png"
            page.screenshot(path=path)
            page.close()
            Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
