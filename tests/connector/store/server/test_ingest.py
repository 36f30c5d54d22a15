"""Whole runs against a server that goes wrong: one clear sentence, exit code 1, and a second run that finishes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CommandLine, Ran
from tests.images import write_images
from tests.qdrant_standin.faults import Fault
from tests.qdrant_standin.keys import token_for
from tests.qdrant_standin.standin import TRANSPORTS, Standin, Transport, running

COUNT = 40
SHORT_LIMITS = ("--set=qdrant.retry_s=0.3", "--set=qdrant.full_wait_s=0.2")


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    found: Transport = request.param
    return found


@pytest.fixture
def server(
    standin: Standin, transport: Transport, collection: str, data_folder: Path, workplace: Path, cli: CommandLine
) -> "Server":
    """A stand-in, and an album of images to bring there."""
    del data_folder  # where the run folders go
    write_images(workplace / "album", [f"{number}.png" for number in range(COUNT)])
    return Server(standin, transport=transport, collection=collection, cli=cli)


class Server:
    """The command line, pointed at the stand-in."""

    def __init__(self, standin: Standin, *, transport: Transport, collection: str, cli: CommandLine) -> None:
        self.standin = standin
        self.cli = cli
        settings = {
            "qdrant.url": standin.url,
            "qdrant.grpc_port": standin.grpc_port,
            "qdrant.transport": transport,
            "ingest.shard_size": 10,
            "qdrant.retry_first_s": 0.01,
        }
        self.here = [f"--set={name}={value}" for name, value in settings.items()]
        self.here += ["--space", "mini", "--collection", collection]

    def ingest(self, *flags: str) -> Ran:
        return self.cli("ingest", "album", "--json", *flags, *self.here)

    def points(self) -> int:
        info = self.cli("collection", "info", "--json", *self.here)
        return int(info.json["points"])


def test_a_run_over_a_server_that_is_sometimes_away_stores_everything_once(server: Server) -> None:
    server.standin.script(*(Fault("status", 503, operation="upsert", times=2), Fault("drop", operation="retrieve")))

    done = server.ingest()

    assert (done.code, done.json["stored"], server.points()) == (0, COUNT, COUNT)
    again = server.ingest("--bulk")
    assert (again.json["stored"], again.json["unchanged"]) == (0, COUNT)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("status", 507, operation="upsert", times=None), "room"),
        (Fault("status", 503, operation="upsert", times=None), "server"),
        (Fault("status", 404, operation="upsert", times=None), "collection"),
    ],
    ids=["full", "away", "collection gone"],
)
def test_what_cannot_be_helped_ends_in_a_sentence_and_a_resume_finishes_the_job(
    server: Server, fault: Fault, said: str
) -> None:
    server.standin.script(fault)

    broken = server.ingest(*SHORT_LIMITS)

    assert broken.code == 1
    assert said in broken.err
    assert broken.err.startswith("polyglance: ")
    assert "Traceback" not in broken.err

    server.standin.script()
    done = server.ingest()
    assert (done.code, done.json["stored"] + done.json["unchanged"], server.points()) == (0, COUNT, COUNT)


def test_a_point_carries_its_thumbnails_address_once_the_service_has_one(server: Server) -> None:
    server.ingest("--set=serve.public_url=http://localhost:8000/")

    hits = server.cli("search", "dog", "--json", *server.here).json["hits"]

    assert {hit["payload"]["thumbnail_url"] for hit in hits} == {
        f"http://localhost:8000/thumbnails/{hit['id']}.webp" for hit in hits
    }


def test_an_alias_is_resolved_before_anything_is_deleted(server: Server, collection: str) -> None:
    alias = f"{collection}-live"
    by_alias = [*server.here[:-1], alias]
    assert server.ingest().code == 0
    assert server.cli("collection", "alias", alias, *server.here).code == 0
    info = server.cli("collection", "info", "--json", *by_alias).json
    assert (info["collection"], info["alias"], info["points"]) == (collection, alias, COUNT)
    for place in sorted(Path("album").iterdir())[10:]:
        place.unlink()
    again = server.cli("ingest", "album", "--recreate", "--json", *by_alias)
    assert again.json["stored"] == 10
    assert server.cli("collection", "info", "--json", *by_alias).json["points"] == 10
    assert server.points() == COUNT  # the old one stays until somebody deletes it
    deleted = server.cli("collection", "delete", "--yes", *by_alias)
    assert f"(which the alias {alias} means) is deleted; 10 points are gone" in deleted.out
    assert server.cli("collection", "info", *by_alias).code == 1
    assert server.points() == COUNT


KEY, READ_ONLY = "the-full-key-of-this-server", "the-read-only-key"
ONE = "shared"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Standin]:
    """A stand-in with keys."""
    with running("--api-key", KEY, "--read-only-api-key", READ_ONLY) as standin:
        yield standin


def test_whoever_may_write_one_collection_ingests_once_somebody_made_it(
    guarded: Standin, transport: Transport, data_folder: Path, workplace: Path, cli: CommandLine
) -> None:
    del data_folder
    write_images(workplace / "album", ["a.png", "b.png"])
    name = f"{ONE}-{transport}"
    writer = token_for([{"collection": name, "access": "rw"}], key=KEY)

    def run(*command: str, key: str) -> Ran:
        here = {"qdrant.url": guarded.url, "qdrant.grpc_port": guarded.grpc_port, "qdrant.transport": transport}
        here |= {"qdrant.api_key": key}
        given = [f"--set={setting}={value}" for setting, value in here.items()]
        return cli(*command, *given, "--space", "mini", "--collection", name)

    refused = run("ingest", "album", key=writer)
    assert refused.code == 1
    assert "Manage access for this operation is required" in refused.err

    assert run("collection", "create", key=KEY).code == 0
    done = run("ingest", "album", "--json", key=writer)
    assert done.code == 0, done.err
    assert done.json["stored"] == 2

    nowhere = f"--set=model.image_model={workplace / 'nowhere'}"  # told before there is a look at the model
    for flags, key, told in (
        (["--bulk"], writer, "--bulk and --recreate take a key that may manage"),
        ([], READ_ONLY, "Global manage access is required"),
        ([], "nobody's", "Check POLYGLANCE_QDRANT__API_KEY"),
    ):
        refused = run("ingest", "album", nowhere, *flags, key=key)
        assert refused.code == 1
        assert told in refused.err
    assert "Check POLYGLANCE_QDRANT__API_KEY" in run("search", "a dog", key="nobody's").err


def test_optimize_says_that_few_points_need_no_graph(server: Server) -> None:
    assert server.ingest().code == 0
    done = server.cli("collection", "optimize", *server.here)
    assert done.code == 0
    assert f"its {COUNT} points are too few for a graph" in done.out


def test_a_collection_without_points_is_covered(server: Server) -> None:
    assert server.cli("collection", "create", *server.here).code == 0
    assert "the graph covers all of its 0 points." in server.cli("collection", "optimize", *server.here).out
