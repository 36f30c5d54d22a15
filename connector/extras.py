"""The optional packages, and the one sentence where they are missing.

The rule: a command whose extra is not installed says so before it works, in one line, with the ``pip install`` to run.
What can go on without its extra (``speed``, ``obstore``, ``heic``) asks ``missing`` and goes on.
"""

import importlib.util
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from connector.errors import ConfigError

Extra: TypeAlias = Literal[
    "haystack",
    "heic",
    "jxl",
    "langchain",
    "llamaindex",
    "mcp",
    "obstore",
    "ocr",
    "onnx",
    "parquet",
    "plot",
    "ray",
    "serve",
    "speed",
]

MODULES: Mapping[Extra, tuple[str, ...]] = MappingProxyType(
    {
        "haystack": ("haystack",),
        "heic": ("pillow_heif",),
        "jxl": ("pillow_jxl",),
        "langchain": ("langchain_core",),
        "llamaindex": ("llama_index",),
        "mcp": ("mcp",),
        "obstore": ("obstore",),
        "ocr": ("rapidocr",),
        "onnx": ("onnx", "onnxscript"),
        "parquet": ("pyarrow",),
        "plot": ("matplotlib",),
        "ray": ("ray",),
        "serve": ("fastapi", "python_multipart", "uvicorn"),
        "speed": ("simplejpeg",),
    }
)
"""What each extra of ``pyproject.toml`` brings, by the names under which it is imported."""


def missing(extra: Extra) -> list[str]:
    """What the extra would install and is not there."""
    return [name for name in MODULES[extra] if importlib.util.find_spec(name) is None]


def advice(extra: Extra, *, what: str) -> str:
    """The sentence for ``what``, which cannot do without the extra."""
    return f"{what} needs {', '.join(missing(extra) or MODULES[extra])}: pip install 'polyglance[{extra}]'"


def require(extra: Extra, *, what: str) -> None:
    """Raise ConfigError, with the ``pip install`` to run, where ``what`` needs an extra that is not there."""
    if missing(extra):
        raise ConfigError(advice(extra, what=what))
