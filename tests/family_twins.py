"""Random-weight twins of families of models, in the layouts that they are published in, each with its space's file.

    python -m tests.family_twins OUT FAMILY [--full]

Weights have a deviation of .05 and layer norms lie around 1: what a wrong activation, epsilon or bias changes is seen.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel, XLMRobertaConfig, XLMRobertaModel

from tests.twins import (
    LETTERS,
    SENTENCES,
    blocks_config,
    write_clip_tokenizer,
    write_json,
    write_unigram_tokenizer,
)
from tests.twins import Blocks as Stack

STD = 0.05
OPENAI = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}


@dataclass(frozen=True, slots=True)
class Size:
    """How large a twin is: one stack of layers for each half, dims, and what the image tower sees."""

    image: Stack
    text: Stack
    dims: int
    pixels: int
    patch: int


TINY = Size(Stack(64, 2, 4), Stack(64, 2, 1), 32, 64, 16)
UNEVEN = Size(Stack(64, 2, 4), Stack(64, 2, 1), 64, 68, 16)
"""Of an image tower whose pixels are no multiple of its patch, as so400m-patch14-384."""
FULL: Mapping[str, Size] = {
    "clip": Size(Stack(768, 12, 12), Stack(512, 12, 8), 512, 224, 32),
    "siglip": Size(Stack(768, 12, 12), Stack(768, 12, 12), 768, 256, 32),
    "open-clip": Size(Stack(768, 12, 12), Stack(768, 12, 12), 512, 224, 32),
}


@dataclass(frozen=True, slots=True)
class Twin:
    """A twin: its model's folder, and the file that declares its space."""

    family: str
    folder: Path
    space: Path


def write_family(family: str, root: Path, *, size: Size = TINY, seed: int = 0) -> Twin:
    """Write a twin of a family below ``root``: clip, siglip, open-clip or mexma."""
    write = {"clip": _clip, "siglip": _siglip, "open-clip": _open_clip, "mexma": _mexma}[family]
    folder = root / family
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    space = root / f"{family}-twin.toml"
    space.write_text(write(folder, size).replace("MODEL", f"./{family}"), encoding="utf-8")
    return Twin(family, folder, space)


def randomised(model: Any) -> Any:
    """The same model with other numbers: a deviation of .05 everywhere, norms around 1."""
    for name, each in model.named_parameters():
        noise = torch.randn_like(each) * STD
        gain = each.dim() == 1 and name.endswith("weight")
        each.data.copy_(1 + noise if gain else noise)
    return model.train(False)


def _clip(folder: Path, size: Size) -> str:
    """transformers' own folder of a CLIP, without modules.json."""
    vocabulary = 1024
    config = CLIPConfig(
        text_config={
            **blocks_config(size.text),
            "vocab_size": vocabulary,
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
            "pad_token_id": vocabulary - 1,
        },
        vision_config={**blocks_config(size.image), "image_size": size.pixels, "patch_size": size.patch},
        projection_dim=size.dims,
    )
    randomised(CLIPModel(config)).save_pretrained(folder)
    write_clip_tokenizer(folder, size=vocabulary)
    write_json(folder / "preprocessor_config.json", {"resample": 3, "size": size.pixels, **OPENAI})
    return _toml(size, image='family = "clip"', text='family = "clip"\nmax_length = 77', score='kind = "softmax"')


def _siglip(folder: Path, size: Size) -> str:
    """As the hub keeps SigLIP 2: no architectures, a tokenizer of Gemma's that keeps capitals."""
    vocabulary = write_gemma_tokenizer(folder)
    config = SiglipConfig(
        text_config={
            **blocks_config(size.text),
            "vocab_size": vocabulary,
            "projection_size": size.image.width,
            "max_position_embeddings": 64,
        },
        vision_config={**blocks_config(size.image), "image_size": size.pixels, "patch_size": size.patch},
    )
    model: Any = randomised(SiglipModel(config))
    model.logit_scale.data.fill_(4.7)
    model.logit_bias.data.fill_(-16.0)
    model.save_pretrained(folder)
    told = json.loads((folder / "config.json").read_text())
    del told["architectures"]
    write_json(folder / "config.json", told)
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    write_json(
        folder / "preprocessor_config.json",
        {"resample": 2, "size": {"height": size.pixels, "width": size.pixels}, **half},
    )
    wide = Size(size.image, size.text, size.image.width, size.pixels, size.patch)
    return _toml(wide, image=SIGLIP_IMAGE, text=SIGLIP_TEXT, score='kind = "sigmoid"\nbias = "weights"')


SIGLIP_IMAGE = """family = "siglip"
resize = "squash"
interpolation = "bilinear"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]"""
SIGLIP_TEXT = """family = "siglip"
lowercase = true
max_length = 64
padding = "max_length"
mask = false"""


def _open_clip(folder: Path, size: Size) -> str:
    """As LAION publishes its XLM-R towers: one file of weights and a tokenizer, no configuration."""
    image = {**blocks_config(size.image), "image_size": size.pixels, "patch_size": size.patch, "hidden_act": "gelu"}
    clip: Any = CLIPModel(CLIPConfig(vision_config=image, projection_dim=size.dims))
    tensors = {"logit_scale": torch.tensor(4.6), "text.transformer.embeddings.position_ids": torch.arange(130)[None]}
    tensors |= _open_clip_names(randomised(clip.vision_model).state_dict())
    tensors["visual.proj"] = torch.randn(size.image.width, size.dims) * STD
    tensors |= {f"text.transformer.{name}": each for name, each in _xlm_roberta(size).items()}
    between = (size.text.width + size.dims) // 2
    tensors["text.proj.0.weight"] = torch.randn(between, size.text.width) * STD
    tensors["text.proj.2.weight"] = torch.randn(size.dims, between) * STD
    save_file({name: each.contiguous() for name, each in tensors.items()}, folder / "open_clip_model.safetensors")
    write_unigram_tokenizer(folder, size=400)
    (folder / "tokenizer_config.json").unlink()
    shape = size.image
    return _toml(
        size,
        image='family = "open-clip"',
        text='family = "xlm-roberta"\nclean = "whitespace"\nmax_length = 77\nprefix = "text.transformer."\n'
        'projection = "text.proj."',
        score='kind = "softmax"',
        more=f"[image.shape]\nwidth = {shape.width}\nlayers = {shape.layers}\nheads = {shape.heads}\n"
        f'patch = {size.patch}\nactivation = "gelu"\neps = 1e-5\n',
    )


def _mexma(folder: Path, size: Size) -> str:
    """SigLIP's image tower beside XLM-RoBERTa and a linear map, and a configuration that asks for code of its own."""
    vision = {**blocks_config(size.image), "image_size": size.pixels, "patch_size": size.patch}
    siglip: Any = randomised(SiglipModel(SiglipConfig(vision_config=vision)).vision_model)
    tensors = {f"vision_model.{name}": each for name, each in siglip.state_dict().items()}
    tensors |= {f"text_model.{name}": each for name, each in _xlm_roberta(size).items()}
    tensors["text_projector.weight"] = torch.randn(size.image.width, size.text.width) * STD
    tensors |= {"logit_scale": torch.tensor([4.7]), "logit_bias": torch.tensor([-16.0])}
    save_file({name: each.contiguous() for name, each in tensors.items()}, folder / "model.safetensors")
    write_unigram_tokenizer(folder, size=400)
    write_json(folder / "config.json", {"auto_map": {"AutoModel": "mexma_siglip.MexmaSigLIP"}})
    shape = size.image
    wide = Size(size.image, size.text, size.image.width, size.pixels, size.patch)
    return _toml(
        wide,
        image=SIGLIP_IMAGE,
        text='family = "xlm-roberta"\nprefix = "text_model."\npooling = "first"\nprojection = "text_projector."',
        score='kind = "sigmoid"\nbias = "weights"',
        more=f"[image.shape]\nwidth = {shape.width}\nlayers = {shape.layers}\nheads = {shape.heads}\n"
        f'patch = {size.patch}\nactivation = "gelu_pytorch_tanh"\neps = 1e-6\n',
    )


def _xlm_roberta(size: Size) -> dict[str, torch.Tensor]:
    config = XLMRobertaConfig(
        vocab_size=400,
        hidden_size=size.text.width,
        intermediate_size=4 * size.text.width,
        num_hidden_layers=size.text.layers,
        num_attention_heads=size.text.width // 64,
        max_position_embeddings=130,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    return dict(randomised(XLMRobertaModel(config, add_pooling_layer=False)).state_dict())


def _open_clip_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """transformers' names of CLIP's vision half as open_clip has them."""
    names = {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.position_embedding.weight": "positional_embedding",
        "embeddings.patch_embedding.weight": "conv1.weight",
        "pre_layrnorm.": "ln_pre.",
        "post_layernorm.": "ln_post.",
        "encoder.layers.": "transformer.resblocks.",
        ".layer_norm1.": ".ln_1.",
        ".layer_norm2.": ".ln_2.",
        ".mlp.fc1.": ".mlp.c_fc.",
        ".mlp.fc2.": ".mlp.c_proj.",
        ".self_attn.out_proj.": ".attn.out_proj.",
    }
    found: dict[str, torch.Tensor] = {}
    for name, each in tensors.items():
        new = name
        for ours, theirs in names.items():
            new = new.replace(ours, theirs)
        if "self_attn" not in new:
            found[f"visual.{new}"] = each
    for layer in {name.split(".")[2] for name in tensors if name.startswith("encoder.layers.")}:
        for kind in ("weight", "bias"):
            parts = [tensors[f"encoder.layers.{layer}.self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            found[f"visual.transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(parts)
    return found


def write_gemma_tokenizer(folder: Path) -> int:
    """Gemma's kind: SentencePiece's BPE with bytes for what it lacks, an end and no beginning; returns its size."""
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    letters = sorted({*LETTERS, *"".join(SENTENCES), "▁"} - {" "})
    pieces = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), *letters, "do", "dog", "ca", "cat"]
    merges = [("d", "o"), ("do", "g"), ("c", "a"), ("ca", "t")]
    numbers = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(numbers, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.add_special_tokens([AddedToken(each, special=True) for each in specials])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{kind}_token": f"<{kind}>" for kind in ("pad", "eos", "bos", "unk", "mask")}
    write_json(
        folder / "tokenizer_config.json",
        {**names, "tokenizer_class": "GemmaTokenizer", "add_bos_token": False, "add_eos_token": True},
    )
    return len(pieces)


def _toml(size: Size, *, image: str, text: str, score: str, more: str = "") -> str:
    return f"""dims = {size.dims}
languages = "none: its weights are random"
licence = "Apache-2.0"

[image]
model = "MODEL"
size = {size.pixels}
{image}
{more}
[text.multilingual]
model = "MODEL"
{text}

[score]
scale = "weights"
{score}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.family_twins", description="Write a twin of a family.")
    parser.add_argument("out", type=Path)
    parser.add_argument("family", choices=("clip", "siglip", "open-clip", "mexma"))
    parser.add_argument("--full", action="store_true", help="In the size of the published model.")
    given = parser.parse_args(arguments)
    size = FULL.get(given.family, TINY) if given.full else TINY
    print(write_family(given.family, given.out, size=size).space)  # noqa: T201  (this is its output)


if __name__ == "__main__":
    main()
