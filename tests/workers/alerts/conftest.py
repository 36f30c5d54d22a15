import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from connector.alerts.alert import Alert, add_alert, make_alert
from connector.settings import Settings
from connector.store.open import open_engine
from tests.qdrant_standin.standin import Standin, running
from tests.scratch import scratch_folder
from workers.demo import tour
from workers.run.ingestion import Ingested, ingest


@dataclass(frozen=True)
class Library:
    """A folder of images and the collection that they are in; ``arriving`` are images that are not there yet."""

    top: Path
    given: dict[str, Any]

    @property
    def album(self) -> Path:
        return self.top / "album"

    @property
    def settings(self) -> Settings:
        fixed = {"model.space": "mini", "ingest.workers": 0, "qdrant.path": str(self.top / "data")}
        return Settings.load({**fixed, **self.given})

    def with_settings(self, **given: Any) -> "Library":
        """The same under other settings, ``__`` for each dot."""
        named = {name.replace("__", "."): value for name, value in given.items()}
        return replace(self, given={**self.given, **named})

    def ask(self, question: str, **told: Any) -> Alert:
        """Let a question stay asked."""
        settings = self.settings
        engine = open_engine(settings.qdrant, collection=settings.collection)
        try:
            alert = make_alert(question, schema=engine.info().schema, **told)
            add_alert(engine, alert)
        finally:
            engine.close()
        return alert

    def bring(self, name: str, *, under: str = "") -> Path:
        """Let a bundled image, such as ``objects/guitar.png``, arrive in the album."""
        path = self.album / (under or Path(name).name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(str(tour.IMAGES)) / name, path)
        return path

    def ingest(self, *, recreate: bool = False) -> Ingested:
        """Ingest the album."""
        return ingest([str(self.album)], settings=self.settings, recreate=recreate, show=unseen, wait=unseen)

    def payloads(self) -> dict[str, dict[str, Any]]:
        """What the collection holds, by the name of the file."""
        settings = self.settings
        engine = open_engine(settings.qdrant, collection=settings.collection)
        try:
            return {str(each.payload["filename"]): dict(each.payload) for each in engine.scroll(limit=10_000).points}
        finally:
            engine.close()


def unseen(_: object) -> Any:
    return nullcontext()


def fill(album: Path) -> None:
    """Images enough to tell what fits: animals, and things to eat."""
    for category in ("animals-nature", "food-drink"):
        (album / category).mkdir(parents=True, exist_ok=True)
        for each in sorted((Path(str(tour.IMAGES)) / category).glob("*.png"))[::2]:
            shutil.copyfile(each, album / category / each.name)


@pytest.fixture(scope="session")
def filled() -> Iterator[Path]:
    """A library that is stored; each test has a copy."""
    with scratch_folder() as folder:
        library = Library(folder / "filled", {})
        fill(library.album)
        done = library.ingest()
        assert 100 < done.report.counts.stored < 400
        yield library.top


@contextmanager
def copied(filled: Path) -> Iterator[Library]:
    with scratch_folder() as folder:
        shutil.copytree(filled, folder / "library", ignore=shutil.ignore_patterns("*.sock"))
        yield Library(folder / "library", {})


@pytest.fixture
def library(filled: Path, workplace: Path) -> Iterator[Library]:
    """A copy of the library that is stored, at another place: its images are other ones there."""
    del workplace
    with copied(filled) as made:
        yield made


@pytest.fixture(scope="session")
def standin() -> Iterator[Standin]:
    """Qdrant's interface in a process of its own."""
    with running() as server:
        yield server
