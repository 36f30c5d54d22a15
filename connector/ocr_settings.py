"""Whether and how text in images is read: the settings of ``workers.ocr``."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from connector.settings_sources import Folder, Section

ReaderName: TypeAlias = Literal["rapidocr", "tesseract"]
"""The programs that can read."""

Language = Annotated[str, Field(pattern=r"^\w[\w./-]{0,60}$")]
"""A language as Tesseract names its file: ``deu``, ``chi_sim``, ``script/Greek``."""


class OcrSettings(Section):
    """Text in images: whether ingestion reads it, and how. Memory and time grow with ``processes``."""

    images: Literal["off", "all", "documents"] = "off"
    """Which images ingestion reads: none, all, or only screenshots and documents, which a quick look tells."""
    reader: ReaderName = "rapidocr"
    """What reads: rapidocr (extra ocr), or tesseract where it is installed."""
    models: Folder | None = None
    """Folder of further recognition models for rapidocr, *.onnx: of each line, the surest reading is kept."""
    languages: tuple[Language, ...] = ("eng",)
    """Languages of tesseract, by the names of its files, such as ["eng", "ell", "rus"]."""
    processes: int = Field(default=0, ge=0, le=64)
    """Processes that read, beside each worker; 0 means one for each core it may use, but no more than 4."""
    threads: int = Field(default=1, ge=1, le=64)
    """Threads that each of them computes with."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Seconds that reading one image may take; then it is stored without its text."""
    max_side: int = Field(default=1280, ge=64, le=8192)
    """Longer side, in pixels, to which larger images are made smaller before they are read."""
    max_chars: int = Field(default=10_000, ge=1, le=1_000_000)
    """Characters of one image that are kept."""
    min_confidence: float | None = Field(default=None, ge=0, le=1)
    """Confidence below which a line is left out; none means 0.8 for rapidocr, 0.5 for tesseract."""

    @property
    def least_confidence(self) -> float:
        """The confidence that a line must have, the default filled in."""
        if self.min_confidence is not None:
            return self.min_confidence
        return 0.8 if self.reader == "rapidocr" else 0.5
