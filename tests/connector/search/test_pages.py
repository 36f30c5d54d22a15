"""Pages of a listing: every image once, in its order, whatever is written between two of them."""

import base64
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from connector import ImageSearch, InvalidQuery, Settings
from connector.records import Point
from connector.store.engine import Engine
from connector.store.open import open_engine
from connector.store.schema import CollectionSchema, Fingerprint
from tests.scratch import scratch_folder

SCHEMA = CollectionSchema(Fingerprint("mini", dims=128, image_size=64), {"price": "float", "seen": "datetime"})


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with scratch_folder() as folder:
        settings = Settings.load({"model.space": "mini", "qdrant.path": folder / "data"})
        opened = open_engine(settings.qdrant, collection=settings.collection)
        yield opened
        opened.close()


@pytest.fixture
def search(engine: Engine) -> ImageSearch:
    engine.drop()
    engine.create(SCHEMA)
    return ImageSearch(settings=Settings.load({"model.space": "mini"}), engine=engine)


def fill(engine: Engine, *payloads: dict[str, Any], first: int = 0) -> None:
    vector = np.eye(1, 128, dtype=np.float32)[0]
    engine.upsert([Point(str(uuid.UUID(int=first + n)), vector, payload) for n, payload in enumerate(payloads)])


def walk(search: ImageSearch, **options: Any) -> list[int]:
    """The numbers of the images of all pages, in their order."""
    cursor, seen = None, []
    while True:
        page = search.page(cursor=cursor, **options)
        seen += [uuid.UUID(each.id).int for each in page.points]
        assert len(page.points) <= options["limit"]
        if (cursor := page.next) is None:
            return seen


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 40, 41, 1000])
@pytest.mark.parametrize("order", ["width", "-width"])
def test_every_image_comes_once_in_its_order_and_of_equal_values_the_ids_decide(
    engine: Engine, search: ImageSearch, limit: int, order: str
) -> None:
    fill(engine, *[{"width": n % 5 if n < 30 else 2} if n != 3 else {} for n in range(40)])
    expected = sorted((n for n in range(40) if n != 3), key=lambda n: (n % 5 if n < 30 else 2, n))
    if order == "-width":
        expected = sorted((n for n in range(40) if n != 3), key=lambda n: (-(n % 5 if n < 30 else 2), n))
    assert walk(search, order_by=order, limit=limit) == expected
    assert walk(search, order_by=order, limit=limit, where="width > 2") == [n for n in expected if n < 30 and n % 5 > 2]
    assert walk(search, limit=limit) == [*range(40)]


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_dates_are_ordered_as_instants_whatever_their_zone(engine: Engine, search: ImageSearch, limit: int) -> None:
    moments = ["2024-05-01T12:00:00+02:00", "2024-05-01T10:00:00Z", "2024-05-01T10:00:00", "2024-05-01T11:00:00+02:00"]
    moments += ["2024-05-01T10:00:00.000001Z", "2024-05-01", "1969-07-20T20:17:40Z"]
    fill(engine, *[{"meta": {"seen": each}} for each in moments])
    assert walk(search, order_by="meta.seen", limit=limit) == [6, 5, 3, 0, 1, 2, 4]
    assert walk(search, order_by="-meta.seen", limit=limit) == [4, 0, 1, 2, 3, 5, 6]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_an_image_of_several_values_stands_at_the_first_of_them(
    engine: Engine, search: ImageSearch, limit: int
) -> None:
    fill(engine, *[{"meta": {"price": each}} for each in ([7.5, 1], 3, [2, 2], [9, 0.5, 3], 7.5)])
    assert walk(search, order_by="-meta.price", limit=limit) == [3, 0, 4, 1, 2]
    assert walk(search, order_by="meta.price", limit=limit) == [3, 0, 2, 1, 4]


def test_what_is_written_between_two_pages_moves_nothing(engine: Engine, search: ImageSearch) -> None:
    fill(engine, *[{"width": n} for n in range(10)])
    first = search.page(order_by="-width", limit=4)
    assert [each.payload["width"] for each in first.points] == [9, 8, 7, 6]
    fill(engine, {"width": 50}, {"width": 60}, first=10)
    engine.delete([first.points[-1].id, first.points[0].id])
    second = search.page(order_by="-width", limit=4, cursor=first.next)
    assert [each.payload["width"] for each in second.points] == [5, 4, 3, 2]


def test_a_page_holds_the_fields_and_vectors_that_are_wanted(engine: Engine, search: ImageSearch) -> None:
    fill(engine, *[{"width": n, "height": 2, "meta": {"price": n, "seen": "2024-05-01"}} for n in range(3)])
    for order in (None, "width"):
        page = search.page(order_by=order, fields=["height", "meta.price"], vectors=True, limit=2)
        assert [each.payload for each in page.points] == [{"height": 2, "meta": {"price": n}} for n in range(2)]
        assert all(each.vector is not None for each in page.points)


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "A" * 2_000,
        encoded("{}"),
        encoded("[1,2,3]"),
        encoded('["width",1]'),
        encoded('["width",1,"no-id"]'),
        encoded('["width",null,"00000000-0000-0000-0000-000000000001"]'),
        encoded('["width",true,"00000000-0000-0000-0000-000000000001"]'),
        encoded('["width","soon","00000000-0000-0000-0000-000000000001"]'),
        encoded('["width","2024-05-01","00000000-0000-0000-0000-000000000001"]'),
        encoded('["width",1e999,"00000000-0000-0000-0000-000000000001"]'),
        encoded('["height",1,"00000000-0000-0000-0000-000000000001"]'),
        encoded("[" * 600),
    ],
)
def test_what_is_no_cursor_of_this_order_is_refused(engine: Engine, search: ImageSearch, cursor: str) -> None:
    fill(engine, {"width": 1})
    with pytest.raises(InvalidQuery, match="cursor"):
        search.page(order_by="width", cursor=cursor, limit=5)


@pytest.mark.parametrize("order", ["folder", "--width", "+width", " width", "", "-", "nonsense"])
def test_an_order_that_no_index_keeps_is_refused(search: ImageSearch, order: str) -> None:
    with pytest.raises(InvalidQuery, match="order"):
        search.page(order_by=order, limit=5)
