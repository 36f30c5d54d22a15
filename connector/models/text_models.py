"""What a text tower is made of, whichever family it is of: texts to tokens, tokens to vectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from connector.errors import ModelError
from connector.models.declaration import TextSpec
from connector.models.image_families import check_type, filled, linear, read_tensors
from connector.models.loading import BROKEN, first_line, load_model
from connector.models.text_tokens import Preparation
from connector.models.text_xlm_roberta import XlmRoberta, load_xlm_roberta

_TABLES = ("token_embedding.weight", "word_embeddings.weight")
"""What the tensor that has a row for every token is called."""
Module: TypeAlias = torch.nn.Module
"""Ids and attention mask, each (n, tokens) int64 -> (n, dims) float32, not normalised."""


class Tokens(NamedTuple):
    """Texts as a model reads them: ids and attention mask, each (n, tokens) int64."""

    ids: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True, slots=True)
class TextModel:
    """A loaded model on the CPU, in float32. ``module`` maps ids and mask to (n, dims), not normalised.

    ``tokenizer`` is what ``tokenize`` calls, and ``max_length`` the tokens at which it cuts a text. ``fixed`` says that
    every text is padded to that, ``preparation`` what is done to a text before. ``reading`` is the declaration's.
    """

    tokenize: Callable[[Sequence[str]], Tokens]
    module: Module
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    fixed: bool = False
    preparation: Preparation = field(default_factory=Preparation)
    reading: str = ""


class Sentences(torch.nn.Module):
    """A sentence-transformers model as a function of ids and mask: what its ``encode`` calls."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(n, tokens), (n, tokens) -> (n, dims)."""
        found = self.model({"input_ids": ids, "attention_mask": mask, "modality": "text"})
        vectors: torch.Tensor = found["sentence_embedding"]
        return vectors


class Pooled(torch.nn.Module):
    """A text tower of transformers: what it pools, and the map into the space where that stands behind it."""

    def __init__(self, text: Module, projection: torch.nn.Linear | None, *, masked: bool) -> None:
        super().__init__()
        self.text, self.projection, self.masked = text, projection, masked

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(n, tokens), (n, tokens) -> (n, dims)."""
        hidden = mask if self.masked else None
        pooled: torch.Tensor = self.text(input_ids=ids, attention_mask=hidden).pooler_output
        return pooled if self.projection is None else self.projection(pooled)


def load_text_model(folder: Path, tower: TextSpec | None = None) -> TextModel:
    """The model in a folder, by default a sentence-transformers one. Raises ModelError where it is broken."""
    family = "sentence-transformers" if tower is None else tower.family
    try:
        if tower is None or family == "sentence-transformers":
            loaded = _sentence_transformers(folder)
        else:
            load = {"clip": _clip, "siglip": _siglip, "xlm-roberta": _xlm_roberta}[family]
            loaded = replace(load(folder, tower), reading=tower.reading)
        with torch.inference_mode():
            loaded.module(*loaded.tokenize(["a"]))  # a shape that cannot be computed shows here
        return loaded
    except BROKEN as error:
        raise ModelError(
            f"the text model in {folder} cannot be loaded as {family} ({type(error).__name__}: "
            f"{first_line(error)}). Its files are damaged or of another family; fetch it again, or correct the "
            "space's file."
        ) from error


def _sentence_transformers(folder: Path) -> TextModel:
    model = load_model(folder, half="text")
    _keep_text_half(model)
    _check_vocabulary(model.tokenizer, model)

    def tokenize(texts: Sequence[str]) -> Tokens:
        found = model.preprocess(list(texts))
        return Tokens(found["input_ids"], found["attention_mask"])

    return TextModel(tokenize, Sentences(model).eval(), model.tokenizer, int(model.tokenizer.model_max_length))


def _clip(folder: Path, tower: TextSpec) -> TextModel:
    from transformers import CLIPConfig, CLIPTextModel

    check_type(folder, "clip")
    config: Any = CLIPConfig.from_pretrained(folder, local_files_only=True).text_config
    text = filled(CLIPTextModel, config, read_tensors(folder, tower.weights, prefix="text_model."))
    projection = linear(read_tensors(folder, tower.weights, prefix="text_projection.")["weight"])
    longest = config.max_position_embeddings
    model = _model(folder, tower, Pooled(text, projection, masked=tower.mask), longest=longest)
    end = _last_token(model)
    if end not in {config.eos_token_id, config.vocab_size - 1}:  # the last one where old configurations say 2
        raise ValueError(f"its tokenizer ends a text with token {end}, its configuration with {config.eos_token_id}")
    return model


def _siglip(folder: Path, tower: TextSpec) -> TextModel:
    from transformers import SiglipConfig, SiglipTextModel

    check_type(folder, "siglip")
    config: Any = SiglipConfig.from_pretrained(folder, local_files_only=True).text_config
    text = filled(SiglipTextModel, config, read_tensors(folder, tower.weights, prefix="text_model."))
    longest = config.max_position_embeddings
    model = _model(folder, tower, Pooled(text, None, masked=tower.mask), longest=longest)
    if _last_token(model) != model.tokenizer.eos_token_id:
        raise ValueError("its tokenizer does not end a text with its end token")
    if model.fixed and model.max_length != longest:
        raise ValueError(f"max_length = {model.max_length} is declared, and it reads what stands at position {longest}")
    return model


def _xlm_roberta(folder: Path, tower: TextSpec) -> TextModel:
    module: XlmRoberta = load_xlm_roberta(folder, tower)
    model = _model(folder, tower, module, longest=module.transformer.config.max_position_embeddings - 2)
    first, last = int(model.tokenize(["a"]).ids[0][0]), _last_token(model)
    if (first, last, model.tokenizer.pad_token_id) != (0, 2, 1):
        raise ValueError(
            f"its tokenizer is none of XLM-RoBERTa's: it begins, ends and fills up texts by {first}, {last} and "
            f"{model.tokenizer.pad_token_id}, where 0, 2 and 1 are meant"
        )
    return model


def _model(folder: Path, tower: TextSpec, module: Module, *, longest: int) -> TextModel:
    tokenizer = _tokenizer(folder)
    tokenizer.padding_side = tokenizer.truncation_side = "right"  # as every family was trained; Gemma's class says left
    most = tower.max_length or longest
    if most > longest:
        raise ValueError(f"max_length = {most} is declared, the model has positions for {longest}")
    _check_vocabulary(tokenizer, module)
    fixed = tower.padding == "max_length"
    preparation = Preparation(lowercase=tower.lowercase, clean=tower.clean)

    def tokenize(texts: Sequence[str]) -> Tokens:
        found = tokenizer(
            preparation.of(texts),
            padding="max_length" if fixed else True,
            truncation=True,
            max_length=most,
            return_tensors="pt",
            return_attention_mask=True,
        )
        return Tokens(found["input_ids"], found["attention_mask"])

    return TextModel(tokenize, module.eval(), tokenizer, most, fixed=fixed, preparation=preparation)


def _check_vocabulary(tokenizer: PreTrainedTokenizerBase, module: Module) -> None:
    """Raise ValueError where a tokenizer's tokens are not those that the model has a table for."""
    table = next((each for name, each in module.named_parameters() if name.endswith(_TABLES)), None)
    if table is not None and not len(table) / 2 <= len(tokenizer) <= len(table):
        raise ValueError(
            f"its tokenizer has {len(tokenizer):,} tokens, its table of them {len(table):,}: it is another model's"
        )


def _last_token(model: TextModel) -> int:
    """The last token of a short text, padding aside. Raises ValueError where there is none."""
    tokens = model.tokenize(["a"])
    there = tokens.ids[0][tokens.mask[0].bool()]
    if len(there) < 2:
        raise ValueError("its tokenizer finds no token in a letter")
    return int(there[-1])


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """A folder's tokenizer. Raises ValueError where it cannot be read, or texts cannot be filled up with it."""
    merges = folder / "merges.txt"
    if merges.exists() and merges.stat().st_size == 0:
        raise ValueError(f"its {merges.name} is empty")
    try:
        found = _read_tokenizer(folder)
    except Exception as error:  # (the tokenizers' errors have no common type)
        raise ValueError(f"its tokenizer cannot be read: {type(error).__name__}: {first_line(error)}") from error
    if found.pad_token_id is None:
        raise ValueError("its tokenizer has no token to fill up texts with (pad_token in tokenizer_config.json)")
    return found


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """One that is tokenizer.json alone is XLM-RoBERTa's, with its special tokens."""
    if (folder / "tokenizer_config.json").exists() or not (folder / "tokenizer.json").exists():
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        return found
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    read: Any = PreTrainedTokenizerFast
    made: PreTrainedTokenizerBase = read(tokenizer_file=str(folder / "tokenizer.json"), **names)
    return made


def _keep_text_half(model: SentenceTransformer) -> None:
    """Let go of CLIP's vision half, where the tower has one."""
    inner: Any = model[0].model
    for name in ("vision_model", "visual_projection"):
        if hasattr(inner, name):
            delattr(inner, name)
