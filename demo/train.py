"""Train the two towers of `mini` side by side: `python -m demo.train CACHE`.

Both are classified, by cosine, onto one learned table of concept prototypes, and pulled together directly by a
contrastive loss between the images and the strings of the same step. The schedule follows the clock: learning rates
fall to zero as `seconds` pass, so a faster machine sees more images in the same time.
"""

import copy
import json
import logging
import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize

from demo.augment import RAMP, Augmenter, decode, loosen
from demo.concepts import Concept, read_concepts, read_vocabulary
from demo.muon import Muon
from demo.render import read_style
from demo.sources import Use, styles
from demo.tokens import read_tokenizer, train_tokenizer
from demo.towers import DIMS, ImageTower, TextTower, export_image_tower, export_text_tower
from demo.words import Lexicon

log = logging.getLogger(__name__)
# How often a style is drawn, against 1: the bundled one more often; three renderings of one drawing, and what has no
# colour, less.
ODDS = {"noto": 2.0, "fluent-emoji": 0.7, "fluent-emoji-flat": 0.7, "fluent-emoji-3d": 0.7,
        "emojione-monotone": 0.3, "fluent-emoji-high-contrast": 0.3}  # fmt: skip
LANES = 2  # threads
# These pairs are each other's mirror image, so mirroring an image would make it another concept.
ONE_SIDED = ("left", "right", "moon", "crescent", "fist")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what comes out, but the machine."""

    seconds: float = 2940.0
    images: int = 128  # a step: as many concepts, one image and one string of each
    strings: int = 384  # a step: drawn besides
    scale: float = 16.0  # of cosines, before a softmax
    contrast: float = 1.0  # weight of the contrastive loss
    mixed: float = 0.1  # share of images blended with another
    matrix_rate: float = 6e-3
    vector_rate: float = 6e-3
    decay: float = 0.05
    warmup: float = 0.02  # share of the time
    checkpoint: float = 180.0  # seconds from one to the next
    seed: int = 20


@dataclass(frozen=True, slots=True)
class Album:
    """The training images, and where those of each concept are."""

    loose: Tensor  # (n, 4, 80, 80) uint8, premultiplied
    plain: Tensor  # (n, 3, 64, 64) uint8, as the product decodes them
    rows: tuple[tuple[int, ...], ...]  # concept -> rows
    odds: tuple[tuple[float, ...], ...]  # concept -> how often each row is drawn
    mirror: Tensor  # (concepts,) bool: may be mirrored

    def draw(self, places: Sequence[int], *, rng: random.Random) -> Tensor:
        """One row for each concept of `places`."""
        return torch.tensor([rng.choices(self.rows[place], self.odds[place])[0] for place in places])


def open_album(cache: Path, concepts: Sequence[Concept], *, without: Sequence[str] = ()) -> Album:
    """Every style that may be trained on, but those named in `without`."""
    places = {concept.code: place for place, concept in enumerate(concepts)}
    rows: list[list[int]] = [[] for _ in concepts]
    odds: list[list[float]] = [[] for _ in concepts]
    loose: list[Tensor] = []
    plain: list[Tensor] = []
    count = 0
    for source in styles(Use.BUNDLED, Use.TRAINED):
        if source.name in without:
            continue
        style = read_style(cache, source)
        known = [row for row, code in enumerate(style.codes) if code in places]
        for start in range(0, len(known), 256):
            rgba = torch.from_numpy(np.array(style.images[known[start : start + 256]]))
            loose.append(loosen(rgba))
            plain.append(decode(rgba))
        for row, code in enumerate(style.codes[row] for row in known):
            rows[places[code]].append(count + row)
            odds[places[code]].append(ODDS.get(source.name, 1.0))
        count += len(known)
    mirror = torch.tensor([not any(word in one.name for word in ONE_SIDED) for one in concepts])
    return Album(torch.cat(loose), torch.cat(plain), tuple(map(tuple, rows)), tuple(map(tuple, odds)), mirror)


class Towers(nn.Module):
    """All that is learned: the two towers and the prototypes of the concepts."""

    def __init__(self, texts: TextTower, *, concepts: int) -> None:
        super().__init__()
        self.images, self.texts = ImageTower(), texts
        self.prototypes = nn.Parameter(normalize(torch.randn(concepts, DIMS), dim=-1))


class Master:
    """The weights that count, and their optimizers; lanes take copies and bring gradients, one at a time."""

    def __init__(self, recipe: Recipe, towers: Towers) -> None:
        self.towers = towers
        self.steps = 0
        self._recipe = recipe
        self._lock = threading.Lock()
        self._params = dict(towers.named_parameters())
        matrices = {name: param for name, param in self._params.items() if param.ndim == 2 and _is_inner(name)}
        vectors = [param for name, param in self._params.items() if name not in matrices]
        self._muon = Muon(matrices.values(), lr=recipe.matrix_rate, decay=recipe.decay)
        self._adam = torch.optim.AdamW(vectors, lr=recipe.vector_rate, betas=(0.9, 0.98), weight_decay=0.0)

    def copy_to(self, towers: Towers) -> None:
        """Give a lane the newest weights."""
        with self._lock, torch.no_grad():
            for copy, param in zip(towers.parameters(), self._params.values(), strict=True):
                copy.copy_(param)

    def apply(self, grads: Sequence[Tensor | None], *, progress: float) -> int:
        """Take one step with a lane's gradients; how many steps have been taken."""
        recipe = self._recipe
        rate = max(0.0, min(progress / recipe.warmup, 1.0, (1.0 - progress) / (1.0 - recipe.warmup)))
        with self._lock:
            for param, grad in zip(self._params.values(), grads, strict=True):
                param.grad = grad
            for optimizer, top in ((self._muon, recipe.matrix_rate), (self._adam, recipe.vector_rate)):
                for group in optimizer.param_groups:
                    group["lr"] = top * rate
                optimizer.step()
            self.steps += 1
            return self.steps

    def state(self) -> dict[str, Any]:
        """Everything a later run needs to go on, but the lanes' places in their shuffles."""
        with self._lock:
            parts = {name: copy.deepcopy(part.state_dict()) for name, part in self._stateful().items()}
            return {"steps": self.steps, **parts}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.steps = state["steps"]
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])

    def _stateful(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {"towers": self.towers, "muon": self._muon, "adam": self._adam}


def _is_inner(name: str) -> bool:
    return "embedding" not in name and name != "prototypes"


class Lane:
    """One thread with a copy of the towers: draws a batch, and brings its gradients to the master.

    Lanes do not wait for each other, so a gradient may be one step old; in return no core idles where others use them
    too, and no kernel is split in two.
    """

    def __init__(self, recipe: Recipe, album: Album, lexicon: Lexicon, towers: Towers, *, seed: int) -> None:
        self._recipe, self._album, self._lexicon = recipe, album, lexicon
        self.towers = towers
        self._rng = random.Random(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._augment = Augmenter(self._generator)
        self._queue: list[int] = []

    def gradients(self, *, progress: float) -> tuple[dict[str, float], tuple[Tensor | None, ...]]:
        """The losses of one batch, and the gradient of their sum by every parameter of the copy."""
        recipe, towers = self._recipe, self.towers
        places = self._places()
        images, shown = self._images(places, progress=progress)
        named = self._lexicon.named(places, rng=self._rng)
        drawn = self._lexicon.drawn(recipe.strings, rng=self._rng)
        meant = torch.from_numpy(np.concatenate((named.targets, drawn.targets)))
        seen, read = towers.images(images), towers.texts(named.texts + drawn.texts)
        table = normalize(towers.prototypes, dim=-1)
        losses = {
            "image": cross_entropy(recipe.scale * seen @ table.T, shown),
            "text": cross_entropy(recipe.scale * read @ table.T, meant),
            "contrast": contrast(recipe.scale * seen @ read.T, shown @ meant.T),
        }
        loss = losses["image"] + losses["text"] + recipe.contrast * losses["contrast"]
        grads = torch.autograd.grad(loss, list(towers.parameters()), allow_unused=True)
        return {name: value.item() for name, value in losses.items()}, grads

    def _places(self) -> list[int]:
        """The next concepts of an endless shuffle."""
        count = self._recipe.images
        if len(self._queue) < count:
            self._queue = self._rng.sample(range(self._lexicon.size), self._lexicon.size)
        places, self._queue = self._queue[:count], self._queue[count:]
        return places

    def _images(self, places: Sequence[int], *, progress: float) -> tuple[Tensor, Tensor]:
        """(n, 3, 64, 64) in 0..1 and what they show, (n, concepts)."""
        rows = self._album.draw(places, rng=self._rng)
        mirror = self._album.mirror[list(places)]
        images = self._augment(self._album.loose[rows], self._album.plain[rows], mirror=mirror, progress=progress)
        shown = torch.zeros(len(places), self._lexicon.size)
        shown[torch.arange(len(places)), list(places)] = 1.0
        blended = torch.rand(len(places), generator=self._generator) < self._recipe.mixed * min(progress / RAMP, 1.0)
        share = torch.rand(len(places), generator=self._generator) * 0.4 * blended
        other = images.roll(1, 0), shown.roll(1, 0)
        images = images + share.view(-1, 1, 1, 1) * (other[0] - images)
        return images, shown + share.view(-1, 1) * (other[1] - shown)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over rows of the cross entropy to soft targets."""
    return -(targets * log_softmax(logits, dim=-1)).sum(-1).mean()


def contrast(logits: Tensor, relation: Tensor) -> Tensor:
    """Both ways between images and strings; `relation` (images, strings) says how much of one is in the other."""
    return (_related(logits, relation) + _related(logits.T, relation.T)) / 2


def _related(logits: Tensor, relation: Tensor) -> Tensor:
    total = relation.sum(-1)
    some = total > 0.05  # a string about nothing that is shown says nothing
    return cross_entropy(logits[some], relation[some] / total[some].unsqueeze(-1))


@torch.inference_mode()
def recall(images: Tensor, texts: Tensor, own: Tensor, *, at: int) -> float:
    """Share of texts whose own image is among the nearest `at`."""
    nearest = (texts @ images.T).topk(at).indices
    return (nearest == own.unsqueeze(1)).any(1).float().mean().item()


@torch.inference_mode()
def glance(cache: Path, towers: Towers, concepts: Sequence[Concept], names: Sequence[str], style: str) -> float:
    """Recall@10 of English names over one style, to see how training goes."""
    shown = read_style(cache, next(one for one in styles(Use.BUNDLED, Use.TRAINED) if one.name == style))
    rows = {code: row for row, code in enumerate(shown.codes)}
    kept = [(name, rows[one.code]) for one, name in zip(concepts, names, strict=True) if one.code in rows]
    rgba = torch.from_numpy(np.array(shown.images[[row for _, row in kept]]))
    vectors = torch.cat([towers.images(decode(part).float() / 255) for part in torch.split(rgba, 256)])
    return recall(vectors, towers.texts([name for name, _ in kept]), torch.arange(len(kept)), at=10)


class Clock:
    """How far through its time a run is, over all its starts."""

    def __init__(self, seconds: float, *, spent: float) -> None:
        self._seconds = seconds
        self._began = time.monotonic() - spent

    @property
    def elapsed(self) -> float:
        """Seconds of training so far."""
        return time.monotonic() - self._began

    @property
    def progress(self) -> float:
        """The same, as a share of the whole."""
        return min(self.elapsed / self._seconds, 1.0)


def run_lane(lane: Lane, master: Master, clock: Clock, *, stop: threading.Event) -> None:
    """Step until the time is over or another thread has failed."""
    means: dict[str, float] = {}
    try:
        while (progress := clock.progress) < 1.0 and not stop.is_set():
            master.copy_to(lane.towers)
            losses, grads = lane.gradients(progress=progress)
            steps = master.apply(grads, progress=progress)
            means = {name: means.get(name, value) * 0.95 + value * 0.05 for name, value in losses.items()}
            if steps % 50 == 0:
                log.info("step %d, %.0f s: %s", steps, clock.elapsed, _shown(means))
    finally:
        stop.set()


def train(cache: Path, out: Path, recipe: Recipe, *, without: Sequence[str] = ()) -> None:
    """Train from the packages and images in `cache`; checkpoints and the two towers' folders go to `out`."""
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)  # the lanes are what uses both cores
    out.mkdir(parents=True, exist_ok=True)
    concepts = read_concepts(cache / "packages")
    vocabulary = read_vocabulary(cache / "packages")
    lexicon = Lexicon(concepts, vocabulary)
    tokens = cache / "tokenizer.json"
    if not tokens.exists():
        train_tokenizer(lexicon.corpus).save(str(tokens))
    album = open_album(cache / "images", concepts, without=without)
    master = Master(recipe, Towers(TextTower(read_tokenizer(tokens)), concepts=lexicon.size))
    checkpoint, spent = out / "checkpoint.pt", 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=False)
        master.load(saved["master"])
        spent = saved["seconds"]
    seeds = [recipe.seed + 1000 * master.steps + lane for lane in range(1, LANES + 1)]
    lanes = [Lane(recipe, album, lexicon, copy.deepcopy(master.towers), seed=seed) for seed in seeds]
    english = [vocabulary["en"][one.code].name for one in concepts]
    clock, stop = Clock(recipe.seconds, spent=spent), threading.Event()
    with ThreadPoolExecutor(LANES, initializer=torch.set_num_threads, initargs=(1,)) as threads:
        running = [threads.submit(run_lane, lane, master, clock, stop=stop) for lane in lanes]
        while not stop.wait(recipe.checkpoint):
            _save_checkpoint(checkpoint, master, seconds=clock.elapsed)
            towers = copy.deepcopy(master.towers)
            seen = {style: glance(cache / "images", towers, concepts, english, style) for style in ("noto", *without)}
            log.info("recall@10 of English names: %s", _shown(seen))
        for one in running:
            one.result()
    _save_checkpoint(checkpoint, master, seconds=clock.elapsed)
    export_image_tower(master.towers.images.eval(), out / "image")
    export_text_tower(master.towers.texts.eval(), out / "text")
    facts = {"recipe": asdict(recipe), "without": list(without), "steps": master.steps, "seconds": round(clock.elapsed),
             "lanes": LANES}  # fmt: skip
    (out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")


def _shown(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())


def _save_checkpoint(path: Path, master: Master, *, seconds: float) -> None:
    part = path.with_suffix(".part")
    torch.save({"master": master.state(), "seconds": seconds}, part)
    part.replace(path)


def main(
    cache: Annotated[Path, typer.Argument(help="Folder with packages and images (demo.fetch, demo.render).")],
    out: Annotated[Path, typer.Argument(help="Folder for checkpoints and the two towers.")],
    seconds: Annotated[float, typer.Option(help="How long to train.")] = Recipe().seconds,
    without: Annotated[list[str] | None, typer.Option(help="Styles to hold out, for a trial.")] = None,
) -> None:
    """Train the two towers of `mini`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    train(cache, out, Recipe(seconds=seconds), without=without or ())


if __name__ == "__main__":
    typer.run(main)
