"""A library as people keep it, and the real command line driven through it: ``python -m tests.lived_in``.

A scene prints its name once all of it held; the first thing that does not hold ends the script.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.images import write_images
from workers.sources.disk import uri_of


class Library:
    """Some folders of images, and a collection of their own in space mini."""

    def __init__(self, top: Path) -> None:
        self.photos = top / "photos"
        self._environment = {**os.environ, "POLYGLANCE_QDRANT__PATH": str(top / "data")}
        write_images(self.photos, ["top.png", "2023/a.png", "2024/b.png", "2024/holiday/c.png"])

    def run(self, *arguments: object) -> Any:
        """What a command answers as JSON; one that fails ends the script."""
        command = [sys.executable, "-m", "polyglance", *map(str, arguments), "--json"]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])

    def found(self, where: str) -> set[str]:
        """The names of the images that a filter finds."""
        return {hit["payload"]["filename"] for hit in self.run("search", "a dog", "--where", where, "-n", 100)["hits"]}


def a_subfolder_first_and_the_parent_later(library: Library) -> None:
    """Nothing is read again, and both folders' names find the image."""
    library.run("ingest", library.photos / "2024", "--space", "mini")
    whole = library.run("ingest", library.photos)
    expect((whole["stored"], whole["unchanged"], whole["joined"]), (2, 2, 2))
    for folder in ("holiday", "2024/holiday"):
        expect(library.found(f'folder == "{folder}"'), {"c.png"})


def a_sidecar_that_comes_and_goes(library: Library) -> None:
    """The payload alone changes."""
    beside = library.photos / "2023" / "a.json"
    beside.write_text('{"album": "Norderney"}')
    expect(library.run("ingest", library.photos)["copied"], 1)
    beside.unlink()
    expect(library.run("ingest", library.photos)["copied"], 1)


def a_disk_that_is_away(library: Library) -> None:
    """What an empty folder held is kept, and said to be."""
    away = library.photos.with_name("away")
    (library.photos / "2024").rename(away)
    (library.photos / "2024").mkdir()
    pruned = library.run("prune", library.photos, "--yes", "--max-prune", "1")
    expect((pruned["removed"], pruned["kept"]), (0, 2))
    (library.photos / "2024").rmdir()
    away.rename(library.photos / "2024")


def a_library_that_moves(library: Library) -> None:
    """Its points go along, a renamed image too."""
    old, library.photos = library.photos, library.photos.with_name("moved")
    old.rename(library.photos)
    (library.photos / "top.png").rename(library.photos / "renamed.png")
    done = library.run("relocate", old, library.photos)
    expect((done["moved"], done["renamed"], done["unknown"], done["left"]), (4, 1, 0, 0))
    expect(library.run("ingest", library.photos)["unchanged"], 4)


def a_place_that_is_forgotten(library: Library) -> None:
    """What the subfolder lists too stays."""
    done = library.run("forget", library.photos)
    expect((done["removed"], done["left"]), (2, 2))
    expect(library.found(f'source == "{uri_of(library.photos / "2024")}"'), {"b.png", "c.png"})


SCENES: tuple[Callable[[Library], None], ...] = (
    a_subfolder_first_and_the_parent_later,
    a_sidecar_that_comes_and_goes,
    a_disk_that_is_away,
    a_library_that_moves,
    a_place_that_is_forgotten,
)


def expect(seen: object, wanted: object) -> None:
    """End the script where something else came out."""
    if seen != wanted:
        sys.exit(f"expected {wanted}, saw {seen}")


def main() -> None:
    """Play the scenes, one after the other, in one library."""
    top = Path(tempfile.mkdtemp(prefix="lived-in-"))
    try:
        library = Library(top)
        for scene in SCENES:
            scene(library)
            sys.stdout.write(f"held: {scene.__name__.replace('_', ' ')}\n")
    finally:
        shutil.rmtree(top)


if __name__ == "__main__":
    main()
