"""The settings of words: which fields of an image words are found in, and how much each counts.

The rule: a name that is given replaces the default's weight, and all others keep theirs; 0 leaves a field out. A
collection remembers the weights that it was made with; ``polyglance collection words`` brings it to others.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import Field, field_validator

from connector.records import field_fault
from connector.settings_sources import Section

WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "title": 3.0,
        "tags": 3.0,
        "meta.title": 3.0,
        "place": 2.0,
        "description": 2.0,
        "meta.caption": 2.0,
        "meta.description": 2.0,
        "meta": 2.0,
        "languages": 1.5,
        "ocr_text": 1.5,
        "filename": 1.0,
        "folder": 0.5,
    }
)
"""What counts most is what a person wrote about the image, then what was read in it, then what it is called.

``meta`` stands for every field of meta that is declared as text.
"""


class WordsSettings(Section):
    """How much the words of each field count when images are found by their words."""

    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    """What fields count, such as {"ocr_text": 3, "folder": 0, "meta.album": 2}; others keep their default weight."""

    @field_validator("weights")
    @classmethod
    def _check_names(cls, weights: dict[str, float]) -> dict[str, float]:
        for name in weights:
            if fault := field_fault(name):
                raise ValueError(fault.removesuffix("."))
        return weights

    @property
    def all_weights(self) -> dict[str, float]:
        """The weight of every field that counts."""
        return {name: weight for name, weight in {**WEIGHTS, **self.weights}.items() if weight > 0}
