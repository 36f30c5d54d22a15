"""Training: a translation's vector becomes the teacher's of its source, and everything else stays where it is.

The method is multilingual knowledge distillation (Reimers and Gurevych, 2020): the squared distance of the student's
vectors of source and translation to the teacher's vector of the source, here of unit vectors, which are what a search
compares. Two terms stand beside it: texts of the other languages keep their vectors (replay), and a translation is
nearest its own image among those of the batch, where there are images.

Where the tokens that were given to the tokenizer make up the language, nothing but their rows is trained: whatever text
has none of them keeps its vector exactly, and nothing has to be replayed.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from connector.models.text_models import TextModel
from workers.teach.tokens import SPACE
from workers.teach.tower_files import TABLES

BATCH = 64
"""Lines of a step."""
REPLAYED = 64
"""Texts of a step that keep their vectors."""
KEPT = 2.0
"""Weight of the replay, against 1 for translations and for sources."""
SHOWN = 0.1
"""Weight of the images."""
OWN = 0.5
"""Share of new tokens among a language's tokens, spaces left out, from which they are all that is trained."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How long and how strongly is trained: ``rate`` is a share of a tensor's own size, as in Adafactor."""

    epochs: float = 40.0
    seconds: float = 1200.0
    rate: float = 0.003
    table_rate: float = 0.03
    warmup: float = 0.05
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Material:
    """What is trained on, row by row: ``sources`` and ``texts``, and the image of each, (n, dims), where there is one.

    ``shown`` says which rows have an image, ``image_of`` which image it is, ``scale`` what its cosines are multiplied
    by. ``kept`` are texts of other languages.
    """

    sources: Sequence[str]
    texts: Sequence[str]
    kept: Sequence[str] = ()
    images: Tensor | None = None  # (images, dims), unit vectors
    image_of: Sequence[int] = ()  # row -> image, -1 for none
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Losses:
    """The means of the last steps: squared distances of unit vectors, and the cross-entropy among images."""

    taught: float
    source: float
    kept: float
    shown: float | None


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training came to; ``tokens_alone`` where nothing but new tokens was trained."""

    steps: int
    seconds: float
    losses: Losses
    tokens_alone: bool


def train(
    student: TextModel,
    teacher: TextModel,
    material: Material,
    recipe: Recipe,
    *,
    device: torch.device,
    on_progress: Callable[[float], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Train the student's module on a device: until the lines were seen ``epochs`` times, or ``seconds`` have passed.

    ``on_progress`` is called with the share that is done, from 0 to 1. The rates fall to zero with it.
    """
    for model in (student, teacher):
        model.module.to(device)
        model.module.requires_grad_(False)
    rng = random.Random(recipe.seed)
    alone = _are_its_own(student, teacher, material.texts)
    teach = Objective(student, teacher, material, rng=rng, replay=not alone)
    groups = _new_rows(student, teacher, recipe) if alone else _groups(student.module, recipe)
    optimizer = torch.optim.Adafactor(groups, weight_decay=0.0)
    steps = max(1, round(recipe.epochs * len(material.texts) / BATCH))
    started, done, taken, last = clock(), 0.0, 0, Losses(0, 0, 0, None)
    for rows in _batches(len(material.texts), rng=rng):
        for group in optimizer.param_groups:
            group["lr"] = group["top"] * max(1e-6, min(1.0, (done + 1 / steps) / recipe.warmup, 2 * (1 - done)))
        loss, seen = teach(rows)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()  # type: ignore[no-untyped-call]
        taken += 1
        last = seen if taken == 1 else _blended(last, seen)
        done = max(taken / steps, (clock() - started) / recipe.seconds)
        on_progress(min(done, 1.0))
        if done >= 1.0:
            break
    student.module.requires_grad_(False)
    for model in (student, teacher):
        model.module.to("cpu")
    return Trained(taken, clock() - started, last, tokens_alone=alone)


class Objective:
    """The loss of a batch of rows; without ``replay`` that of translations alone, for the others cannot change."""

    def __init__(
        self, student: TextModel, teacher: TextModel, material: Material, *, rng: random.Random, replay: bool
    ) -> None:
        self._student, self._teacher, self._material, self._rng = student, teacher, material, rng
        self._replay = replay
        self._targets = unit_vectors(teacher, material.sources)
        self._kept = unit_vectors(teacher, material.kept) if material.kept else None
        self._vocabulary = _readable_ids(teacher)

    def __call__(self, rows: Sequence[int]) -> tuple[Tensor, Losses]:
        """The loss of these rows, and its parts."""
        material = self._material
        texts = [material.texts[row] for row in rows]
        sources, replayed, wanted = self._replayed(rows)
        found = _unit(self._student, [*texts, *sources, *replayed])
        goal = self._targets[list(rows)].to(found.device)
        told, said, held = torch.split(found, [len(texts), len(sources), len(replayed)])
        taught = _distance(told, goal)
        source, kept = (
            (_distance(said, goal), _distance(held, wanted.to(found.device)))
            if self._replay
            else (taught.new_zeros(()), taught.new_zeros(()))
        )
        loss = taught + source + KEPT * kept
        shown = self._shown(told, rows)
        if shown is not None:
            loss = loss + SHOWN * shown
        parts = (taught.item(), source.item(), kept.item(), None if shown is None else shown.item())
        return loss, Losses(*parts)

    def _replayed(self, rows: Sequence[int]) -> tuple[list[str], list[str], Tensor]:
        """The sources of rows, and texts that are to keep their vectors: half of them given ones, the rest made up."""
        if not self._replay:
            return [], [], torch.empty(0)
        given = self._rng.sample(range(len(self._material.kept)), min(REPLAYED // 2, len(self._material.kept)))
        made_up = _made_up(self._teacher, self._vocabulary, REPLAYED - len(given), rng=self._rng)
        wanted = unit_vectors(self._teacher, made_up)
        sources = [self._material.sources[row] for row in rows]
        texts = [self._material.kept[row] for row in given] + made_up
        return sources, texts, wanted if self._kept is None else torch.cat([self._kept[given], wanted])

    def _shown(self, told: Tensor, rows: Sequence[int]) -> Tensor | None:
        """How surely each text finds its image among those of the batch, and each image its text (InfoNCE)."""
        images, place = self._material.images, self._material.image_of
        if images is None:
            return None
        first = {place[row]: at for at, row in reversed(list(enumerate(rows))) if place[row] >= 0}  # an image once
        if len(first) < 2:
            return None
        logits = self._material.scale * told[list(first.values())] @ images[list(first)].T.to(told.device)
        own = torch.arange(len(first), device=told.device)
        return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2


@torch.no_grad()
def unit_vectors(model: TextModel, texts: Sequence[str], *, batch: int = 128) -> Tensor:
    """The vectors of texts, (n, dims) at length 1, on the CPU and without a gradient; like lengths go together."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    parts = [order[start : start + batch] for start in range(0, len(order), batch)]
    found = torch.cat([_unit(model, [texts[row] for row in part]).cpu() for part in parts])
    return found[torch.tensor(order).argsort()]


def _unit(model: TextModel, texts: Sequence[str]) -> Tensor:
    tokens = model.tokenize(texts)
    device = next(model.module.parameters()).device
    return normalize(model.module(tokens.ids.to(device), tokens.mask.to(device)), dim=1)


def _distance(found: Tensor, wanted: Tensor) -> Tensor:
    return (found - wanted).square().sum(dim=1).mean()


def _are_its_own(student: TextModel, teacher: TextModel, texts: Sequence[str]) -> bool:
    """Whether the tokens that only the student has make up these texts."""
    known = len(teacher.tokenizer)
    tokens = student.tokenize(texts)
    names = student.tokenizer.convert_ids_to_tokens(list(range(known)))
    silent = {*student.tokenizer.all_special_ids, *(number for number, name in enumerate(names) if name == SPACE)}
    told: list[int] = [number for number in tokens.ids[tokens.mask.bool()].tolist() if number not in silent]
    own = sum(number >= known for number in told)
    return own >= OWN * max(1, len(told))


def _new_rows(student: TextModel, teacher: TextModel, recipe: Recipe) -> list[dict[str, object]]:
    """The rows of new tokens alone: those of all others get no gradient, and so Adafactor does not move them."""
    table = next(each for name, each in student.module.named_parameters() if name.endswith(TABLES))
    table.requires_grad_(True)
    new = (torch.arange(table.shape[0], device=table.device) >= len(teacher.tokenizer)).to(table.dtype)[:, None]
    table.register_hook(lambda gradient: gradient * new)  # type: ignore[no-untyped-call]
    return [{"params": [table], "lr": recipe.table_rate, "top": recipe.table_rate}]


def _groups(module: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """The table of tokens, of which a batch moves few rows, learns faster than the rest."""
    module.requires_grad_(True)
    named = dict(module.named_parameters())
    table = [each for name, each in named.items() if name.endswith(TABLES)]
    rest = [each for name, each in named.items() if not name.endswith(TABLES)]
    return [
        {"params": table, "lr": recipe.table_rate, "top": recipe.table_rate},
        {"params": rest, "lr": recipe.rate, "top": recipe.rate},
    ]


def _batches(count: int, *, rng: random.Random) -> Iterator[list[int]]:
    """Rows, every one once before any comes again, for ever."""
    while True:
        order = rng.sample(range(count), count)
        yield from (order[start : start + BATCH] for start in range(0, count, BATCH))


def made_up_texts(model: TextModel, count: int, *, rng: random.Random) -> list[str]:
    """Texts of a few of the tokens that a model knows: they speak for every language of its vocabulary."""
    return _made_up(model, _readable_ids(model), count, rng=rng)


def _made_up(model: TextModel, vocabulary: Sequence[int], count: int, *, rng: random.Random) -> list[str]:
    return [str(model.tokenizer.decode(rng.choices(vocabulary, k=rng.randint(1, 8)))) for _ in range(count)]


def _readable_ids(model: TextModel) -> list[int]:
    """The tokens that stand for something that can be read: no special ones, no bytes of a character."""
    tokenizer = model.tokenizer
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = {*tokenizer.all_special_ids}
    read = [name is not None and not name.startswith(("<0x", "[unused")) for name in names]
    return [number for number, readable in enumerate(read) if readable and number not in special]


def _blended(last: Losses, seen: Losses) -> Losses:
    def blend(a: float, b: float) -> float:
        return 0.95 * a + 0.05 * b

    shown = seen.shown if last.shown is None or seen.shown is None else blend(last.shown, seen.shown)
    return Losses(blend(last.taught, seen.taught), blend(last.source, seen.source), blend(last.kept, seen.kept), shown)
