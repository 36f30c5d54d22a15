"""What the settings tell of a store before an engine is open, and the doors that open one."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from connector.errors import ConfigError
from connector.records import Point
from connector.run_status import runs_of
from connector.settings import QdrantSettings
from connector.store.open import (
    capabilities_of,
    describe,
    file_name_of,
    open_embedded,
    open_engine,
    open_scratch,
    open_server,
)
from connector.store.schema import CollectionSchema, Fingerprint
from tests.qdrant_standin.standin import Standin

SERVER = QdrantSettings(url="http://qdrant:6333", path=Path("/data"))
FOLDER = QdrantSettings(path=Path("/data"))
SCHEMA = CollectionSchema(Fingerprint("mini", dims=2, image_size=64))


@pytest.mark.parametrize("settings", [SERVER, FOLDER], ids=["server", "embedded"])
def test_the_settings_tell_what_the_engine_can_do(settings: QdrantSettings) -> None:
    with closing(open_engine(settings, collection="images")) as engine:
        assert engine.capabilities == capabilities_of(settings)


def test_a_server_shares_its_work_and_a_folder_does_not() -> None:
    shared, alone = capabilities_of(SERVER), capabilities_of(FOLDER)

    assert (shared.many_machines, shared.in_process, shared.aliases, shared.bulk_load) == (True, False, True, True)
    assert (alone.many_machines, alone.in_process, alone.aliases, alone.bulk_load) == (False, True, False, False)


def test_a_store_is_named_for_a_sentence() -> None:
    assert describe(FOLDER) == "the embedded engine"
    assert describe(SERVER) == "the server at http://qdrant:6333"


def test_runs_into_collections_of_one_name_in_two_stores_lie_apart_where_they_always_lay() -> None:
    assert file_name_of(FOLDER, collection="images") == "images"
    assert runs_of(FOLDER, collection="images") == Path("/data/.runs/images")
    assert runs_of(SERVER, collection="images") == Path("/data/.runs/images@4bb23d3b6dd4")


def test_the_doors_by_kind_do_not_ask_the_settings(tmp_path: Path) -> None:
    settings = QdrantSettings(url="http://qdrant:6333", path=tmp_path)

    with closing(open_embedded(settings, collection="images")) as engine:
        assert engine.capabilities.in_process
    with closing(open_server(FOLDER, url="http://elsewhere:6333", collection="images")) as engine:
        assert not engine.capabilities.in_process
    with pytest.raises(ConfigError, match="ftp://elsewhere"):
        open_server(FOLDER, url="ftp://elsewhere", collection="images")


def test_a_scratch_collection_leaves_nothing_in_the_folder(tmp_path: Path) -> None:
    settings = QdrantSettings(path=tmp_path / "data")

    with open_scratch(settings, collection="scratch") as engine:
        engine.create(SCHEMA)
        engine.upsert([Point("00000000-0000-0000-0000-000000000001", np.array([1, 0], np.float32), {})])

    assert [*(tmp_path / "data").iterdir()] == []


def test_a_scratch_collection_is_dropped_from_a_server(standin: Standin, collection: str) -> None:
    settings = standin.settings("rest")

    with open_scratch(settings, collection=collection) as engine:
        engine.create(SCHEMA)

    with closing(open_engine(settings, collection=collection)) as engine:
        engine.create(SCHEMA)  # no trace of the first one
        assert engine.count() == 0
