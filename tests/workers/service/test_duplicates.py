"""Duplicates over REST and on their page: looked for in a process of its own, shown as they are now, decided upon."""

import io
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from connector import Settings
from tests.connector.service.chromium import DESKTOP, PHONE, check_wcag, launched, needs_chromium, watched
from tests.connector.service.conftest import serving
from tests.images import image
from tests.scratch import scratch_folder
from workers.api import ingest


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as opened:
        yield opened


@pytest.fixture
def service() -> Iterator[tuple[str, httpx.Client]]:
    """A service in a process of its own, over images of which some are there more than once."""
    with scratch_folder() as folder:
        photos = folder / "photos"
        photos.mkdir()
        for number in range(4):
            (photos / f"{number}.png").write_bytes(image(number, size=128))
        for number in range(3):
            (photos / f"copy {number}.png").write_bytes(image(0, size=128))
        for number in (1, 2):
            drawn = Image.open(io.BytesIO(image(number, size=128)))
            drawn.resize((96, 96), Image.Resampling.LANCZOS).save(photos / f"small {number}.webp", quality=90)
        settings = Settings.load({"model.space": "mini", "ingest.workers": 0, "qdrant.path": str(folder / "data")})
        assert ingest(str(photos), settings=settings).counts.stored == 9
        with serving(settings) as url, httpx.Client(base_url=url, timeout=120) as client:
            yield url, client


def looked(client: httpx.Client, **asked: Any) -> dict[str, Any]:
    """A search that has come to its end."""
    begun = client.post("/v1/duplicates", json={"near": -1, **asked})
    assert begun.status_code == 202, begun.text
    where = begun.headers["location"]
    while (found := client.get(where).json())["state"] == "running":
        time.sleep(0.1)
    return dict(found)


def groups(client: httpx.Client, search: dict[str, Any], kind: str, **asked: Any) -> Any:
    answer = client.get(f"/v1/duplicates/{search['id']}/groups", params={"kind": kind, **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(group: dict[str, Any]) -> set[str]:
    return {each["uri"].rpartition("/")[2] for each in group["images"]}


def test_a_search_is_begun_followed_and_its_groups_are_told_as_they_are_by_now(
    service: tuple[str, httpx.Client],
) -> None:
    _, client = service
    assert client.get("/v1/duplicates").json() == {"searches": []}
    search = looked(client)
    assert (search["state"], search["error"], search["images"], search["distinct"]) == ("done", None, 9, 6)
    assert (search["groups"]["identical"], search["groups"]["same_image"]) == (1, 2)
    assert client.get("/v1/duplicates").json()["searches"][0] == search

    (copies,) = groups(client, search, "identical")["groups"]
    told = [each["uri"].rpartition("/")[2] for each in copies["images"]]
    assert told == ["0.png", "copy%200.png", "copy%201.png", "copy%202.png"], "the original stands before its copies"
    assert copies["images"][0]["id"] == copies["best"]
    first = groups(client, search, "same_image", limit=1)
    second = groups(client, search, "same_image", limit=1, offset=first["next"])
    assert second["next"] is None
    found = {frozenset(names(each)) for each in first["groups"] + second["groups"]}
    assert found == {frozenset({f"{n}.png", f"small%20{n}.webp"}) for n in (1, 2)}
    (pair,) = first["groups"]
    assert pair["images"][0]["id"] == pair["best"]
    assert (pair["images"][0]["width"], pair["images"][1]["width"]) == (128, 96)
    assert client.get(pair["images"][1]["thumbnail_url"]).headers["content-type"] == "image/webp"

    decided = client.post("/v1/not-same", json={"id": pair["best"], "others": [pair["images"][1]["id"]]})
    assert decided.status_code == 200
    client.delete("/v1/images", params={"ids": copies["images"][3]["id"]})
    assert len(groups(client, search, "same_image")["groups"]) == 1
    (left,) = groups(client, search, "identical")["groups"]
    assert (left["size"], len(left["images"])) == (3, 3)
    again = looked(client, kinds=["same_image"])
    assert again["groups"] == {"same_image": 1}
    assert [each["id"] for each in client.get("/v1/duplicates").json()["searches"]] == [again["id"], search["id"]]
    for path in (f"{again['id']}/groups?kind=identical", f"{again['id']}/groups?offset=5"):
        assert client.get(f"/v1/duplicates/{path}").json()["groups"] == []

    refused = [
        client.post("/v1/duplicates", json={"kinds": ["twins"]}),
        client.post("/v1/duplicates", json={"where": "wdth > 3"}),
        client.post("/v1/duplicates", json={"near": 2}),
        client.post("/v1/not-same", json={"id": pair["best"], "others": [pair["best"]]}),
        client.post("/v1/not-same", json={"id": pair["best"], "others": [copies["images"][3]["id"]]}),
        client.get(f"/v1/duplicates/{again['id']}/groups?kind=twins"),
    ]
    assert [each.status_code for each in refused] == [422] * len(refused)
    assert client.get("/v1/duplicates/none").status_code == 404


@pytest.mark.slow
@needs_chromium
def test_the_page_looks_for_duplicates_and_takes_decisions(service: tuple[str, httpx.Client], browser: Browser) -> None:
    url, client = service
    with watched(browser, url, size=DESKTOP) as page:
        page.goto("/")
        page.get_by_text("More", exact=True).click()
        page.get_by_role("link", name="Duplicates").click()
        expect(page.get_by_text("Nobody has looked for duplicates yet")).to_be_visible()
        page.get_by_role("button", name="Look for duplicates").click()
        copies = page.locator(".group")
        expect(copies).to_have_count(1)
        expect(copies.locator("figure")).to_have_count(4)
        expect(copies.get_by_text("Keep", exact=True)).to_have_count(1)
        check_wcag(page)

        page.get_by_role("button", name="Remove the others").click()
        expect(page.get_by_text("3 images removed from the collection")).to_be_visible()
        expect(copies).to_be_hidden()
        page.get_by_role("button", name="Undo").click()
        expect(copies.locator("figure:visible")).to_have_count(4)
        copies.get_by_role("button", name="Remove photos/copy 1.png", exact=True).click()
        expect(copies.locator("figure:visible")).to_have_count(3)
        expect(page.locator("#removed")).to_be_hidden(timeout=15_000)

        looked(client)
        page.reload()
        page.get_by_role("button", name="Same image").click()
        expect(page.locator(".group")).to_have_count(2)
        page.get_by_role("button", name="photos/small 1.webp is not the same").click()
        expect(page.locator(".group")).to_have_count(1)
        page.reload()
        expect(page.locator(".group")).to_have_count(1)
    assert client.get("/v1/count").json()["count"] == 8
    with watched(browser, url, size=PHONE, scheme="dark") as page:
        page.goto("/duplicates?kind=same_image")
        expect(page.locator(".group")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        check_wcag(page)
