"""Check finds what is damaged in a collection, its files and its runs, names it, and finds nothing in a sound one."""

import asyncio
import json
import os
import random
import shlex
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector.errors import InvalidQuery
from connector.records import Point, StoredPoint
from connector.settings import Settings, WebSettings
from connector.store.edge.sums import verify
from connector.store.open import open_engine
from connector.store.server.engine import ServerEngine
from connector.sums import with_sum, without_sum
from tests.conftest import CommandLine
from tests.connector.service.conftest import copied
from tests.doubles import Answer, WebServer
from tests.qdrant_standin.standin import Standin, running
from tests.scratch import scratch_folder
from workers.collection.async_client import AsyncCollection
from workers.collection.client import Collection
from workers.demo import tour
from workers.pipeline.counters import RunReport, ShardReport
from workers.records import Counts, Ref
from workers.run.check import Finding, check
from workers.run.check_files import file_faults
from workers.run.files import LocalFiles
from workers.run.ingestion import ingest
from workers.run.shards import Listed, Manifest, RunFolder, run_folders

SEED = 19
TOGETHER = 10
"""Files that are damaged at a time."""


def _unseen(_: object) -> AbstractContextManager[None]:
    return nullcontext()


@pytest.fixture(scope="module")
def library() -> Iterator[Settings]:
    """Forty images and a broken one, ingested; nobody has the collection open."""
    with scratch_folder() as folder:
        images = folder / "images"
        images.mkdir()
        for path in sorted(Path(str(tour.IMAGES)).glob("*/*.png"))[:40]:
            shutil.copy(path, images)
        (images / "broken.png").write_bytes(b"\x89PNG no more")
        settings = Settings.load(
            {"model.space": "mini", "ingest.workers": 0, "qdrant.path": str(folder / "data"), "ingest.optimize_from": 1}
        )
        done = ingest([str(images)], settings=settings, recreate=False, show=_unseen, wait=_unseen)
        assert (done.report.counts.stored, done.report.counts.rejected) == (40, 1)
        yield settings


@pytest.fixture
def settings(library: Settings) -> Iterator[Settings]:
    """A copy that a test may damage."""
    with copied(library) as copy:
        yield copy


@pytest.fixture(scope="module")
def server(library: Settings) -> Iterator[Settings]:
    """The same points on a server, beside the files of their runs."""
    with running() as standin:
        yield _pushed(library, standin)


def _pushed(library: Settings, standin: Standin) -> Settings:
    qdrant = standin.settings("grpc").model_copy(update={"path": library.qdrant.path})
    settings = library.model_copy(update={"qdrant": qdrant})
    with (
        closing(open_engine(library.qdrant, collection=library.collection)) as origin,
        closing(ServerEngine.connect(qdrant, collection=library.collection)) as target,
    ):
        target.create(origin.info().schema)
        target.upsert(_points(origin.scroll(limit=1000, vectors=True).points))
    return settings


def _points(stored: "list[StoredPoint] | Any") -> list[Point]:
    return [Point(each.id, each.vector, dict(each.payload)) for each in stored if each.vector is not None]


def _found(settings: Settings, *, read_data: float = 0.0) -> dict[str, Finding]:
    return {each.where: each for each in check(settings, read_data=read_data).findings}


@pytest.mark.parametrize("store", ["settings", "server"])
def test_a_sound_collection_is_sound(store: str, request: pytest.FixtureRequest) -> None:
    report = check(request.getfixturevalue(store), read_data=1)
    assert report.findings == ()
    assert report.sound
    assert (report.points, report.read, report.embedded) == (40, 40, 40)


# Files of the embedded engine


def _shard(settings: Settings) -> Path:
    return settings.qdrant.path / settings.collection / "shard"


def _damage(path: Path, chance: random.Random) -> Callable[[], None]:
    """Damage a file at random; gives what mends it."""
    data = path.read_bytes()

    def mend() -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)

    match chance.choice(["bit", "bit", "bit", "cut", "grown", "gone", "zeros"]):
        case "bit" if data:
            at = chance.randrange(len(data))
            with path.open("r+b") as file:
                file.seek(at)
                file.write(bytes([data[at] ^ 1 << chance.randrange(8)]))
        case "cut" if data:
            path.write_bytes(data[: chance.randrange(len(data))])
        case "zeros" if data.strip(b"\0"):
            path.write_bytes(bytes(len(data)))
        case "gone":
            path.unlink()
        case _:
            path.write_bytes(data + b"x")
    return mend


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_damaged_file_of_a_shard_is_named(settings: Settings, count: int) -> None:
    chance = random.Random(SEED)
    shard = _shard(settings)
    files = sorted(path for path in shard.rglob("*") if path.is_file() and not path.name.startswith("sums"))
    files.append(shard.parent / "collection.json")
    assert verify(shard, share=0).faults == ()
    for _ in range(count // TOGETHER):
        damaged = chance.sample(files, TOGETHER)
        mends = [_damage(path, chance) for path in damaged]
        named = {(shard / fault.path).resolve() for fault in verify(shard, share=0).faults}
        assert named == {path.resolve() for path in damaged}
        for mend in mends:
            mend()
    assert verify(shard, share=0).faults == ()


def test_the_sums_themselves_and_a_file_that_is_too_many_are_named(settings: Settings) -> None:
    shard = _shard(settings)
    (shard / "segments" / "stray").write_bytes(b"x")
    assert [fault.path for fault in verify(shard, share=0).faults] == ["segments/stray"]
    (shard / "segments" / "stray").unlink()
    lost = next(path for path in sorted(shard.rglob("*.dat")))
    lost.rename(shard.parent / "elsewhere")
    lost.symlink_to("/nowhere")
    (fault,) = verify(shard, share=0).faults
    assert (fault.path, fault.fault) == (str(lost.relative_to(shard)), "cannot be read: No such file or directory")
    (shard.parent / "elsewhere").rename(lost)
    mend = _damage(shard / "sums.json", random.Random(1))
    assert [fault.path for fault in verify(shard, share=0).faults] == ["sums.json"]
    mend()


@pytest.mark.parametrize("name", ["segment.json", "page_0.dat", "collection.json"])
def test_a_damaged_file_is_named_and_ends_nothing(settings: Settings, name: str) -> None:
    folder = settings.qdrant.path / settings.collection
    path = next(folder.rglob(name) if name != "page_0.dat" else folder.rglob(f"payload_storage/{name}"))
    before = {each: each.stat().st_mtime_ns for each in folder.rglob("*") if each.is_file()}
    path.write_bytes(path.read_bytes()[:4] + b"\xff\xff\xff\xff")
    report = check(settings)
    assert not report.sound
    assert any(finding.where.endswith(name) for finding in report.findings if finding.kind == "file")
    after = {each: each.stat().st_mtime_ns for each in folder.rglob("*") if each.is_file()}
    assert {each for each in after if after[each] != before.get(each)} <= {path}, "a damaged collection is not touched"


def test_writing_sets_the_sums_aside_and_closing_notes_them_anew(settings: Settings) -> None:
    shard = _shard(settings)
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        point = engine.scroll(limit=1).points[0]
        assert (shard / "sums.json").is_file(), "reading changes nothing"
        engine.set_payload([point.id], {"label": "Red"})
        assert not (shard / "sums.json").is_file()
        assert verify(shard, share=1).faults == ()
    assert verify(shard, share=1).faults == ()
    assert (shard / "sums.json").is_file()
    assert not (shard / "sums.old.json").exists()


@pytest.mark.parametrize("change", ["delete", "set_payload", "upsert", "optimize", "nothing"])
def test_whoever_reads_after_a_change_leaves_the_sums_true(settings: Settings, change: str) -> None:
    """Edge works through what a writer left over when the next one opens the collection, if only to read."""
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        first, second = _points(engine.scroll(limit=2, vectors=True).points)
        match change:
            case "delete":
                engine.delete([first.id])
            case "set_payload":
                engine.set_payload([first.id, second.id], {"label": "Red"})
            case "upsert":
                engine.upsert([first, second])
            case "optimize":
                engine.optimize()
    for _ in range(2):
        assert verify(_shard(settings), share=1).faults == ()
        with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
            assert engine.count()
            assert verify(_shard(settings), share=1).faults == ()
    assert verify(_shard(settings), share=1).unknown == 0


def test_after_a_crash_what_is_written_once_is_still_known(settings: Settings) -> None:
    shard = _shard(settings)
    (shard / "sums.json").rename(shard / "sums.old.json")
    path = next(shard.rglob("vector_storage-mini/matrix.dat"))
    stat, data = path.stat(), path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert [fault.path for fault in verify(shard, share=1).faults] == [path.relative_to(shard).as_posix()]


# Files of runs


@pytest.fixture
def unfinished(tmp_path: Path) -> LocalFiles:
    """The files of a run that was stopped: shards that are done, one that is not, rejects of both kinds."""
    files = LocalFiles(tmp_path / "run")
    folder = RunFolder(files)
    folder.begin(Manifest("one", place="/album", source="file:///album", started_at="2024-05-01T00:00:00+00:00"))
    refs = [
        Ref(f"file:///album/{n}.jpg", "file:///album", f"/album/{n}.jpg", "", f"{n}.jpg", None, size=n)
        for n in range(30)
    ]
    for number in range(3):
        folder.write_shard(number, refs[number * 10 : number * 10 + 10])
    folder.end_listing(Listed(30, rejected=0, shards=3, busy=0.5), rejects=[])
    for number in range(2):
        report = RunReport(counts=Counts(listed=10, stored=10), seconds=1.5, busy={"read": 0.25})
        folder.end_shard(number, ShardReport(report, ()))
    folder.write_mounts({b"/album/stick": (5, 7)})
    return files


def test_a_run_that_was_stopped_is_sound(unfinished: LocalFiles, library: Settings) -> None:
    assert list(file_faults(unfinished)) == []
    for folder in run_folders(library):
        assert list(file_faults(folder.files)) == []


def test_an_emptied_file_of_rejects_is_named(settings: Settings) -> None:
    (finished,) = run_folders(settings)
    assert isinstance(finished.files, LocalFiles)
    name = next(each for each in finished.files.names("") if each.startswith("rejects"))
    (finished.files.path / name).write_bytes(b"")
    assert "it is empty" in dict(file_faults(finished.files))[name]


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_damaged_file_of_a_run_is_named(unfinished: LocalFiles, settings: Settings, count: int) -> None:
    chance = random.Random(SEED)
    (finished,) = run_folders(settings)
    places = [files for files in (unfinished, finished.files) if isinstance(files, LocalFiles)]
    names = [(files, name) for files in places for name in files.names("")]
    assert {name.partition("/")[0] for _, name in names} >= {"run.json", "status.json", "rejects", "done", "listing"}
    for number in range(count):
        files, name = chance.choice(names)
        optional = name in ("status.json", "mounts.json", "listing.json") or name.startswith("rejects")
        before = files.read(name)
        mend = _damage(files.path / name, chance)
        if optional and files.read(name) is None:  # a run may have none
            mend()
            continue
        after = files.read(name)
        if after != before:
            assert (name if after is not None else "is gone") in str(dict(file_faults(files))), (number, name)
        mend()


def test_a_sum_shows_any_change_and_files_without_one_are_read() -> None:
    value = {"a": [1, "ä"], "b": {"c": None}}
    data = with_sum(value)
    assert without_sum(data) == value
    assert json.loads(data)["a"] == value["a"], "plain JSON to everybody else"
    assert without_sum(json.dumps(value).encode()) == value
    assert without_sum(with_sum({})) == {}
    with pytest.raises(ValueError, match="check sum"):
        without_sum(data.replace(b"1", b"2"))
    with pytest.raises(ValueError, match="no object"):
        without_sum(b"[1]")


# Points


def _seeded(point: Point, chance: random.Random) -> Point:
    """The point, damaged at random."""
    payload: dict[str, Any] = json.loads(json.dumps(dict(point.payload)))
    vector, point_id = point.vector, point.id
    fixed = ("uri", "source", "version", "width", "height", "bytes", "content_hash", "ingested_at")
    match chance.randrange(12):
        case 0:
            del payload[chance.choice(fixed)]
        case 1:
            name = chance.choice([*fixed, "camera", "taken_at", "tags", "meta"])
            payload[name] = chance.choice([True, 7.5] if name == "meta" else [True, {"a": 1}, 7.5])
        case 2:
            payload[chance.choice(["nonsense", "Width", "embedding"])] = "x"
        case 3:
            payload[chance.choice(["width", "height", "bytes"])] = chance.choice([0, -1])
        case 4:
            payload |= chance.choice(
                [{"taken_month": 13}, {"taken_hour": 24}, {"rating": 9}, {"taken_weekday": "noday"}]
            )
        case 5:
            payload[chance.choice(["filename", "object_key"])] += "x"
        case 6:
            payload["uri"] += "x"
        case 7:
            payload["content_hash"] = payload["content_hash"][:-1]
        case 8:
            payload["source"] = [*payload["source"], "file:///elsewhere"]
        case 9:
            payload.clear()
        case 10:
            point_id = chance.choice(
                [str(uuid.UUID(int=chance.getrandbits(128), version=4)), str(chance.getrandbits(40))]
            )
        case _:
            vector = np.roll(vector, 1 + chance.randrange(60))
    return Point(point_id, vector, payload)


@pytest.mark.parametrize("store", ["settings", "server"])
@pytest.mark.parametrize("rounds", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_every_impossible_point_is_named(store: str, rounds: int, request: pytest.FixtureRequest) -> None:
    settings: Settings = request.getfixturevalue(store)
    chance = random.Random(SEED)
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        sound = _points(engine.scroll(limit=1000, vectors=True).points)
    for number in range(rounds):
        damaged = [_seeded(point, chance) for point in sound]
        with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
            engine.delete([each.id for each in sound])
            engine.upsert(damaged)
        found = _found(settings, read_data=1)
        missed = [(number, each) for each in damaged if each.id not in found]
        with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
            engine.delete([each.id for each in damaged])
            engine.upsert(sound)
        assert missed == []
    assert check(settings, read_data=1).sound


def test_lost_points_and_images_that_changed_are_told_apart(settings: Settings) -> None:
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        lost, gone, changed, rotten = engine.scroll(limit=4).points
        engine.delete([lost.id])
    paths = [Path(str(each.payload["object_key"])) for each in (gone, changed, rotten)]
    kept = [path.read_bytes() for path in paths]
    try:
        paths[0].unlink()
        paths[1].write_bytes(kept[1] + b"more")
        paths[2].write_bytes(kept[2][:-1] + bytes([kept[2][-1] ^ 1]))
        report = check(settings, read_data=1)
    finally:
        for path, data in zip(paths, kept, strict=True):
            path.write_bytes(data)
    kinds = {each.where: each.kind for each in report.findings}
    source = str(lost.payload["source"][0])
    assert kinds == {source: "count", gone.id: "stale", changed.id: "stale", rotten.id: "image"}
    assert not report.sound
    assert not check(settings).sound, "the count is looked at without reading"


# The command


def test_the_command_says_what_it_found_by_its_exit_code(cli: CommandLine, settings: Settings) -> None:
    where = ("--set", f"qdrant.path={settings.qdrant.path}", "--space", "mini")
    sound = cli("check", *where)
    assert (sound.code, sound.err) == (0, "")
    assert sound.out.startswith("collection images-mini: 40 points, 40 of them read")
    assert sound.out.endswith("sound\n")
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        point = engine.scroll(limit=1).points[0]
        engine.set_payload([point.id], {"width": 0})
    damaged = cli("check", *where, "--json")
    assert damaged.code == 1
    assert damaged.json["sound"] is False
    assert damaged.json["findings"] == [
        {"kind": "point", "where": point.id, "what": "width is 0, which cannot be", "repair": "embed"}
    ]
    assert damaged.json["repairs"] == {"embed": 1}
    assert damaged.json["repair_s"] is not None
    for share in ("lots", "101%", "-1%", "nan"):
        assert cli("check", *where, "--read-data", share).code == 2
    assert cli("check", *where, "--collection", "nowhere").code == 1


def test_a_repair_embeds_what_has_its_image_and_removes_the_rest_only_when_told(
    cli: CommandLine, settings: Settings
) -> None:
    where = ("--set", f"qdrant.path={settings.qdrant.path}", "--set", "ingest.workers=0", "--space", "mini", "--json")
    stray = str(uuid.UUID(int=19, version=4))
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        before = _points(engine.scroll(limit=1000, vectors=True).points)
        cleared, turned, lost, other, *_ = before
        engine.upsert([Point(cleared.id, cleared.vector, {}), Point(turned.id, other.vector, turned.payload)])
        engine.upsert([Point(stray, other.vector, other.payload)])
        engine.delete([lost.id])
    (run,) = run_folders(settings)
    run.files.write("status.json", b"{}")
    ran = cli("check", *where, "--read-data", "100%", "--repair")
    assert ran.json["repaired"] == {"files": 1, "embedded": 3, "removed": 0, "left": 1, "apart": None}
    assert (ran.code, [each["where"] for each in ran.json["findings"]]) == (1, [stray])
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        after = {each.id: each for each in _points(engine.scroll(limit=1000, vectors=True).points)}
    for each in before:
        assert after[each.id].payload.keys() == each.payload.keys()
        np.testing.assert_allclose(after[each.id].vector, each.vector, atol=2e-3)
    ran = cli("check", *where, "--repair", "--remove")
    assert (ran.code, ran.json["repaired"]["removed"]) == (0, 1)
    assert cli("check", *where, "--read-data", "100%").code == 0
    assert cli("check", *where, "--remove").code == 2


def _flipped(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


@pytest.mark.parametrize("by", ["--repair", pytest.param("the command that is named", marks=pytest.mark.slow)])
def test_a_collection_with_damaged_files_comes_back_from_its_sources(
    cli: CommandLine, settings: Settings, by: str
) -> None:
    where = ("--set", f"qdrant.path={settings.qdrant.path}", "--set", "ingest.workers=0")
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        before = {each.id for each in engine.scroll(limit=1000).points}
    matrix = next(_shard(settings).rglob("vector_storage-mini/matrix.dat")).relative_to(settings.qdrant.path)
    _flipped(settings.qdrant.path / matrix)
    found = cli("check", *where, "--space", "mini", "--json")
    (command,) = found.json["renew"]
    assert found.code == 1
    assert command.endswith("--space mini --collection images-mini --recreate")
    if by == "--repair":
        ran = cli("check", *where, "--space", "mini", "--repair")
        assert f"    {command}\n" in ran.out
        (apart,) = settings.qdrant.path.glob(".damaged-images-mini-*")
        assert f"the damaged collection lies in {apart}: " in ran.out
        assert (apart / matrix.relative_to(settings.collection)).is_file(), "nothing is thrown away"
    else:
        ran = cli(*shlex.split(command)[1:], *where)
    assert ran.code == 0, ran.err
    assert check(settings, read_data=1).sound
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        assert {each.id for each in engine.scroll(limit=1000).points} == before


@pytest.mark.parametrize("name", ["collection.json", "shard"])
def test_a_collection_that_lacks_a_part_is_damaged_and_not_missing(
    cli: CommandLine, settings: Settings, name: str
) -> None:
    where = ("--set", f"qdrant.path={settings.qdrant.path}", "--space", "mini", "--set", "ingest.workers=0")
    folder = _shard(settings).parent
    (folder / name).rename(folder.parent / "elsewhere")
    asked = cli("search", "a dog", *where)
    assert (asked.code, f"{folder / name} is gone" in asked.err, "check" in asked.err) == (1, True, True), asked.err
    found = check(settings)
    assert [(each.where, each.what) for each in found.findings] == [(f"../{name}", "is gone")]
    assert len(found.renew) == 1

    assert cli("check", *where, "--repair").code == 0

    assert check(settings, read_data=1).sound
    assert check(settings).points == 40


def _schema(**changed: object) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        value = json.loads(data)
        return json.dumps({**value, "fingerprint": {**value["fingerprint"], **changed}}).encode()

    return change


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: bytes(len(data)), id="zeros"),
        pytest.param(lambda data: data[: len(data) // 2], id="half"),
        pytest.param(lambda data: data.decode().encode("cp500"), id="another encoding"),
        pytest.param(lambda _: b"[]", id="no object"),
        pytest.param(lambda data: data.replace(b'"meta_fields": {}', b'"meta_fields": {"x": "colour"}'), id="no type"),
        pytest.param(lambda data: data.replace(b'"title": 3.0', b'"title": "much"'), id="no number"),
        pytest.param(_schema(dims="many"), id="dims of text"),
        pytest.param(_schema(dims=-3), id="dims below zero"),
        pytest.param(_schema(space=None), id="no space"),
        pytest.param(_schema(space="another"), id="the space of another collection"),
        pytest.param(_schema(made_by="somebody"), id="a field of another version"),
    ],
)
def test_a_schema_that_cannot_be_is_named_and_harms_no_vector(
    cli: CommandLine, settings: Settings, damage: Callable[[bytes], bytes]
) -> None:
    """There are no sums, as after a crash: the collection is opened to be looked at."""
    where = ("--set", f"qdrant.path={settings.qdrant.path}")
    schema = _shard(settings).parent / "collection.json"
    whole = schema.read_bytes()
    (_shard(settings) / "sums.json").unlink()
    schema.write_bytes(damage(whole))
    assert schema.read_bytes() != whole

    found = check(settings)

    (fault,) = (each for each in found.findings if each.kind == "file")
    assert str(schema) in fault.what
    assert len(fault.what) < 500
    (listed,) = json.loads(cli("collection", "list", *where, "--json").out)["collections"]
    assert str(schema) in listed["fault"]
    schema.write_bytes(whole)
    assert check(settings, read_data=1).sound


def test_a_collection_whose_schema_is_damaged_can_be_deleted_and_restored(
    cli: CommandLine, settings: Settings, tmp_path: Path
) -> None:
    where = ("--set", f"qdrant.path={settings.qdrant.path}", "--space", "mini")
    assert cli("collection", "backup", tmp_path / "whole", *where).code == 0
    (_shard(settings).parent / "collection.json").unlink()
    assert cli("collection", "restore", tmp_path / "whole", *where[:2]).code != 0

    deleted = cli("collection", "delete", "--yes", *where)

    assert (deleted.code, deleted.out) == (0, "collection images-mini is deleted; its points are gone.\n"), deleted.err
    assert cli("collection", "restore", tmp_path / "whole", *where[:2]).code == 0
    assert check(settings, read_data=1).sound


def test_files_are_named_by_their_place_and_not_by_that_of_a_copy(settings: Settings) -> None:
    (_shard(settings).parent / "collection.json").write_bytes(b"")

    said = [each.what for each in check(settings).findings]

    assert any(str(settings.qdrant.path) in each for each in said)
    assert not any("scratch" in each for each in said)


@pytest.mark.slow
def test_a_damaged_collection_stays_where_a_source_is_away_or_none_is_known(
    cli: CommandLine, settings: Settings
) -> None:
    where = ("--set", f"qdrant.path={settings.qdrant.path}", "--space", "mini", "--set", "ingest.workers=0")
    (run,) = run_folders(settings)
    manifest = run.manifest()
    assert manifest is not None
    _flipped(next(_shard(settings).rglob("vector_storage-mini/matrix.dat")))
    run.files.write("run.json", with_sum({**asdict(manifest), "place": "/nowhere/at/all"}))
    ran = cli("check", *where, "--repair")
    assert (ran.code, "/nowhere/at/all" in ran.err) == (1, True), ran.err
    run.remove()
    ran = cli("check", *where, "--repair", "--json")
    assert (ran.code, ran.json["renew"], ran.json["repaired"]["apart"]) == (1, [], None)
    assert not [*settings.qdrant.path.glob(".damaged-*")]


def test_an_image_of_the_web_that_gives_no_answer_is_told_from_one_that_is_gone(library: Settings) -> None:
    data = next(Path(str(tour.IMAGES)).glob("*/*.png")).read_bytes()
    here = WebSettings(allow_networks=(ip_network("127.0.0.0/8"),), attempts=1)
    with (
        WebServer(lambda *_: Answer(200, data)) as web,
        copied(library) as copy,
        Collection.open(settings=copy.model_copy(update={"web": here})) as photos,
    ):
        added = photos.add([f"{web.url}/{name}.png" for name in ("silent", "gone")])
        web.script("silent", Answer(503))
        web.script("gone", Answer(404))
        report = photos.check(read_data=1)
        again = asyncio.run(AsyncCollection(photos).check(read_data=1))
    assert {each.where: each.kind for each in report.findings} == {added.ids[0]: "unknown", added.ids[1]: "stale"}
    assert report.sound
    assert again.findings == ()
    with pytest.raises(InvalidQuery, match=r"read_data is 1\.5"):
        photos.check(read_data=1.5)
