"""Which links a filter may count on, and which fields a collection may have them for."""

import pytest
from qdrant_client import models

from connector.errors import ConfigError
from connector.filters.parse import parse_filter
from connector.settings import Settings
from connector.store.links import HALF_EF, LINKED_EF, WIDE_EF, walk_of
from connector.store.schema import CollectionSchema, Fingerprint, schema_for
from connector.store.stored_schema import schema_from_json

FINGERPRINT = Fingerprint("mini", dims=128, image_size=64)
SCHEMA = schema_for(FINGERPRINT, Settings())


@pytest.mark.parametrize(
    ("where", "linked", "fields"),
    [
        ('folder == "a"', True, 1),
        ('folder == "a" and "b" in tags', True, 2),
        ('tenant == "anna" and not camera == "x"', True, 2),
        ("width >= 3", False, 1),
        ('folder == "a" and width >= 3', False, 2),
        ('folder == "a" or (camera == "b" and near(location, 1, 2, km=3))', False, 3),
        ("exists(folder)", False, 1),
    ],
)
def test_a_filter_is_linked_where_values_of_linked_fields_alone_are_wanted(
    where: str, linked: bool, fields: int
) -> None:
    walk = walk_of(parse_filter(where, indexes=SCHEMA.indexes), schema=SCHEMA)
    assert (walk.linked, walk.fields) == (linked, fields)


def test_more_candidates_are_looked_at_where_a_filter_cuts_more() -> None:
    def ef(where: str, share: float) -> int:
        return walk_of(parse_filter(where, indexes=SCHEMA.indexes), schema=SCHEMA).ef(share)

    assert ef('folder == "a"', 0.1) == LINKED_EF
    assert ef('folder == "a" and camera == "b"', 0.1) == ef("width >= 3", 0.7) == HALF_EF
    assert ef("width >= 3", 0.4) == ef("width >= 3 and height >= 3", 0.9) == WIDE_EF


def test_ids_alone_name_no_field() -> None:
    without = models.Filter(must_not=[models.HasIdCondition(has_id=[1])])
    assert walk_of(without, schema=SCHEMA).fields == 0


@pytest.mark.parametrize("name", ["content_hash", "uri", "bytes"])
def test_a_unique_field_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"names '{name}', which is another for nearly every image"):
        CollectionSchema(FINGERPRINT, linked_fields=(name,))


def test_a_field_that_no_filter_may_use_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"names 'meta\.price', which no filter may use"):
        CollectionSchema(FINGERPRINT, linked_fields=("meta.price",))
    assert CollectionSchema(FINGERPRINT, {"price": "float"}, ("meta.price",)).is_linked("meta.price")


def test_a_schema_of_before_has_no_links_and_keeps_none() -> None:
    before = {name: value for name, value in SCHEMA.to_json().items() if name != "linked_fields"}
    old = schema_from_json(before)
    assert old.linked_fields == old.joined(SCHEMA, collection="x", points=1).linked_fields == ()
    assert schema_from_json(SCHEMA.to_json()) == SCHEMA
