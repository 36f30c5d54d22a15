"""Images that a program hands over, as the source of one shard: paths, addresses, bytes, PIL images and arrays.

The rule: what cannot be used is a reject like any other. Bytes that came from nowhere are named by their content, so
the same bytes are the same point.
"""

import hashlib
import io
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from connector.errors import InvalidQuery, UnreadableImage
from connector.search.options import shown
from connector.settings import Settings
from connector.version import Version
from workers.plain_json import clean, plain_text
from workers.records import Blob, Outcome, Ref, Reject
from workers.sources.addresses import Addresses
from workers.sources.source import scheme_of

if TYPE_CHECKING:
    from PIL.Image import Image

GivenImage: TypeAlias = "str | Path | bytes | Image | NDArray[np.uint8]"
"""A path, an address (``https:``, ``s3:``, ``file:``), a file's bytes, a PIL image, or an array (height, width, 3 or 4)
or (height, width) uint8."""

MEMORY = "memory:"
"""Scheme of the URI of an image that came without an address; what follows is a digest of its bytes."""

_AS_PNG = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


class GivenImages:
    """Turns what is handed over into refs, and refs into bytes. One shard at a time."""

    root = MEMORY

    def __init__(self, settings: Settings, *, home: Path | None = None) -> None:
        self._home = None if home is None else home.as_uri()
        self._addresses = Addresses(settings, source=MEMORY, base=Path.cwd())
        self._most = settings.limits.max_bytes
        self._data: dict[str, bytes] = {}

    def ref(
        self, image: GivenImage, *, position: int, meta: Mapping[str, Any] | None, identity: str | None
    ) -> Ref | Reject:
        """The ref of an image, or the reject of what is none."""
        try:
            if isinstance(image, str | Path):
                found = self._addresses.ref(_address(image), position=None, meta=meta, identity=identity)
                return found if isinstance(found, Reject) else self._placed(found)
            data = _bytes_of(image)
        except UnreadableImage as error:
            return Reject(f"{MEMORY}{position}", stage="decode", reason=error.reason, detail=str(error))
        except InvalidQuery as error:
            return Reject(f"{MEMORY}{position}", stage="list", reason="bad_address", detail=str(error))
        if len(data) > self._most:
            detail = f"{len(data):,} bytes; limits.max_bytes is {self._most:,}"
            return Reject(f"{MEMORY}{position}", stage="read", reason="too_large", detail=detail)
        name = hashlib.blake2b(data, digest_size=16).hexdigest()
        uri = MEMORY + name
        self._data[uri] = data
        version = Version.of_page(etag=None, modified=None, data=data).with_metadata(meta or {})
        return Ref(*(uri, MEMORY, name, "", name, version), size=len(data), meta=meta or {}, identity=identity)

    def _placed(self, ref: Ref) -> Ref:
        """An image of an address is a source of its own, but for those of the home."""
        if self._home is None or not ref.uri.startswith(f"{self._home}/"):
            return replace(ref, source=ref.uri)
        return replace(ref, source=self._home, folder="")

    def list(self) -> Iterator[Ref | Reject]:
        """Nothing: whoever hands images over has their refs."""
        return iter(())

    def read(self, refs: Sequence[Ref]) -> Iterator[Outcome]:
        """One outcome for each ref, in order."""
        for ref in refs:
            if (data := self._data.get(ref.uri)) is None:
                yield from self._addresses.read([ref])
            else:
                assert ref.version is not None
                yield Blob(ref, data, ref.version, ref.meta)

    def forget(self) -> None:
        """Let go of the bytes of the last shard."""
        self._data.clear()

    def close(self) -> None:
        """Close the connections."""
        self._addresses.close()


def _address(image: str | Path) -> str:
    text = str(image)
    return text if scheme_of(text) or text.startswith("file:") else str(Path(text).expanduser())


def _bytes_of(image: "bytes | Image | NDArray[np.uint8]") -> bytes:
    """A file's bytes; of pixels they are made, losslessly. Raises InvalidQuery, and UnreadableImage."""
    from PIL import Image

    match image:
        case bytes() | bytearray() | memoryview():
            return bytes(image)
        case np.ndarray():
            return _png(_from_array(image))
        case Image.Image():
            return _png(image)
    raise InvalidQuery(
        f"the image is {type(image).__name__}; a path, an address, bytes, a PIL image or an array is wanted."
    )


def _from_array(array: NDArray[Any]) -> "Image":
    from PIL import Image

    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise InvalidQuery(
            f"the array is {array.dtype} of shape {array.shape}; (height, width, 3) uint8 is wanted, RGB. Many images "
            "are a list of arrays."
        )
    if 0 in array.shape:
        raise UnreadableImage(f"the array has the shape {array.shape}.", reason="empty")
    return Image.fromarray(np.ascontiguousarray(array))


def _png(image: "Image") -> bytes:
    if 0 in image.size:
        raise UnreadableImage(f"the image has {image.width}x{image.height} pixels.", reason="empty")
    buffer = io.BytesIO()
    try:
        kept = image if image.mode in _AS_PNG else image.convert("RGB")
        profile = image.info.get("icc_profile") if kept is image else None
        kept.save(buffer, "PNG", compress_level=1, exif=image.getexif(), icc_profile=profile)
    except Exception as error:
        raise UnreadableImage(f"the PIL image cannot be read: {error!r}", reason="decoder_error") from error
    return buffer.getvalue()


def is_one(image: object) -> bool:
    """Whether this is an image, or anything but many of them."""
    single = isinstance(image, str | bytes | bytearray | memoryview | Path | Mapping) or hasattr(image, "shape")
    return single or hasattr(image, "read") or not isinstance(image, Iterable)  # an open file gives its lines


def in_turn(value: object, name: str, *, for_all: bool) -> Callable[[int | None], list[Any]]:
    """Takes so many of what was given, one for each image, in turn; None asks whether some were left over."""
    if value is None or (for_all and isinstance(value, Mapping)):
        return lambda count: [value] * (count or 0)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidQuery(f"{name} is {shown(value)}; one for each image is wanted, in a list.")
    rest = iter(value)

    def take(count: int | None) -> list[Any]:
        taken = [*islice(rest, 1 if count is None else count)]
        if len(taken) != (count or 0):
            raise InvalidQuery(f"{name} has {'more' if count is None else 'fewer'} entries than there are images.")
        return taken

    return take


def checked_id(given: object) -> str | None:
    """An id, a UUID in its one form. Raises InvalidQuery."""
    if given is None or isinstance(given, uuid.UUID):
        return None if given is None else str(given)
    if not isinstance(given, str) or not given.strip():
        raise InvalidQuery(f"an id is {shown(given)}; a text is wanted, such as a UUID or 'album 7, page 3'.")
    try:
        return str(uuid.UUID(given))
    except ValueError:
        return plain_text(given)


def checked_meta(meta: object) -> dict[str, Any] | None:
    """The user's own metadata as plain JSON. Raises InvalidQuery."""
    if meta is None:
        return None
    if isinstance(meta, Mapping):
        return cast("dict[str, Any]", clean(meta))
    raise InvalidQuery(f"meta is {shown(meta)}; a mapping such as {{'album': 'Norderney'}} is wanted.")
