"""Without a model: addresses are asked for conditionally, and what was no image is tried again apart."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
import pytest

from connector.records import Point
from connector.settings import Settings
from connector.store.edge.engine import EmbeddedEngine
from connector.store.schema import CollectionSchema, Fingerprint
from connector.version import Version
from tests.doubles import Answer, Silence, WebServer
from tests.images import write_images
from workers.executors.executor import Executor
from workers.executors.in_process import LazyExecutor
from workers.pipeline.counters import ShardReport
from workers.records import Counts, Ref, Reject, Shard
from workers.sources.open import open_source

ETAG = '"1"'


class Needed(Exception):
    """The workers are wanted."""


class Page:
    """A server of images that knows conditional requests."""

    def __init__(self) -> None:
        self.etag = ETAG
        self.missing: set[str] = set()

    def respond(self, path: str, headers: Mapping[str, str]) -> Answer:
        if path in self.missing:
            return Answer(404)
        known = headers.get("if-none-match") == self.etag
        return Answer(304) if known else Answer(200, b"another image", {"ETag": self.etag})


@pytest.fixture
def page() -> Page:
    return Page()


@pytest.fixture
def server(page: Page) -> Iterator[WebServer]:
    with WebServer(page.respond) as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(
        {
            "model.space": "mini",
            "qdrant.path": str(tmp_path / "data"),
            "web.allow_networks": ["127.0.0.1/32"],
            "web.attempts": 1,
        }
    )


def listed(place: Path, settings: Settings) -> tuple[Ref, ...]:
    with closing(open_source(str(place), settings=settings)) as source:
        refs = [item for item in source.list() if isinstance(item, Ref)]
    return tuple(sorted(refs, key=lambda ref: ref.uri))


def store(refs: tuple[Ref, ...], settings: Settings, *, versions: Sequence[Version | None] | None = None) -> None:
    with closing(EmbeddedEngine.open(settings.qdrant.path, collection=settings.collection)) as engine:
        engine.create(CollectionSchema(Fingerprint(space="mini", dims=128, image_size=64, weights="w")))
        vector = np.full(128, 128**-0.5, dtype=np.float32)
        engine.upsert(
            [
                Point(
                    ref.point_id,
                    vector,
                    {"version": str(version), "source": [ref.source], "folder": [ref.folder]},
                )
                for ref, version in zip(refs, versions or [ref.version for ref in refs], strict=True)
            ]
        )


def looked_up(
    refs: tuple[Ref, ...], place: Path, settings: Settings, *, rejected: tuple[Reject, ...] = ()
) -> ShardReport:
    """What became of them; raises Needed where somebody has to embed."""

    def start() -> Executor:
        raise Needed

    with closing(LazyExecutor(start, settings=settings, wait=lambda _: nullcontext())) as lazy:
        lazy.prepare(recreate=False)
        lazy.expect(rejected)
        return lazy.submit(Shard(0, place=str(place), refs=refs), on_heartbeat=unheard).result(timeout=100)


def unheard(_: object) -> None:
    """Leave signs of life be."""


@pytest.fixture
def addresses(tmp_path: Path, server: WebServer) -> Path:
    """A table of twelve addresses, each with a caption."""
    table = tmp_path / "table.csv"
    table.write_text("url,caption\n" + "".join(f"{server.url}/{number}.png,c{number}\n" for number in range(12)))
    return table


def page_version(refs: tuple[Ref, ...]) -> list[Version]:
    return [Version.of_page(etag=ETAG, modified=None, data=b"").with_metadata(ref.meta) for ref in refs]


def store_pages(refs: tuple[Ref, ...], settings: Settings) -> None:
    store(refs, settings, versions=page_version(refs))


def test_addresses_that_have_not_changed_are_asked_for_without_workers(
    addresses: Path, settings: Settings, server: WebServer
) -> None:
    refs = listed(addresses, settings)
    store_pages(refs, settings)
    assert looked_up(refs, addresses, settings).report.counts == Counts(listed=12, unchanged=12)
    assert server.count("GET") == 12


def test_an_address_that_leads_nowhere_any_more_is_rejected_without_workers(
    addresses: Path, settings: Settings, page: Page
) -> None:
    refs = listed(addresses, settings)
    store_pages(refs, settings)
    page.missing = {"/3.png"}
    done = looked_up(refs, addresses, settings)
    assert done.report.counts == Counts(listed=12, unchanged=11, rejected=1)
    (reject,) = done.rejects
    assert (reject.stage, reject.reason, reject.ref is not None) == ("read", "missing", True)
    assert "row" in reject.detail


def test_an_address_whose_image_or_caption_has_changed_is_the_workers(
    addresses: Path, settings: Settings, page: Page
) -> None:
    refs = listed(addresses, settings)
    store_pages(refs, settings)
    page.etag = '"2"'
    with pytest.raises(Needed):
        looked_up(refs, addresses, settings)
    page.etag = ETAG
    addresses.write_text(addresses.read_text().replace("c7", "another"))
    with pytest.raises(Needed):
        looked_up(listed(addresses, settings), addresses, settings)


def album_of(tmp_path: Path, settings: Settings) -> tuple[Path, tuple[Ref, ...], tuple[Reject, ...]]:
    """A folder of two images that are stored and one that is none, with its reject."""
    album = tmp_path / "album"
    write_images(album, ["a.png", "b.png"])
    (album / "c.png").write_bytes(b"no image")
    refs = listed(album, settings)
    store(refs[:2], settings)
    return album, refs, (Reject(refs[2].uri, stage="decode", reason="not_an_image", detail="", ref=refs[2]),)


def test_what_was_no_image_is_tried_again_apart_and_rejected_again(tmp_path: Path, settings: Settings) -> None:
    album, refs, rejected = album_of(tmp_path, settings)
    done = looked_up(refs, album, settings, rejected=rejected)
    assert done.report.counts == Counts(listed=3, unchanged=2, rejected=1)
    (reject,) = done.rejects
    assert (reject.uri, reject.stage, reject.reason, reject.ref) == (refs[2].uri, "decode", "not_an_image", refs[2])


def test_what_has_become_an_image_is_the_workers_and_so_is_what_nobody_has_tried(
    tmp_path: Path, settings: Settings
) -> None:
    album, refs, rejected = album_of(tmp_path, settings)
    with pytest.raises(Needed):
        looked_up(refs, album, settings)
    write_images(album, ["c.png"])
    with pytest.raises(Needed):
        looked_up(listed(album, settings), album, settings, rejected=rejected)


def test_a_trial_that_hangs_is_ended_and_the_workers_try(
    addresses: Path, settings: Settings, server: WebServer
) -> None:
    refs = listed(addresses, settings)
    store_pages(refs[1:], settings)
    rejected = (Reject(refs[0].uri, stage="read", reason="timeout", detail=""),)
    server.script(f"GET /{refs[0].filename}", Answer(200, b"an image?", {"ETag": ETAG}), Silence())
    limits = settings.ingest.model_copy(update={"read_timeout_s": 1.0})
    with pytest.raises(Needed):
        looked_up(refs, addresses, settings.model_copy(update={"ingest": limits}), rejected=rejected)


def test_no_process_is_started_where_none_is_wanted(tmp_path: Path, settings: Settings) -> None:
    album, refs, rejected = album_of(tmp_path, settings)
    here = settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"workers": 0})})
    with pytest.raises(Needed):
        looked_up(refs, album, here, rejected=rejected)
