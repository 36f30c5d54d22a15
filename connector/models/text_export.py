"""A loaded text tower to files that ONNX Runtime and the Rust tokenizers run without torch.

The rule: the files are used only where they do what torch does: the same tokens and, on fixed texts, the same vectors.
Needs the extra ``onnx``, once for each model.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from connector.errors import ModelError
from connector.files import replacing
from connector.models.onnx_files import LIBRARIES, quiet
from connector.models.text_kernels import open_best
from connector.models.text_models import TextModel
from connector.models.text_onnx import (
    TOKENIZER,
    ExportedTower,
    TextRunner,
    cached_folder,
    fingerprint,
)
from connector.models.text_tokens import TextTokenizer, TokenizerRules

log = logging.getLogger(__name__)

LARGEST = 1_800_000_000
"""Bytes of float32 weights to which we export: one ONNX file holds 2 GB."""
PROBES = (
    "a",
    "a photo of a dog in the snow",
    "two red bicycles leaning on a wall, seen from above on a rainy day in an old town",
    "ein Hund im Schnee",
    "der Sonnenuntergang über dem Meer",
    "un gato negro",
    "une plage avec des palmiers",
    "собака на снегу",
    "старый дом в лесу",
    "雪の中の犬",
    "夜の東京",
    "雪地里的一只狗",
    "红色的汽车",
    "눈 속의 강아지",
    "كلب في الثلج",
    "חתול על הספה",
    "कुत्ता बर्फ में",
    "kar içinde bir köpek",
    "pies na śniegu",
    "một con chó",
    "ძაღლი თოვლში",
    "σκύλος στο χιόνι",
    "😀🐶",
    "1999 IMG_2041.jpg",
)
"""Texts in many scripts, of one to two dozen tokens, whose vectors are compared at every load."""
AWKWARD = (
    "",
    " ",
    "  a  dog\n\tin  SNOW  ",
    "\x00\u202eolleh\u202c",
    "e\u0301\u0301 \ufb01 \u1e9e İ ﷺ",
    "👩‍👩‍👧‍👦🏽",
    "[CLS] <s> </s> <|endoftext|> [MASK] <pad> ##ing ▁",
    "а ja, \u200bnein\u00a0doch!?" * 200,
    "犬" * 600,
)
"""Texts whose tokens are compared once, when the files are made."""


def export(model: TextModel, *, folder: Path, out: Path) -> ExportedTower:
    """Write the export of a model folder into ``out``, which is not there or is replaced.

    Raises ModelError where the Rust tokenizer does not give the model's tokens.
    """
    rules, tokenizer = _tokenizer(model)
    _check_tokens(TextTokenizer(Tokenizer.from_str(tokenizer), rules), model)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        made_of = fingerprint(folder, reading=model.reading)
        exported = ExportedTower(draft, folder, rules, PROBES, _vectors(model, PROBES))
        if not _is_same(folder / TOKENIZER, tokenizer):
            (draft / TOKENIZER).write_text(tokenizer, encoding="utf-8")
        _write_graph(model, exported.whole)
        exported.write(made_of)
        draft.chmod(0o755)
        _replace(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return replace(exported, folder=out)


def export_once(model: TextModel, *, folder: Path, exact: bool) -> TextRunner | None:
    """Export a model into the cache and open it; None, also at later starts, where it does not do what torch does."""
    out = cached_folder(folder, reading=model.reading)
    refusal = out.with_name(f"{out.name}.refused")
    versions = " ".join(f"{name} {version(name)}" for name in LIBRARIES)
    if refusal.exists() and refusal.read_text(encoding="utf-8").startswith(versions):
        log.info("onnx_refused model=%s: %s", folder, refusal.read_text(encoding="utf-8").splitlines()[-1])
        return None
    log.info("onnx_export model=%s path=%s (once)", folder, out)
    try:
        found = open_best(export(model, folder=folder, out=out), exact=exact)
        reason = "its float32 graph gives other vectors than torch"
    except ModelError as error:
        found, reason = None, str(error)
    if found is None:
        log.warning("onnx_refused model=%s: %s: torch runs it", folder, reason)
        with replacing(refusal) as draft:
            draft.write_text(f"{versions}\n{reason}", encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
    return found


def _tokenizer(model: TextModel) -> tuple[TokenizerRules, str]:
    """What the model's tokenizer is to the Rust library. Raises ModelError where it is another kind."""
    backend: Any = getattr(model.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(f"the tokenizer {type(model.tokenizer).__name__} is none of the Rust library's")
    if model.tokenizer.padding_side != "right" or model.tokenizer.truncation_side != "right":
        raise ModelError("the tokenizer pads or cuts texts at their start")
    rules = TokenizerRules(
        model.max_length,
        int(model.tokenizer.pad_token_id),
        str(model.tokenizer.pad_token),
        fixed=model.fixed,
        lowercase=model.preparation.lowercase,
        clean=model.preparation.clean,
    )
    return rules, str(backend.to_str())


def _check_tokens(tokenize: TextTokenizer, model: TextModel) -> None:
    for texts in (PROBES, *[[text] for text in AWKWARD], AWKWARD):
        found, expected = tokenize(texts), model.tokenize(texts)
        if not (np.array_equal(found.ids, expected.ids.numpy()) and np.array_equal(found.mask, expected.mask.numpy())):
            raise ModelError(f"the Rust tokenizer reads {texts[0][:40]!a} otherwise than the model's own")


def _is_same(file: Path, tokenizer: str) -> bool:
    """Whether a model's own tokenizer.json says the same, but for where it cuts and how it pads."""
    ways = {"truncation": None, "padding": None}
    try:
        own = json.loads(Tokenizer.from_file(str(file)).to_str())
    except Exception:  # noqa: BLE001  (the tokenizers' errors have no common type; the export then has one of its own)
        return False
    return bool({**own, **ways} == {**json.loads(tokenizer), **ways})


def _write_graph(model: TextModel, path: Path) -> None:
    """The graph in float32: ids and mask, (texts, tokens) int64 -> vectors, (texts, dims)."""
    tokens = model.tokenize(PROBES)
    free = {0: "texts"} if model.fixed else {0: "texts", 1: "tokens"}
    with quiet():
        torch.onnx.export(
            model.module,
            (tokens.ids, tokens.mask),
            str(path),
            input_names=["ids", "mask"],
            output_names=["vectors"],
            dynamic_shapes=(free, free),
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    _strip(path)


def _strip(path: Path) -> None:
    """Take out where and by whom a graph was made: its bytes depend on the weights and the exporter alone."""
    import onnx

    graph = onnx.load(path)
    del graph.metadata_props[:]
    del graph.graph.metadata_props[:]
    for each in (*graph.graph.node, *graph.graph.value_info, *graph.graph.initializer, *graph.graph.input):
        del each.metadata_props[:]
        each.doc_string = ""
    onnx.save(graph, path)


@torch.inference_mode()
def _vectors(model: TextModel, texts: Sequence[str]) -> Any:
    tokens = model.tokenize(texts)
    return model.module(tokens.ids, tokens.mask).float().numpy()


def _replace(draft: Path, out: Path) -> None:
    """Move a whole folder to its place; what another process put there meanwhile is as good."""
    if out.exists():
        old = draft.with_name(f"{draft.name}.old")
        out.replace(old)
        shutil.rmtree(old, ignore_errors=True)
    draft.rename(out)
