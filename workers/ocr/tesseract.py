"""Reading by Tesseract, where it is installed: a program of its own, for the languages that its files know.

Where rapidocr is there too (extra ``ocr``), its models find the lines, at any angle, and help where Tesseract cannot
read; alone it reads whole images that stand upright.
"""

import csv
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from connector.ocr_settings import OcrSettings
from connector.records import Pixels
from workers.ocr.reader import Line

if TYPE_CHECKING:
    from workers.ocr.rapid import RapidReader

HEIGHT = 40
"""Pixels that a line is high before it is read: Tesseract wants letters of some 30."""
MARGIN = 12
"""Pixels around a line: without any, Tesseract finds nothing in it."""
_SPACELESS = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_BETWEEN = re.compile(f"(?<=[{_SPACELESS}]) (?=[{_SPACELESS}])")
"""A space between letters of Thai, Lao, Burmese, Khmer, Kana and Han, which write none; Tesseract puts some there."""
_SYLLABLE = re.compile("[\uac00-\ud7a3]")
NARROW = 0.47
"""Of the height of Korean syllables, up to which a gap parts letters and no words; Tesseract takes most for spaces."""
DOUBT = 0.6
"""What the confidence of rapidocr counts beside Tesseract's: it takes letters that it does not know for others."""
SURE = 0.8
"""Confidence of rapidocr from which a line that Tesseract cannot read is taken as it is."""
UPRIGHT = 0.8
"""Confidence below which a line is read upside down too: what turns them knows Latin and Chinese letters only."""
PAGE, LINE = "11", "13"
"""Tesseract's ways to take an image apart: text wherever it stands, or one raw line."""


class TesseractReader:
    """Reads the lines that ``finder`` finds, or whole pages without one."""

    def __init__(self, settings: OcrSettings, *, finder: "RapidReader | None") -> None:
        self._languages = "+".join(settings.languages)
        self._finder = finder

    def read(self, pixels: Pixels) -> Sequence[Line]:
        """See ``TextReader``."""
        if self._finder is None:
            return [line for page in self._pages([Image.fromarray(pixels)], way=PAGE) for line in page]
        found = self._finder.lines(pixels)
        crops = [crop for _, crop in found]
        lines = self._lines(crops)
        left = [at for at, line in enumerate(lines) if line.confidence < UPRIGHT]
        for at, turned in zip(left, self._lines([crops[at][::-1, ::-1] for at in left]), strict=True):
            lines[at] = max(lines[at], turned, key=lambda each: each.confidence)
        return [_better(line, quick) for line, (quick, _) in zip(lines, found, strict=True)]

    def is_document(self, pixels: Pixels) -> bool:
        """See ``TextReader``; without a finder every image is looked at."""
        return self._finder is None or self._finder.is_document(pixels)

    def _lines(self, crops: Sequence[Pixels]) -> list[Line]:
        """What each line says."""
        pages = self._pages([_line(crop) for crop in crops], way=LINE)
        return [
            Line(" ".join(each.text for each in page), min((each.confidence for each in page), default=0.0))
            for page in pages
        ]

    def _pages(self, images: Sequence[Image.Image], *, way: str) -> list[list[Line]]:
        """The lines of each image."""
        if not images:
            return []
        with tempfile.TemporaryDirectory(prefix="polyglance-ocr-") as scratch:
            paths = [Path(scratch) / f"{number}.png" for number in range(len(images))]
            for image, path in zip(images, paths, strict=True):
                image.save(path, compress_level=1)
            listed = Path(scratch) / "images.txt"
            listed.write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
            command = ["tesseract", str(listed), "stdout", "-l", self._languages, "--psm", way, "tsv"]
            done = subprocess.run(command, capture_output=True, text=True, check=True, errors="replace")
        pages: list[list[Line]] = [[] for _ in images]
        for page, line in _parsed(done.stdout):
            pages[page].append(line)
        return pages


def _better(line: Line, quick: Line) -> Line:
    """Tesseract's reading of a line, or rapidocr's where that is far surer."""
    doubted = replace(quick, confidence=DOUBT * quick.confidence)
    if doubted.confidence <= line.confidence:
        return line
    return quick if quick.confidence >= SURE else doubted


def _line(crop: Pixels) -> Image.Image:
    """A line as Tesseract likes it: of its height, dark on light, with a margin."""
    image = Image.fromarray(crop).convert("L")
    image = image.resize((max(1, round(image.width * HEIGHT / image.height)), HEIGHT), Image.Resampling.BICUBIC)
    grey = np.asarray(image)
    edge = np.concatenate([grey[0], grey[-1]])
    if np.median(edge) < (int(grey.min()) + int(grey.max())) / 2:
        grey = 255 - grey
    paper = int(np.median(np.concatenate([grey[0], grey[-1]])))
    return Image.fromarray(np.pad(grey, MARGIN, constant_values=paper))


@dataclass(frozen=True, slots=True)
class _Word:
    """A row of Tesseract's TSV: a word, where it stands, in pixels, and how sure of it Tesseract is, 0 to 1."""

    text: str
    confidence: float
    left: int
    right: int
    height: int


def _parsed(table: str) -> Iterator[tuple[int, Line]]:
    """The lines of Tesseract's TSV, each with its image: a row for each word says the page and line that it is in."""
    lines: dict[tuple[str, ...], list[_Word]] = {}
    for row in csv.DictReader(table.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        text, confidence = (row.get("text") or "").strip(), float(row.get("conf") or -1)
        if text and confidence >= 0:
            place = tuple(row[name] for name in ("page_num", "block_num", "par_num", "line_num"))
            left, width, height = (int(row[name]) for name in ("left", "width", "height"))
            lines.setdefault(place, []).append(_Word(text, confidence / 100, left, left + width, height))
    for (page, *_), words in lines.items():
        weight = sum(len(word.text) for word in words)
        text = words[0].text + "".join(_gap(one, other) + other.text for one, other in pairwise(words))
        confidence = sum(len(word.text) * word.confidence for word in words) / weight
        yield int(page) - 1, Line(_BETWEEN.sub("", text), confidence)


def _gap(one: _Word, other: _Word) -> str:
    """What stands between two words of a line: nothing where they are syllables of one Korean word."""
    syllables = _SYLLABLE.match(one.text[-1]) and _SYLLABLE.match(other.text[0])
    return "" if syllables and other.left - one.right < NARROW * max(one.height, other.height) else " "
