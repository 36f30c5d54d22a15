"""The routes that browse, over HTTP, against a real process."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest


@pytest.fixture
def client(service: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service, timeout=240) as opened:
        yield opened


def got(client: httpx.Client, path: str, **asked: Any) -> Any:
    answer = client.get(path, params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_collection_is_walked_page_by_page(client: httpx.Client) -> None:
    where = 'folder == "travel-places"'
    seen: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = got(client, "/v1/images", where=where, order_by="-ingested_at", limit=23, **cursor)
        seen += page["images"]
        assert len(page["images"]) <= 23
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    moments = [each["payload"]["ingested_at"] for each in seen]
    assert moments == sorted(moments, reverse=True)
    assert len({each["id"] for each in seen}) == len(seen) == got(client, "/v1/count", where=where)["count"]
    assert got(client, "/v1/count")["count"] == client.get("/v1/collections").json()["collections"][0]["points"]
    first = seen[0]
    assert client.get(f"/v1/points/{first['id']}").json() == first


def test_a_page_holds_the_fields_that_are_wanted_and_where_the_images_are(client: httpx.Client) -> None:
    (image,) = got(client, "/v1/images", fields=["width", "meta.name"], limit=1)["images"]
    assert set(image["payload"]) == {"width", "meta"}
    assert image["uri"].startswith("file:///")
    assert client.get(image["thumbnail_url"]).status_code == 200
    (both,) = got(client, "/v1/images", fields=["uri"], order_by="width", limit=1)["images"]
    assert both["payload"] == {"uri": both["uri"]}


def test_a_sample_is_another_each_time(client: httpx.Client) -> None:
    where = 'format == "png"'
    samples = [tuple(each["id"] for each in got(client, "/v1/sample", limit=5, where=where)["images"]) for _ in "abc"]
    assert [len(set(each)) for each in samples] == [5, 5, 5]
    assert len(set(samples)) > 1


@pytest.mark.parametrize(
    ("path", "asked", "says"),
    [
        ("images", {"limit": 0}, "limit"),
        ("images", {"limit": 1001}, "limit"),
        ("images", {"orderby": "width"}, "orderby"),
        ("images", {"order_by": "folder"}, "cannot be put in the order"),
        ("images", {"cursor": "nonsense"}, "no cursor"),
        ("images", {"fields": ["x"] * 101}, "fields"),
        ("images", {"fields": ["wdth"]}, "The nearest one is 'width'"),
        ("images", {"fields": ["width,height"]}, "no field of a payload"),
        ("images", {"where": "hieght > 3"}, "height"),
        ("count", {"where": "width >"}, "column"),
        ("sample", {"limit": 5000}, "limit"),
    ],
)
def test_a_wrong_question_is_told(client: httpx.Client, path: str, asked: dict[str, Any], says: str) -> None:
    answer = client.get(f"/v1/{path}", params=asked)
    assert answer.status_code == 422
    assert says in answer.json()["error"]["message"]
