"""Values that compare, hash and print; lists of hits that a notebook shows."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from connector import Hit, HitGroup, image
from connector.records import Point, StoredPoint, masked_uri
from connector.search.hits import MAX_THUMBNAILS, HitGroups, Hits
from tests.images import image as numbered_image

SIGNED = "https://user:secret@host/a.jpg?X-Amz-Signature=abc"
PAYLOAD: dict[str, Any] = {"uri": SIGNED, "tags": ["a"], "meta": {"vector": np.ones(3)}}


def made() -> list[Any]:
    return [
        Point("1", np.ones(512, dtype=np.float32), PAYLOAD),
        StoredPoint("1", PAYLOAD, np.ones(512, dtype=np.float32)),
        StoredPoint("1", PAYLOAD),
        Hit("1", 0.25, PAYLOAD, 0.75),
        HitGroup(SIGNED, (Hit("1", 0.25, PAYLOAD),)),
    ]


def test_equal_values_are_equal_and_hash_alike() -> None:
    for one, other in zip(made(), made(), strict=True):
        assert one == other
        assert len({one, other}) == 1
        assert one != "1"


def test_values_that_differ_anywhere_are_unequal() -> None:
    assert Point("1", np.ones(3, dtype=np.float32), {}) != Point("1", np.zeros(3, dtype=np.float32), {})
    assert Point("1", np.ones(3, dtype=np.float32), {}) != Point("1", np.ones(2, dtype=np.float32), {})
    assert StoredPoint("1", {}, np.ones(3, dtype=np.float32)) != StoredPoint("1", {})
    assert Hit("1", 0.5, {"tags": ["a"]}) != Hit("1", 0.5, {"tags": ["b"]})
    assert Hit("1", 0.5, {"v": np.ones(2)}) != Hit("1", 0.5, {"v": [1, 1, 1]})
    assert Hit("1", 0.5, {}) != StoredPoint("1", {})


def test_reprs_are_short_and_hold_no_secret() -> None:
    for each in [*made(), image(SIGNED), image(b"x" * 100_000)]:
        text = repr(each)
        assert len(text) < 300
        assert "secret" not in text
        assert "Signature" not in text
        assert "tags" not in text


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://bucket/what?.jpg", "s3://bucket/what?.jpg"),
        ("https://host/a.tar?sig=1#member.jpg", "https://host/a.tar?…#member.jpg"),
        ("file:///a.jpg", "file:///a.jpg"),
    ],
)
def test_addresses_lose_what_is_signed_and_keep_what_names(uri: str, shown: str) -> None:
    assert masked_uri(uri) == shown


def test_a_part_of_hits_is_hits() -> None:
    hits = Hits([Hit(str(number), 0.5, {}) for number in range(3)])
    assert isinstance(hits[1:], Hits)
    assert isinstance(hits[1], Hit)
    assert hits[:2] == [*hits][:2]


def test_a_notebook_shows_local_images_and_the_names_of_others(tmp_path: Path) -> None:
    (tmp_path / "dog ä.png").write_bytes(numbered_image(1))
    (tmp_path / "page.png").write_text("<html>")
    uris = [(tmp_path / "dog ä.png").as_uri(), (tmp_path / "page.png").as_uri(), SIGNED, "file://elsewhere/x.png"]

    page = Hits([Hit("1", 0.25, {"uri": uri}, 0.75) for uri in uris])._repr_html_()

    assert page.count("<img ") == 1
    small = Image.open(io.BytesIO(base64.b64decode(page.partition("base64,")[2].partition('"')[0])))
    assert max(small.size) <= 160
    assert "dog ä.png" in page
    assert "fits 75%" in page
    assert "secret" not in page
    assert "http" not in page.replace("https://***@host/a.jpg", "")


def test_no_text_of_a_stranger_becomes_a_part_of_the_page() -> None:
    evil = '"><script>alert(1)</script>\u202e\ud83d'
    for shown in (Hits([Hit(evil, 0.5, {"uri": evil})]), HitGroups([HitGroup(evil, (Hit("1", 0.5, {"uri": evil}),))])):
        page = shown._repr_html_()
        assert "<script" not in page
        assert "\u202e" not in page
        page.encode()


def test_a_page_has_an_end_and_an_empty_answer_says_so() -> None:
    hits = [Hit(str(number), 0.5, {"uri": f"s3://b/{number}"}) for number in range(MAX_THUMBNAILS + 5)]
    assert "5 more hits" in Hits(hits)._repr_html_()
    assert "No hits." in Hits()._repr_html_()
    assert "No hits." in HitGroups()._repr_html_()
