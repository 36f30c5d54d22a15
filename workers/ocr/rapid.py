"""Reading by rapidocr: PaddleOCR's models under ONNX Runtime (extra ``ocr``).

The rule: only files that lie on this disk are opened; left to itself, rapidocr would fetch what it lacks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rapidocr import RapidOCR
from rapidocr.utils.process_img import get_rotate_crop_image

from connector.records import Pixels
from workers.ocr.reader import Line, RapidFiles

Bgr: TypeAlias = NDArray[np.uint8]
"""(h, w, 3) uint8, blue first: as these models were trained."""

QUICK = 320
"""Pixels of the longer side for the quick look that tells documents."""
DOCUMENT_LINES = 4
"""Lines of text that it finds in a screenshot or a document, at least."""
DOCUMENT_SHARE = 0.02
"""And the share of the image that they cover, at least."""
LONG = 1.5
"""Length of a line over its height, at least: windows and tiles, which are taken for text, are as high as wide."""
SMALL_SIDE = 736
"""Pixels of the shorter side up to which a small image is enlarged, by no more than ``LARGER``."""
LARGER = 2.0
WIDEST = 1.3
"""Width of a letter over the height of its line, at most."""


class RapidReader:
    """Finds lines at any angle, turns them upright and reads them. Not for several threads at once."""

    def __init__(self, files: RapidFiles, *, threads: int) -> None:
        self._engine = _engine(files, recognizer=files.recognizer, threads=threads)
        self._further = [_engine(files, recognizer=path, threads=threads) for path in files.further]
        for engine in self._further:  # a file that is no model says so now
            engine.recognize_txt([np.full((48, 160, 3), 255, np.uint8)])

    def read(self, pixels: Pixels) -> Sequence[Line]:
        """See ``TextReader``. Of several models, the surest has each line."""
        return [line for line, _ in self.lines(pixels)]

    def lines(self, pixels: Pixels) -> list[tuple[Line, Pixels]]:
        """Every line and where it stands, cut out and turned upright as far as these models can tell."""
        image = _bgr(_enlarged(pixels))
        found = self._engine(image, use_det=True, use_cls=False, use_rec=False)
        if getattr(found, "boxes", None) is None:
            return []
        crops, _ = self._engine.cls_and_rotate(
            [get_rotate_crop_image(image, box.astype(np.float32)) for box in found.boxes]
        )
        lines = [max(each, key=lambda line: line.confidence) for each in zip(*self._readings(crops), strict=True)]
        return [
            (_doubted(line, crop), np.ascontiguousarray(crop[:, :, ::-1]))
            for line, crop in zip(lines, crops, strict=True)
        ]

    def is_document(self, pixels: Pixels) -> bool:
        """See ``TextReader``: several lines, which cover some of the image."""
        image = _bgr(_resized(pixels, min(1.0, QUICK / max(pixels.shape[:2]))))
        found = self._engine(image, use_det=True, use_cls=False, use_rec=False)
        boxes = getattr(found, "boxes", None)
        lines = [box for box in (() if boxes is None else boxes) if _area(box) >= LONG * _height(box) ** 2]
        if len(lines) < DOCUMENT_LINES:
            return False
        return bool(sum(map(_area, lines)) >= DOCUMENT_SHARE * image.shape[0] * image.shape[1])

    def _readings(self, crops: list[Bgr]) -> Iterator[list[Line]]:
        """What each model makes of all lines."""
        for engine in (self._engine, *self._further):
            read = engine.recognize_txt(crops)
            yield [Line(text, float(score)) for text, score in zip(read.txts, read.scores, strict=True)]


def _doubted(line: Line, crop: Bgr) -> Line:
    """A reading far too short for its line is half as sure: letters that a model does not know are passed over."""
    height, width = crop.shape[:2]
    if WIDEST * len(line.text) * height + height >= width:
        return line
    return replace(line, confidence=line.confidence / 2)


def _engine(files: RapidFiles, *, recognizer: Path, threads: int) -> Any:
    keys = recognizer.with_suffix(".txt")
    params: dict[str, Any] = {
        "Global.log_level": "error",
        "Global.text_score": 0.0,  # what is kept is decided for all readers alike
        "Global.max_side_len": 100_000,  # what comes in has its size already
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        "Det.model_path": str(files.finder),
        "Det.limit_type": "max",
        "Det.limit_side_len": 100_000,
        "Cls.model_path": str(files.turner),
        "Rec.model_path": str(recognizer),
    }
    if keys.exists():
        params["Rec.rec_keys_path"] = str(keys)
    return RapidOCR(params=params)


def _bgr(pixels: Pixels) -> Bgr:
    """The same in the models' order of colours."""
    return np.ascontiguousarray(pixels[:, :, ::-1])


def _enlarged(pixels: Pixels) -> Pixels:
    """A small image made larger, any other as it is."""
    factor = min(LARGER, SMALL_SIDE / min(pixels.shape[:2]))
    return _resized(pixels, factor) if factor > 1 else pixels


def _resized(pixels: Pixels, factor: float) -> Pixels:
    height, width = pixels.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def _height(box: NDArray[np.float32]) -> float:
    """Of a quadrangle, (4, 2): its shorter side."""
    return float(np.linalg.norm(box - np.roll(box, 1, axis=0), axis=1).min())


def _area(box: NDArray[np.float32]) -> float:
    """Of a quadrangle, (4, 2), by the shoelace formula."""
    x, y = box[:, 0], box[:, 1]
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)
