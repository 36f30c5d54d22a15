"""The tokenizer of the text tower: a Unigram vocabulary over all languages, in a form transformers loads offline."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

VOCABULARY = 20_000
LONGEST = 32
PAD, UNKNOWN, START = "[PAD]", "[UNK]", "[CLS]"  # ids 0, 1, 2
PAD_ID = 0


def train_tokenizer(corpus: Iterable[str]) -> Tokenizer:
    """Lower case and NFKC, then the likeliest pieces; `[CLS]` first, so that no text is empty."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY, special_tokens=[PAD, UNKNOWN, START], unk_token=UNKNOWN, show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    start = tokenizer.token_to_id(START)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A", special_tokens=[(START, start)])
    tokenizer.enable_truncation(LONGEST)
    return tokenizer


def read_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer saved before."""
    return Tokenizer.from_file(str(path))
