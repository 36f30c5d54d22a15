"""What the gallery read in a text is a chip that can be taken back; words that it found in images are marked there."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

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

KNOWN: Mapping[int, tuple[str, dict[str, Any]]] = {
    0: ("0", {"description": "Hafen bei Nacht"}),
    3: ("IMG_3-Zeltplatz", {}),
    4: ("4", {"description": "Nach dem langen Regen der letzten Woche: Schiffe im Hafen <b>RE16 TGK</b>"}),
    5: ("5", {"tags": ["Leuchtturm & Meer", "Urlaub"]}),
}
"""The names of some photos, and the words in them."""


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with scratch_folder() as folder:
        photos = folder / "photos"
        photos.mkdir()
        for seed in range(6):
            taken = f"2023:07:1{seed} 10:00:00" if seed < 3 else "2019:05:01 09:00:00"
            name, about = KNOWN.get(seed, (str(seed), {}))
            at = ROME if seed % 2 else None
            (photos / f"{name}.jpg").write_bytes(photo(seed, taken=taken, at=at, **about))
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


@pytest.mark.parametrize(
    ("asked", "reason", "mark", "fact"),
    [
        ("re16", "description …", "RE16", "Description"),
        ("leuchtturm", "tags Leuchtturm & Meer, Urlaub", "Leuchtturm", "Tags"),
        ("zeltplatz", "name IMG_3-Zeltplatz.jpg", "Zeltplatz", "Address"),
    ],
)
def test_words_that_were_found_are_marked_where_they_stand(
    page: Page, asked: str, reason: str, mark: str, fact: str
) -> None:
    ask(page, asked)
    why = page.locator("#grid li").first.locator(".matched")
    expect(why).to_contain_text(reason)
    expect(why.locator("mark")).to_have_text(mark)
    assert why.locator("mark").evaluate("(mark) => mark.getBoundingClientRect().right") <= why.evaluate(
        "(line) => line.getBoundingClientRect().right"
    )  # not in the part that is cut off
    check_wcag(page)
    page.locator("#grid .image").first.click()
    row = page.locator("#viewer-facts > div", has_text=fact)
    expect(row.locator("mark")).to_have_text(mark)
    check_wcag(page)


def test_what_finds_and_what_orders_are_chosen_and_kept_in_the_address(page: Page) -> None:
    found_by, order, tiles = page.get_by_label("Found by"), page.get_by_label("Order"), page.locator("#grid li")
    expect(found_by).to_be_hidden()
    ask(page, "Hafen")
    expect(page.locator("#grid .matched")).to_have_count(2)
    found_by.select_option("sight")
    expect(page.locator("#grid .matched")).to_have_count(0)
    assert "mode=visual" in page.url
    found_by.select_option("words")
    expect(tiles).to_have_count(2)
    expect(tiles.first).to_contain_text("0.jpg")
    order.select_option("what fits, newest first")
    expect(page).to_have_url(re.compile("sort=newest&mode=words"))
    page.reload()
    expect(tiles).to_have_text([re.compile("0.jpg"), re.compile("4.jpg")])
    expect(found_by).to_have_value("words")
    expect(order).to_have_value("newest")
    order.select_option("best and recent first")
    expect(page).to_have_url(re.compile("sort=recent"))
    page.go_back()
    expect(order).to_have_value("newest")
