"""What is refused before any engine writes it, and what is let through."""

from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from connector.errors import InvalidQuery
from connector.records import Point
from connector.store.points import (
    as_read,
    as_stored,
    check_facet,
    check_ids,
    check_payload,
    check_points,
    check_query_vectors,
)
from connector.store.schema import CollectionSchema, Fingerprint

ID = "00000000-0000-0000-0000-000000000001"
UNIT = np.array([1, 0, 0], dtype=np.float32)
SCHEMA = CollectionSchema(Fingerprint("mini", dims=3, image_size=64))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"width": np.int64(3)}, r"payload of point .*1: width is np.int64\(3\) \(numpy.int64\).*with .item\(\)"),
        ({"meta": {"price": np.float64(3)}}, r"meta.price is np.float64\(3.0\) \(numpy.float64\)"),
        ({"meta": {"sold": np.True_}}, "meta.sold is"),
        ({"tags": ["a", b"b"]}, r"tags\[1\] is b'b' \(bytes\)"),
        ({"tags": {"a", "b"}}, r"tags is .* \(set\)"),
        ({"meta": {"price": float("nan")}}, "meta.price is nan"),
        ({"meta": {"price": float("-inf")}}, "meta.price is -inf"),
        ({"bytes": 2**63}, "bytes is 9223372036854775808"),
        ({"meta": {1: "a"}}, r"the key 1 \(int\)"),
        ({"filename": "\udcff.jpg"}, r"filename is '\\udcff.jpg'"),
    ],
)
def test_a_payload_that_is_no_plain_json_is_named_by_its_place(payload: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_payload(payload, ids=[ID])


def test_plain_json_passes_as_deep_as_qdrant_reads_it_again() -> None:
    deep: dict[str, Any] = {"leaf": [1, -(2**63), 1.5, True, None, "日本", ("a", "b")]}
    for _ in range(60):
        deep = {"inner": deep}

    check_payload(deep, ids=[ID])
    for _ in range(5000):
        deep = {"inner": deep}
        with pytest.raises(ValueError, match="is nested deeper than 64 levels"):
            check_payload({"a": {"b": {"c": deep}}}, ids=[ID])


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.array([1, np.nan, 0]), f"vector of point {ID} holds NaN or infinity"),
        (np.array([1, np.inf, 0]), "NaN or infinity"),
        (np.zeros(3), r"is zero \(length 0.0e\+00\)"),
        (np.full(3, 1e-20), "is zero"),
        (np.ones(2), r"has shape \(2,\); the collection holds \(3,\)"),
    ],
)
def test_a_vector_that_means_nothing_is_named(vector: Any, message: str) -> None:
    spoilt = vector.astype(np.float32)

    with pytest.raises(ValueError, match=message):
        check_points([Point(ID, spoilt, {})], schema=SCHEMA)
    with pytest.raises(InvalidQuery, match=message.replace(f"point {ID}", "query 1")):
        check_query_vectors([UNIT, spoilt], dims=3)


def test_sound_points_pass() -> None:
    check_points([], schema=SCHEMA)
    check_points([Point(ID, UNIT, {"width": 1})], schema=SCHEMA)
    check_query_vectors([UNIT], dims=3)
    check_ids([ID, "1", str(2**64 - 1)])  # other programs number their points


@pytest.mark.parametrize("wrong", ["", "dog", "-1", "1.5", "²", str(2**64), ID[:-1]])
def test_an_id_that_is_no_uuid_is_named(wrong: str) -> None:
    with pytest.raises(InvalidQuery, match=f"point id '{wrong}' is no UUID"):
        check_ids([ID, wrong])


def test_only_counting_indexes_count() -> None:
    check_facet("tags", indexes={"tags": "keyword"})
    with pytest.raises(InvalidQuery, match=r"'price' cannot .* indexed as float\. Fields that can be: a\."):
        check_facet("price", indexes={"price": "float", "a": "bool"})
    with pytest.raises(InvalidQuery, match="'nothing' cannot be counted: it is not indexed"):
        check_facet("nothing", indexes={"a": "bool"})


SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".svg")


def drawn(payload: dict[str, Any]) -> set[str]:
    """The fields that Qdrant's dashboard draws as an image: texts at the top whose URL's path ends like one."""
    texts = {name: urlsplit(value) for name, value in payload.items() if isinstance(value, str)}
    return {name for name, parts in texts.items() if parts.scheme and parts.path.endswith(SUFFIXES)}


@pytest.mark.parametrize(
    "uri", ["file:///a/b.jpg", "s3://bucket/a.png", "https://a.example/b.webp?size=2", "s3://b/x.tar#y"]
)
def test_no_card_of_the_dashboard_shows_a_broken_frame(uri: str) -> None:
    payload = {
        "uri": uri,
        "source": [uri],  # a single image was ingested
        "object_key": "img:1.jpg",
        "filename": "img:1.jpg",
        "version": "etag:x.png",
        "folder": ["2024"],
        "tags": ["file:///a.jpg"],
        "width": 3,
        "thumbnail_url": "http://localhost:8000/thumbnails/1.webp",
    }
    stored = as_stored(payload)
    assert drawn(stored) == {"thumbnail_url"}
    assert drawn(as_stored({"source": uri, "folder": "2024"})) == set()
    assert as_read(stored) == payload


def test_a_payload_of_before_is_read_as_it_is() -> None:
    assert as_read({"uri": "file:///a.jpg", "tags": ["x"]}) == {"uri": "file:///a.jpg", "tags": ["x"]}
    assert as_read({"uri": ["a", "b"]}) == {"uri": ["a", "b"]}
