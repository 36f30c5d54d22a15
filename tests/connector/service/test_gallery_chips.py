"""What the gallery read in a text is a chip beside it, which a click or a key takes back."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from connector import Settings
from tests.connector.service.chromium import DESKTOP, check_wcag, needs_chromium, watched
from tests.connector.service.conftest import serving
from tests.images import photo
from tests.scratch import scratch_folder
from workers.api import ingest

pytestmark = needs_chromium
ROME = (41.8902, 12.4922)


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with scratch_folder() as folder:
        photos = folder / "photos"
        photos.mkdir()
        for seed in range(6):
            taken = f"2023:07:1{seed} 10:00:00" if seed < 3 else "2019:05:01 09:00:00"
            (photos / f"{seed}.jpg").write_bytes(photo(seed, taken=taken, at=ROME if seed % 2 else None))
        settings = Settings.load({"model.space": "mini", "ingest.workers": 0, "qdrant.path": str(folder / "data")})
        ingest(str(photos), settings=settings)
        with serving(settings) as url:
            yield url


@pytest.fixture
def page(browser: Browser, service: str) -> Iterator[Page]:
    with watched(browser, service, size=DESKTOP) as opened:
        opened.goto("/")
        yield opened


def ask(page: Page, text: str) -> None:
    page.fill("#words", text)
    page.press("#words", "Enter")


def test_what_was_read_is_taken_back_by_a_click_and_by_the_back_button_again(page: Page) -> None:
    ask(page, "am Strand in Rom im Juli 2023")
    chips = page.locator("#terms .chip")
    expect(chips).to_have_text(["July 2023", "Rome"])
    expect(page.locator("#grid li")).to_have_count(1)
    check_wcag(page)
    page.get_by_role("button", name="Without: Rome").click()
    expect(chips).to_have_text(["July 2023"])
    expect(page.locator("#grid li")).to_have_count(3)
    page.reload()
    expect(chips).to_have_text(["July 2023"])
    page.get_by_role("button", name="Without: July 2023").press("Enter")
    expect(chips).to_have_count(0)
    expect(page.locator("#grid li")).to_have_count(6)
    page.go_back()
    expect(chips).to_have_text(["July 2023"])
    ask(page, "Juli 2023")
    expect(page.locator("#status")).to_contain_text("3 images, latest first")


def test_a_date_that_no_image_has_is_said_and_taken_back(page: Page) -> None:
    ask(page, "a dog in March 2021")
    expect(page.locator("#notice")).to_contain_text("No image is from there or then")
    page.get_by_role("button", name="Take back “in March 2021”").click()
    expect(page.locator("#grid li")).to_have_count(6)
    expect(page.locator("#terms .chip")).to_have_count(0)
