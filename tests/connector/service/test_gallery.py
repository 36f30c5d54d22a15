"""The gallery in a real Chromium, at phone and desktop size, in front of a real service."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from connector import Settings
from connector.settings import Settings as Ingesting
from tests.connector.service.chromium import DESKTOP, PHONE, check_wcag, needs_chromium, watched
from tests.connector.service.conftest import copied, serving
from tests.images import image
from workers.demo import tour
from workers.run.ingestion import ingest

SAILBOAT = Path(str(tour.IMAGES)) / "travel-places/sailboat.png"

NAMELESS = """() => [...document.querySelectorAll("button, input, a[href]")].filter((one) => !(
    (one.checkVisibility() ? one.innerText : one.textContent.trim()) || one.getAttribute("aria-label")
    || one.labels?.length || one.title || one.querySelector("img")?.alt
)).length"""
"""How many controls a screen reader would find no name for."""

CUT_OFF = """() => [...document.querySelectorAll(".rejects p")]
    .filter((said) => said.scrollWidth > said.clientWidth).map((said) => said.innerText)"""
"""What is said of rejects and runs out of its room."""

pytestmark = needs_chromium


DROP = """async (bytes) => {
    const files = new DataTransfer();
    files.items.add(new File([new Uint8Array(bytes)], "boat.png", { type: "image/png" }));
    for (const kind of ["dragenter", "dragover", "drop"])
        document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
}"""
"""A file dragged onto the page and let go there."""


@pytest.fixture(params=[PHONE, DESKTOP], ids=["phone", "desktop"])
def page(browser: Browser, service: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page on the gallery; what its scripts complain of fails the test."""
    width, height = request.param
    with watched(browser, service, size=(width, height)) as opened:
        opened.goto("/")
        yield opened


KEY = "a-long-secret"


def _unseen(_: object) -> AbstractContextManager[None]:
    return nullcontext()


@pytest.fixture(scope="module")
def keyed(noto: Settings) -> Iterator[str]:
    """The address of a service that wants a key, and knows of an ingestion with rejects."""
    with copied(noto) as settings:
        photos = settings.qdrant.path.parent / "photos"
        photos.mkdir()
        (photos / "cut.png").write_bytes(SAILBOAT.read_bytes()[:-40])
        (photos / "page.jpg").write_text("<html>")
        (photos / "wide.png").write_bytes(image(5, size=300))
        (photos / "good.png").write_bytes(SAILBOAT.read_bytes())
        ingesting = Ingesting.load(
            {
                "model.space": "mini",
                "qdrant.path": settings.qdrant.path,
                "qdrant.meta_fields": tour.META_FIELDS,
                "limits.max_pixels": 60_000,
                "ingest.workers": 0,
            }
        )
        ingest([str(photos)], settings=ingesting, recreate=False, show=_unseen, wait=_unseen)
        with serving(settings, api_keys=f'["{KEY}"]', open_thumbnails="false") as url:
            yield url


def ask(page: Page, text: str) -> None:
    page.fill("#words", text)
    page.press("#words", "Enter")
    expect(page.locator("#grid .image").first).to_be_visible()


def names(page: Page) -> list[str]:
    return page.locator("#grid li").all_inner_texts()


def test_words_from_right_to_left_find_images_and_can_be_linked_to(page: Page) -> None:
    ask(page, "فراشة")
    expect(page.locator("#grid li").first).to_contain_text("butterfly")
    found = names(page)
    page.reload()
    expect(page.locator("#grid .image").first).to_be_visible()
    assert names(page) == found
    assert page.evaluate("getComputedStyle(document.getElementById('words')).direction") == "rtl"


def test_nothing_runs_over_the_edge(page: Page) -> None:
    ask(page, "fruit")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_large_view_opens_and_closes_by_keyboard(page: Page) -> None:
    ask(page, "butterfly")
    page.locator("#grid .image").first.press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    expect(page.locator("#viewer")).to_contain_text("animals-nature")
    assert "open=" in page.url
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).not_to_be_visible()
    assert "open=" not in page.url
    page.keyboard.press("/")
    expect(page.locator("#words")).to_be_focused()


def test_leaving_the_large_view_leads_to_the_image_last_shown_and_one_step_back_in_the_history(page: Page) -> None:
    ask(page, "butterfly")
    steps = page.evaluate("history.length")
    page.locator("#grid .image").first.press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).not_to_be_visible()
    expect(page.locator("#grid .image").nth(1)).to_be_focused()
    assert page.evaluate("history.length") == steps + 1
    page.go_forward()
    expect(page.locator("#viewer")).to_be_visible()


def test_more_and_less_like_an_image_change_the_answer(page: Page) -> None:
    ask(page, "cat")
    before = names(page)
    page.locator("#grid .image").first.click()
    page.locator("#viewer").get_by_role("button", name="Less like this").click()
    expect(page.locator("#terms li")).to_have_count(1)
    page.wait_for_function("before => document.querySelector('#grid li').innerText !== before", arg=before[0])
    page.locator("#terms button").click()
    expect(page.locator("#terms li")).to_have_count(0)
    expect(page.locator("#grid li").first).to_have_text(re.compile(re.escape(before[0].split("\n")[0])))


def test_an_image_that_is_chosen_finds_itself(page: Page) -> None:
    page.set_input_files("#file", SAILBOAT)
    expect(page.locator("#grid li").first).to_contain_text("sailboat")


def test_an_image_that_is_dropped_finds_itself_and_its_link_does_too(page: Page) -> None:
    page.evaluate(DROP, [*SAILBOAT.read_bytes()])
    expect(page.locator("#grid li").first).to_contain_text("sailboat")
    expect(page.locator("#terms")).to_contain_text("Like your image")
    page.reload()
    expect(page.locator("#grid li").first).to_contain_text("sailboat")


def test_values_that_are_ticked_narrow_the_answer_and_stand_in_the_address(page: Page) -> None:
    ask(page, "fruit")
    if page.locator("#filters-toggle").is_visible():
        page.click("#filters-toggle")
    page.locator('[data-field="folder"] label').first.click()
    page.wait_for_url("**is=folder**")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    shown = names(page)
    page.goto(page.url)
    expect(page.locator("#grid .image").first).to_be_visible()
    assert names(page) == shown


def test_images_keep_their_shape(page: Page) -> None:
    ask(page, "dog")
    page.wait_for_function("() => document.querySelector('#grid img').complete")
    shapes = page.evaluate("[...document.querySelectorAll('#grid img')].map((one) => getComputedStyle(one).objectFit)")
    assert {*shapes} == {"contain"}


def test_more_images_come_when_they_are_asked_for(page: Page) -> None:
    ask(page, "sailboat")
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#grid .card")).to_have_count(96)
    page.wait_for_url("**shown=96**")


def test_images_that_fit_are_told_from_those_that_are_merely_near(page: Page) -> None:
    ask(page, "butterfly")
    expect(page.locator("#status")).to_contain_text("of 48 images may fit")
    expect(page.locator("#grid .divider")).to_have_count(1)
    first, last = page.locator("#grid .score").first, page.locator("#grid .score").last
    assert int(first.inner_text().removesuffix(" %")) >= 10 > int(last.inner_text().removesuffix(" %"))


def test_words_that_nothing_fits_get_the_nearest_and_advice(page: Page) -> None:
    ask(page, "Quartalsbericht der Buchhaltung")
    expect(page.locator("#notice")).to_contain_text("Nothing seems to fit")
    expect(page.locator("#grid .divider")).to_have_count(0)


def test_a_fault_in_a_filter_is_shown_at_its_place(page: Page) -> None:
    page.goto("/?q=dog&where=widht+%3E+3")
    box = page.locator("#where-error")
    expect(box).to_be_visible()
    expect(box).to_contain_text("The nearest one is 'width'")
    expect(page.locator("#where")).to_have_attribute("aria-invalid", "true")


def test_no_image_says_what_to_do(page: Page) -> None:
    page.goto("/?q=dog&where=width+%3E+99999")
    expect(page.locator("#status")).to_have_text("No images")
    expect(page.get_by_role("button", name="Clear").first).to_be_visible()


def test_every_control_has_a_name_and_every_image_words(page: Page) -> None:
    ask(page, "dog")
    nameless = page.evaluate(NAMELESS)
    assert nameless == 0
    assert page.evaluate("document.querySelectorAll('#grid img:not([alt])').length") == 0


STATES = {
    "start": "/",
    "answer": "/?q=dog",
    "arabic": "/?q=%D9%81%D8%B1%D8%A7%D8%B4%D8%A9",
    "filter error": "/?q=dog&where=widht+%3E+3",
    "nothing": "/?q=dog&where=width+%3E+99999",
    "mixed": "/?q=dog&less=00000000-0000-0000-0000-000000000000",
    "ingestions": "/ingestions",
}


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
@pytest.mark.parametrize("state", STATES)
def test_every_state_keeps_to_wcag_aa(
    browser: Browser, service: str, state: str, scheme: Literal["light", "dark"]
) -> None:
    with watched(browser, service, size=DESKTOP if scheme == "light" else PHONE, scheme=scheme) as page:
        page.goto(STATES[state])
        page.wait_for_load_state("networkidle")
        check_wcag(page)
        if state == "answer":
            page.locator("#grid .image").first.click()
            expect(page.locator("#viewer")).to_be_visible()
            check_wcag(page)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_service_that_wants_a_key_is_asked_for_it_once(browser: Browser, keyed: str, size: tuple[int, int]) -> None:
    with watched(browser, keyed, size=size) as page:
        page.goto("/?q=dog")
        dialog = page.get_by_role("dialog", name="The service wants a key")
        dialog.get_by_label("Key", exact=True).fill("wrong-secret")
        dialog.get_by_role("button").click()
        expect(dialog).to_contain_text("not one of the service's")
        check_wcag(page)
        dialog.get_by_label("Key", exact=True).fill(KEY)
        page.keyboard.press("Enter")
        expect(page.locator("#grid .image").first).to_be_visible()
        page.wait_for_function(
            "() => [...document.querySelectorAll('#grid img')].slice(0, 3).every((one) => one.naturalWidth)"
        )
        page.locator("#grid .image").first.click()
        page.wait_for_function("() => document.getElementById('viewer-image').naturalWidth")
        page.reload()
        expect(page.locator("#viewer")).to_be_visible()
        expect(dialog).to_have_count(0)
        assert KEY not in page.url


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_ingestions_are_shown_with_their_rejects(browser: Browser, keyed: str, size: tuple[int, int]) -> None:
    with watched(browser, keyed, size=size) as page:
        page.goto("/ingestions")
        page.get_by_label("Key", exact=True).fill(KEY)
        page.keyboard.press("Enter")
        run = page.locator(".run", has_text="photos")
        expect(run).to_contain_text("4 of 4")
        run.get_by_role("button", name="too many pixels").click()
        expect(run.locator(".rejects")).to_contain_text("wide.png")
        page.wait_for_function("() => document.querySelector('.rejects img').naturalWidth")
        page.reload()
        expect(run.locator(".rejects")).to_contain_text("wide.png")
        run.get_by_role("button", name="truncated").click()
        expect(run.locator(".rejects")).to_contain_text("cut.png")
        expect(run.locator(".rejects .none")).to_have_count(1)
        assert page.evaluate(CUT_OFF) == []
        check_wcag(page)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
