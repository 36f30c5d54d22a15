"""A real Chromium for the gallery's tests: pages that fail a test where their scripts complain, and axe."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
Scheme: TypeAlias = Literal["light", "dark"]
PHONE, TABLET, DESKTOP = (390, 844), (820, 1100), (1440, 900)

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH (apt-get install chromium)")

expect.set_options(timeout=30_000)


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser of its own; it ends with the block."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def watched(
    browser: Browser, url: str, *, size: tuple[int, int], scheme: Scheme = "light", key: str = ""
) -> Iterator[Page]:
    """A page of a service, with a key where one is given; whatever its scripts complain of fails the test."""
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        refused = re.search(r"status of (401|404|422|503)", message.text)  # the browser names every refusal an error
        if message.type == "error" and not refused:
            complaints.append(message.text)

    viewport: ViewportSize = {"width": size[0], "height": size[1]}
    context = browser.new_context(viewport=viewport, base_url=url, color_scheme=scheme)
    if key:
        context.add_init_script(f"sessionStorage.setItem('polyglance-key', '{key}')")
    opened = context.new_page()
    opened.on("console", note)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    context.close()
    assert not complaints, complaints


def check_wcag(page: Page) -> None:
    """Let axe look for what breaks a rule of WCAG 2.2, level A or AA."""
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = Axe().run(page, options={"runOnly": rules, "resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()
