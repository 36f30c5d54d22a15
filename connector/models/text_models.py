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
    if tower is None or tower.family == "sentence-transformers":
        return _sentence_transformers(folder)
    load = {"clip": _clip, "siglip": _siglip, "xlm-roberta": _xlm_roberta}[tower.family]
    try:
        return replace(load(folder, tower), reading=tower.reading)
    except BROKEN as error:
        raise ModelError(
            f"the text model in {folder} cannot be loaded as {tower.family} ({type(error).__name__}: "
            f"{first_line(error)}). Its files are damaged or of another family; fetch it again, or correct the "
            "space's file."
        ) from error


def _sentence_transformers(folder: Path) -> TextModel:
    model = load_model(folder, half="text")
    _keep_text_half(model)

    def tokenize(texts: Sequence[str]) -> Tokens:
        found = model.preprocess(list(texts))
        return Tokens(found["input_ids"], found["attention_mask"])

    return TextModel(tokenize, Sentences(model).eval(), model.tokenizer, int(model.tokenizer.model_max_length))


def _clip(folder: Path, tower: TextSpec) -> TextModel:
    from transformers import CLIPConfig, CLIPTextModel

    check_type(folder, "clip")
    config: Any = CLIPConfig.from_pretrained(folder, local_files_only=True).text_config
    text = filled(lambda: CLIPTextModel(config), read_tensors(folder, tower.weights, prefix="text_model."))
    projection = linear(read_tensors(folder, tower.weights, prefix="text_projection.")["weight"])
    return _model(folder, tower, Pooled(text, projection, masked=tower.mask), longest=config.max_position_embeddings)


def _siglip(folder: Path, tower: TextSpec) -> TextModel:
    from transformers import SiglipConfig, SiglipTextModel

    check_type(folder, "siglip")
    config: Any = SiglipConfig.from_pretrained(folder, local_files_only=True).text_config
    text = filled(lambda: SiglipTextModel(config), read_tensors(folder, tower.weights, prefix="text_model."))
    model = _model(folder, tower, Pooled(text, None, masked=tower.mask), longest=config.max_position_embeddings)
    eos, last = model.tokenizer.eos_token_id, model.tokenize(["a"])
    if eos is None or int(last.ids[0][last.mask[0].bool()][-1]) != eos:
        raise ValueError("its tokenizer does not end a text with its end token")
    return model


def _xlm_roberta(folder: Path, tower: TextSpec) -> TextModel:
    module: XlmRoberta = load_xlm_roberta(folder, tower)
    return _model(folder, tower, module, longest=module.transformer.config.max_position_embeddings - 2)


def _model(folder: Path, tower: TextSpec, module: Module, *, longest: int) -> TextModel:
    tokenizer = _tokenizer(folder)
    tokenizer.padding_side = tokenizer.truncation_side = "right"  # as every family was trained; Gemma's class says left
    most = tower.max_length or longest
    if most > longest:
        raise ValueError(f"max_length = {most} is declared, the model has positions for {longest}")
    tables = ("token_embedding.weight", "word_embeddings.weight")
    table = next(each for name, each in module.named_parameters() if name.endswith(tables))
    if len(tokenizer) > len(table):
        raise ValueError(f"its tokenizer has {len(tokenizer):,} tokens, its table of them {len(table):,}")
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


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """A folder's tokenizer; one that is tokenizer.json alone is XLM-RoBERTa's, with its special tokens."""
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
