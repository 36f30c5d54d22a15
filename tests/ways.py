"""How many modules a reader opens to follow an image, a question or a filter: counted by following real ones.

    python -m tests.ways

The rule: a module counts once a function of it is handed the image, or called for the question, between the public
door and the store's own one; what the store does with it is the store's.
"""

import inspect
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
IMAGE = ROOT / "workers/demo/images/activities/kite.png"
IMAGE_WAY = "an image, from ingest to the upsert"
QUERY_WAY = "a question, from ImageSearch.text to the store"
FILTER_WAY = "a filter, from its text to Qdrant's model"

Is = Callable[[object], bool]


def main() -> None:
    """Print every way with its modules."""
    with tempfile.TemporaryDirectory() as folder:
        for name, modules in ways(Path(folder)).items():
            print(f"{name}: {len(modules)} modules", *modules, sep="\n  ")  # noqa: T201  (this is its output)


def ways(folder: Path) -> dict[str, list[str]]:
    """The modules of each way, in the order they are met; ``folder`` takes the data."""
    from connector import ImageSearch, Settings
    from connector.filters.parse import parse_filter
    from workers.api import ingest

    settings = Settings.load({"model.space": "mini", "qdrant.path": str(folder / "qdrant")})
    found = {}
    with following(handed=is_the_image()) as found[IMAGE_WAY]:
        ingest(IMAGE, settings=settings)
    with ImageSearch.open(settings=settings) as search:
        search.text("a kite")  # the model is loaded, the calibration made
        with following() as found[QUERY_WAY]:
            search.text("a boat")
    with following() as found[FILTER_WAY]:
        parse_filter('width >= 64 and folder == "x"', indexes={"width": "integer", "folder": "keyword"})
    return found


def is_the_image() -> Is:
    """Whether a value is the image, in any of its forms, or holds it."""
    import numpy as np

    from connector.images.decode import Decoded, decode
    from connector.models.catalog import find_space
    from connector.records import Point
    from workers.pipeline.metadata import Hashed, Image
    from workers.records import Blob, Ref, Shard

    data = IMAGE.read_bytes()
    pixels = decode(data, size=find_space("mini").image_size, max_pixels=10**6).pixels

    def carries(value: object) -> bool:
        match value:
            case list() | tuple():
                return bool(value) and carries(value[0])
            case np.ndarray():
                return value.shape[-3:] == pixels.shape and np.array_equal(value.reshape(-1, *pixels.shape)[0], pixels)
            case bytes():
                return value == data
        return isinstance(value, Blob | Decoded | Hashed | Image | Point | Ref | Shard)

    return carries


@contextmanager
def following(*, handed: Is | None = None) -> Iterator[list[str]]:
    """The modules of ours whose functions are called within the block, by any thread; where ``handed``, with such."""
    met: list[str] = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_globals.get("__name__", "")
        is_function = frame.f_code.co_flags & inspect.CO_OPTIMIZED  # neither a module's body nor a class's
        if event != "call" or not is_function or not is_ours(name) or name in met:
            return
        arguments = frame.f_code.co_varnames[: frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount]
        if handed is None or any(handed(frame.f_locals[each]) for each in arguments if each in frame.f_locals):
            met.append(name)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield met
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def is_ours(module: str) -> bool:
    """Whether a module counts: ours, and not behind the store's door."""
    behind = module.startswith(("connector.store.", "connector.words.")) and module != "connector.store.engine"
    return module.split(".")[0] in ("connector", "workers") and not behind


if __name__ == "__main__":
    main()
