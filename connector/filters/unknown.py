"""What to say about a field that no filter can use: what it is, which may have been meant, how to index it."""

from collections.abc import Mapping

from connector.filters.nodes import LONGEST_QUOTE
from connector.records import nearest_field
from connector.settings import FieldType
from connector.store.schema import PAYLOAD_FIELDS


def about_unknown(name: str, *, indexes: Mapping[str, FieldType]) -> str:
    """What to say about a field without an index: what it is, which may have been meant, how to index it."""
    if name in {field.name for field in PAYLOAD_FIELDS}:
        return _not_indexed(name)
    seen = name if len(name) <= LONGEST_QUOTE else f"{name[:LONGEST_QUOTE]}…"
    nearest = nearest_field(name, indexes)
    meant = f" The nearest one is {nearest!r}." if nearest else ""
    if name.startswith("meta."):
        return f"{seen!r} is not indexed.{meant} {_declaration(seen)}"
    meant = meant or f" There are: {', '.join(sorted(indexes))}."
    return f"unknown field {seen!r}.{meant}"


def _not_indexed(name: str) -> str:
    field = next(field for field in PAYLOAD_FIELDS if field.name == name)
    if field.index is not None:
        return f"{name!r} is not indexed in this collection yet; `polyglance collection create` adds its index."
    if name == "meta":
        return "'meta' holds your own metadata; name a field of it, such as meta.price."
    return f"{name!r} is kept with every image but not indexed, so no filter can use it."


def _declaration(name: str) -> str:
    key = name.removeprefix("meta.").strip('"')
    return (
        f'To index it, declare its type, as in POLYGLANCE_QDRANT__META_FIELDS=\'{{"{key}": "float"}}\' '
        "(keyword, integer, float, bool, geo, datetime, text), and run `polyglance collection create`."
    )
