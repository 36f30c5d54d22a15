"""Texts to tokens by the Rust tokenizers alone, as transformers makes them for the same model; imports no torch."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.normalizers import Lowercase


class Tokens(NamedTuple):
    """Texts as a model reads them: ids and attention mask, each (n, tokens) int64."""

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is done to a text before the tokenizer sees it, see ``connector.models.declaration.TextSpec``."""

    lowercase: bool = False
    clean: Literal["no", "whitespace"] = "no"

    def of(self, texts: Sequence[str]) -> list[str]:
        """The texts as the tokenizer takes them."""
        found = list(texts)
        if self.clean == "whitespace":
            found = [" ".join(html.unescape(html.unescape(text)).split()) for text in found]
        if self.lowercase:
            found = [Lowercase().normalize_str(text) for text in found]
        return found


@dataclass(frozen=True, slots=True)
class TokenizerRules:
    """What a model's tokenizer.json does not say for sure: where texts are cut, and what fills the shorter ones.

    ``fixed`` says that all are filled up to the limit, ``lowercase`` and ``clean`` how texts are prepared.
    """

    max_length: int
    pad_id: int
    pad_token: str
    fixed: bool = False
    lowercase: bool = False
    clean: Literal["no", "whitespace"] = "no"


class TextTokenizer:
    """Prepares texts, cuts them at the model's limit and pads them to the longest of a batch, or to that limit."""

    def __init__(self, tokenizer: Tokenizer, rules: TokenizerRules) -> None:
        tokenizer.enable_truncation(rules.max_length)
        length = rules.max_length if rules.fixed else None
        tokenizer.enable_padding(pad_id=rules.pad_id, pad_token=rules.pad_token, length=length)
        self._tokenizer = tokenizer
        self._preparation = Preparation(lowercase=rules.lowercase, clean=rules.clean)

    @classmethod
    def read(cls, file: Path, rules: TokenizerRules) -> Self:
        """The tokenizer of a tokenizer.json. Raises Exception, of no narrower type, for one that is damaged."""
        return cls(Tokenizer.from_file(str(file)), rules)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """The tokens of one batch."""
        made = self._tokenizer.encode_batch(self._preparation.of(texts))
        ids = np.array([each.ids for each in made], dtype=np.int64)
        return Tokens(ids, np.array([each.attention_mask for each in made], dtype=np.int64))
