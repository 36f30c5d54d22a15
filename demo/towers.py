"""The two towers of `mini`: a CLIP vision tower and a DistilBERT-like text tower, and how they are written down.

The folders have the published pair's layout, so that the code that serves `mini` serves the real models.
Both towers end in a linear map to `DIMS`; vectors are compared by cosine.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    DistilBertConfig,
    DistilBertModel,
)

from demo.augment import SIZE
from demo.tokens import LONGEST, PAD, PAD_ID, START, UNKNOWN

DIMS = 128
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's own
VISION = CLIPVisionConfig(
    hidden_size=192, intermediate_size=768, num_hidden_layers=4, num_attention_heads=3, image_size=SIZE, patch_size=16,
    projection_dim=DIMS, hidden_act="gelu",
)  # fmt: skip
# A CLIPModel has a text half of its own; `mini` never asks it, so it is as small as it can be.
UNUSED_TEXT = {"vocab_size": 4, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 3, "max_position_embeddings": 8,
               "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}  # fmt: skip
MODULES = "sentence_transformers.models."


class ImageTower(nn.Module):
    """Images -> vectors."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.clip = CLIPVisionModelWithProjection(VISION)
        self.clip.set_attn_implementation("eager")  # for 17 tokens faster than the fused kernel
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, 64, 64) in 0..1 -> (n, dims) of length 1."""
        vectors = self.clip(pixel_values=(images - self.mean) / self.std).image_embeds
        return normalize(vectors, dim=-1)


class TextTower(nn.Module):
    """Texts -> vectors: a transformer, the mean over the tokens, a linear map."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.bert = DistilBertModel(
            DistilBertConfig(
                vocab_size=tokenizer.get_vocab_size(),
                max_position_embeddings=LONGEST,
                dim=128,
                hidden_dim=256,
                n_layers=2,
                n_heads=2,
                dropout=0.0,
                attention_dropout=0.0,
                pad_token_id=PAD_ID,
            )
        )
        self.dense = nn.Linear(self.bert.config.dim, DIMS, bias=False)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """n texts -> (n, dims) of length 1; texts of like length go together, so that little is padding."""
        tokens = [torch.tensor(one.ids) for one in self.tokenizer.encode_batch_fast(list(texts))]
        order = torch.tensor([len(one) for one in tokens]).argsort()
        vectors = torch.cat([self._embed([tokens[place] for place in part]) for part in torch.split(order, 192)])
        return vectors[order.argsort()]

    def _embed(self, tokens: Sequence[Tensor]) -> Tensor:
        lengths = torch.tensor([len(one) for one in tokens])
        ids = pad_sequence(list(tokens), batch_first=True, padding_value=PAD_ID)
        mask = (torch.arange(ids.shape[1]) < lengths.unsqueeze(1)).long()
        states = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        summed = (states * mask.unsqueeze(-1).to(states.dtype)).sum(1)
        return normalize(self.dense(summed / lengths.unsqueeze(1)), dim=-1)


def export_image_tower(tower: ImageTower, folder: Path) -> None:
    """Write the vision tower as a sentence-transformers folder."""
    inner = folder / "0_CLIPModel"
    inner.mkdir(parents=True, exist_ok=True)
    config = CLIPConfig(
        vision_config=VISION.to_dict(), text_config=UNUSED_TEXT, projection_dim=DIMS, architectures=["CLIPModel"]
    )
    torch.manual_seed(0)
    model = CLIPModel(config)
    missing = model.load_state_dict(tower.clip.state_dict(), strict=False)
    if missing.unexpected_keys:
        raise RuntimeError(f"CLIPModel has no place for {missing.unexpected_keys}")
    config.save_pretrained(inner)
    _save(inner, model.state_dict())
    _json(folder / "modules.json", [_module(0, "0_CLIPModel", "CLIPModel")])
    _json(folder / "config_sentence_transformers.json", {"__version__": {"sentence_transformers": "2.0.0"}})
    _json(
        inner / "preprocessor_config.json",
        {"crop_size": SIZE, "do_center_crop": True, "do_normalize": True, "do_resize": True, "size": SIZE,
         "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": MEAN, "image_std": STD, "resample": 3},
    )  # fmt: skip
    special = {"unk_token": "<|endoftext|>", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
               "pad_token": "<|endoftext|>"}  # fmt: skip
    _json(inner / "vocab.json", {"a": 0, "a</w>": 1, "<|startoftext|>": 2, "<|endoftext|>": 3})
    (inner / "merges.txt").write_text("#version: 0.2\n")
    _json(inner / "special_tokens_map.json", special)
    _json(inner / "tokenizer_config.json", {**special, "model_max_length": 8, "tokenizer_class": "CLIPTokenizer"})


def export_text_tower(tower: TextTower, folder: Path) -> None:
    """Write the text tower as a sentence-transformers folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = tower.bert.config
    config.architectures = ["DistilBertModel"]
    config.save_pretrained(folder)
    _save(folder, tower.bert.state_dict())
    tower.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    special = {"pad_token": PAD, "unk_token": UNKNOWN, "cls_token": START}
    _json(folder / "special_tokens_map.json", special)
    _json(
        folder / "tokenizer_config.json",
        {**special, "model_max_length": LONGEST, "tokenizer_class": "PreTrainedTokenizerFast",
         "model_input_names": ["input_ids", "attention_mask"]},
    )  # fmt: skip
    _json(folder / "sentence_bert_config.json", {"max_seq_length": LONGEST, "do_lower_case": False})
    _json(folder / "config_sentence_transformers.json", {"__version__": {"sentence_transformers": "2.0.0"}})
    modules = [_module(0, "", "Transformer"), _module(1, "1_Pooling", "Pooling"), _module(2, "2_Dense", "Dense")]
    _json(folder / "modules.json", modules)
    pooling = {f"pooling_mode_{how}": how == "mean_tokens"
               for how in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")}  # fmt: skip
    _json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": config.dim, **pooling})
    dense = {"in_features": config.dim, "out_features": DIMS, "bias": False,
             "activation_function": "torch.nn.modules.linear.Identity"}  # fmt: skip
    _json(folder / "2_Dense" / "config.json", dense)
    _save(folder / "2_Dense", {"linear.weight": tower.dense.weight})


def _module(place: int, path: str, kind: str) -> dict[str, Any]:
    return {"idx": place, "name": str(place), "path": path, "type": MODULES + kind}


def _save(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Half precision on disk; a loader reads float32."""
    half = {name: value.detach().half() if value.is_floating_point() else value for name, value in weights.items()}
    save_file({name: value.contiguous().clone() for name, value in half.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip


def _json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
