"""Points that another program or a person changed: every door shows them as such, the next ingestion names them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet
import pytest
import qdrant_edge as edge
from qdrant_client import QdrantClient, models

from connector import ImageSearch, InvalidQuery, Settings, point
from connector.records import EXPECTED, NO_VECTOR, Point
from connector.search.classify import Labels
from connector.search.export import export
from connector.search.tagging import tag
from connector.store.audit import find_damage
from connector.store.edge.folder import CollectionFolder
from connector.store.open import open_engine
from connector.store.push import push
from connector.store.schema import PAYLOAD_FIELDS
from connector.store.server.engine import ServerEngine
from tests.conftest import CommandLine
from tests.connector.service.conftest import copied, serving
from tests.qdrant_standin.standin import Standin, running
from workers.demo import tour

WRONG: Mapping[str, dict[str, Any]] = {
    "uri": {"uri": 5},
    "tags": {"tags": 7, "labels": [1]},
    "width": {"width": "wide"},
    "location": {"location": "here"},
    "meta": {"meta": "x", "object_key": {"a": 1}},
    "taken_at": {"taken_at": 3},
}
NUMBER = "42"


@pytest.fixture(scope="module")
def sound(noto: Settings) -> list[Point]:
    """Points of forty bundled images."""
    with ImageSearch.open(settings=noto) as search:
        ids = [each.id for each in search.sample(40)]
        found = search.points(ids, vectors=True)
    return [Point(each.id, each.vector, each.payload) for each in found if each.vector is not None]


@pytest.fixture(scope="module")
def damaged(sound: list[Point]) -> dict[str, str]:
    """The ids of the damaged points, by what became of them."""
    names = ["cleared", *WRONG, "vector"]
    return {**{name: each.id for name, each in zip(names, sound, strict=False)}, "number": NUMBER}


@pytest.fixture(scope="module")
def embedded(noto: Settings, damaged: dict[str, str]) -> Iterator[Settings]:
    """A copy of the bundled collection in the embedded engine, with the damage done by Qdrant Edge itself."""
    with copied(noto) as settings:
        folder = CollectionFolder(settings.qdrant.path, collection=settings.collection)
        folder.acquire()
        shard = folder.load()
        (other,) = shard.retrieve([damaged["uri"]], True, True)
        assert other.vector is not None
        change = edge.UpdateOperation
        shard.update(change.clear_payload([damaged["cleared"]]))
        for name, payload in WRONG.items():
            shard.update(change.set_payload([damaged[name]], payload))
        shard.update(change.delete_vectors([damaged["vector"]], ["mini"]))
        shard.update(change.upsert_points([edge.Point(int(NUMBER), other.vector, other.payload)]))
        shard.flush()
        shard.close()
        folder.release()
        yield settings


@pytest.fixture(scope="module")
def server(noto: Settings, sound: list[Point], damaged: dict[str, str]) -> Iterator[Settings]:
    """Forty points on a server, with the damage done over REST, as the dashboard does it."""
    with running() as standin:
        settings = noto.model_copy(update={"qdrant": standin.settings("grpc")})
        with ImageSearch.open(settings=noto) as search:
            schema = search.info().schema
        with closing(ServerEngine.connect(settings.qdrant, collection=settings.collection)) as engine:
            engine.create(schema)
            engine.upsert(sound)
        client, name = QdrantClient(url=standin.url, check_compatibility=False), settings.collection
        client.clear_payload(name, [damaged["cleared"]])
        for field, payload in WRONG.items():
            client.set_payload(name, payload, points=[damaged[field]])
        client.delete_vectors(name, ["mini"], [damaged["vector"]])
        vector = {"mini": sound[1].vector.tolist()}  # that of "uri"
        client.upsert(name, [models.PointStruct(id=int(NUMBER), vector=vector, payload=dict(sound[0].payload))])
        client.close()
        yield settings


@pytest.fixture(params=["embedded", "server"])
def settings(request: pytest.FixtureRequest) -> Settings:
    found: Settings = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def search(settings: Settings) -> Iterator[ImageSearch]:
    with ImageSearch.open(settings=settings) as opened:
        yield opened


def test_the_kinds_that_are_expected_are_those_of_the_schema() -> None:
    assert {field.name for field in PAYLOAD_FIELDS} == set(EXPECTED)


def test_every_way_to_ask_meets_them_and_says_what_is_wrong(search: ImageSearch, damaged: dict[str, str]) -> None:
    found = {each.id: each for each in search.each()}
    faults = {name: found[point_id].fault for name, point_id in damaged.items()}
    assert faults.pop("vector") is None  # its payload is whole
    assert "the payload is empty" in str(faults.pop("cleared"))
    assert "the id is a number" in str(faults.pop("number"))
    assert "labels is a list" in str(faults.pop("tags"))
    assert "object_key is an object" in str(faults.pop("meta"))
    for name, fault in faults.items():
        assert str(fault).startswith(f"{name} is a "), name
    assert sum(each.fault is not None for each in found.values()) == len(damaged) - 1
    for hits in (
        search.text("a boat", limit=100),
        search.text("a boat", limit=100, diversity=0.5),
        search.like(NUMBER, limit=100),
    ):
        assert hits
        assert hits._repr_html_()
    one = next(hit for hit in search.like(damaged["uri"], limit=5) if hit.id == NUMBER)
    assert (one.fault or "").startswith("the id is a number")
    assert damaged["uri"] in {hit.id for hit in search.like(NUMBER, limit=5)}
    assert search.like(damaged["cleared"], limit=3)
    assert search.groups("a boat", by="tags") is not None
    assert search.facets("folder", of="a boat")
    assert search.points([NUMBER])[0].id == NUMBER
    with pytest.raises(InvalidQuery, match="has no vector"):
        search.query(point(damaged["vector"]))


def test_labels_are_written_whatever_stands_there(search: ImageSearch, damaged: dict[str, str]) -> None:
    labels = Labels.embedded(search, ["boat", "food"])
    where = models.Filter(must=[models.HasIdCondition(has_id=[damaged["tags"], damaged["cleared"]])])
    before = search.points([damaged["tags"]])[0].payload
    assert tag(search, labels=labels, threshold=0.3, where=where).seen == 2
    assert search.points([damaged["tags"]])[0].payload["tags"][0] == before["tags"] == 7
    search.set_labels(damaged["tags"], {"tags": 7, "labels": [1]})


def test_an_export_holds_them_with_what_is_wrong(search: ImageSearch, damaged: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    count = export(search, path)
    rows = {row["id"]: row for row in pyarrow.parquet.read_table(path).to_pylist()}
    assert len(rows) == count == search.count()
    assert rows[damaged["uri"]]["uri"] is None
    assert json.loads(rows[damaged["uri"]]["payload"])["uri"] == 5
    assert rows[damaged["vector"]]["vector"] is None
    assert rows[NUMBER]["fault"].startswith("the id is a number")
    assert rows[damaged["vector"]]["fault"] == NO_VECTOR


def test_every_one_is_found_by_the_indexes(settings: Settings, damaged: dict[str, str]) -> None:
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        damage = find_damage(engine, examples=20)
        assert set(damage.examples) == set(damaged.values())
        assert damage.count >= len(damaged) - 1


def test_a_sound_collection_has_none(noto: Settings) -> None:
    with copied(noto) as settings, closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        assert find_damage(engine).count == 0


def test_a_push_takes_what_can_be_found_and_says_what_it_left_out(
    embedded: Settings, damaged: dict[str, str], standin: Standin, collection: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        closing(open_engine(embedded.qdrant, collection=embedded.collection)) as origin,
        closing(open_engine(standin.settings("grpc"), collection=collection)) as target,
    ):
        done = push(origin, target)
        assert (done.sent, done.left_out) == (origin.count() - 1, 1)
        assert [each.id for each in target.retrieve([NUMBER])] == [NUMBER]
    assert damaged["vector"] in caplog.text


@pytest.mark.slow
def test_the_service_and_the_commands_show_them_and_the_next_ingestion_names_them(
    embedded: Settings, damaged: dict[str, str], cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(embedded) as url:
        asked = httpx.post(f"{url}/v1/search", json={"like": NUMBER, "limit": 1000}, timeout=240).json()
        faults = {hit["id"]: hit["fault"] for hit in asked["hits"]}
        for name, point_id in damaged.items():
            one = httpx.get(f"{url}/v1/points/{point_id}", timeout=240)
            assert one.status_code == 200, name
            assert (one.json()["fault"] is None) == (name == "vector"), name
            assert httpx.get(f"{url}/images/{point_id}", timeout=240).status_code in (200, 404), name
            assert httpx.get(f"{url}/thumbnails/{point_id}.webp", timeout=240).status_code in (200, 404), name
            if point_id in faults:
                assert faults[point_id] == one.json()["fault"], name
        assert httpx.post(f"{url}/v1/search", json={"like": damaged["vector"]}, timeout=240).status_code == 422
    monkeypatch.setenv("POLYGLANCE_QDRANT__PATH", str(embedded.qdrant.path))
    monkeypatch.setenv("POLYGLANCE_MODEL__SPACE", "mini")
    monkeypatch.setenv("POLYGLANCE_INGEST__WORKERS", "0")
    found = cli("search", "--like", damaged["uri"], "--limit", 1000, "--json").json
    assert {hit["id"]: hit["fault"] for hit in found["hits"]}[NUMBER].startswith("the id is a number")
    assert "the id is a number" in " ".join(cli("search", "--like", damaged["uri"]).out.split())
    assert cli("search", "--sample", "--limit", 1000).code == 0
    assert cli("classify", "--all", "--labels", "a boat,food").code == 0
    ran = cli.run("ingest", tour.IMAGES)
    assert ran.code == 0
    for name, point_id in damaged.items():
        assert f"point_damaged id={point_id}" in ran.err, name
    with ImageSearch.open(settings=embedded) as search:
        assert search.points([damaged["cleared"]])[0].fault is None
