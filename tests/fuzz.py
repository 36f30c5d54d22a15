"""A child process that decodes mutated files and says what became of them: ``python -m tests.fuzz SEED COUNT``.

It lives under a limit of address space, and dies by SIGALRM when one file takes too long: a codec in C hears nothing
else. The last line is JSON: outcomes, and the growth of the process's peak memory in bytes.
"""

import json
import resource
import signal
import sys
import zlib
from collections import Counter
from pathlib import Path
from random import Random

from connector.errors import UnreadableImage
from connector.images.decode import decode
from tests import corpus

MAX_PIXELS = 2_000_000
SECONDS_PER_FILE = 20
SPARE_ADDRESSES = 3 << 30
"""Address space beyond what the process has at its start; some codecs reserve far more than they touch."""

_KINDS = ("flip",) * 8 + ("extreme",) * 4 + ("cut", "hole", "repeat", "splice")
_EXTREMES = (
    b"\0",
    b"\xff",
    b"\x7f\xff",
    b"\x80\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\0",
    b"\xff\xff\0\0",
)


def mutated(data: bytes, other: bytes, random: Random) -> bytes:
    """The file after one or two of: flipped bytes, extreme numbers, a cut, a hole, a repeat, a splice."""
    for _ in range(random.randint(1, 2)):
        at = random.randrange(len(data) + 1) if random.random() < 0.5 else random.randrange(min(len(data), 300) + 1)
        length = random.choice((1, 2, 4, 16, 200))
        kind = random.choice(_KINDS)
        if kind == "flip":
            changed = bytearray(data)
            for _ in range(random.choice((1, 1, 5, 30)) if data else 0):
                changed[random.randrange(len(data))] = random.randrange(256)
            data = bytes(changed)
        elif kind == "extreme":
            value = random.choice(_EXTREMES)
            data = data[:at] + value + data[at + len(value) :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "hole":
            data = data[:at] + data[at + length :]
        elif kind == "repeat":
            data = data[:at] + data[at : at + length] * random.choice((2, 50)) + data[at + length :]
        else:
            data = data[:at] + other[random.randrange(len(other)) :]
    return _with_right_check_sums(data) if random.random() < 0.7 else data


def _with_right_check_sums(data: bytes) -> bytes:
    """A PNG whose check sums are right again, so that its codec sees the damage; anything else as it is."""
    at, chunks = 8, [data[:8]]
    while data.startswith(b"\x89PNG") and at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        chunks += [data[at:end], zlib.crc32(data[at + 4 : end]).to_bytes(4)]
        at = end + 4
    return data if len(chunks) == 1 else b"".join(chunks) + data[at:]


def main(seed: int, count: int) -> None:
    """Decode ``count`` mutated files; any error but a typed one ends the process."""
    random = Random(seed)
    small = [data for case in corpus.CASES if len(data := case.make()) < 40_000 and len(data) > 16]
    decode(small[0], size=64, max_pixels=MAX_PIXELS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + SPARE_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory counts from here
    start = _peak()
    outcomes: Counter[str] = Counter()
    for number in range(count):
        data = mutated(random.choice(small), random.choice(small), random)
        signal.alarm(SECONDS_PER_FILE)
        try:
            outcomes[decode(data, size=64, max_pixels=MAX_PIXELS).format] += 1
        except UnreadableImage as refused:
            outcomes[refused.reason] += 1
        except BaseException:
            sys.stderr.write(f"file {number} of seed {seed}: {data[:40]!r}\n")
            raise
    signal.alarm(0)
    sys.stdout.write(json.dumps({"outcomes": outcomes, "grown": _peak() - start}) + "\n")


def _peak() -> int:
    """The most memory this process has held, in bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
