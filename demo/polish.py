"""Teach the text tower more words, the images held still: `python -m demo.polish CACHE`.

Reading is many times cheaper than looking, and the words are what the first phase leaves half learned. So the image
tower is frozen, and every string is classified, by cosine, onto images themselves: each step draws one trained-on
image of every concept, which is the search that the product does, with all other concepts as wrong answers.
"""

import copy
import json
import logging
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn.functional import normalize

from demo.concepts import read_concepts, read_vocabulary
from demo.muon import Muon
from demo.tokens import read_tokenizer
from demo.towers import TextTower, export_text_tower
from demo.train import LANES, Album, Clock, Recipe, Towers, cross_entropy, glance, open_album
from demo.words import Lexicon, Phrases

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Polish:
    """Everything that decides what the second phase makes, but the machine."""

    seconds: float = 1080.0
    names: int = 256  # a step: concepts, by one of their names or keywords each
    strings: int = 256  # a step: drawn besides from all strings
    scale: float = 20.0  # of cosines, before a softmax
    prototypes: float = 0.5  # share of the loss against the learned prototypes, the rest against drawn images
    matrix_rate: float = 4e-3
    vector_rate: float = 3e-3
    decay: float = 0.02
    warmup: float = 0.03  # share of the time
    seed: int = 21


class Gallery:
    """The vectors of every training image, and one of each concept at a time."""

    def __init__(self, album: Album, towers: Towers) -> None:
        with torch.inference_mode():
            parts = [towers.images(part.float() / 255) for part in torch.split(album.plain, 256)]
        self._vectors = torch.cat(parts).clone()  # (images, dims)
        self._album = album
        self.prototypes = normalize(towers.prototypes.detach(), dim=-1)  # (concepts, dims)

    def draw(self, rng: random.Random) -> Tensor:
        """One image of every concept: (concepts, dims)."""
        return self._vectors[self._album.draw(range(len(self._album.rows)), rng=rng)]


class Reader:
    """The text tower that is taught, and its optimizers; lanes bring gradients one at a time."""

    def __init__(self, polish: Polish, texts: TextTower) -> None:
        self.texts = texts
        self.steps = 0
        self._polish = polish
        self._lock = threading.Lock()
        self._params = dict(texts.named_parameters())
        matrices = [p for name, p in self._params.items() if p.ndim == 2 and "embedding" not in name]
        kept = {id(param) for param in matrices}
        others = [param for param in self._params.values() if id(param) not in kept]
        self._optimizers: tuple[tuple[torch.optim.Optimizer, float], ...] = (
            (Muon(matrices, lr=polish.matrix_rate, decay=polish.decay), polish.matrix_rate),
            (torch.optim.AdamW(others, lr=polish.vector_rate, betas=(0.9, 0.98), weight_decay=0.0), polish.vector_rate),
        )

    def copy_to(self, texts: nn.Module) -> None:
        """Give a lane the newest weights."""
        with self._lock, torch.no_grad():
            for copied, param in zip(texts.parameters(), self._params.values(), strict=True):
                copied.copy_(param)

    def apply(self, grads: Sequence[Tensor | None], *, progress: float) -> int:
        """Take one step with a lane's gradients; how many steps have been taken."""
        warmup = self._polish.warmup
        rate = max(0.0, min(progress / warmup, 1.0, (1.0 - progress) / (1.0 - warmup)))
        with self._lock:
            for param, grad in zip(self._params.values(), grads, strict=True):
                param.grad = grad
            for optimizer, top in self._optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = top * rate
                optimizer.step()
            self.steps += 1
            return self.steps


class Pupil:
    """One thread's copy of the text tower."""

    def __init__(self, polish: Polish, gallery: Gallery, lexicon: Lexicon, texts: TextTower, *, seed: int) -> None:
        self._polish, self._gallery, self._lexicon = polish, gallery, lexicon
        self.texts = texts
        self._rng = random.Random(seed)

    def gradients(self) -> tuple[float, tuple[Tensor | None, ...]]:
        """The loss of one batch of strings and its gradient."""
        polish = self._polish
        phrases = self._phrases()
        meant = torch.from_numpy(phrases.targets)
        read = self.texts(phrases.texts)
        drawn = cross_entropy(polish.scale * read @ self._gallery.draw(self._rng).T, meant)
        learned = cross_entropy(polish.scale * read @ self._gallery.prototypes.T, meant)
        loss = polish.prototypes * learned + (1.0 - polish.prototypes) * drawn
        return loss.item(), torch.autograd.grad(loss, list(self.texts.parameters()), allow_unused=True)

    def _phrases(self) -> Phrases:
        places = self._rng.sample(range(self._lexicon.size), self._polish.names)
        named = self._lexicon.named(places, rng=self._rng)
        drawn = self._lexicon.drawn(self._polish.strings, rng=self._rng)
        return Phrases(named.texts + drawn.texts, np.concatenate((named.targets, drawn.targets)))


def run_pupil(pupil: Pupil, reader: Reader, clock: Clock, *, stop: threading.Event) -> None:
    """Step until the time is over or another thread has failed."""
    mean: float | None = None
    try:
        while (progress := clock.progress) < 1.0 and not stop.is_set():
            reader.copy_to(pupil.texts)
            loss, grads = pupil.gradients()
            steps = reader.apply(grads, progress=progress)
            mean = loss if mean is None else mean * 0.95 + loss * 0.05
            if steps % 200 == 0:
                log.info("step %d, %.0f s: loss %.3f", steps, clock.elapsed, mean)
    finally:
        stop.set()


def polish_words(cache: Path, out: Path, polish: Polish) -> None:
    """Go on from the last checkpoint in `out`; the text tower's folder there is written again."""
    torch.manual_seed(polish.seed)
    torch.set_num_threads(1)  # the pupils are what uses both cores
    concepts = read_concepts(cache / "packages")
    vocabulary = read_vocabulary(cache / "packages")
    lexicon = Lexicon(concepts, vocabulary)
    towers = Towers(TextTower(read_tokenizer(cache / "tokenizer.json")), concepts=lexicon.size)
    towers.load_state_dict(torch.load(out / "checkpoint.pt", weights_only=False)["master"]["towers"])
    gallery = Gallery(open_album(cache / "images", concepts), towers.eval())
    reader = Reader(polish, towers.texts.train())
    english = [vocabulary["en"][one.code].name for one in concepts]
    pupils = [
        Pupil(polish, gallery, lexicon, copy.deepcopy(towers.texts), seed=polish.seed + lane) for lane in range(LANES)
    ]
    clock, stop = Clock(polish.seconds, spent=0.0), threading.Event()
    with ThreadPoolExecutor(LANES, initializer=torch.set_num_threads, initargs=(1,)) as threads:
        running = [threads.submit(run_pupil, pupil, reader, clock, stop=stop) for pupil in pupils]
        while not stop.wait(Recipe().checkpoint):
            seen = glance(cache / "images", copy.deepcopy(towers), concepts, english, "noto")
            log.info("recall@10 of English names: noto %.3f", seen)
        for one in running:
            one.result()
    export_text_tower(towers.texts.eval(), out / "text")
    facts = json.loads((out / "training.json").read_text())
    facts["polish"] = {**asdict(polish), "steps": reader.steps}
    (out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")


def main(
    cache: Annotated[Path, typer.Argument(help="Folder with packages, images and the tokenizer.")],
    out: Annotated[Path, typer.Argument(help="Folder with the first phase's checkpoint.")],
    seconds: Annotated[float, typer.Option(help="How long to train.")] = Polish().seconds,
) -> None:
    """Teach the text tower more words."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    polish_words(cache, out, Polish(seconds=seconds))


if __name__ == "__main__":
    typer.run(main)
