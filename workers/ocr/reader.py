"""TextReader: what reads the text in an image, and what it says of it.

The rule: whatever can be known without loading a model is told here, before any work begins: which program and models
read, and that they are there.
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from connector.errors import ConfigError, ModelError
from connector.extras import require
from connector.ocr_settings import OcrSettings
from connector.records import Pixels

VERSION_S = 20.0
"""Seconds in which a program tells its version."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text in an image, and how sure the reader is of it, 0 to 1."""

    text: str
    confidence: float


class TextReader(Protocol):
    """Reads images, one at a time."""

    def read(self, pixels: Pixels) -> Sequence[Line]:
        """The lines of an image, (h, w, 3) uint8 RGB, from the top down."""

    def is_document(self, pixels: Pixels) -> bool:
        """Whether a quick look tells a screenshot or a page of text."""


@dataclass(frozen=True, slots=True)
class RapidFiles:
    """The ONNX files that rapidocr reads with: lines are found, turned upright and read; ``further`` read too."""

    finder: Path
    turner: Path
    recognizer: Path
    further: tuple[Path, ...] = ()

    @property
    def model(self) -> str:
        """The models by their names; those of a folder with their size, since anybody may replace them."""
        further = (f"{path.stem}-{path.stat().st_size}" for path in self.further)
        return " ".join([self.finder.stem, self.recognizer.stem, *further])


def model_of(settings: OcrSettings) -> str:
    """What reads with these settings: two images that one model read are not read again by it.

    Raises ConfigError and ModelError where it is not there, with what to do.
    """
    if settings.reader == "tesseract":
        return " ".join([tesseract_version(), *settings.languages])
    require("ocr", what="reading text (ocr.reader = rapidocr)")
    return rapid_files(settings).model


def rapid_files(settings: OcrSettings) -> RapidFiles:
    """The files of rapidocr's wheel, and those of the user's folder. Raises ModelError where one is missing."""
    spec = find_spec("rapidocr")
    assert spec is not None, "the extra is checked first"
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "models"
    kinds = [sorted(folder.glob(f"*_{kind}_*.onnx")) for kind in ("det", "cls", "rec")]
    if not all(kinds):
        raise ModelError(
            f"rapidocr's models are not in {folder}: pip install --force-reinstall 'polyglance[ocr]' brings them back."
        )
    return RapidFiles(kinds[0][0], kinds[1][0], kinds[2][0], _further(settings))


def _further(settings: OcrSettings) -> tuple[Path, ...]:
    if settings.models is None:
        return ()
    found = tuple(sorted(settings.models.glob("*.onnx")))
    if not found:
        raise ConfigError(f"ocr.models names {settings.models}, in which there is no *.onnx.")
    return found


@cache
def tesseract_version() -> str:
    """Such as ``tesseract-5.3.0``. Raises ConfigError where it is not installed or does not answer."""
    said = _tesseract("--version")
    return said.split("\n", 1)[0].replace("tesseract ", "tesseract-").strip()


@cache
def tesseract_languages() -> frozenset[str]:
    """The languages that are installed. Raises ConfigError as above."""
    return frozenset(_tesseract("--list-langs").splitlines()[1:])


def _tesseract(option: str) -> str:
    if shutil.which("tesseract") is None:
        raise ConfigError("ocr.reader is tesseract, which is not installed: apt install tesseract-ocr, or the like.")
    try:
        done = subprocess.run(["tesseract", option], capture_output=True, text=True, check=True, timeout=VERSION_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"ocr.reader is tesseract, but `tesseract {option}` fails: {error}.") from error
    return done.stdout or done.stderr


def check_reader(settings: OcrSettings) -> str:
    """See to it that reading can begin, before anything else is loaded; gives ``model_of``.

    Raises ConfigError for a program, a language or a folder that is not there, ModelError for missing models.
    """
    model = model_of(settings)
    if settings.reader == "tesseract" and (lacking := set(settings.languages) - tesseract_languages()):
        raise ConfigError(
            f"tesseract has no language {', '.join(sorted(lacking))}; installed: "
            f"{', '.join(sorted(tesseract_languages())) or 'none'}. ocr.languages names what it reads."
        )
    return model
