"""Captions for ``evaluate``: the user's own JSONL or CSV, and two published data sets as they are unpacked.

The rule: nothing is skipped in silence. A row, a line or a file that does not fit is an InvalidQuery with its place.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.errors import InvalidQuery
from connector.search.options import check_text

XTD_NAMES = "test_image_names.txt"
XTD_CAPTIONS = "test_1kcaptions_*.txt"
"""XTD-10 (Aggarwal and Kale, 2020): line n of each language's file describes the image in line n of the names. The
repository keeps the languages in the folders XTD10, MIC and STAIR."""
CROSSMODAL_KEY = "image/key"
"""Crossmodal-3600 (Thapliyal et al., 2022): captions.jsonl has a line for each image, whose file is KEY.jpg, and in
it an object for each language: {"image/key": …, "image/locale": …, "de": {"caption": [two or more texts], …}, …}."""
_CODES = {"jp": "ja"}  # as XTD-10 names its file


@dataclass(frozen=True, slots=True)
class Caption:
    """A text that describes an image, and the language it is in."""

    image: str
    text: str
    language: str = "unknown"


def read_captions(path: Path) -> list[Caption]:
    """The captions of a file or a folder. Raises InvalidQuery.

    A file is CSV, or JSONL, with the columns image, caption and, where known, language; or Crossmodal-3600's own. A
    folder is XTD-10 or Crossmodal-3600, unpacked.
    """
    try:
        captions = list(_folder(path) if path.is_dir() else _file(path))
    except (OSError, ValueError, csv.Error) as error:  # ValueError: no UTF-8, or a NUL in the path
        raise InvalidQuery(f"the captions {str(path)!r} cannot be read: {error}.") from error
    if not captions:
        raise InvalidQuery(f"{path} holds no captions; each row has an image, a caption and, where known, a language.")
    return captions


def _folder(path: Path) -> Iterator[Caption]:
    if names := sorted(path.rglob(XTD_NAMES)):
        return _xtd(path, names=names[0])
    if found := sorted(path.rglob("captions.jsonl")):
        return _file(found[0])
    raise InvalidQuery(f"{path} has neither {XTD_NAMES} (XTD-10) nor captions.jsonl (Crossmodal-3600) in it.")


def _file(path: Path) -> Iterator[Caption]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file) if path.suffix.lower() == ".csv" else _json_lines(file, path=path)
        for number, row in enumerate(rows, 1):
            if CROSSMODAL_KEY in row:
                yield from _crossmodal(row, where=f"{path}, row {number}")
            else:
                yield _own(row, where=f"{path}, row {number}")


def _own(row: Mapping[str, Any], *, where: str) -> Caption:
    image, text = row.get("image"), row.get("caption")
    if not (isinstance(image, str) and image and isinstance(text, str)):
        raise InvalidQuery(f"{where}, needs an image and a caption; it has {sorted(map(str, row))}.")
    return _caption(image, text, language=str(row.get("language") or "unknown"), where=where)


def _crossmodal(row: Mapping[str, Any], *, where: str) -> Iterator[Caption]:
    for language, said in row.items():
        if isinstance(said, Mapping):
            texts = said.get("caption")
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise InvalidQuery(f"{where}, has no list of captions in {language!r}.")
            for text in texts:
                yield _caption(f"{row[CROSSMODAL_KEY]}.jpg", text, language=language, where=where)


def _xtd(path: Path, *, names: Path) -> Iterator[Caption]:
    images = names.read_text(encoding="utf-8-sig").splitlines()
    for language, file in _languages(path.rglob(XTD_CAPTIONS), beside=names).items():
        texts = file.read_text(encoding="utf-8-sig").splitlines()
        if len(texts) != len(images):
            raise InvalidQuery(f"{file} has {len(texts):,} captions for the {len(images):,} images of {names}.")
        for number, (image, text) in enumerate(zip(images, texts, strict=True), 1):
            yield _caption(image.strip(), text.strip(), language=language, where=f"{file}, line {number}")


def _languages(files: Iterable[Path], *, beside: Path) -> dict[str, Path]:
    """The file of each language; where there are several, the one that lies beside the names."""
    ordered = sorted(files, key=lambda file: (file.parent != beside.parent, file))
    found: dict[str, Path] = {}
    for file in ordered:
        code = file.stem.rpartition("_")[2]
        found.setdefault(_CODES.get(code, code), file)
    return found


def _caption(image: str, text: str, *, language: str, where: str) -> Caption:
    check_text(f"the caption in {where}", text)
    return Caption(image, text, language)


def _json_lines(file: Iterable[str], *, path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidQuery(f"{path}, line {number}, is no JSON: {error}.") from error
        if not isinstance(row, dict):
            raise InvalidQuery(f"{path}, line {number}, is no object with image and caption.")
        yield row
