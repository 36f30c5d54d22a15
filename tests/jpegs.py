"""What becomes of JPEGs of every kind, whole, cut and mutated: ``python -m tests.jpegs [--without-simplejpeg]``.

Writes one line of JSON: for each file the reason it was refused for, or the check sum of its pixels.
"""

import json
import sys
import zlib
from collections.abc import Iterator
from random import Random

from connector.errors import UnreadableImage
from connector.images.decode import decode
from tests import corpus, fuzz
from tests.corpus_files import saved, scene

MUTANTS = 1200
_SHAPES = ((1, 1), (7, 300), (64, 64), (129, 128), (255, 257), (500, 375), (601, 899), (1283, 961), (2100, 500))


def files() -> Iterator[tuple[str, bytes]]:
    """Names and bytes: the corpus, shapes and subsamplings, and what comes of cutting and mutating them."""
    whole = [(case.name, case.make()) for case in corpus.CASES if case.make().startswith(b"\xff\xd8")]
    for shape in _SHAPES:
        for mode in ("RGB", "L", "CMYK"):
            image = scene(*shape).convert(mode)
            whole += [(f"{mode} {shape} {part}", saved(image, "JPEG", subsampling=part)) for part in (0, 1, 2)]
            whole.append((f"{mode} {shape} progressive", saved(image, "JPEG", progressive=True)))
    yield from whole
    small = [data for _, data in whole if 200 < len(data) < 40_000]
    random = Random(7)
    for number in range(MUTANTS):
        data = random.choice(small)
        if number % 4 == 0:
            yield f"cut {number}", data[: -random.randint(1, 40)]
        else:
            yield f"mutant {number}", fuzz.mutated(data, random.choice(small), random)


def outcomes() -> dict[str, str | int]:
    """By name of the file, what became of it."""
    return {name: _outcome(data) for name, data in files()}


def _outcome(data: bytes) -> str | int:
    try:
        return zlib.crc32(decode(data, size=64, max_pixels=4_000_000).pixels.tobytes())
    except UnreadableImage as refused:
        return refused.reason


if __name__ == "__main__":
    if sys.argv[1:] == ["--without-simplejpeg"]:
        sys.modules["simplejpeg"] = None  # type: ignore[assignment]  # as where the extra is not installed
    sys.stdout.write(json.dumps(outcomes()) + "\n")
