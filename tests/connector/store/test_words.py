"""Words: what images are found by that stands in their payload, alike in every engine."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_edge as edge
from qdrant_client import QdrantClient

from connector.errors import ConfigError, StoreRefused
from connector.filters.parse import parse_filter
from connector.records import Hit, Point, StoredPoint
from connector.settings import FieldType, Settings
from connector.store.backfill import WordsAdded, add_words
from connector.store.edge.shared import SharedEngine
from connector.store.engine import Engine, NearestQuery, WordsQuery
from connector.store.push import push
from connector.store.schema import CollectionSchema, Fingerprint, Words
from connector.store.server.engine import ServerEngine
from connector.words.settings import WordsSettings
from tests.hosts import HostProcess
from tests.qdrant_standin.standin import Standin
from tests.scratch import scratch_folder

DIMS = 16
META: Mapping[str, FieldType] = {"caption": "text", "album": "text"}
OLDER = CollectionSchema(Fingerprint("mini", dims=DIMS, image_size=64), META)
SCHEMA = replace(OLDER, words=Words(WordsSettings().all_weights))
EngineFactory = Callable[[], Engine]


@pytest.fixture(params=["embedded", "guest", "grpc", "rest"])
def open_engine(request: pytest.FixtureRequest, standin: Standin, collection: str) -> Iterator[EngineFactory]:
    """Opens engines of one kind on one collection, which is not there yet."""
    opened: list[Engine] = []
    with scratch_folder() as folder:
        if request.param == "guest":
            hosts: HostProcess = request.getfixturevalue("hosts")
            hosts.host(folder / "data", collection=collection)

        def open_another() -> Engine:
            made: Engine = (
                ServerEngine.connect(standin.settings(request.param), collection=collection)
                if request.param in ("grpc", "rest")
                else SharedEngine.open(folder / "data", collection=collection)
            )
            opened.append(made)
            return made

        yield open_another
        for engine in opened:
            engine.close()
        if request.param == "guest":
            hosts.close(folder / "data", collection=collection)


@pytest.fixture
def engine(open_engine: EngineFactory) -> Engine:
    """An engine on an empty collection with words."""
    made = open_engine()
    made.create(SCHEMA)
    return made


def id_of(number: int) -> str:
    return str(uuid.UUID(int=number + 1))


def points(*payloads: Mapping[str, Any]) -> list[Point]:
    """A point for each payload, whose vector is its own axis."""
    return [Point(id_of(n), np.eye(DIMS, dtype=np.float32)[n % DIMS], payload) for n, payload in enumerate(payloads)]


def asked(engine: Engine, text: str, where: str | None = None) -> list[int]:
    """The numbers of the points that have these words, best first."""
    condition = None if where is None else parse_filter(where, indexes=SCHEMA.indexes)
    (hits,) = engine.query([WordsQuery(text, limit=100, where=condition)])
    assert all(one.score >= other.score for one, other in pairwise(hits))
    return [uuid.UUID(hit.id).int - 1 for hit in hits]


RECEIPT = {"ocr_text": "REWE Markt GmbH 12,90 EUR", "filename": "scan1.png"}
BEACH = {"meta": {"caption": "Zwei Hunde am Strand"}, "tags": ["beach", "Sommer"], "filename": "IMG_0001.jpg"}
STATION = {"meta": {"caption": "東京駅の案内看板"}, "folder": ["2024/Japan"], "filename": "IMG_0002.jpg"}
NOTHING = {"width": 640}


def test_what_was_written_is_found_by_its_words(engine: Engine) -> None:
    engine.upsert(points(RECEIPT, BEACH, STATION, NOTHING))

    assert asked(engine, "rewe") == [0]
    assert asked(engine, "Hund am STRAND") == [1]
    assert asked(engine, "看板") == [2]
    assert asked(engine, "japan 2024") == [2]
    assert asked(engine, "mountain") == []


def test_a_question_without_a_word_has_no_hits(engine: Engine) -> None:
    engine.upsert(points(BEACH))

    assert engine.query([WordsQuery("?! …"), WordsQuery(""), WordsQuery("strand")])[0:2] == [[], []]
    assert engine.query([WordsQuery("\u200f\ud800\x00")]) == [[]]


def test_seeing_and_reading_are_asked_in_one_call(engine: Engine) -> None:
    stored = points(RECEIPT, BEACH, STATION)
    engine.upsert(stored)

    seen, read = engine.query([NearestQuery(stored[2].vector, limit=1), WordsQuery("rewe", limit=1)])

    assert [hit.id for hit in seen] == [id_of(2)]
    assert [hit.id for hit in read] == [id_of(0)]
    assert read[0].payload == RECEIPT
    assert read[0].score > 0


def test_a_filter_and_an_offset_hold_for_words_too(engine: Engine) -> None:
    engine.upsert(points(*({"tags": ["dog"], "width": number} for number in range(5))))

    assert sorted(asked(engine, "dogs", where="width >= 3")) == [3, 4]
    (rest,) = engine.query([WordsQuery("dog", limit=10, offset=3)])
    assert len(rest) == 2


def test_a_filter_finds_words_in_prose_of_any_script(engine: Engine) -> None:
    twice = {"meta": {"caption": ["ein Café", "案内所", "外灘"]}, "title": "Müllers Garten", "ocr_text": "RE16 TGK"}
    engine.upsert(points(BEACH, STATION, twice, NOTHING))

    def found(where: str) -> list[int]:
        condition = parse_filter(where, indexes=SCHEMA.indexes)
        numbers = [uuid.UUID(each.id).int - 1 for each in engine.scroll(limit=9, where=condition).points]
        assert engine.count(where=condition) == len(numbers)
        assert sorted(numbers) == sorted(uuid.UUID(each.id).int - 1 for each in engine.sample(9, where=condition))
        return sorted(numbers)

    assert found('"案内" in meta.caption') == [1, 2]
    assert found('"京案" in meta.caption') == found('"看東" in meta.caption') == []
    assert found('"所外" in meta.caption') == [], "texts of a list are apart"
    assert found('"strand hund" in meta.caption') == [0]
    assert found('"cafe" in meta.caption and not "strand" in meta.caption') == [2]
    assert found('not "案内" in meta.caption') == [0, 3]
    assert found('"garten" in title or "hund" in meta.caption') == [0, 2]
    assert found("exists(title)") == [2]
    assert found('"?!" in title') == []


def test_a_filter_tells_what_has_no_prose(engine: Engine) -> None:
    engine.upsert(points(BEACH, {"meta": {"caption": "…!"}}, RECEIPT))
    engine.set_payload([id_of(0)], {"description": "Sand"})

    def found(where: str) -> list[str]:
        return [each.id for each in engine.scroll(limit=9, where=parse_filter(where, indexes=SCHEMA.indexes)).points]

    assert found("not exists(meta.caption)") == [id_of(2)]
    assert found("exists(meta.caption)") == [id_of(0), id_of(1)]
    assert found("not exists(description)") == [id_of(1), id_of(2)]


def test_prose_is_indexed_once(standin: Standin, collection: str, tmp_path: Path) -> None:
    with closing(ServerEngine.connect(standin.settings("rest"), collection=collection)) as engine:
        engine.create(SCHEMA)
    with closing(QdrantClient(url=standin.url, check_compatibility=False)) as client:
        there = client.get_collection(collection).payload_schema
    assert 'words."meta.caption"' in there
    assert "meta.caption" not in there
    with closing(SharedEngine.open(tmp_path, collection=collection)) as engine:
        engine.create(SCHEMA)
    shard = edge.EdgeShard.load(str(tmp_path / collection / "shard"))
    assert set(shard.info().payload_schema) == set(there)
    shard.close()


def test_nobody_is_shown_what_filters_look_at(engine: Engine) -> None:
    stored = points(STATION, BEACH)
    engine.upsert(stored)
    engine.set_payload([id_of(0)], {"title": "Tokyo", "width": 3})
    payloads = [{**STATION, "title": "Tokyo", "width": 3}, BEACH]

    def shown(found: Iterable[StoredPoint | Hit]) -> list[Any]:
        return [dict(each.payload) for each in sorted(found, key=lambda each: each.id)]

    assert shown(engine.retrieve([id_of(0), id_of(1)])) == payloads
    assert shown(engine.scroll(limit=5).points) == shown(engine.sample(5)) == payloads
    seen, read = engine.query([NearestQuery(stored[0].vector), WordsQuery("tokyo")])
    assert shown(seen) == payloads
    assert shown(read) == shown(engine.ordered("width", descending=True, limit=1)) == payloads[:1]
    assert engine.retrieve([id_of(0)], fields=["width"])[0].payload == {"width": 3}
    assert "words" not in engine.info().schema.indexes


def test_a_rare_word_and_a_heavy_field_count_more(engine: Engine) -> None:
    common = [{"tags": ["holiday"]} for _ in range(8)]
    engine.upsert(points({"tags": ["holiday", "lighthouse"]}, {"folder": ["lighthouse"]}, *common))

    assert asked(engine, "lighthouse holiday")[:2] == [0, 1]


def test_a_change_of_the_payload_changes_the_words(engine: Engine) -> None:
    engine.upsert(points(BEACH, STATION))

    engine.set_payload([id_of(0)], {"tags": ["Winter"], "meta": {"caption": "Schnee"}})
    engine.set_payload([id_of(1)], {"rating": 5})

    assert asked(engine, "winter") == asked(engine, "schnee") == [0]
    assert asked(engine, "strand") == asked(engine, "hund") == []
    assert asked(engine, "看板") == [1]
    assert asked(engine, "0001") == [0], "what was not changed is still found"

    engine.set_payload([id_of(0)], {"tags": [], "meta": {}, "filename": ""})
    assert asked(engine, "winter") == asked(engine, "0001") == []


def test_a_point_written_again_has_the_words_of_its_last_payload_alone(engine: Engine) -> None:
    engine.upsert(points(BEACH))
    engine.upsert(points(RECEIPT))
    assert asked(engine, "strand") == []
    assert asked(engine, "rewe") == [0]

    engine.delete([id_of(0)])
    assert asked(engine, "rewe") == []


def test_words_outlive_the_optimizer_and_the_closing(engine: Engine, open_engine: EngineFactory) -> None:
    engine.upsert(points(RECEIPT, BEACH, STATION))
    engine.optimize()
    assert asked(engine, "hund") == [1]
    engine.close()

    again = open_engine()
    assert again.info().schema == SCHEMA
    assert asked(again, "案内") == [2]


def test_a_collection_of_before_has_none_and_gets_them_in_place(open_engine: EngineFactory) -> None:
    engine = open_engine()
    engine.create(OLDER)
    stored = points(RECEIPT, BEACH, STATION, NOTHING)
    engine.upsert(stored)
    with pytest.raises(StoreRefused, match=r"has no words.*polyglance collection words"):
        engine.query([WordsQuery("rewe")])
    engine.create(SCHEMA)
    assert engine.info().schema.words is None, "an ingestion does not add them in passing"

    engine.set_words(Words({"tags": 1.0, "meta.caption": 1.0}, complete=False))
    assert asked(engine, "hund") == []
    assert engine.index_words([point.id for point in stored]) == 3, "two have words, one a text that filters look into"
    assert engine.index_words([point.id for point in stored]) == 0, "what is there is not written again"
    engine.set_words(Words({"tags": 1.0, "meta.caption": 1.0}))

    assert asked(engine, "hund") == [1]
    assert asked(engine, "rewe") == []
    (near,) = engine.query([NearestQuery(stored[3].vector, limit=1)])
    assert near[0].id == id_of(3), "no vector was touched"
    engine.set_words(Words({"ocr_text": 1.0}))
    assert engine.index_words([point.id for point in stored]) == 3
    assert asked(engine, "rewe") == [0]
    assert asked(engine, "hund") == []
    engine.optimize()
    assert asked(engine, "rewe") == [0]


def test_a_filter_finds_what_has_no_derived_text_yet(open_engine: EngineFactory) -> None:
    engine = open_engine()
    engine.create(OLDER)
    engine.upsert(points(BEACH, STATION))
    boat = parse_filter('"strand" in meta.caption', indexes=OLDER.indexes)
    assert engine.count(where=boat) == 1

    engine.set_words(Words({"tags": 1.0}, complete=False))
    assert engine.count(where=boat) == 1, "in the way of before"
    assert engine.index_words([id_of(0), id_of(1)]) == 2
    engine.set_words(Words({"tags": 1.0}))
    assert engine.count(where=boat) == 1
    assert engine.count(where=parse_filter('"看板" in meta.caption', indexes=OLDER.indexes)) == 1


def test_a_text_field_that_is_declared_later_is_found_at_once_and_the_command_is_said(
    open_engine: EngineFactory, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_engine()
    engine.create(SCHEMA)
    later = replace(SCHEMA, meta_fields={**SCHEMA.meta_fields, "note": "text"})
    engine.create(replace(SCHEMA, meta_fields={**SCHEMA.meta_fields, "empty": "text"}))
    assert engine.info().schema.words == SCHEMA.words, "of no points all have their words"
    engine.upsert(points({"meta": {"note": "Ein Hund am Strand"}}))

    engine.create(later)

    assert SCHEMA.joined(later, collection="x", points=1).words == engine.info().schema.words
    assert "`polyglance collection words`" in caplog.text
    strand = parse_filter('"strand" in meta.note', indexes=later.indexes)
    assert engine.count(where=strand) == 1, "in the way of an index over the text itself"
    assert SCHEMA.words is not None
    assert add_words(engine, SCHEMA.words) == WordsAdded(points=1, changed=1)
    assert engine.info().schema.words == SCHEMA.words
    assert engine.count(where=parse_filter('"hunde" in meta.note', indexes=later.indexes)) == 1


def test_adding_words_that_broke_off_goes_on(standin: Standin, collection: str) -> None:
    with closing(ServerEngine.connect(standin.settings("grpc"), collection=collection)) as engine:
        engine.create(OLDER)
        engine.upsert(points(*({"tags": [f"tag{n}"]} for n in range(600))))
        wanted, seen = Words({"tags": 1.0}), list[int]()

        def stop(done: int) -> None:
            seen.append(done)
            if done > 500:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            add_words(engine, wanted, on_progress=stop)
        assert engine.info().schema.words == replace(wanted, complete=False)
        assert seen == [256, 512]
        assert add_words(engine, wanted) == WordsAdded(points=600, changed=88)
        assert engine.info().schema.words == wanted
        assert asked(engine, "tag599")[0] == 599


def test_words_are_pushed_with_the_collection(standin: Standin, collection: str) -> None:
    with scratch_folder() as folder, closing(SharedEngine.open(folder, collection="here")) as origin:
        origin.create(SCHEMA)
        origin.upsert(points(RECEIPT, BEACH))
        with closing(ServerEngine.connect(standin.settings("grpc"), collection=collection)) as target:
            push(origin, target)
            assert target.info().schema == SCHEMA
            assert asked(target, "rewe") == asked(origin, "rewe") == [0]


def test_every_setting_of_a_weight_is_one_of_the_collection() -> None:
    weights = Settings.load({"words.weights": {"folder": 0, "meta.album": 4}}).words.all_weights

    assert "folder" not in weights
    assert (weights["meta.album"], weights["tags"]) == (4.0, 3.0)
    with pytest.raises(ConfigError, match=r"no field 'titel'\. The nearest one is 'title'"):
        Settings.load({"words.weights": {"titel": 3}})
    with pytest.raises(ConfigError, match="greater than or equal to 0"):
        Settings.load({"words.weights": {"title": -3}})


def test_words_do_not_count_as_covered_by_the_search_graph(tmp_path: Path) -> None:
    random = np.random.default_rng(19)
    vectors = random.standard_normal((300, DIMS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with closing(SharedEngine.open(tmp_path / "data", collection="images")) as engine:
        engine.create(SCHEMA)
        engine.upsert([Point(str(uuid.uuid4()), each, {"title": "a dog"}) for each in vectors])
        assert engine.info().indexed == 0
        engine.optimize()
        assert (engine.info().points, engine.info().indexed) == (300, 300)
