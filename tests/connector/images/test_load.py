"""The image of a question: where it may come from, and what fetching it may cost."""

import io
import socket
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from connector import ImageSearch
from connector.errors import InvalidQuery
from connector.images.load import ImageLoader
from connector.records import Pixels
from connector.settings import LimitsSettings, Settings, WebSettings
from tests.doubles import Answer, Silence, WebServer

HERE = (IPv4Network("127.0.0.1/32"),)


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 30, 30)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def site() -> Iterator[WebServer]:
    with WebServer(lambda *_: Answer(200, png())) as server:
        yield server


def loader(*, limits: LimitsSettings | None = None, **web: Any) -> ImageLoader:
    return ImageLoader(limits=limits or LimitsSettings(), web=WebSettings(**{"allow_networks": HERE} | web))


def read(image: str | Path, *, limits: LimitsSettings | None = None, **web: Any) -> Pixels:
    with closing(loader(limits=limits, **web)) as images:
        return images.read(image, size=8)


def test_an_address_within_an_allowed_network_is_fetched_over_one_connection(site: WebServer) -> None:
    images = loader()
    for _ in range(3):
        assert images.read(f"{site.url}/dog.png", size=8).tolist() == [[[200, 30, 30]] * 8] * 8
    images.close()
    assert site.connections == 1


def test_a_scheme_may_be_in_capitals_as_everywhere(site: WebServer) -> None:
    assert read(f" HTTP{site.url[4:]}/dog.png").shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("web", "fault"),
    [
        ({"allow_networks": ()}, "not public"),
        ({"max_redirects": 0}, "redirects"),
        ({"attempts": 1}, "HTTP 503"),
        ({"timeout_s": 1.0, "attempts": 1}, "no answer in time"),
    ],
)
def test_an_address_is_fetched_within_the_settings_of_the_web(site: WebServer, web: dict[str, Any], fault: str) -> None:
    answer = Answer(302, headers={"Location": "/emu.png"}) if "max_redirects" in web else Answer(503)
    site.script("dog", Silence() if "timeout_s" in web else answer)
    with pytest.raises(InvalidQuery, match=fault):
        read(f"{site.url}/dog.png", **web)
    assert len(site.requests) <= 1


def test_a_busy_server_is_asked_as_often_as_the_settings_say(site: WebServer) -> None:
    site.respond = lambda *_: Answer(503)
    with pytest.raises(InvalidQuery, match="HTTP 503"):
        read(f"{site.url}/dog.png", attempts=2)
    assert len(site.requests) == 2


def test_private_addresses_are_asked_where_the_settings_allow_them(site: WebServer) -> None:
    assert read(f"{site.url}/dog.png", allow_networks=(), allow_private=True).shape == (8, 8, 3)


def test_an_answer_has_no_more_bytes_than_the_limit(site: WebServer) -> None:
    with pytest.raises(InvalidQuery, match=r"limits\.max_bytes is 20"):
        read(f"{site.url}/dog.png", limits=LimitsSettings(max_bytes=20))


def test_an_encoded_answer_is_refused(site: WebServer) -> None:
    site.respond = lambda *_: Answer(200, png(), {"Content-Encoding": "gzip, gzip"})
    with pytest.raises(InvalidQuery, match="Content-Encoding gzip, gzip"):
        read(f"{site.url}/dog.png")


@pytest.mark.parametrize(
    "image",
    [
        "ftp://me:secret@host/dog.png",
        "http://me:secret@host/dog.png",
        "s3://me:secret@bucket/dog.png",
        "HTTPS://:secret@",
    ],
)
def test_an_address_that_is_not_fetched_is_told_without_its_password(image: str) -> None:
    with pytest.raises(InvalidQuery) as caught:
        read(image)
    assert "secret" not in str(caught.value)


def test_no_client_is_made_for_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "http:").mkdir()
    (tmp_path / "http:" / "dog.png").write_bytes(png())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket, "getaddrinfo", None)
    assert read(Path("http://dog.png")).shape == (8, 8, 3)


def test_a_search_by_address_is_held_to_the_settings_of_the_web(site: WebServer, noto: Settings) -> None:
    web = WebSettings(allow_networks=HERE)
    with ImageSearch.open(settings=noto.model_copy(update={"web": web})) as search:
        of_file = search.image(png(), limit=3)  # the model is there: a connection that idles for long is given up
        assert search.image(f"{site.url}/dog.png", limit=3) == of_file
        search.image(f"{site.url}/dog.png")
    assert site.connections == 1
    with ImageSearch.open(settings=noto) as search, pytest.raises(InvalidQuery, match="not public"):
        search.image(f"{site.url}/dog.png")
