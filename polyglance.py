"""The front door: the command ``polyglance``, and every public name of both packages.

    from polyglance import ImageSearch, ingest

The rule: importing it loads none of what it names, and its own ``connector`` and ``workers`` are found even where a
script has modules of these names beside it, which it goes on finding too (docs/decisions/0012-names.md).
"""

import importlib
import importlib.util
import logging
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.errors import (
        CollectionMismatch,
        CollectionMissing,
        ConfigError,
        IngestError,
        InvalidQuery,
        ItemsLost,
        ModelError,
        OriginalCutShort,
        OriginalError,
        OriginalMissing,
        OriginalUnavailable,
        Overloaded,
        PolyglanceError,
        RunFilesUnreadable,
        RunIncomplete,
        SourceError,
        StageFailed,
        StoreError,
        StoreFull,
        StoreRefused,
        StoreUnavailable,
        UnreadableImage,
    )
    from connector.records import FacetCount, Hit, HitGroup
    from connector.search.async_client import AsyncImageSearch
    from connector.search.client import ImageSearch
    from connector.search.options import SearchOptions
    from connector.search.query import Query, image, point, text
    from connector.settings import Settings
    from workers.api import ingest, migrate
    from workers.cli.commands import app
    from workers.collection.async_client import AsyncCollection
    from workers.collection.client import Added, Collection
    from workers.duplicates.find import DuplicateReport
    from workers.duplicates.groups import Duplicate, DuplicateGroup
    from workers.run.check import CheckReport, Finding

__all__ = [
    "Added",
    "AsyncCollection",
    "AsyncImageSearch",
    "CheckReport",
    "Collection",
    "CollectionMismatch",
    "CollectionMissing",
    "ConfigError",
    "Duplicate",
    "DuplicateGroup",
    "DuplicateReport",
    "FacetCount",
    "Finding",
    "Hit",
    "HitGroup",
    "ImageSearch",
    "IngestError",
    "InvalidQuery",
    "ItemsLost",
    "ModelError",
    "OriginalCutShort",
    "OriginalError",
    "OriginalMissing",
    "OriginalUnavailable",
    "Overloaded",
    "PolyglanceError",
    "Query",
    "RunFilesUnreadable",
    "RunIncomplete",
    "SearchOptions",
    "Settings",
    "SourceError",
    "StageFailed",
    "StoreError",
    "StoreFull",
    "StoreRefused",
    "StoreUnavailable",
    "UnreadableImage",
    "app",
    "image",
    "ingest",
    "main",
    "migrate",
    "point",
    "text",
]

_ROOT = Path(__file__).resolve().parent
_LAZY = {
    "Added": "workers.collection.client",
    "AsyncCollection": "workers.collection.async_client",
    "AsyncImageSearch": "connector.search.async_client",
    "CheckReport": "workers.run.check",
    "Collection": "workers.collection.client",
    "Duplicate": "workers.duplicates.groups",
    "DuplicateGroup": "workers.duplicates.groups",
    "DuplicateReport": "workers.duplicates.find",
    "FacetCount": "connector.records",
    "Finding": "workers.run.check",
    "Hit": "connector.records",
    "HitGroup": "connector.records",
    "ImageSearch": "connector.search.client",
    "Query": "connector.search.query",
    "SearchOptions": "connector.search.options",
    "Settings": "connector.settings",
    "app": "workers.cli.commands",
    "image": "connector.search.query",
    "ingest": "workers.api",
    "migrate": "workers.api",
    "point": "connector.search.query",
    "text": "connector.search.query",
}
"""Where the names lie that are no errors."""


class _Shared(ModuleType):
    """A package of ours under whose name the user has a module too: its names are the user's first, then ours."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":
            return super().__getattribute__(name)
        theirs = _users_module(super().__getattribute__("__dict__"))
        try:
            return getattr(theirs, name)
        except AttributeError:
            return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        ours = isinstance(value, ModuleType) and value.__name__ == f"{self.__name__}.{name}"
        if ours or name.startswith("__"):
            super().__setattr__(name, value)
        else:
            setattr(_users_module(self.__dict__), name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(_users_module(self.__dict__))})


def _users_module(names: dict[str, Any]) -> ModuleType:
    """The user's module, run when it is first looked into."""
    if isinstance(theirs := names["__theirs__"], ModuleSpec):
        assert theirs.loader is not None
        module = names["__theirs__"] = importlib.util.module_from_spec(theirs)
        theirs.loader.exec_module(module)
    found: ModuleType = names["__theirs__"]
    return found


def _claim(name: str) -> None:
    """See to it that ``import NAME.module`` finds ours, whatever lies beside the script under this name."""
    loaded = sys.modules.get(name)
    theirs = importlib.util.find_spec(name) if loaded is None else loaded.__spec__
    folder = _ROOT / name
    origin = theirs.origin if theirs is not None else getattr(loaded, "__file__", None)
    if origin is not None and Path(origin).resolve() == folder / "__init__.py":
        return
    places = [str(folder), *((theirs.submodule_search_locations or []) if theirs is not None else [])]
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=places)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    for other in [each for each in sys.modules if each.startswith(f"{name}.")]:
        if (folder / other.split(".")[1]).is_dir() or (folder / f"{other.split('.')[1]}.py").exists():
            del sys.modules[other]  # whoever has it keeps it
    sys.modules[name] = module
    spec.loader.exec_module(module)
    if loaded is not None or theirs is not None:
        module.__dict__["__theirs__"] = loaded if loaded is not None else theirs
        module.__class__ = _Shared


_claim("connector")
_claim("workers")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: exit 0 when done, 1 when something is left undone, 2 for a wrong call or settings.

    ``arguments`` stand in for those of the process.
    """
    from connector.errors import ConfigError, InvalidQuery, PolyglanceError
    from workers.cli.commands import app, files_first

    try:
        app(args=files_first(sys.argv[1:] if arguments is None else arguments), prog_name="polyglance")
    except PolyglanceError as error:
        from connector.cli.output import say
        from connector.printable import mask_credentials

        say(f"polyglance: {mask_credentials(str(error))}", err=True, level=logging.ERROR)
        sys.exit(2 if isinstance(error, ConfigError | InvalidQuery) else 1)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY.get(name, "connector.errors")), name)


if __name__ == "__main__":
    main()
