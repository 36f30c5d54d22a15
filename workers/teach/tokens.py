"""Tokens: what a tokenizer cannot read of a language, and the pieces that it is given for that.

The rule: a new piece holds a character that the tokenizer could not read before. No text that it could read is cut
otherwise than it was, so the other languages keep their tokens.
"""

import json
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

log = logging.getLogger(__name__)

PIECES = 4000
"""New pieces at most: the vocabulary of some 2,000 lines."""
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_UNKNOWN = ("[UNK]", "<unk>")
SPACE = "▁"
"""SentencePiece's mark of a space, a piece of its own before a character that stands alone."""


def unread_characters(tokenizer: Tokenizer, texts: Iterable[str]) -> set[str]:
    """The characters of the texts that a tokenizer has no piece for: it says unknown, or spells their bytes."""
    characters = sorted({each for text in texts for each in text if not each.isspace()})
    unknown = {number for name in _UNKNOWN if (number := tokenizer.token_to_id(name)) is not None}
    found = set()
    for each, made in zip(characters, tokenizer.encode_batch(characters, add_special_tokens=False), strict=True):
        pieces = [piece for piece in made.tokens if piece != SPACE]
        if unknown & set(made.ids) or len(pieces) > 1 or any(map(_BYTE.fullmatch, pieces)):
            found.add(each)
    return found


def new_pieces(tokenizer: Tokenizer, texts: Sequence[str], *, most: int = PIECES) -> list[str]:
    """The likeliest pieces of the words that hold unread characters (a Unigram model: Kudo, 2018), the longest first.

    Every unread character is one of them, so that no later text of the language is unknown.
    """
    normalized = [_normalized(tokenizer, text) for text in texts]
    unread = unread_characters(tokenizer, normalized)
    words = [word for text in normalized for word in text.replace(SPACE, " ").split() if unread & set(word)]
    if not words:
        return []
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.UnigramTrainer(
        vocab_size=max(most, len(unread) + 1),
        initial_alphabet=sorted(unread),
        special_tokens=["<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    trained.train_from_iterator(words, trainer)
    pieces = {piece for piece, _ in json.loads(trained.to_str())["model"]["vocab"] if unread & set(piece)} | unread
    return sorted(pieces, key=lambda piece: (-len(piece), piece))


def add_pieces(file: Path, pieces: Sequence[str]) -> dict[str, int]:
    """Add pieces to a tokenizer.json, behind all that it has; their numbers. Nothing else of the file changes."""
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.add_tokens([AddedToken(piece, normalized=True) for piece in pieces])
    told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    told["added_tokens"] = json.loads(tokenizer.to_str())["added_tokens"]
    file.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    numbers = tokenizer.get_vocab(with_added_tokens=True)
    return {piece: numbers[piece] for piece in pieces}


def _normalized(tokenizer: Tokenizer, text: str) -> str:
    return text if tokenizer.normalizer is None else str(tokenizer.normalizer.normalize_str(text))
