"""Plan: the formulas, and the command."""

from dataclasses import replace

import pytest

from connector.settings import FieldType
from connector.store.schema import CollectionSchema, Fingerprint, Words
from connector.words.settings import WordsSettings
from tests.conftest import CommandLine
from workers.sizing.plan import Collection, Node, Plan, plan, point_bytes


def collection(*, dims: int = 512, payload_bytes: int = 600, **fields: FieldType) -> Collection:
    fingerprint = Fingerprint("clip-vit-b-32", dims=dims, image_size=224)
    return Collection(schema=CollectionSchema(fingerprint, meta_fields=fields), payload_bytes=payload_bytes)


def with_words() -> Collection:
    plain = collection()
    return replace(plain, schema=replace(plain.schema, words=Words(WordsSettings().all_weights)))


def planned(images: int, *, memory_gb: float = 64, disk_gb: float = 1000, replicas: int = 1) -> Plan:
    node = Node(memory_bytes=memory_gb * 1e9, disk_bytes=disk_gb * 1e9)
    return plan(images, collection=collection(), node=node, replicas=replicas, rate=2500)


def test_a_points_vectors_and_codes_follow_its_dims() -> None:
    small, large = point_bytes(collection(dims=128)), point_bytes(collection(dims=512))

    assert (small.disk["vectors"], large.disk["vectors"]) == (256, 1024)
    assert large.memory["codes"] - small.memory["codes"] == 384 / 2
    assert small.memory["graph"] == large.memory["graph"]


def test_every_indexed_field_takes_disk_and_no_resident_memory_but_cache() -> None:
    plain, more = point_bytes(collection()), point_bytes(collection(price="float", brand="keyword"))

    assert more.disk["indexes"] > plain.disk["indexes"]
    assert {kind: more.memory[kind] for kind in ("codes", "graph", "ids")} == {
        kind: plain.memory[kind] for kind in ("codes", "graph", "ids")
    }


def test_words_take_disk_where_a_collection_has_them() -> None:
    few, many = (point_bytes(replace(with_words(), words=count)) for count in (10, 100))

    assert point_bytes(collection()).disk["words"] == 0
    assert 0 < few.disk["words"] == many.disk["words"] / 10
    assert few.memory["cache"] < many.memory["cache"]


def test_everything_grows_with_the_images_and_their_copies() -> None:
    one, ten, copied = planned(10**8), planned(10**9), planned(10**8, replicas=2)

    assert ten.memory_bytes == pytest.approx(10 * one.memory_bytes)
    assert copied.memory_bytes == pytest.approx(2 * one.memory_bytes)
    assert ten.gpu_hours == pytest.approx(10 * one.gpu_hours) == pytest.approx(10**9 / 2500 / 3600)


def test_the_scarcer_of_memory_and_disk_decides_the_nodes() -> None:
    assert planned(10**9, memory_gb=16).limit == "memory"
    assert planned(10**9, disk_gb=50).limit == "disk"
    assert planned(10**9, disk_gb=50).nodes > planned(10**9).nodes


def test_a_copy_of_a_point_lies_on_another_node() -> None:
    small = planned(1000, replicas=3)

    assert (small.nodes, small.limit) == (3, "replicas")


@pytest.mark.parametrize(("images", "replicas"), [(10**6, 1), (10**8, 1), (10**9, 2), (3 * 10**9, 3)])
def test_copies_of_shards_lie_evenly_on_the_nodes(images: int, replicas: int) -> None:
    found = planned(images, replicas=replicas)

    assert found.shards * found.replicas % found.nodes == 0
    assert images / found.shards <= 50_000_000


def test_the_command_says_memory_disk_shards_nodes_and_hours(cli: CommandLine) -> None:
    told = cli("plan", "--images", "1e9", "--set", "qdrant.replicas=2")
    numbers = cli("plan", "--images", "1e9", "--rate", "10000", "--json").json

    assert told.code == 0
    for word in ("memory", "disk", "shards", "nodes", "GPU hours", "2 copies", "by formula and not by trial"):
        assert word in told.out
    assert numbers["gpu_hours"] == pytest.approx(10**9 / 10_000 / 3600)


@pytest.mark.parametrize("wrong", ["0", "1.5", "many"])
def test_a_number_of_images_that_is_none_is_a_wrong_call(cli: CommandLine, wrong: str) -> None:
    assert cli("plan", "--images", wrong).code == 2


def test_a_migration_takes_a_vector_its_code_and_its_links_besides(cli: CommandLine) -> None:
    found = cli("plan", "--images", "1e6", "--space", "clip-vit-b-32", "--to", "siglip2-b32", "--json").json

    vector, code, links = 768 * 2, 768 // 2 + 8, 4 * (32 + 16 / 15)
    assert found["migration"]["to"] == "siglip2-b32"
    assert found["migration"]["disk_bytes"] == pytest.approx(1e6 * 1.5 * (vector + code + links))
    assert found["migration"]["memory_bytes"] == pytest.approx(1e6 * 1.2 * (code + links + 0.1 * vector))
    assert found["migration"]["after_disk_bytes"] > found["disk_bytes"] - 64 * 1024**2


def test_a_migration_takes_what_the_new_space_alone_would_take(cli: CommandLine) -> None:
    """Its images are embedded by the new tower, and their words stay."""
    asked = ("plan", "--images", "1e6", "--words", "60", "--json", "--space")
    found = cli(*asked, "clip-vit-b-32", "--to", "siglip2-so400m").json["migration"]
    alone = cli(*asked, "siglip2-so400m").json

    assert found["gpu_hours"] == alone["gpu_hours"]
    assert found["after_memory_bytes"] == alone["memory_bytes"]
    assert found["after_disk_bytes"] == pytest.approx(alone["disk_bytes"], abs=64 * 1024**2)
