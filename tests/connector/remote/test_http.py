import gzip
import ipaddress
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from connector.remote.guard import is_public
from connector.remote.http import CannotFetch, WebClient, parse_url
from connector.settings import WebSettings
from tests.doubles import Answer, Cut, Drip, Endless, Fault, Reset, Silence, WebServer

HERE = (ipaddress.IPv4Network("127.0.0.1/32"),)


def images(path: str, headers: Mapping[str, str]) -> Answer:
    """A site: some pages lead elsewhere, all others are an image that knows its ETag."""
    if path.startswith("/to?"):
        return Answer(302, headers={"Location": path[4:]})
    if path.startswith("/round/"):
        return Answer(302, headers={"Location": f"/round/{int(path[7:]) + 1}"})
    if headers.get("if-none-match") == '"1"':
        return Answer(304)
    return Answer(200, b"a photo", {"ETag": '"1"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"})


@pytest.fixture
def site() -> Iterator[WebServer]:
    with WebServer(images) as server:
        yield server


def web(*, max_bytes: int = 1000, **changes: Any) -> WebClient:
    settings: dict[str, Any] = {"allow_networks": HERE, "timeout_s": 30.0}
    return WebClient(WebSettings(**settings | changes), max_bytes=max_bytes)


def reason(of: WebClient, url: str) -> str:
    with of, pytest.raises(CannotFetch) as caught:
        of.get(url)
    assert str(caught.value)
    return caught.value.reason


def test_an_image_is_fetched_with_what_tells_its_version(site: WebServer) -> None:
    with web() as client:
        page = client.get(f"{site.url}/dog.jpg#part")
    assert page is not None
    assert (page.data, page.etag, page.modified) == (b"a photo", '"1"', "Wed, 21 Oct 2015 07:28:00 GMT")
    assert site.requests == ["GET /dog.jpg"]
    assert "cookie" not in site.headers[0]


def test_an_image_that_is_still_the_same_is_not_sent_again(site: WebServer) -> None:
    with web() as client:
        assert client.get(f"{site.url}/dog.jpg", etag='"1"') is None
        assert client.get(f"{site.url}/dog.jpg", etag='"0"') is not None
        client.get(f"{site.url}/dog.jpg", modified="Wed, 21 Oct 2015 07:28:00 GMT")
    assert site.headers[-1]["if-modified-since"] == "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
        "2001:0:7f00:1::",
    ],
)
def test_an_address_that_is_not_of_the_open_internet_is_told(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_an_address_of_the_open_internet_is_told(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_this_machine_is_not_asked_however_it_is_written(site: WebServer, host: str) -> None:
    assert reason(web(allow_networks=()), f"http://{host}:{site.port}/dog.jpg") == "refused_address"
    assert site.requests == []


def test_private_addresses_are_asked_when_that_is_allowed(site: WebServer) -> None:
    with web(allow_networks=(), allow_private=True) as client:
        assert client.get(f"{site.url}/dog.jpg") is not None


def test_a_redirect_is_followed_and_checked_again(site: WebServer) -> None:
    with web() as client:
        page = client.get(f"{site.url}/to?/dog.jpg")
    assert page is not None
    assert page.data == b"a photo"
    assert reason(web(), f"{site.url}/to?http://127.0.0.2:{site.port}/dog.jpg") == "refused_address"
    assert reason(web(), f"{site.url}/to?http://169.254.169.254/latest/meta-data") == "refused_address"
    assert reason(web(), f"{site.url}/to?file:///etc/passwd") == "bad_address"
    assert reason(web(), f"{site.url}/to?http://user:word@127.0.0.1:{site.port}/") == "bad_address"
    assert site.count("/dog.jpg") == 1 + 2  # the redirecting addresses name it too


def test_redirects_are_limited(site: WebServer) -> None:
    assert reason(web(max_redirects=3), f"{site.url}/round/0") == "too_many_redirects"
    assert len(site.requests) == 4


def test_a_name_that_changes_its_address_leads_only_where_was_checked(
    site: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo
    answers = ["127.0.0.1", "127.0.0.2", "127.0.0.2"]
    asked: list[str] = []

    def names(host: Any, *args: Any, **more: Any) -> Any:
        if host == "rebinding.example":
            asked.append(host)
            host = answers[len(asked) - 1]
        return real(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", names)
    with web() as client:
        page = client.get(f"http://rebinding.example:{site.port}/dog.jpg")
    assert page is not None
    assert len(asked) == 1
    assert site.headers[0]["host"] == f"rebinding.example:{site.port}"
    assert reason(web(), f"http://rebinding.example:{site.port}/dog.jpg") == "refused_address"


def test_a_name_with_an_open_and_a_private_address_leads_to_the_open_one(
    site: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def names(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host != "two.example":
            return real(host, port, *args, **more)
        return [*real("127.0.0.2", port, *args, **more), *real("127.0.0.1", port, *args, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", names)
    with web() as client:
        assert client.get(f"http://two.example:{site.port}/dog.jpg") is not None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "dog.jpg",
        "ftp://host/dog.jpg",
        "http://",
        "http:///dog.jpg",
        "http://[::1",
        "https://me:word@host/",
        "http://a\0b/",
        "http://host:99999/",
    ],
)
def test_what_is_no_web_address_is_said_to_be_none(url: str) -> None:
    assert reason(web(), url) == "bad_address"


def test_a_name_that_does_not_exist_is_a_bad_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_names(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", no_names)
    assert reason(web(), "http://nowhere.example/dog.jpg") == "bad_address"


def test_addresses_are_written_in_one_way() -> None:
    assert str(parse_url(" HTTP://Example.ORG:80/a b.jpg?x=1#part ")) == "http://example.org/a%20b.jpg?x=1"


def test_an_image_above_the_limit_is_not_taken_whatever_its_header_says(site: WebServer) -> None:
    assert reason(web(max_bytes=6), f"{site.url}/dog.jpg") == "too_large"
    site.respond = lambda *_: Answer(200, b"x" * 100_000, {"Content-Length": "5", "X": "y"})
    with web(max_bytes=6) as client:
        page = client.get(f"{site.url}/dog.jpg")
    assert page is not None
    assert len(page.data) == 5


@pytest.mark.parametrize(
    "lines",
    [
        {"Content-Encoding": "gzip"},
        {"content-encoding": "GZIP, gzip"},
        {"CONTENT-ENCODING": "x-gzip"},
        {"Content-Encoding": "deflate"},
        {"Content-Encoding": "br"},
        {"Content-Encoding": "zstd"},
        {"Content-Encoding": "identity, gzip"},
        {"Content-Encoding": "something new"},
        {"Content-Encoding": "identity", "content-encoding": "gzip"},
    ],
    ids=repr,
)
def test_an_encoding_that_was_not_asked_for_is_refused_and_never_decoded(
    site: WebServer, lines: Mapping[str, str]
) -> None:
    bomb = gzip.compress(gzip.compress(bytes(10_000_000)))
    site.respond = lambda *_: Answer(200, bomb, lines)
    assert reason(web(max_bytes=100_000), f"{site.url}/dog.jpg") == "unexpected_encoding"
    assert site.headers[0]["accept-encoding"] == "identity"
    assert len(site.requests) == 1


@pytest.mark.parametrize("value", ["identity", " Identity ", "", ",", "identity,identity"])
def test_an_answer_that_names_no_real_encoding_is_taken_as_it_is(site: WebServer, value: str) -> None:
    site.respond = lambda *_: Answer(200, gzip.compress(b"a photo"), {"Content-Encoding": value})
    with web() as client:
        page = client.get(f"{site.url}/dog.jpg")
    assert page is not None
    assert page.data == gzip.compress(b"a photo")


@pytest.mark.parametrize("chunked", [True, False])
def test_an_answer_without_a_length_is_taken_no_further_than_the_limit(site: WebServer, chunked: bool) -> None:
    site.script("dog", Endless(chunked=chunked))
    assert reason(web(max_bytes=100_000), f"{site.url}/dog.jpg") == "too_large"


@pytest.mark.parametrize("encoding", ["identity", "gzip, gzip"])
def test_the_body_of_a_redirect_is_not_read(site: WebServer, encoding: str) -> None:
    site.script("/from", Endless(302, {"Location": "/dog.jpg", "Content-Encoding": encoding}))
    with web(timeout_s=60.0) as client:
        page = client.get(f"{site.url}/from")
    assert page is not None
    assert page.data == b"a photo"


def test_a_redirect_to_what_is_no_address_is_told_without_its_password(site: WebServer) -> None:
    site.respond = lambda *_: Answer(302, headers={"Location": "http://me:secret word@host:x/"})
    with web() as client, pytest.raises(CannotFetch) as caught:
        client.get(f"{site.url}/dog.jpg")
    assert caught.value.reason == "bad_address"
    assert "secret" not in str(caught.value)
    assert len(site.requests) == 1


def test_a_cookie_is_not_kept(site: WebServer) -> None:
    site.respond = lambda *_: Answer(200, b"a photo", {"Set-Cookie": "who=me"})
    with web() as client:
        client.get(f"{site.url}/dog.jpg")
        client.get(f"{site.url}/emu.jpg")
    assert "cookie" not in site.headers[1]


@pytest.mark.parametrize(
    "url",
    [
        "http://me:secret@host/",
        "https://me:se@cret@host/dog.jpg",
        "http://me:secret/5@host/",
        "http://me:" + "secret" * 50 + "@host\0/",
        "http://:secret@127.0.0.1:9/",
        "ftp://me:secret@host/",
    ],
)
def test_a_password_in_an_address_is_not_told(url: str) -> None:
    with web() as client, pytest.raises(CannotFetch) as caught:
        client.get(url)
    assert caught.value.reason == "bad_address"
    assert "secret" not in str(caught.value)


def test_control_characters_never_reach_a_message(site: WebServer) -> None:
    for url in ("http://host/\x1b[31m.jpg", "http://\u202e/x", "\x9b2J", f"{site.url}/\r\nx"):
        with web(attempts=1) as client, pytest.raises(CannotFetch) as caught:
            client.get(url)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("status", "expected", "requests"),
    [
        (404, "missing", 1),
        (410, "missing", 1),
        (401, "permission_denied", 1),
        (403, "permission_denied", 1),
        (418, "read_error", 1),
        (206, "read_error", 1),
        (429, "throttled", 2),
        (503, "throttled", 2),
        (500, "read_error", 2),
        (504, "timeout", 2),
    ],
)
def test_an_answer_without_an_image_has_a_reason_and_a_passing_one_is_asked_again(
    site: WebServer, status: int, expected: str, requests: int
) -> None:
    site.respond = lambda *_: Answer(status, b"not this")
    assert reason(web(attempts=2), f"{site.url}/dog.jpg") == expected
    assert len(site.requests) == requests


@pytest.mark.parametrize("fault", [Answer(503), Answer(429, headers={"Retry-After": "0"}), Reset(), Cut(3)])
def test_a_fault_that_passes_is_lived_through(site: WebServer, fault: Fault) -> None:
    site.script("dog", fault)
    with web() as client:
        page = client.get(f"{site.url}/dog.jpg")
    assert page is not None
    assert (page.data, len(site.requests)) == (b"a photo", 2)


@pytest.mark.parametrize("fault", [Silence(), Drip(0.05)])
def test_an_image_has_only_so_much_time_however_it_is_spent(site: WebServer, fault: Fault) -> None:
    site.respond = lambda *_: Answer(200, b"x" * 900)
    site.script("dog", fault, fault)
    assert reason(web(timeout_s=1.5, attempts=2), f"{site.url}/dog.jpg") == "timeout"
    assert len(site.requests) == 2


def test_a_server_that_wants_a_long_pause_is_given_up_on(site: WebServer) -> None:
    site.respond = lambda *_: Answer(429, headers={"Retry-After": "3600"})
    assert reason(web(), f"{site.url}/dog.jpg") == "throttled"
    assert len(site.requests) == 1


@pytest.mark.parametrize("value", ["9" * 400, "9" * 5_000, "-1", "soon", "1e400"])
def test_a_pause_that_is_no_number_of_seconds_is_no_defect(site: WebServer, value: str) -> None:
    site.respond = lambda *_: Answer(503, headers={"Retry-After": value})
    assert reason(web(attempts=1), f"{site.url}/dog.jpg") == "throttled"


@pytest.mark.parametrize("length", ["9" * 30, "9" * 5_000, "-1", "many", "7, 8"])
def test_a_length_that_is_none_is_no_defect(site: WebServer, length: str) -> None:
    site.respond = lambda *_: Answer(200, b"a photo", {"Content-Length": length})
    assert reason(web(attempts=1), f"{site.url}/dog.jpg") in ("too_large", "read_error")


def test_a_server_that_is_not_there_is_a_read_error() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert reason(web(attempts=1), f"http://127.0.0.1:{port}/dog.jpg") == "read_error"


def test_a_proxy_of_the_environment_does_not_hide_the_address(site: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", site.url)
    monkeypatch.setenv("ALL_PROXY", site.url)
    assert reason(web(attempts=1), "http://127.0.0.2:9/dog.jpg") == "refused_address"
    assert site.requests == []
