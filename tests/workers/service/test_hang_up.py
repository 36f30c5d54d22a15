"""Callers who hang up while their images are on the way or worked on: all of a request is stored, or none of it."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from connector import Settings
from tests.connector.service.conftest import copied, serving
from tests.images import image

pytestmark = pytest.mark.slow
IMAGES = 30


@pytest.fixture(scope="module")
def served(noto: Settings) -> Iterator[tuple[str, Path]]:
    """A service in another process, and the folder of the files that it was sent."""
    with copied(noto) as settings, serving(settings) as url:
        with httpx.Client(base_url=url, timeout=120) as client:  # loads the image tower
            assert client.post("/v1/images", files={"file": image(900)}).status_code == 200
        yield url, settings.qdrant.path / ".uploads"


def request_of(first: int) -> httpx.Request:
    """A request with images of its own, as it goes over the wire."""
    files = [("file", (f"{first + number}.png", image(first + number))) for number in range(IMAGES)]
    return httpx.Request("POST", "http://service/v1/images", files=files)


@contextmanager
def sent(url: str, first: int, *, share: float) -> Iterator[None]:
    """So much of the request's body is sent; whoever sent it hangs up at the end of the block."""
    request = request_of(first)
    body = request.read()
    head = [f"POST /v1/images HTTP/1.1\r\nHost: {urlsplit(url).netloc}"]
    head += [f"{name}: {value}" for name, value in request.headers.items() if name != "host"]
    with closing(socket.create_connection((urlsplit(url).hostname, urlsplit(url).port))) as connection:
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body[: int(len(body) * share)])
        yield


def stored(url: str, first: int) -> int:
    """How many of a request's images are there."""
    names = ", ".join(f'"{first + number}.png"' for number in range(IMAGES))
    answer = httpx.get(f"{url}/v1/count", params={"where": f"filename in ({names})"}, timeout=120)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["count"])


def kept(uploads: Path, first: int) -> int:
    """How many of a request's files are kept."""
    names = {f"{first + number}.png" for number in range(IMAGES)}
    return sum(each.name in names for each in uploads.rglob("*"))


@retry(retry=retry_if_result(lambda count: count != IMAGES), stop=stop_after_delay(60), wait=wait_fixed(0.1))
def all_stored(url: str, first: int) -> int:
    return stored(url, first)


@retry(retry=retry_if_result(lambda count: not count), stop=stop_after_delay(60), wait=wait_fixed(0.01))
def begun(uploads: Path, first: int) -> int:
    return kept(uploads, first)


def test_what_is_worked_on_is_stored_whole_although_nobody_waits(served: tuple[str, Path]) -> None:
    url, uploads = served
    with sent(url, 1000, share=1):
        begun(uploads, 1000)
    assert all_stored(url, 1000) == kept(uploads, 1000) == IMAGES
    request = request_of(1000)
    kind = {"Content-Type": request.headers["content-type"]}
    again = httpx.post(f"{url}/v1/images", headers=kind, content=request.read(), timeout=120)
    assert {each["status"] for each in again.json()["images"]} == {"unchanged"}
    assert stored(url, 1000) == IMAGES


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_of_what_broke_off_on_the_way_nothing_is_stored(served: tuple[str, Path], share: float) -> None:
    url, uploads = served
    first = 2000 + int(share * 1000)
    with sent(url, first, share=share):
        pass
    with httpx.Client(base_url=url, timeout=120) as client:
        assert client.post("/v1/images", files={"file": image(901)}).status_code == 200  # comes after it
    assert (stored(url, first), kept(uploads, first)) == (0, 0)


def test_many_who_hang_up_hold_up_nobody_for_good(served: tuple[str, Path]) -> None:
    """Each piece of work holds its place until it has ended; whoever finds no place is asked to come again."""
    url, uploads = served
    firsts = [4000 + 100 * number for number in range(12)]
    for first in firsts:
        with sent(url, first, share=1):
            pass
    with httpx.Client(base_url=url, timeout=120) as client:
        assert client.get("/v1/count").status_code == 200, "questions are answered meanwhile"
        assert accepted(client) == 200
    for first in firsts:
        assert (stored(url, first), kept(uploads, first)) in {(0, 0), (IMAGES, IMAGES)}, first


@retry(retry=retry_if_result(lambda status: status == 429), stop=stop_after_delay(120), wait=wait_fixed(0.2))
def accepted(client: httpx.Client) -> int:
    return client.post("/v1/images", files={"file": image(902)}).status_code
