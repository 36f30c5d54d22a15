"""The gallery in a real Chromium, at phone and desktop size, in front of a real service."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from workers.demo import tour

CHROMIUM = shutil.which("chromium")
PHONE, DESKTOP = (390, 844), (1440, 900)
SAILBOAT = Path(str(tour.PICTURES)) / "travel-places/sailboat.png"

NAMELESS = """() => [...document.querySelectorAll("button, input, a[href]")].filter((one) => !(
    one.innerText || one.getAttribute("aria-label") || one.labels?.length || one.title || one.querySelector("img")?.alt
)).length"""
"""How many controls a screen reader would find no name for."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH (apt-get install chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(params=[PHONE, DESKTOP], ids=["phone", "desktop"])
def page(browser: Browser, service: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page on the gallery; what its scripts complain of fails the test."""
    width, height = request.param
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "422" not in message.text:  # the browser names every refusal an error
            complaints.append(message.text)

    context = browser.new_context(viewport={"width": width, "height": height}, base_url=service)
    opened = context.new_page()
    opened.on("console", note)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto("/")
    yield opened
    context.close()
    assert complaints == []


def ask(page: Page, text: str) -> None:
    page.fill("#words", text)
    page.press("#words", "Enter")
    expect(page.locator("#grid .picture").first).to_be_visible()


def names(page: Page) -> list[str]:
    return page.locator("#grid li").all_inner_texts()


def test_words_from_right_to_left_find_pictures_and_can_be_linked_to(page: Page) -> None:
    ask(page, "فراشة")
    expect(page.locator("#grid li").first).to_contain_text("butterfly")
    found = names(page)
    page.reload()
    expect(page.locator("#grid .picture").first).to_be_visible()
    assert names(page) == found
    assert page.evaluate("getComputedStyle(document.getElementById('words')).direction") == "rtl"


def test_nothing_runs_over_the_edge(page: Page) -> None:
    ask(page, "fruit")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_large_view_opens_and_closes_by_keyboard(page: Page) -> None:
    ask(page, "butterfly")
    page.locator("#grid .picture").first.press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    expect(page.locator("#viewer")).to_contain_text("animals-nature")
    assert "open=" in page.url
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).not_to_be_visible()
    assert "open=" not in page.url
    page.keyboard.press("/")
    expect(page.locator("#words")).to_be_focused()


def test_leaving_the_large_view_leads_to_the_picture_last_shown_and_one_step_back_in_the_history(page: Page) -> None:
    ask(page, "butterfly")
    steps = page.evaluate("history.length")
    page.locator("#grid .picture").first.press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).not_to_be_visible()
    expect(page.locator("#grid .picture").nth(1)).to_be_focused()
    assert page.evaluate("history.length") == steps + 1
    page.go_forward()
    expect(page.locator("#viewer")).to_be_visible()


def test_more_and_less_like_a_picture_change_the_answer(page: Page) -> None:
    ask(page, "cat")
    before = names(page)
    page.locator("#grid .picture").first.click()
    page.locator("#viewer").get_by_role("button", name="Less like this").click()
    expect(page.locator("#terms li")).to_have_count(1)
    page.wait_for_function("before => document.querySelector('#grid li').innerText !== before", arg=before[0])
    page.locator("#terms button").click()
    expect(page.locator("#terms li")).to_have_count(0)
    expect(page.locator("#grid li").first).to_have_text(re.compile(re.escape(before[0].split("\n")[0])))


def test_a_picture_that_is_chosen_finds_itself(page: Page) -> None:
    page.set_input_files("#file", SAILBOAT)
    expect(page.locator("#grid li").first).to_contain_text("sailboat")


def test_a_fault_in_a_filter_is_shown_at_its_place(page: Page) -> None:
    page.goto("/?q=dog&where=widht+%3E+3")
    box = page.locator("#where-error")
    expect(box).to_be_visible()
    expect(box).to_contain_text("The nearest one is 'width'")
    expect(page.locator("#where")).to_have_attribute("aria-invalid", "true")


def test_no_picture_says_what_to_do(page: Page) -> None:
    page.goto("/?q=dog&where=width+%3E+99999")
    expect(page.locator("#status")).to_have_text("No pictures")
    expect(page.get_by_role("button", name="Clear").first).to_be_visible()


def test_every_control_has_a_name_and_every_picture_words(page: Page) -> None:
    ask(page, "dog")
    nameless = page.evaluate(NAMELESS)
    assert nameless == 0
    assert page.evaluate("document.querySelectorAll('#grid img:not([alt])').length") == 0
