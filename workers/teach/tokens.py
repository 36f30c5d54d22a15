"""Tokens: the pieces and words that a tokenizer is given for a language.

The rule: a new piece holds a character that the tokenizer could not read before, so no text that it could read is cut
otherwise than it was. A new word is one that it took apart and that no known text has; only a text of another language
with this very word is cut otherwise.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

log = logging.getLogger(__name__)

PIECES = 4000
"""New pieces at most: the vocabulary of some 2,000 lines."""
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_UNKNOWN = ("[UNK]", "<unk>")
_WORD = re.compile(r"[^\W\d_]{2,}")
SPACE = "▁"
"""SentencePiece's mark of a space, a piece of its own before a character that stands alone."""


def unread_characters(tokenizer: Tokenizer, texts: Iterable[str]) -> set[str]:
    """The characters of the texts that a tokenizer has no piece for: it says unknown, or spells their bytes."""
    characters = sorted({each for text in texts for each in text if not each.isspace()})
    unknown = {number for name in _UNKNOWN if (number := tokenizer.token_to_id(name)) is not None}
    found = set()
    for each, tokens in zip(characters, _tokens(tokenizer, characters), strict=True):
        pieces = [piece for _, piece in tokens if piece != SPACE]
        if any(number in unknown for number, _ in tokens) or len(pieces) > 1 or any(map(_BYTE.fullmatch, pieces)):
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


def new_words(tokenizer: Tokenizer, texts: Sequence[str], *, known: Iterable[str], most: int = PIECES) -> list[str]:
    """The words of the texts that a tokenizer takes apart and that no known text has, the commonest first."""
    normalized = [_normalized(tokenizer, text) for text in texts]
    unread = unread_characters(tokenizer, normalized)
    others = {word for text in known for word in _WORD.findall(_normalized(tokenizer, text))}
    counted = Counter(word for text in normalized for word in _WORD.findall(text) if not unread & set(word))
    words = [word for word, _ in counted.most_common() if word not in others]
    apart = [len([piece for _, piece in tokens if piece != SPACE]) > 1 for tokens in _tokens(tokenizer, words)]
    return [word for word, is_apart in zip(words, apart, strict=True) if is_apart][:most]


def add_tokens(file: Path, pieces: Sequence[str], words: Sequence[str] = ()) -> dict[str, int]:
    """Add pieces and whole words to a tokenizer.json, behind all it has; their numbers. Nothing else of it changes."""
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.add_tokens([AddedToken(piece, normalized=True) for piece in pieces])
    tokenizer.add_tokens([AddedToken(word, normalized=True, single_word=True) for word in words])
    told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    told["added_tokens"] = json.loads(tokenizer.to_str())["added_tokens"]
    file.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    numbers = tokenizer.get_vocab(with_added_tokens=True)
    return {each: numbers[each] for each in (*pieces, *words)}


def _tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[tuple[int, str]]]:
    """The number and the piece of each token of texts; what fills them up, where that is switched on, is left out."""
    made = tokenizer.encode_batch(texts, add_special_tokens=False)
    return [
        [
            (number, piece)
            for number, piece, counts in zip(each.ids, each.tokens, each.attention_mask, strict=True)
            if counts
        ]
        for each in made
    ]


def _normalized(tokenizer: Tokenizer, text: str) -> str:
    return text if tokenizer.normalizer is None else str(tokenizer.normalizer.normalize_str(text))
