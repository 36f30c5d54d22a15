"""The gallery as a place: the collection itself, in a real Chromium, at phone and desktop size."""

import re
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from connector import Settings
from connector.store.open import open_engine
from tests.connector.service.chromium import DESKTOP, PHONE, TABLET, check_wcag, needs_chromium, watched
from tests.connector.service.conftest import copied, serving
from tests.images import image

KEY, READ_KEY = "a-long-secret", "another-long-secret"
SIZES = pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
PLACES = [(48.2, 16.4), (35.7, 139.7), (-12.0, -77.0)]
DATED = 60
"""Images that were given a date and a place: five a month in the second halves of 2023 and 2024."""

TO_THE_END = """async (last) => {
    let most = 0;
    for (let frames = 0; frames < 3000 && !document.querySelector(`#wall [data-id="${last}"]`); frames++) {
        scrollBy(0, innerHeight);
        await new Promise(requestAnimationFrame);
        most = Math.max(most, document.querySelectorAll("#wall .card").length);
    }
    scrollTo(0, document.documentElement.scrollHeight);
    return most;
}"""
"""Scroll until an image is there; the greatest number of tiles that the document held."""

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def dated(noto: Settings) -> Iterator[str]:
    """The address of a service that wants keys, and whose newest images have dates and places."""
    with copied(noto) as settings:
        with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
            newest = engine.ordered("ingested_at", descending=True, limit=DATED)
            for number, each in enumerate(newest):
                lat, lon = PLACES[number % 3]
                day = f"{2024 - number // 30}-{12 - number % 30 // 5:02}-{1 + number % 5:02}"
                taken = {"taken_on": day, "taken_at": f"{day}T12:00:00Z", "taken_local": f"{day}T12:00:00"}
                engine.set_payload([each.id], {**taken, "location": {"lat": lat, "lon": lon}})
        with serving(settings, api_keys=f'["{KEY}"]', read_keys=f'["{READ_KEY}"]') as url:
            yield url


@pytest.fixture
def page(browser: Browser, dated: str) -> Iterator[Page]:
    """A page on the collection, at desktop size, whose key may write."""
    with watched(browser, dated, size=DESKTOP, key=KEY) as opened:
        opened.goto("/")
        yield opened


def tiles(page: Page) -> "list[str]":
    """The ids of the images in the document, in their order."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('#wall .card[data-id]')]"
        ".sort((a, b) => a.dataset.index - b.dataset.index).map((one) => one.dataset.id)"
    )
    return found


def test_the_head_of_the_page_is_one_line_at_every_width(page: Page) -> None:
    expect(page.get_by_label("Add images")).to_be_attached()
    for width in (1440, 1200, 1024, 901, 900, 390):
        page.set_viewport_size({"width": width, "height": 800})
        heights = page.evaluate("[...document.querySelectorAll('.tools > *')].map((one) => one.offsetHeight)")
        assert {*heights} == {44}, width
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), width


def images(url: str, **asked: str | int) -> "list[str]":
    """The ids of the collection's images, as the service lists them."""
    answer = httpx.get(f"{url}/v1/images", params=asked, headers={"Authorization": f"Bearer {KEY}"}, timeout=240)
    return [each["id"] for each in answer.json()["images"]]


def count(url: str) -> int:
    """How many images there are."""
    answer: int = httpx.get(f"{url}/v1/count", headers={"Authorization": f"Bearer {KEY}"}, timeout=240).json()["count"]
    return answer


@SIZES
def test_it_opens_on_the_newest_images_and_scrolls_to_the_last_with_few_of_them_in_the_document(
    browser: Browser, dated: str, size: tuple[int, int]
) -> None:
    with watched(browser, dated, size=size, key=KEY) as page:
        page.goto("/")
        expect(page.locator("#wall .image").first).to_be_visible()
        shown = tiles(page)
        assert shown == images(dated, order_by="-ingested_at", limit=len(shown))
        last = images(dated, order_by="ingested_at", limit=1)[0]
        assert page.evaluate(TO_THE_END, last) < 140
        expect(page.locator(f'#wall [data-id="{last}"]')).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        page.evaluate("scrollTo(0, 0)")  # what was forgotten on the way is read again
        expect(page.locator(f'#wall [data-id="{shown[0]}"] img')).to_be_in_viewport()


def test_a_reload_leads_back_to_the_same_place_and_newer_images_are_a_click_away(page: Page) -> None:
    expect(page.locator("#wall .image").first).to_be_visible()
    newest = tiles(page)[0]
    page.mouse.wheel(0, 4000)
    page.wait_for_url("**from=**")
    page.wait_for_function("() => document.querySelector('#wall .card:not(.waiting)')")
    aim = page.evaluate("document.elementFromPoint(500, 400).closest('.card').dataset.id")
    page.reload()
    expect(page.locator(f'#wall [data-id="{aim}"]')).to_be_in_viewport()
    page.get_by_role("button", name="Newer images").click()
    expect(page.locator(f'#wall [data-id="{newest}"]')).to_be_in_viewport()


def test_a_month_of_the_timeline_shows_its_images_and_the_back_button_leaves_it(page: Page) -> None:
    page.get_by_label("Newest by").select_option("taken")
    expect(page.locator("#status")).to_contain_text(f"{DATED} of ")
    bar = page.get_by_role("button", name="November 2023: 5 images")
    bar.click()
    page.wait_for_url("**month=2023-11**")
    expect(page.locator("#wall .card")).to_have_count(5)
    expect(page.locator("#terms")).to_contain_text("November 2023")
    check_wcag(page)
    page.go_back()
    expect(page.locator("#wall .card").nth(20)).to_be_visible()
    page.go_forward()
    expect(page.locator("#wall .card")).to_have_count(5)
    page.get_by_role("button", name="Without: November 2023").click()
    expect(page.locator("#wall .card").nth(20)).to_be_visible()


@SIZES
def test_the_map_shows_where_images_were_taken_and_leads_to_them(
    browser: Browser, dated: str, size: tuple[int, int]
) -> None:
    with watched(browser, dated, size=size, key=KEY) as page:
        page.goto("/?map=1")
        expect(page.locator(".bubble")).to_have_count(3)
        expect(page.locator("#map-status")).to_contain_text("60 images have a place")
        check_wcag(page)
        page.get_by_role("button", name="20 images near 35.7° N, 139.7° E").click()
        page.wait_for_url("**box=**")
        expect(page.locator("#status")).to_have_text("20 images")
        page.reload()
        expect(page.locator("#wall .card")).to_have_count(20)
        page.get_by_role("button", name="Whole world").click()
        expect(page.locator(".bubble")).to_have_count(3)


def test_folders_narrow_the_collection_too(page: Page) -> None:
    page.get_by_role("checkbox", name="flags 8", exact=True).check()
    page.wait_for_url("**is=folder**")
    expect(page.locator("#status")).to_have_text("8 images")
    expect(page.locator("#wall .card")).to_have_count(8)


def test_images_are_selected_by_button_by_shift_and_by_key_and_make_a_question(page: Page) -> None:
    first = page.locator("#wall .card").first
    first.hover()
    first.get_by_role("button", name="Select").click()
    expect(page.locator("#selected-count")).to_have_text("1 selected")
    page.locator("#wall .image").nth(3).click(modifiers=["Shift"])
    expect(page.locator("#selected-count")).to_have_text("4 selected")
    check_wcag(page)
    page.locator("#wall .image").nth(4).focus()
    page.keyboard.press("x")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.locator("#selected-count")).to_have_text("6 selected")
    page.keyboard.press("Escape")
    expect(page.locator("#selected")).to_be_hidden()
    page.keyboard.press("x")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("#selected-count")).to_have_text("2 selected")
    page.get_by_role("button", name="More like these").click()
    expect(page.locator("#terms li")).to_have_count(2)
    expect(page.locator("#grid .image").first).to_be_visible()


def test_arrows_go_through_the_wall_as_it_lies_there_and_the_large_view_goes_with_them(page: Page) -> None:
    page.locator("#wall .image").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    below = page.evaluate("document.activeElement.closest('.card').dataset")
    boxes = page.evaluate("[...document.querySelectorAll('#wall .card')].map((one) => one.offsetTop)")
    assert page.evaluate("document.activeElement.closest('.card').offsetTop") > min(boxes)
    page.keyboard.press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.wait_for_url(lambda url: below["id"] not in url)
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    focused = "document.activeElement.closest('.card')?.dataset.index"
    page.wait_for_function(f"(index) => {focused} === String(index)", arg=int(below["index"]) + 1)
    page.keyboard.press("End")
    page.wait_for_function(f"(index) => Number({focused}) > index + 40", arg=int(below["index"]))
    page.keyboard.press("Home")
    page.wait_for_function(f"() => {focused} === '0'")


def test_back_from_a_question_leads_to_where_one_was(page: Page) -> None:
    expect(page.locator("#wall .image").first).to_be_visible()
    page.mouse.wheel(0, 2500)
    page.wait_for_url("**from=**")
    aim = page.evaluate("document.elementFromPoint(500, 400).closest('.card').dataset.id")
    page.locator(f'#wall [data-id="{aim}"]').hover()
    page.locator(f'#wall [data-id="{aim}"]').get_by_role("button", name="More like this").click()
    expect(page.locator("#grid .image").first).to_be_visible()
    page.go_back()
    expect(page.locator(f'#wall [data-id="{aim}"]')).to_be_in_viewport()


def test_what_is_removed_can_be_brought_back(page: Page, dated: str) -> None:
    expect(page.locator("#wall .image").nth(5)).to_be_visible()
    before, total = tiles(page), count(dated)
    page.locator("#wall .image").nth(2).focus()
    page.keyboard.press("Delete")
    expect(page.locator(f'#wall [data-id="{before[2]}"]')).to_have_count(0)
    assert tiles(page)[:5] == [*before[:2], *before[3:6]]
    check_wcag(page)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(f'#wall [data-id="{before[2]}"]')).to_be_visible()
    assert tiles(page)[:5] == before[:5]
    assert count(dated) == total


@SIZES
def test_a_key_that_may_only_read_is_offered_no_change(browser: Browser, dated: str, size: tuple[int, int]) -> None:
    with watched(browser, dated, size=size, key=READ_KEY) as page:
        page.goto("/")
        expect(page.locator("#wall .image").first).to_be_visible()
        expect(page.locator("#upload-files")).to_be_hidden()
        page.locator("#wall .image").first.click()
        expect(page.locator("#viewer")).to_be_visible()
        expect(page.locator("#viewer-remove")).to_be_hidden()
        page.keyboard.press("Delete")
        expect(page.locator("#removed")).to_be_hidden()


TORN = """() => [...document.querySelectorAll("img")]
    .filter((one) => one.complete && one.src && !one.naturalWidth && one.checkVisibility({ visibilityProperty: true }))
    .map((one) => one.alt)"""
"""Images in whose place the browser draws a torn page."""


@pytest.mark.parametrize(
    "size", [DESKTOP, *(pytest.param(each, marks=pytest.mark.slow) for each in (PHONE, TABLET))], ids=str
)
def test_a_thumbnail_that_fails_is_fetched_again_or_gives_way_to_the_images_name(
    browser: Browser, dated: str, size: tuple[int, int]
) -> None:
    """One has an address whose signature ended, one is gone, and for one the service is too busy at first."""
    newest = images(dated, order_by="-ingested_at", limit=3)
    refused = []

    def aged(route: Route) -> None:
        listed = route.fetch().json()
        for each in listed["images"]:
            if each["id"] == newest[0]:
                each["thumbnail_url"] = re.sub(r"until=\d+", "until=1700000000", each["thumbnail_url"])
        route.fulfill(json=listed)

    def busy(route: Route) -> None:
        refused.append(route.request.url)
        if len(refused) < 3:
            route.fulfill(status=503, headers={"Retry-After": "1"})
        else:
            route.continue_()

    def gone(route: Route) -> None:
        route.fulfill(status=404, json={"error": {"code": "original_missing", "message": "its file is gone."}})

    def shown(page: Page, number: int) -> str:
        tile = page.locator(f'#wall [data-id="{newest[number]}"]')
        page.wait_for_function(
            "(one) => one.matches('.lost') || one.querySelector('img:not(.unseen)')?.naturalWidth > 0",
            arg=tile.element_handle(),
        )
        assert page.evaluate(TORN) == []
        text: str = tile.inner_text()
        return text

    with watched(browser, dated, size=size, key=KEY) as page:
        page.route("**/v1/images?*", aged)
        page.route(f"**/{newest[1]}*", gone)
        page.route(f"**/thumbnails/{newest[2]}.webp*", busy)
        page.goto("/")

        assert [shown(page, number) for number in (0, 2)] == ["", ""]
        assert shown(page, 1)
        assert len(refused) >= 3
        check_wcag(page)
        page.locator(".lost .image").click()
        expect(page.locator("#viewer-none")).to_contain_text("This image cannot be shown: its file is gone.")
        assert page.evaluate(TORN) == []
        check_wcag(page)
        page.keyboard.press("ArrowRight")
        expect(page.locator("#viewer-none")).to_be_hidden()
        page.wait_for_function("() => document.getElementById('viewer-image').naturalWidth")


DROP = """([files, zone]) => {
    const carried = new DataTransfer();
    for (const [name, bytes] of files) carried.items.add(new File([new Uint8Array(bytes)], name));
    const send = (kind, target) =>
        target.dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
    send("dragenter", document.body);
    for (const kind of ["dragover", "drop"]) send(kind, document.querySelector(`[data-drop="${zone}"]`));
}"""
"""Files dragged onto the page, and let go over one of its two places."""


@retry(retry=retry_if_result(lambda left: left != 0), stop=stop_after_delay(30), wait=wait_fixed(0.1))
def left_over(url: str, *, total: int) -> int:
    """How many images there are beyond so many, once there are none or it was waited for long enough."""
    return count(url) - total


@pytest.mark.parametrize("size", [DESKTOP, pytest.param(PHONE, marks=pytest.mark.slow)], ids=["desktop", "phone"])
def test_images_that_are_dropped_are_added_and_removed_ones_go_for_good(
    browser: Browser, dated: str, size: tuple[int, int]
) -> None:
    with watched(browser, dated, size=size, key=KEY) as page:
        page.goto("/")
        expect(page.locator("#wall .image").first).to_be_visible()
        total = count(dated)
        files = [["mine.png", [*image(sum(size), size=90)]], ["page.jpg", [*b"<html>"]]]
        page.evaluate(DROP, [files, "add"])
        expect(page.locator("#upload-status")).to_have_text("1 of 2 images added, 1 not")
        expect(page.locator("#upload-refused")).to_contain_text("page.jpg")
        mine = page.locator("#wall .card", has=page.get_by_alt_text("mine.png", exact=True))
        expect(mine).to_be_in_viewport()
        check_wcag(page)
        assert count(dated) == total + 1
        mine.locator(".image").focus()
        page.keyboard.press("Delete")
        expect(page.locator("#removed-count")).to_have_text("1 image removed from the collection")
        page.goto("/healthz")  # whoever leaves has not undone it
        assert left_over(dated, total=total) == 0
        page.goto("/")
        expect(page.locator("#status")).to_have_text(f"{total:,} images")
        expect(mine).to_have_count(0)
