"""Images added, changed and removed over REST: what becomes of each, and that nothing is left half done."""

import json
import resource
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from connector.store.open import open_engine
from tests.doubles import Answer, WebServer
from tests.images import image, write_images
from tests.scratch import scratch_folder
from tests.workers.service.conftest import KEY, READ_KEY, Desk, desk_in


def statuses(images: list[dict[str, Any]]) -> list[str]:
    return [each["status"] for each in images]


def pages(path: str, _: Mapping[str, str]) -> Answer:
    return Answer(200, image(1)) if path == "/a.png" else Answer(404)


def test_an_image_that_is_sent_is_found_shown_and_handed_out(desk: Desk) -> None:
    (added,) = desk.add(
        ("C:\\photos\\beach.png", image(1)), options='{"images": [{"meta": {"album": "sea", "tags": ["x"]}}]}'
    )
    assert added["status"] == "added"
    known = desk.client.get(f"/v1/points/{added['id']}").json()["payload"]
    assert (known["filename"], known["folder"], known["meta"], known["tags"]) == (
        *("beach.png", [""]),
        *({"album": "sea"}, ["x"]),
    )
    assert desk.client.get(added["image_url"]).content == image(1)
    assert desk.client.get(added["thumbnail_url"]).headers["content-type"] == "image/webp"
    hits = desk.client.post("/v1/search/image", files={"file": image(1)}, data={"options": '{"limit": 1}'}).json()[
        "hits"
    ]
    assert [hit["id"] for hit in hits] == [added["id"]]


def test_the_same_content_or_id_is_one_image_however_often_it_is_sent(desk: Desk) -> None:
    first, again = desk.add(("a.png", image(1)), ("b.png", image(1)))
    assert (first["id"], statuses([first, again])) == (again["id"], ["added", "unchanged"])
    assert statuses(desk.add(("c.png", image(1)))) == ["unchanged"]
    assert (desk.count, desk.files) == (2, ["a.png"])
    named = '{"images": [{"id": "sku-1"}]}'
    (one,) = desk.add(("1.png", image(2)), options=named)
    (other,) = desk.add(("2.png", image(3)), options=named)
    assert (one["id"], other["status"]) == (other["id"], "replaced")
    assert statuses(desk.add(("2.png", image(3)), options=named)) == ["unchanged"]
    assert statuses(desk.add(("2.png", image(3)), options='{"images": [{"id": "sku-1", "meta": {"a": 1}}]}')) == [
        "replaced"
    ]
    assert (desk.count, desk.files) == (3, ["2.png", "a.png"])


def test_a_file_stays_while_an_image_needs_it(desk: Desk) -> None:
    ids = '{"images": [{"id": "sku-1"}, {"id": "sku-2"}]}'
    one, two = desk.add(("a.png", image(1)), ("a.png", image(1)), options=ids)
    assert desk.client.delete("/v1/images", params={"ids": one["id"]}).json() == {"deleted": 1}
    assert desk.client.get(two["image_url"]).content == image(1)
    assert desk.client.delete("/v1/images", params={"ids": [one["id"], two["id"]]}).json() == {"deleted": 1}
    assert desk.files == []


def test_each_image_has_its_own_outcome_and_a_reject_leaves_nothing(desk: Desk) -> None:
    answers = desk.add(
        ("a.png", image(1)), ("b.png", b"no image"), ("c.png", b""), ("d.png", image(2)[:300]), ("..", image(3))
    )
    assert statuses(answers) == ["added", "rejected", "rejected", "rejected", "added"]
    assert [each["reject"]["reason"] for each in answers[1:4]] == ["not_an_image", "empty", "truncated"]
    assert all(each["id"] is None and each["image_url"] is None for each in answers[1:4])
    assert (desk.count, desk.files) == (3, ["a.png", "image"])


@pytest.mark.parametrize(
    ("files", "options", "status", "says"),
    [
        (1, '{"images": []}', 422, "0 entries for 1 images"),
        (2, '{"images": [{"id": "x"}, {"id": "x"}]}', 422, "given 2 times"),
        (1, '{"images": [{"idd": "x"}]}', 422, "idd"),
        (1, "nonsense", 422, "options"),
        (1, '{"images": [{"id": ""}]}', 422, "id"),
        (101, "{}", 422, "100 are taken"),
    ],
)
def test_a_wrong_request_adds_nothing(desk: Desk, files: int, options: str, status: int, says: str) -> None:
    sent = [("file", (f"{n}.png", image(n + 1))) for n in range(min(files, 3))] * (1 if files < 4 else 34)
    answer = desk.client.post("/v1/images", files=sent[:files] or None, data={"options": options})
    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]
    assert (desk.count, desk.files) == (1, [])


def test_images_are_added_by_their_addresses(desk: Desk) -> None:
    with WebServer(pages) as web:
        asked = [
            {"uri": f"{web.url}/a.png", "meta": {"n": 1}},
            {"uri": f"{web.url}/missing.png"},
            {"uri": "file:///etc/hostname"},
            {"uri": "s3://somebody/x.png"},
            {"uri": "photo.png"},
            {"uri": "ftp://host/x.png"},
            {"uri": f"{web.url}/a.png", "id": "again"},
        ]
        answer = desk.client.post("/v1/images/addresses", json={"images": asked})
        images = answer.json()["images"]
        assert statuses(images) == ["added", *["rejected"] * 5, "added"]
        reasons = [each["reject"]["reason"] for each in images[1:6]]
        assert reasons == ["missing", "refused_address", "refused_address", "bad_address", "bad_address"]
        assert images[0]["id"] != images[6]["id"]
        again = desk.client.post("/v1/images/addresses", json={"images": asked[:1]}).json()["images"]
        assert statuses(again) == ["unchanged"]
        assert desk.client.get(images[0]["image_url"]).content == image(1)


def test_addresses_of_this_machine_are_read_where_the_settings_say_so() -> None:
    with scratch_folder() as folder, desk_in(folder, roots=[str(folder / "photos")]) as desk:
        (photo,) = write_images(folder / "photos", ["a.png"], first_seed=5)
        asked = [photo.as_uri(), f"{folder.as_uri()}/photos/../data/x.png"]
        answer = desk.client.post("/v1/images/addresses", json={"images": [{"uri": each} for each in asked]})
        assert statuses(answer.json()["images"]) == ["added", "rejected"]
        assert desk.client.delete("/v1/images", params={"where": "width > 0"}).json() == {"deleted": 2}
        assert photo.exists()  # only what was sent is the service's own


def test_addresses_that_are_not_public_are_refused() -> None:
    with scratch_folder() as folder, WebServer(pages) as web, desk_in(folder) as desk:
        port = web.url.rpartition(":")[2]
        asked = [
            {"uri": each}
            for each in (f"http://[::1]:{port}/a.png", "http://169.254.169.254/latest", "http://10.0.0.1/")
        ]
        images = desk.client.post("/v1/images/addresses", json={"images": asked}).json()["images"]
        assert [each["reject"]["reason"] for each in images] == ["refused_address"] * 3


def test_metadata_and_tags_are_changed_key_by_key(desk: Desk) -> None:
    (added,) = desk.add(("a.png", image(1)), options='{"images": [{"meta": {"album": "sea", "draft": true}}]}')
    address = f"/v1/points/{added['id']}"
    changed = desk.client.patch(address, json={"meta": {"draft": None, "stars": 5}, "tags": ["b", "a", "b"]})
    assert (changed.json()["payload"]["meta"], changed.json()["payload"]["tags"]) == (
        *({"album": "sea", "stars": 5}, ["b", "a"]),
    )
    assert desk.client.patch(address, json={}).status_code == 422
    assert desk.client.patch(address, json={"payload": {}}).status_code == 422
    assert desk.client.patch(f"/v1/points/{uuid.UUID(int=9)}", json={"tags": []}).status_code == 404
    assert desk.client.patch("/v1/points/no-id", json={"tags": []}).status_code == 404


@pytest.mark.parametrize(
    "meta",
    [
        pytest.param('{"a": ' + "[" * 65 + "]" * 65 + "}", id="deeper than the engine reads"),
        pytest.param('{"a": ' * 900 + "1" + "}" * 900, id="much deeper"),
        pytest.param('{"\\ud800": 1}', id="a key that is no text"),
        pytest.param('{"a": {"\\ud800": 1}}', id="an inner key that is no text"),
        pytest.param('{"a": NaN}', id="no number"),
        pytest.param('{"a": 99999999999999999999999}', id="more than 64 bits"),
    ],
)
def test_metadata_that_could_not_be_read_again_are_refused_and_change_nothing(desk: Desk, meta: str) -> None:
    (added,) = desk.add(("a.png", image(1)), options='{"images": [{"meta": {"album": "sea"}}]}')
    address = f"/v1/points/{added['id']}"
    sent = {"content-type": "application/json"}

    refused = desk.client.patch(address, content=f'{{"meta": {meta}}}'.encode(), headers=sent)

    assert refused.status_code in (400, 422), refused.text
    assert desk.client.get(address).json()["payload"]["meta"] == {"album": "sea"}
    deep = b'{"meta": {"a": ' + b"[" * 60 + b"]" * 60 + b"}}"
    assert desk.client.patch(address, content=deep, headers=sent).status_code == 200
    assert desk.client.get("/v1/images").status_code == 200


@pytest.mark.parametrize(
    "asked", [{}, {"ids": "x", "where": "width > 0"}, {"where": ""}, {"ids": "no-id"}, {"where": "w >"}]
)
def test_what_is_removed_is_named(desk: Desk, asked: dict[str, str]) -> None:
    assert desk.client.delete("/v1/images", params=asked).status_code == 422
    assert desk.count == 1


def test_a_collection_that_was_deleted_is_not_made_again() -> None:
    with scratch_folder() as folder, desk_in(folder) as desk:
        engine = open_engine(desk.settings.qdrant, collection=desk.settings.collection)
        engine.drop()
        answer = desk.client.post("/v1/images", files={"file": image(1)})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "collection_missing")
        assert desk.client.delete("/v1/images", params={"where": "width > 0"}).status_code == 404
        assert desk.files == []
        engine.close()


def test_beyond_the_quota_nothing_is_taken() -> None:
    with scratch_folder() as folder, desk_in(folder, upload_bytes=len(image(1)) + 10) as desk:
        answer = desk.client.post("/v1/images", files=[("file", image(1)), ("file", image(2))])
        assert (answer.status_code, answer.json()["error"]["code"]) == (507, "store_full")
        assert (desk.count, desk.files) == (1, [])
        assert statuses(desk.add(("a.png", image(1)))) == ["added"]


def test_a_disk_that_takes_no_more_is_told_and_nothing_is_half_written(desk: Desk) -> None:
    large = image(1) + bytes(700_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        answer = desk.client.post("/v1/images", files={"file": large})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "store_full")
    assert "serve.uploads" in answer.json()["error"]["message"]
    assert (desk.count, desk.files) == (1, [])
    assert statuses(desk.add(("a.png", image(1)))) == ["added"]


def test_only_who_may_write_writes() -> None:
    with scratch_folder() as folder, desk_in(folder, api_keys=[KEY], read_keys=[READ_KEY]) as desk:
        for key, status in ((READ_KEY, 403), ("wrong-wrong", 401)):
            headers = {"Authorization": f"Bearer {key}"}
            sent: dict[str, Any] = {"headers": headers}
            assert desk.client.post("/v1/images", files={"file": image(1)}, **sent).status_code == status
            assert (
                desk.client.post("/v1/images/addresses", json={"images": [{"uri": "x"}]}, **sent).status_code == status
            )
            assert desk.client.delete("/v1/images", params={"where": "width > 0"}, **sent).status_code == status
            assert desk.client.patch(f"/v1/points/{uuid.UUID(int=9)}", json={"tags": []}, **sent).status_code == status
        assert desk.count == 1
        (added,) = desk.add(("a.png", image(1)))
        assert "signature=" in added["thumbnail_url"]


def test_without_keys_no_page_elsewhere_and_no_other_machine_writes(desk: Desk) -> None:
    app = desk.client.app
    for client, headers in (
        (("192.0.2.7", 1), {}),
        (("127.0.0.1", 1), {"X-Forwarded-For": "192.0.2.7"}),
        (("127.0.0.1", 1), {"Origin": "https://evil.example"}),
        (("127.0.0.1", 1), {"Origin": "null"}),
        (("127.0.0.1", 1), {"Sec-Fetch-Site": "cross-site"}),
        (("127.0.0.1", 1), {"Host": "evil.example"}),
    ):
        caller = TestClient(app, base_url="http://localhost", client=client)
        for answer in (
            caller.post("/v1/images", files={"file": image(1)}, headers=headers),
            caller.post("/v1/images/addresses", json={"images": [{"uri": "http://x/"}]}, headers=headers),
            caller.delete("/v1/images", params={"where": "width > 0"}, headers=headers),
            caller.patch(f"/v1/points/{uuid.UUID(int=9)}", json={"tags": []}, headers=headers),
        ):
            assert answer.status_code in (403, 421), (client, headers)
    assert desk.count == 1


def test_the_names_that_files_come_with_lead_nowhere(desk: Desk, tmp_path: Path) -> None:
    names = ["../../../x.png", "/etc/passwd", ".hidden", "..", "a\x00b.png", "é" * 300 + ".png", "con\nrol.png"]
    answers = desk.add(*[(name, image(n + 1)) for n, name in enumerate(names)])
    assert statuses(answers) == ["added"] * len(names)
    assert len(desk.files) == len(names)
    assert all(len(each.encode()) <= 120 and not each.startswith(".") for each in desk.files)
    assert not list(tmp_path.iterdir())


def test_meta_that_no_store_can_keep_is_refused(desk: Desk) -> None:
    options = json.dumps({"images": [{"meta": {"x": "\ud800"}}]})
    answer = desk.client.post("/v1/images", files={"file": image(1)}, data={"options": options})
    assert answer.status_code < 500
    assert desk.client.post("/v1/search", json={"text": "x"}).status_code == 200
