"""A whole migration on a Qdrant server by the commands, while a search is open; an alias names the collection."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.search.client import ImageSearch
from tests.conftest import CommandLine, Ran
from tests.images import write_images
from tests.qdrant_standin.standin import TRANSPORTS, Standin, Transport, running
from tests.second_space import NAME, write_turned

COUNT = 40


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    with running() as found:
        yield found


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    found: Transport = request.param
    return found


@pytest.mark.slow
def test_a_collection_behind_an_alias_is_migrated_followed_rolled_back_and_dropped(
    standin: Standin, transport: Transport, data_folder: Path, workplace: Path, cli: CommandLine
) -> None:
    del data_folder  # where the run folders go
    write_images(workplace / "album", [f"{number}.png" for number in range(COUNT)])
    to, collection, alias = write_turned(workplace), f"by-{transport}", f"by-{transport}-live"
    server = {"qdrant.url": standin.url, "qdrant.grpc_port": standin.grpc_port, "qdrant.transport": transport}
    here = ["--space", "mini", *(f"--set={name}={value}" for name, value in server.items())]
    assert cli("ingest", "album", "--collection", collection, *here).code == 0
    assert cli("collection", "alias", alias, "--collection", collection, *here).code == 0

    def migrate(*words: object) -> Ran:
        return cli("migrate", *words, "--collection", alias, *here)

    with ImageSearch.open(collection=alias, overrides={"model.space": "mini", **server}) as search:

        def answer() -> list[str]:
            return [hit.id for hit in search.text("a dog", limit=5, mode="visual")]

        before = answer()
        gone = workplace / "album/7.png"
        kept = gone.read_bytes()
        gone.unlink()
        first = migrate("--to", to, "--json")
        assert (first.code, first.json["written"], len(first.json["rejects"])) == (1, COUNT - 1, 1)
        gone.write_bytes(kept)
        again = migrate("--to", to, "--json")
        assert (again.code, again.json["listed"], again.json["written"]) == (0, 1, 1)
        assert search.text("a dog", limit=1).space == "mini"
        write_images(workplace / "more", ["new.png"], first_seed=COUNT)
        assert cli("ingest", "more", "--collection", alias, *here).code == 0
        assert migrate("status", "--json").json["left"] == 0

        assert f"space {NAME} answers" in migrate("switch").out
        follow(search, space=NAME)
        assert answer() == before
        assert "space mini answers" in migrate("roll-back").out
        follow(search, space="mini")
        assert answer() == before
        migrate("switch")
        assert migrate("drop", "--yes").code == 0
        assert answer() == before
        assert search.text("a dog", limit=1).space == NAME
    left = cli("migrate", "status", "--json", "--collection", collection, *here).json
    assert (left["answers"], left["second"], left["points"], left["unseen"]) == (NAME, None, COUNT + 1, 0)


def follow(search: ImageSearch, *, space: str) -> None:
    """Wait until an open search answers by a space."""
    until = time.monotonic() + 60
    while search.text("a dog", limit=1).space != space:
        assert time.monotonic() < until
        time.sleep(0.05)
