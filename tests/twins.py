"""Random-weight twins of the two published models, in the layouts sentence-transformers loads.

    python -m tests.twins OUT [--size tiny|full|mini] [--weights safetensors|bin] [--seed N]

    OUT/clip-ViT-B-32/0_CLIPModel/…                    the image tower, and the English text tower
    OUT/clip-ViT-B-32-multilingual-v1/{,1_Pooling,2_Dense}   the multilingual text tower

``write_mclip`` writes one of M-CLIP's XLM-Roberta-Large-Vit-B-32, tiny.

A seed means the same bytes on every machine: every number comes from the raw stream of PCG64, which numpy keeps stable.
"""

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPModel,
    DistilBertConfig,
    DistilBertModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from connector.models.declaration import CLIP_MEAN, CLIP_STD

Weights = Literal["safetensors", "bin"]
Tensors = Mapping[str, torch.Tensor]

SENTENCES = (
    "a photo of a dog in the snow",
    "two cats sitting on a red sofa",
    "ein Hund im Schnee",
    "eine Katze auf dem Sofa",
    "una playa con palmeras al atardecer",
    "un chien dans la neige",
    "собака на снегу",
    "雪の中の犬",
    "雪地里的一只狗",
    "كلب في الثلج",
    "कुत्ता बर्फ में",
    "눈 속의 강아지",
    "um cachorro na neve",
    "kar içinde bir köpek",
    "pies na śniegu",
)
LETTERS = "".join(
    chr(code)
    for first, last in ((0x21, 0x7F), (0xA1, 0x180), (0x391, 0x3CA), (0x410, 0x450), (0x5D0, 0x5EB), (0x621, 0x64B))
    for code in range(first, last)
)
WORDPIECE_SPECIALS = ("[PAD]", *(f"[unused{i}]" for i in range(1, 100)), "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CLIP_MERGES = (("t", "h"), ("th", "e</w>"), ("i", "n</w>"), ("d", "o"), ("do", "g</w>"), ("c", "a"), ("ca", "t</w>"))


@dataclass(frozen=True, slots=True)
class Blocks:
    """The shape of one stack of transformer layers."""

    width: int
    layers: int
    heads: int


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a pair of twins is."""

    dims: int
    image_size: int
    patch: int
    vision: Blocks
    english: Blocks
    multilingual: Blocks
    clip_vocabulary: int
    multilingual_vocabulary: int


SHAPES: Mapping[str, Shape] = {
    "tiny": Shape(512, 224, 32, Blocks(64, 2, 4), Blocks(64, 2, 4), Blocks(64, 2, 4), 1024, 2500),
    "full": Shape(512, 224, 32, Blocks(768, 12, 12), Blocks(512, 12, 8), Blocks(768, 6, 12), 49408, 119547),
    "mini": Shape(128, 64, 16, Blocks(64, 2, 4), Blocks(64, 2, 4), Blocks(64, 2, 4), 1024, 2500),
}


@dataclass(frozen=True, slots=True)
class Twins:
    """Where a pair of twins lies: ``image`` speaks pixels and English, ``text`` every language."""

    image: Path
    text: Path

    def copy(self, root: Path) -> "Twins":
        """The same twins once more, below ``root``."""
        return Twins(
            image=Path(shutil.copytree(self.image, root / self.image.name)),
            text=Path(shutil.copytree(self.text, root / self.text.name)),
        )


def write_twins(root: Path, *, size: str = "tiny", weights: Weights = "safetensors", seed: int = 0) -> Twins:
    """Write both twins below ``root``; the same arguments give the same bytes."""
    shape = SHAPES[size]
    return Twins(
        image=write_clip(root / "clip-ViT-B-32", shape=shape, weights=weights, seed=seed),
        text=write_multilingual(root / "clip-ViT-B-32-multilingual-v1", shape=shape, weights=weights, seed=seed),
    )


def write_clip(folder: Path, *, shape: Shape, weights: Weights, seed: int) -> Path:
    """One module of type CLIPModel in its own folder, as the oldest multimodal models were saved."""
    inner = folder / "0_CLIPModel"
    inner.mkdir(parents=True)
    write_modules(folder, {"0_CLIPModel": "CLIPModel"})
    write_clip_tokenizer(inner, size=shape.clip_vocabulary)
    write_json(
        inner / "preprocessor_config.json",
        {
            "feature_extractor_type": "CLIPFeatureExtractor",
            "do_resize": True,
            "size": shape.image_size,
            "resample": 3,
            "do_center_crop": True,
            "crop_size": shape.image_size,
            "do_normalize": True,
            "image_mean": CLIP_MEAN,
            "image_std": CLIP_STD,
        },
    )
    config = CLIPConfig(
        text_config={
            **blocks_config(shape.english),
            "vocab_size": shape.clip_vocabulary,
            "bos_token_id": shape.clip_vocabulary - 2,
            "eos_token_id": shape.clip_vocabulary - 1,
            "pad_token_id": shape.clip_vocabulary - 1,
            "max_position_embeddings": 77,
        },
        vision_config={**blocks_config(shape.vision), "image_size": shape.image_size, "patch_size": shape.patch},
        projection_dim=shape.dims,
        architectures=["CLIPModel"],
    )
    config.save_pretrained(inner)
    with torch.device("meta"):
        skeleton = CLIPModel(config)
    write_weights(inner, fill(skeleton.state_dict(), seed=seed), weights=weights)
    return folder


def write_multilingual(folder: Path, *, shape: Shape, weights: Weights, seed: int) -> Path:
    """DistilBERT at the root, then mean pooling, then a Dense without bias into the space."""
    blocks = shape.multilingual
    folder.mkdir(parents=True)
    write_modules(folder, {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": False})
    write_wordpiece_tokenizer(folder, size=shape.multilingual_vocabulary)
    config = DistilBertConfig(
        vocab_size=shape.multilingual_vocabulary,
        dim=blocks.width,
        hidden_dim=4 * blocks.width,
        n_layers=blocks.layers,
        n_heads=blocks.heads,
        max_position_embeddings=512,
        pad_token_id=0,
        architectures=["DistilBertModel"],
    )
    config.save_pretrained(folder)
    with torch.device("meta"):
        skeleton = DistilBertModel(config)
        dense = torch.nn.Linear(blocks.width, shape.dims, bias=False)
    write_weights(folder, fill(skeleton.state_dict(), seed=seed), weights=weights)
    write_json(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": blocks.width,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )
    write_json(
        folder / "2_Dense" / "config.json",
        {
            "in_features": blocks.width,
            "out_features": shape.dims,
            "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    )
    write_weights(folder / "2_Dense", fill({"linear.weight": dense.weight}, seed=seed), weights=weights)
    return folder


def write_mclip(folder: Path, *, dims: int = 512, weights: Weights = "safetensors", seed: int = 0) -> Path:
    """M-CLIP's layout: one folder, the transformer with its unused pooler, and a linear map with a bias."""
    folder.mkdir(parents=True)
    size, width = 400, 64
    config = XLMRobertaConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=2,
        num_attention_heads=1,
        max_position_embeddings=130,
        type_vocab_size=1,
    )
    with torch.device("meta"):
        skeleton = {
            **{f"transformer.{name}": tensor for name, tensor in XLMRobertaModel(config).state_dict().items()},
            **{f"LinearTransformation.{n}": t for n, t in torch.nn.Linear(width, dims).state_dict().items()},
        }
    write_weights(folder, fill(skeleton, seed=seed), weights=weights)
    shape = {"modelBase": "xlm-roberta-large", "transformerDimSize": width, "imageDimSize": dims}
    write_json(folder / "config.json", {"architectures": ["MultilingualCLIP"], "model_type": "M-CLIP", **shape})
    write_unigram_tokenizer(folder, size=size)
    return folder


def write_unigram_tokenizer(folder: Path, *, size: int) -> None:
    """XLM-RoBERTa's kind: SentencePiece's unigrams over fixed letters, with its five special tokens."""
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    letters = sorted({*LETTERS[: size - 10], *"abcdefghijklmnopqrstuvwxyz", "▁"})[: size - 5]
    pieces = [*((token, 0.0) for token in specials), *((letter, -5.0) for letter in letters), ("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens([*specials, "<mask>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>", "cls": "<s>", "mask": "<mask>"}
    write_json(
        folder / "tokenizer_config.json",
        {
            **{f"{kind}_token": token for kind, token in names.items()},
            "model_max_length": 512,
            "tokenizer_class": "XLMRobertaTokenizerFast",
        },
    )


def blocks_config(blocks: Blocks) -> dict[str, int]:
    """One stack of layers in the words of CLIP's configuration."""
    return {
        "hidden_size": blocks.width,
        "intermediate_size": 4 * blocks.width,
        "num_hidden_layers": blocks.layers,
        "num_attention_heads": blocks.heads,
    }


def fill(skeleton: Tensors, *, seed: int) -> dict[str, torch.Tensor]:
    """Numbers for every parameter of a skeleton on the meta device."""
    return {name: torch.from_numpy(draw(name, tuple(meta.shape), seed=seed)) for name, meta in skeleton.items()}


def draw(name: str, shape: tuple[int, ...], *, seed: int) -> NDArray[np.float32]:
    """A parameter's numbers, from its name and the seed alone: uniform, with the deviation ``spread`` gives."""
    count = int(np.prod(shape, dtype=np.int64))
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "big")
    raw = np.random.PCG64(key).random_raw((count + 1) // 2).astype("<u8").view("<u4")[:count]
    unit = (raw >> 8).astype(np.float32) * np.float32(2.0**-23) - np.float32(1.0)  # exact: [-1, 1) in steps of 2^-23
    mean, deviation = spread(name, shape)
    return np.asarray(mean + unit * np.float32(deviation * 3.0**0.5), dtype=np.float32).reshape(shape)


def spread(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and deviation of a parameter, such that what goes into the model is still seen in what comes out."""
    if name == "logit_scale":
        return 2.6592, 0.0
    if len(shape) < 2:
        return (1.0 if name.endswith("weight") else 0.0), 0.02  # gains of layer norms; biases
    if "position" in name:
        return 0.0, 0.05
    if "embeddings" in name and "patch" not in name:
        return 0.0, 0.5
    fan_in = int(np.prod(shape[1:]))
    return 0.0, fan_in**-0.5


def write_clip_tokenizer(folder: Path, *, size: int) -> None:
    """CLIP's byte-level BPE with a handful of merges; the last two ids begin and end a text, as in the original."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *("".join(pair) for pair in CLIP_MERGES)]
    tokens += [f"<filler{i}>" for i in range(size - 2 - len(tokens))]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    write_json(folder / "vocab.json", {token: number for number, token in enumerate(tokens)})
    merges = "".join(f"{left} {right}\n" for left, right in CLIP_MERGES)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    specials = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    write_json(folder / "special_tokens_map.json", specials)
    write_json(
        folder / "tokenizer_config.json",
        {**specials, "errors": "replace", "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"},
    )


def write_wordpiece_tokenizer(folder: Path, *, size: int) -> None:
    """BERT's WordPiece over fixed letters and the words of ``SENTENCES``, in vocab.txt and tokenizer.json."""
    words = sorted({word for sentence in SENTENCES for word in sentence.split()})
    letters = sorted({*LETTERS, *"".join(words)})
    tokens = [*WORDPIECE_SPECIALS, *letters, *(f"##{letter}" for letter in letters), *(w for w in words if len(w) > 1)]
    tokens += [f"[filler{i}]" for i in range(size - len(tokens))]
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokens.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    specials = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("unk", "sep", "pad", "cls", "mask")}
    write_json(folder / "special_tokens_map.json", specials)
    write_json(
        folder / "tokenizer_config.json",
        {**specials, "do_lower_case": False, "model_max_length": 512, "tokenizer_class": "DistilBertTokenizer"},
    )


def write_modules(folder: Path, modules: Mapping[str, str]) -> None:
    """``modules.json``: path -> class, in the order they run."""
    write_json(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(modules.items())
        ],
    )


def write_weights(folder: Path, tensors: Tensors, *, weights: Weights) -> None:
    """One file of weights: today's safetensors, or the pickle of the oldest revisions."""
    if weights == "safetensors":
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    else:
        torch.save(dict(tensors), folder / "pytorch_model.bin")


def write_json(path: Path, value: Any) -> None:
    """Readable JSON, its folder made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.twins", description="Write random-weight twins.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", choices=SHAPES, default="tiny")
    parser.add_argument("--weights", choices=("safetensors", "bin"), default="safetensors")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    twins = write_twins(options.out, size=options.size, weights=options.weights, seed=options.seed)
    sys.stdout.write("".join(f"{path}\n" for path in asdict(twins).values()))


if __name__ == "__main__":
    main(sys.argv[1:])
