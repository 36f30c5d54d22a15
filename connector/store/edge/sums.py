"""Check sums of an embedded collection's files: Edge keeps none, and takes whatever a disk gives back for the truth.

    shard/sums.json       the files as they were when the collection was last closed
    shard/sums.old.json   the same while it is written to, and after a crash: only files that are ``LASTING`` are known

The rule: reading changes no byte of a shard, so the sums hold until the first write, which sets them aside; as does
opening a shard with journals, which Edge then works through. They lie in the shard, and move with it.
"""

import json
import os
import random
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from connector.sums import with_sum, without_sum

NOTED, SET_ASIDE = "sums.json", "sums.old.json"
SCHEMA = "../collection.json"
"""The schema of the collection, from its shard."""

BLOCK = 1 << 16
"""Bytes read at a time. Edge lays most files out in advance: blocks of zeros count for nothing, holes are not read."""
_ZEROS = bytes(BLOCK)
LASTING = frozenset(
    {
        *("matrix.dat", "quantized.data", "graph.bin", "links_compressed.bin", "id_tracker.mappings"),
        *("point_to_values.bin", "values_to_points.bin", "prefix_index.bin", "data.bin"),
    }
)
"""Files of a sealed segment that are written once, nine tenths of a large collection. Of all others the time says
nothing: Edge writes through memory maps."""
READ_ALL = 1 << 30
"""Bytes of the largest shard that is read wholly however small the share: a million images are some 4 GB."""

Noted: TypeAlias = dict[str, tuple[int, int, int]]
"""By a file's path: its size, when it was last touched in nanoseconds, and the sum of what it holds."""


@dataclass(frozen=True, slots=True)
class FileFault:
    """A file of a shard that is not as it was written; ``path`` is relative to the shard."""

    path: str
    fault: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What the sums say: ``known`` files were held against them, of which ``read`` wholly; ``unknown`` have none."""

    faults: tuple[FileFault, ...]
    known: int
    read: int
    unknown: int

    @property
    def gone(self) -> bool:
        """Whether there is nothing that could be opened."""
        return not self.known and not self.unknown


def set_aside(shard: Path) -> None:
    """Say that the files are no longer what was noted: the shard is about to be written to."""
    with suppress(FileNotFoundError):
        (shard / NOTED).replace(shard / SET_ASIDE)


def note(shard: Path) -> None:
    """Note the sums of a shard that is closed, unless they are. Lasting files are read once."""
    if (shard / NOTED).is_file():
        return
    before = _noted(shard / SET_ASIDE) or {}
    now: Noted = {}
    for name, path in _files(shard):
        stat = path.stat()
        size, touched, crc = before.get(name, (-1, -1, -1))
        if path.name not in LASTING or (stat.st_size, stat.st_mtime_ns) != (size, touched):
            crc = sum_of(path)
        now[name] = (stat.st_size, stat.st_mtime_ns, crc)
    draft = shard / f"{NOTED}.new"
    draft.write_bytes(with_sum({"files": now}))
    draft.replace(shard / NOTED)
    (shard / SET_ASIDE).unlink(missing_ok=True)


def verify(shard: Path, *, share: float) -> Verified:
    """Hold the files of a shard against their sums: all by name and size, and a share of them, 0 to 1, byte by byte.

    Of a shard of up to ``READ_ALL`` bytes all are read. Nothing is written, and nobody need have the collection open.
    Where it was written to since the sums were noted, only lasting files are known.
    """
    if gone := _gone(shard):
        return Verified((FileFault(gone, "is gone"),), known=0, read=0, unknown=0)
    settled = (shard / NOTED).is_file()
    name = NOTED if settled else SET_ASIDE
    there = dict(_files(shard))
    noted = _noted(shard / name)
    if noted is None:
        damaged = (FileFault(name, "is damaged itself"),) if (shard / name).is_file() else ()
        return Verified(damaged, known=0, read=0, unknown=len(there))
    whole = sum(size for size, _, _ in noted.values()) <= READ_ALL or share >= 1
    found = [FileFault(each, "is gone") for each in noted if settled and each not in there]
    read = known = 0
    for each, path in sorted(there.items()):
        size, touched, crc = noted.get(each, (-1, -1, -1))
        try:
            stat = path.stat()
        except OSError as error:  # a link to nowhere, a disk that fails
            found.append(FileFault(each, f"cannot be read: {error.strerror or error}"))
            continue
        if settled or (path.name in LASTING and (stat.st_size, stat.st_mtime_ns) == (size, touched)):
            known += 1
            chosen = stat.st_size == size and (whole or random.random() < share)
            read += chosen
            if (fault := _fault(path, size=size, crc=crc if chosen else None)) is not None:
                found.append(FileFault(each, fault))
    if found and settled and not (shard / NOTED).is_file():  # somebody began to write meanwhile
        return verify(shard, share=share)
    return Verified(tuple(found), known=known, read=read, unknown=len(there) - known)


@contextmanager
def verifying(shard: Path, *, share: float) -> Iterator[Callable[[], Verified]]:
    """``verify`` in a process of its own, which is ended with the block; what is called in the block waits for it."""
    ours = Path(__file__).parents[3]  # first: a script may have a connector.py of its own beside it
    places = os.pathsep.join([str(ours), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-P", "-m", __name__, str(shard.absolute()), repr(share)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": places}) as child:
        try:
            yield lambda: _read(child, shard=shard, share=share)
        finally:
            child.kill()


def _read(child: "subprocess.Popen[bytes]", *, shard: Path, share: float) -> Verified:
    """What the child found; it is looked for here where the child gave no answer."""
    said, _ = child.communicate()
    if child.returncode:
        return verify(shard, share=share)
    told = json.loads(said)
    return Verified(tuple(FileFault(**each) for each in told.pop("faults")), **told)


def _fault(path: Path, *, size: int, crc: int | None) -> str | None:
    """What is wrong with a file, or None; ``crc`` is None where it is not read."""
    if size < 0:
        return "was not there when the collection was closed"
    try:
        if (now := path.stat().st_size) != size:
            return f"has {now:,} bytes; {size:,} were written"
        return "does not hold what was written" if crc is not None and sum_of(path) != crc else None
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"


def sum_of(path: Path) -> int:
    """The CRC-32 of a file's blocks that are not all zeros, and of where they stand."""
    crc = 0
    with path.open("rb", buffering=0) as file:
        for start, end in _extents(file.fileno(), size=os.fstat(file.fileno()).st_size):
            file.seek(start)
            at = start
            while at < end and (block := file.read(min(BLOCK, end - at))):
                if block != _ZEROS[: len(block)]:
                    crc = zlib.crc32(block, zlib.crc32(at.to_bytes(8, "little"), crc))
                at += len(block)
    return crc


def _extents(file: int, *, size: int) -> Iterator[tuple[int, int]]:
    """Where a file holds data, in whole blocks; all of it where the file system does not tell."""
    if sys.platform in ("win32", "darwin") or size <= BLOCK:
        yield 0, size
        return
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
            after = os.lseek(file, start, os.SEEK_HOLE)
        except OSError:  # nothing but a hole from here on; or no such system call, where nothing was read yet
            if end == 0 and os.fstat(file).st_blocks:
                yield 0, size
            return
        begin = max(end, start - start % BLOCK)
        end = min(size, -(-after // BLOCK) * BLOCK)
        yield begin, end


def _gone(shard: Path) -> str | None:
    """What a collection cannot be without and is not there, by its path from the shard."""
    if not (shard.parent / "collection.json").is_file():
        return SCHEMA
    return None if shard.is_dir() or shard.with_name("shard.old").is_dir() else f"../{shard.name}"


def _files(shard: Path) -> Iterator[tuple[str, Path]]:
    """Every file of a shard but the sums, by its path in it, and the schema beside it."""
    yield SCHEMA, shard / SCHEMA
    for top, _, names in os.walk(shard):
        for name in names:
            path = Path(top) / name
            relative = path.relative_to(shard).as_posix()
            if not relative.startswith(("sums.json", SET_ASIDE)):
                yield relative, path


def _noted(path: Path) -> Noted | None:
    """The noted sums; None where there are none, or none that can be trusted."""
    try:
        files = without_sum(path.read_bytes())["files"]
        return {name: (size, touched, crc) for name, (size, touched, crc) in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(verify(Path(sys.argv[1]), share=float(sys.argv[2])))))
