"""Make docs/gallery/*.png: ``python -m tests.connector.service.screenshots`` beside a running ``polyglance serve``.

``ADDRESS NAME…`` makes those alone; the timeline and the map need images with dates and places.
"""

import shutil
import sys
from pathlib import Path
from typing import Literal, TypeAlias

from PIL import Image
from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parents[3] / "docs/gallery"
Scheme: TypeAlias = Literal["light", "dark"]
SHOTS: dict[str, tuple[str, tuple[int, int], Scheme]] = {
    "collection": ("?by=taken", (1440, 900), "light"),
    "month": ("?by=taken&month=2024-05", (820, 1100), "light"),
    "map": ("?by=taken&map=1", (390, 844), "light"),
    "desktop": ("?q=ein+Hund", (1440, 900), "light"),
    "phone": ("?q=fruit", (390, 844), "light"),
    "dark": ("?q=%D1%84%D1%80%D1%83%D0%BA%D1%82", (1440, 900), "dark"),
    "arabic": ("?q=%D9%81%D8%B1%D8%A7%D8%B4%D8%A9", (1440, 900), "light"),
    "nothing": ("?q=Quartalsbericht+der+Buchhaltung", (1440, 900), "light"),
    "ingestions": ("ingestions", (1440, 900), "light"),
    "error": ("?q=dog&where=widht+%3E+3", (1440, 900), "light"),
}


def main(address: str, *names: str) -> None:
    """Take each image and keep it with few colours, so that the repository stays small."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name in names or SHOTS:
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
    main(*(sys.argv[1:] or ["http://127.0.0.1:8000/"]))
