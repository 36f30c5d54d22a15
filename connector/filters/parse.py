"""Filter expressions: one readable line for the command line, REST and Python, made into Qdrant's ``Filter``.

    width >= 1024 and format in ("jpeg", "webp") and not camera == "iPhone 4"

``docs/filters.md`` is the user's page. The one rule: every field is checked against the collection's indexes, so an
expression that is accepted is answered by an index, on the embedded engine and on a server alike.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from connector.settings import FieldType

if TYPE_CHECKING:
    from qdrant_client import models


def parse_filter(expression: str, *, indexes: Mapping[str, FieldType]) -> "models.Filter":
    """The Qdrant filter of an expression.

    ``indexes`` are the collection's indexed fields (``CollectionSchema.indexes``). Raises InvalidQuery that says what
    is wrong, at which column with a caret line, and which field may have been meant.
    """
    from connector.filters.conditions import compiled  # `polyglance --help` needs neither
    from connector.filters.grammar import parse  # both here: qdrant_client takes a second to import, and

    node, source = parse(expression)
    return compiled(node, source=source, indexes=indexes)


def as_filter(where: "str | models.Filter", *, indexes: Mapping[str, FieldType]) -> "models.Filter":
    """The Qdrant filter of an expression, or a ready made one, its fields checked alike. Raises InvalidQuery."""
    if isinstance(where, str):
        return parse_filter(where, indexes=indexes)
    from connector.filters.native import checked

    return checked(where, indexes=indexes)
