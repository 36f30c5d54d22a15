"""polyglance for applications: search a collection of pictures in any language.

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
    from connector.blend import Blend, picture, point, words
    from connector.records import FacetCount, Hit, HitGroup
    from connector.search import ImageSearch
    from connector.search_async import AsyncImageSearch
    from connector.settings import Settings

__all__ = [
    "AsyncImageSearch",
    "Blend",
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
    "Settings",
    "StoreError",
    "StoreFull",
    "StoreRefused",
    "StoreUnavailable",
    "UnreadableImage",
    "picture",
    "point",
    "words",
]

_LAZY = {
    "AsyncImageSearch": "connector.search_async",
    "Blend": "connector.blend",
    "FacetCount": "connector.records",
    "Hit": "connector.records",
    "HitGroup": "connector.records",
    "ImageSearch": "connector.search",
    "Settings": "connector.settings",
    "picture": "connector.blend",
    "point": "connector.blend",
    "words": "connector.blend",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
