"""Whether the files of a run's folder are what was written, and belong together.

The rule: nothing is repaired here. Readers of these files take a damaged one for none; here it is named.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from connector.run_status import REJECTS, STATUS, RunStatus
from connector.sums import without_sum
from workers.pipeline.counters import RunReport
from workers.records import Counts, Ref, Reject
from workers.run.files import RunFiles
from workers.run.shards import MOUNTS, Listed, Manifest

GZIP = b"\x1f\x8b\x08\x00\x00\x00\x00\x00"
"""How each listing begins: its own sum covers what is packed, and not this."""
SYSTEMS = (b"\xff", b"\x03", b"\x00", b"\x0a", b"\x0b", b"\x07", b"\x13")
"""What Python writes into a gzip file's last byte of the head, on one system or another."""


def file_faults(files: RunFiles) -> Iterator[tuple[str, str]]:
    """Each damaged file of a run's folder by its name, and what is wrong with it."""
    names = [name for name in files.names("") if not name.endswith(".lock")]
    whole = True
    for name in names:
        data = files.read(name)
        if data is None:  # gone meanwhile
            continue
        try:
            _check_of(name)(data)
        except (ValueError, TypeError, KeyError, OSError, EOFError, zlib.error) as error:
            whole = False
            yield name, f"is not what was written: {error}"
    if whole:
        yield from _missing(names, files=files)


def _check_of(name: str) -> Callable[[bytes], object]:
    """What looks at a file of this name; whatever it raises is the fault."""
    below, _, rest = name.rpartition("/")
    match below.rpartition("/")[2], rest:
        case "listing", _:
            return _check_shard
        case "done", _:
            return _check_report
        case folder, _ if folder == REJECTS:
            return _check_rejects
        case _, "run.json":
            return partial(_check_fields, kind=Manifest)
        case _, "listing.json":
            return partial(_check_fields, kind=Listed)
        case _, last if last == STATUS:
            return partial(_check_fields, kind=RunStatus)
        case _, last if last == MOUNTS:
            return _check_mounts
    return _unknown


def _unknown(_: bytes) -> None:
    raise ValueError("no run writes a file of this name")


def _check_fields(data: bytes, *, kind: type) -> Mapping[str, Any]:
    """An object of these fields and no others, which have the types of what is written."""
    value = without_sum(data)
    kind(**value)
    known = {each.name: each.type for each in fields(kind)}
    for name, each in value.items():
        if known[name] in (int, "int") and (type(each) is not int or each < 0):
            raise ValueError(f"{name} is {each!r:.100}, which cannot be")
        if known[name] in (str, "str") and not isinstance(each, str):
            raise ValueError(f"{name} is {each!r:.100}, which cannot be")
    return value


def _check_report(data: bytes) -> None:
    value = without_sum(data)
    counts = Counts(**value["counts"])
    RunReport(**{**value, "counts": counts})
    if not counts.balanced:
        raise ValueError(f"the counts do not balance: {counts}")


def _check_mounts(data: bytes) -> None:
    for device, system in without_sum(data).values():
        if type(device) is not int or type(system) is not int:
            raise ValueError(f"{device!r:.20}, {system!r:.20} is no disk")


def _check_shard(data: bytes) -> None:
    if data[: len(GZIP)] != GZIP or data[8:9] not in (b"\x00", b"\x04", b"\x02") or data[9:10] not in SYSTEMS:
        raise ValueError("its head is no listing's")
    for row in json.loads(gzip.decompress(data)):
        Ref(*row)


def _check_rejects(data: bytes) -> None:
    if not data:
        raise ValueError("it is empty; a file without a reject is not written")
    lines = data.split(b"\n")
    if lines.pop():
        raise ValueError("its last line is half written")
    for line in lines:
        value = without_sum(line)
        Reject(**{**value, "ref": None if value["ref"] is None else Ref(**value["ref"])})


def _missing(names: list[str], *, files: RunFiles) -> Iterator[tuple[str, str]]:
    """What a run that is not over needs to go on, and what belongs to no run."""
    there = set(names)
    if names and "run.json" not in there:
        yield "run.json", "is gone, and other files of the run are there"
    data = files.read("listing.json")
    if data is None:
        return
    for number in range(Listed(**without_sum(data)).shards):
        listing, done = f"listing/{number:06d}.gz", f"done/{number:06d}.json"
        if listing in there or done in there:
            continue
        if files.read(listing) is None and files.read(done) is None and files.read("listing.json") is not None:
            yield listing, "is gone, and nothing says that its images came to their end"
