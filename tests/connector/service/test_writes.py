"""Writing over real HTTP, to a process of its own: what it answers at once, and when a caller is cut off midway."""

import socket

import httpx

from connector import Settings
from tests.connector.service.conftest import copied, serving
from tests.images import image
from workers.collection.client import Collection


def test_what_is_written_over_http_is_there_for_others_and_half_a_request_is_nothing(noto: Settings) -> None:
    with copied(noto) as settings, serving(settings) as url, httpx.Client(base_url=url, timeout=240) as client:
        before = client.get("/v1/count").json()["count"]
        whole = client.build_request("POST", "/v1/images", files={"file": ("half.png", image(7))})
        body = whole.read()
        head = f"POST /v1/images HTTP/1.1\r\nHost: localhost\r\nContent-Type: {whole.headers['content-type']}\r\n"
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30) as line:
            line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[: len(body) // 2])
        (added,) = client.post("/v1/images", files={"file": ("whole.png", image(8))}).json()["images"]
        assert added["status"] == "added"
        assert client.get("/v1/count").json()["count"] == before + 1
        uploads = settings.qdrant.path / ".uploads"
        assert [each.name for each in uploads.rglob("*") if each.is_file()] == ["whole.png"]
        with Collection.open(settings=settings) as other:  # of another process
            assert other.get(added["id"]) is not None
        (again,) = client.post("/v1/images", files={"file": ("half.png", image(7))}).json()["images"]
        assert again["status"] == "added"
        for path in (again["image_url"], again["thumbnail_url"]):
            assert client.get(path).status_code == 200
        assert client.delete("/v1/images", params={"ids": [added["id"], again["id"]]}).json() == {"deleted": 2}
        assert client.get(added["image_url"]).status_code == 404
        assert not [each for each in uploads.rglob("*") if each.is_file()]
