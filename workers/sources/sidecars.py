"""What the user wrote down beside an image: a JSON object or a caption, in a file of the same stem.

A broken sidecar never costs the image: it gives no metadata, and the caller says so in its log.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

MAX_SIDECAR_BYTES = 1024 * 1024
"""A larger file beside an image is no sidecar but something else."""


class BrokenSidecar(ValueError):
    """A sidecar that holds no metadata we can take; the message says why."""


def sidecar_names(filename: bytes) -> Sequence[bytes]:
    """The names an image's sidecars may have, the weakest word first: ``photo.txt photo.json photo.jpg.json``."""
    stem = filename.rpartition(b".")[0] or filename
    return (stem + b".txt", stem + b".json", filename + b".json")


def parse_sidecar(data: bytes, *, caption: bool) -> Mapping[str, Any]:
    """The metadata in a sidecar's bytes: ``{"caption": …}`` of a text file, or a JSON object as it stands.

    Raises BrokenSidecar for what is too large, not UTF-8, no JSON, or no JSON object.
    """
    if len(data) > MAX_SIDECAR_BYTES:
        raise BrokenSidecar(f"larger than {MAX_SIDECAR_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
        if caption:
            return {"caption": text.strip()} if text.strip() else {}
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: bad UTF-8, bad JSON, an integer of 5,000 digits
        raise BrokenSidecar(f"{type(error).__name__}: {error}") from error
    if not isinstance(value, dict):
        raise BrokenSidecar(f"a JSON object is wanted, this is {type(value).__name__}")
    return value
