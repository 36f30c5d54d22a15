"""Which right each command needs, as docs/engines.md says: with it the command works, with less it is refused."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CommandLine, Ran
from tests.images import write_images
from tests.qdrant_standin.keys import token_for
from tests.qdrant_standin.openapi import ROOT
from tests.qdrant_standin.standin import Standin, running

KEY, READ_ONLY = "the-full-key-of-this-server", "the-read-only-key"
COLLECTION = "images"
TABLE = (ROOT / "docs" / "engines.md").read_text().split("<!-- rights -->")[1].split("<!-- end of rights -->")[0]
ROWS = {
    row.split(":")[0].strip("| "): re.findall(r"`([^`]+)`", row.split("|")[2]) for row in TABLE.splitlines()[4:] if row
}
RIGHTS = ("read", "write", "manage")

COMMANDS: dict[str, tuple[str, ...]] = {
    "search": ("search", "--sample"),
    "export": ("export", "out.parquet"),
    "collection info": ("collection", "info"),
    "collection optimize": ("collection", "optimize"),
    "ingest": ("ingest", "album"),
    "prune": ("prune", "album", "--yes", "--set", "ingest.max_prune=1"),
    "ingest --bulk": ("ingest", "album", "--bulk"),
    "collection alias": ("collection", "alias", "other"),
    "collection create": ("collection", "create", "--set", 'qdrant.meta_fields={"price": "float"}'),
    "collection words": ("collection", "words", "--set", 'words.weights={"folder": 0}'),
    "ingest --recreate": ("ingest", "album", "--recreate"),
    "collection delete": ("collection", "delete", "--yes"),
}
"""What is tried of each row; the last ones leave the collection changed."""


@pytest.fixture(scope="module")
def guarded() -> Iterator[Standin]:
    with running("--api-key", KEY, "--read-only-api-key", READ_ONLY) as standin:
        yield standin


def key_for(right: str) -> str:
    mode = {"read": "r", "write": "rw"}.get(right)
    return token_for("m" if mode is None else [{"collection": COLLECTION, "access": mode}], key=KEY)


def test_the_table_names_every_command_that_is_tried() -> None:
    assert tuple(ROWS) == RIGHTS
    assert {*COMMANDS} <= {command for commands in ROWS.values() for command in commands}


@pytest.mark.slow
def test_each_command_works_with_its_right_and_is_refused_with_less(
    guarded: Standin, data_folder: Path, workplace: Path, cli: CommandLine
) -> None:
    del data_folder
    write_images(workplace / "album", ["a.png", "b.png", "c.png"])

    def run(*command: str, key: str) -> Ran:
        here = {"qdrant.url": guarded.url, "qdrant.transport": "rest", "qdrant.api_key": key}
        given = [f"--set={setting}={value}" for setting, value in here.items()]
        return cli(*command, *given, "--space", "mini", "--collection", COLLECTION)

    assert run("ingest", "album", key=KEY).code == 0
    (workplace / "album" / "c.png").unlink()  # so that there is something to prune
    for name, command in COMMANDS.items():
        needed = next(right for right, commands in ROWS.items() if name in commands)
        for less in RIGHTS[: RIGHTS.index(needed)]:
            refused = run(*command, key=key_for(less))
            assert refused.code == 1, f"{name} with {less}: {refused.out}"
            assert "Forbidden" in refused.err, f"{name} with {less}: {refused.err}"
        done = run(*command, key=key_for(needed))
        assert done.code == 0, f"{name} with {needed}: {done.err}"
