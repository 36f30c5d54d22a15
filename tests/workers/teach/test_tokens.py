"""Tokens: a script that a tokenizer cannot read gets pieces; whatever it could read keeps its tokens."""

import shutil
from pathlib import Path

from tokenizers import Tokenizer

from connector.models.catalog import find_space
from tests.family_twins import write_gemma_tokenizer
from workers.teach.tokens import add_tokens, new_pieces, new_words, unread_characters

MINI = Path(find_space("mini").text["multilingual"].model) / "tokenizer.json"
BENGALI = ["তুষারে একটি কুকুর", "একটি বিড়াল এবং একটি কুকুর", "Dog কুকুর"]
KNOWN = ["a dog in the snow", "собака на снегу", "雪の中の犬", "कुत्ता बर्फ में", "kar içinde bir köpek"]


def test_a_script_that_is_unknown_gets_pieces(tmp_path: Path) -> None:
    file = Path(shutil.copy(MINI, tmp_path))
    before = Tokenizer.from_file(str(file))
    unknown = before.token_to_id("[UNK]")
    assert unknown in before.encode(BENGALI[0]).ids
    pieces = new_pieces(before, BENGALI)
    numbers = add_tokens(file, pieces)
    after = Tokenizer.from_file(str(file))
    assert unknown not in {number for text in BENGALI for number in after.encode(text).ids}
    assert "কু" in pieces, "letters that come together often are one piece"
    assert min(numbers.values()) == before.get_vocab_size()
    assert after.get_vocab_size() == before.get_vocab_size() + len(pieces)


def test_what_could_be_read_keeps_its_tokens(tmp_path: Path) -> None:
    file = Path(shutil.copy(MINI, tmp_path))
    before = Tokenizer.from_file(str(file))
    add_tokens(file, new_pieces(before, BENGALI))
    after = Tokenizer.from_file(str(file))
    assert [after.encode(text).ids for text in KNOWN] == [before.encode(text).ids for text in KNOWN]


def test_a_script_that_is_known_gets_none() -> None:
    assert new_pieces(Tokenizer.from_file(str(MINI)), KNOWN) == []


def test_words_are_whole_and_no_known_text_has_them(tmp_path: Path) -> None:
    file = Path(shutil.copy(MINI, tmp_path))
    before = Tokenizer.from_file(str(file))
    swahili = ["mbwa mwitu na nyumba ndogo", "nyumba na xylography 42", "কুকুর"]
    words = new_words(before, swahili, known=["a Xylography", "ndogo"])
    assert words[0] == "nyumba"
    assert not {"na", "xylography", "ndogo", "42", "কুকুর"} & set(words)
    add_tokens(file, [], words)
    after = Tokenizer.from_file(str(file))
    assert "nyumba" in after.encode("Nyumba").tokens
    for text in (*KNOWN, "nyumbani", "xnyumba"):
        assert after.encode(text).ids == before.encode(text).ids


def test_letters_that_are_spelled_by_bytes_are_unread(tmp_path: Path) -> None:
    write_gemma_tokenizer(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert "ক" in unread_characters(tokenizer, BENGALI)
    assert not unread_characters(tokenizer, ["dog"])
    pieces = new_pieces(tokenizer, BENGALI)
    add_tokens(tmp_path / "tokenizer.json", pieces)
    grown = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert not unread_characters(grown, BENGALI)
