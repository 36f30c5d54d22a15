"""Texts to tokens by the Rust tokenizers alone, as transformers makes them for the same model; imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer


class Tokens(NamedTuple):
    """Texts as a model reads them: ids and attention mask, each (n, tokens) int64."""

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TokenizerRules:
    """What a model's tokenizer.json does not say for sure: where texts are cut, and what fills the shorter ones."""

    max_length: int
    pad_id: int
    pad_token: str


class TextTokenizer:
    """Cuts texts at the model's limit and pads them to the longest of a batch."""

    def __init__(self, tokenizer: Tokenizer, rules: TokenizerRules) -> None:
        tokenizer.enable_truncation(rules.max_length)
        tokenizer.enable_padding(pad_id=rules.pad_id, pad_token=rules.pad_token)
        self._tokenizer = tokenizer

    @classmethod
    def read(cls, file: Path, rules: TokenizerRules) -> Self:
        """The tokenizer of a tokenizer.json. Raises Exception, of no narrower type, for one that is damaged."""
        return cls(Tokenizer.from_file(str(file)), rules)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """The tokens of one batch."""
        made = self._tokenizer.encode_batch(list(texts))
        ids = np.array([each.ids for each in made], dtype=np.int64)
        return Tokens(ids, np.array([each.attention_mask for each in made], dtype=np.int64))
