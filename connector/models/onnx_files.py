"""ONNX files that we export ourselves: where they are kept, how they are written and opened."""

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    import onnxruntime

log = logging.getLogger(__name__)

LIBRARIES = ("torch", "transformers", "onnx", "onnxruntime", "onnxscript")
"""Whoever had a hand in a file: another version of one of them means another file."""


def missing_libraries() -> list[str]:
    """What exporting needs and is not there: the extra ``onnx``, and the runtime that reads what was exported."""
    return [name for name in ("onnxruntime", "onnx", "onnxscript") if importlib.util.find_spec(name) is None]


def cache_folder() -> Path:
    """Where exported files are kept."""
    return Path(platformdirs.user_cache_dir("polyglance")) / "onnx"


def open_session(path: Path, *, threads: int) -> "onnxruntime.InferenceSession | None":
    """The file, ready to run; None where it is damaged."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # or they keep cores from the store
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  (ONNX Runtime's errors have no common type; the file is made again)
        log.warning("onnx_unreadable path=%s: %s", path, error)
        return None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's advice off the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "root")]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
