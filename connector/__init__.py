"""polyglance for applications: search a collection of images in any language.

    from connector import ImageSearch

    with ImageSearch.open(space="mini") as search:
        hits = search.text("ein Hund im Schnee", limit=10)

Importing this package loads no model and no torch; the first question does.
"""

from typing import TYPE_CHECKING, Any

from connector.errors import (
    CollectionMismatch,
    CollectionMissing,
    ConfigError,
    InvalidQuery,
    ModelError,
    Overloaded,
    PolyglanceError,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    UnreadableImage,
)

if TYPE_CHECKING:
    from connector.records import FacetCount, Hit, HitGroup
    from connector.search.async_client import AsyncImageSearch
    from connector.search.client import ImageSearch
    from connector.search.options import SearchOptions
    from connector.search.query import Query, image, point, text
    from connector.settings import Settings

__all__ = [
    "AsyncImageSearch",
    "CollectionMismatch",
    "CollectionMissing",
    "ConfigError",
    "FacetCount",
    "Hit",
    "HitGroup",
    "ImageSearch",
    "InvalidQuery",
    "ModelError",
    "Overloaded",
    "PolyglanceError",
    "Query",
    "SearchOptions",
    "Settings",
    "StoreError",
    "StoreFull",
    "StoreRefused",
    "StoreUnavailable",
    "UnreadableImage",
    "image",
    "point",
    "text",
]

_LAZY = {
    "AsyncImageSearch": "connector.search.async_client",
    "Query": "connector.search.query",
    "FacetCount": "connector.records",
    "Hit": "connector.records",
    "HitGroup": "connector.records",
    "ImageSearch": "connector.search.client",
    "SearchOptions": "connector.search.options",
    "Settings": "connector.settings",
    "image": "connector.search.query",
    "point": "connector.search.query",
    "text": "connector.search.query",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
