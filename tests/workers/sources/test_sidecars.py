"""Which file beside an image belongs to it: by stem, by whole name, in any case and form, as Takeout names them."""

import unicodedata

import pytest

from workers.sources.sidecars import Beside

LONG = "a very long name of a photograph taken from the sea.jpg"  # 55 characters, of which Google leaves 46


@pytest.mark.parametrize(
    ("image", "sidecar"),
    [
        ("dog.jpg", "dog.json"),
        ("dog.jpg", "dog.jpg.json"),
        ("dog.jpg", "dog.xmp"),
        ("dog.jpg", "dog.jpg.xmp"),
        ("DOG.JPG", "dog.json"),
        ("dog.jpg", "Dog.JPG.XMP"),
        ("a/dog.jpg", "a/DOG.TXT"),
        ("000.left.jpg", "000.json"),
        ("é.jpg", unicodedata.normalize("NFD", "é.json")),
        (unicodedata.normalize("NFD", "é.jpg"), "é.jpg.xmp"),
        ("IMG.jpg", "IMG.jpg.supplemental-metadata.json"),
        ("IMG.jpg", "IMG.jpg.suppl.json"),
        ("IMG.jpg", "IMG.jpg.s.json"),
        ("IMG.jpg", "IMG.jpg..json"),
        ("IMG(1).jpg", "IMG.jpg.supplemental-metadata(1).json"),
        ("IMG(1).jpg", "IMG.jpg.suppl(1).json"),
        ("IMG(1).jpg", "IMG.jpg(1).json"),
        ("IMG-edited.jpg", "IMG.jpg.supplemental-metadata.json"),
        ("IMG-edited.jpg", "IMG.jpg.json"),
        ("IMG-bearbeitet.jpg", "IMG.jpg.json"),
        ("IMG-edited(1).jpg", "IMG.jpg.supplemental-metadata(1).json"),
        ("IMG(1)-edited.jpg", "IMG.jpg(1).json"),
        (LONG, f"{LONG[:46]}.json"),
        (LONG.replace(".jpg", "(1).jpg"), f"{LONG[:46]}(1).json"),
    ],
)
def test_a_sidecar_finds_its_image(image: str, sidecar: str) -> None:
    beside = Beside.of(images=[image.encode()], sidecars=[sidecar.encode()])
    assert beside.belonging_to(image.encode()) == [sidecar.encode()]


@pytest.mark.parametrize(
    ("image", "sidecar"),
    [
        ("dog.jpg", "cat.json"),
        ("a/dog.jpg", "b/dog.json"),
        ("dog.jpg", "dog.extra.json"),
        ("IMG(1).jpg", "IMG.jpg.supplemental-metadata.json"),
        ("IMG.jpg", "IMG.jpg.supplemental-metadata(1).json"),
        ("IMG.jpg", "IMG.jpg.supplement-of-mine.json"),
        ("IMG-edited.jpg", "IMG.jpg.txt"),
        (LONG, f"{LONG[:45]}.json"),
        ("dog.jpg", "dog.jpg.json.bak"),
    ],
)
def test_and_no_other(image: str, sidecar: str) -> None:
    beside = Beside.of(images=[image.encode()], sidecars=[sidecar.encode()])
    assert beside.belonging_to(image.encode()) == []


def test_the_nearest_name_has_the_last_word() -> None:
    names = [b"0.json", b"0.left.jpg.json", b"0.left.txt", b"0.left.json", b"0.left.xmp", b"0.txt"]
    beside = Beside.of(images=[b"0.left.jpg"], sidecars=names)
    assert beside.belonging_to(b"0.left.jpg") == [
        b"0.txt",
        b"0.json",
        b"0.left.txt",
        b"0.left.json",
        b"0.left.xmp",
        b"0.left.jpg.json",
    ]


def test_what_fits_one_image_exactly_is_not_lent_to_its_like_in_other_letters() -> None:
    beside = Beside.of(images=[b"A.jpg", b"a.jpg"], sidecars=[b"a.json"])
    assert beside.belonging_to(b"a.jpg") == [b"a.json"]
    assert beside.belonging_to(b"A.jpg") == []


def test_a_sidecar_that_is_dropped_belongs_to_nobody() -> None:
    beside = Beside.of(images=[b"a.jpg"], sidecars=[b"a.json", b"a.txt"])
    beside.drop_sidecar(b"a.json")
    beside.drop_image(b"a.jpg")
    assert beside.belonging_to(b"a.jpg") == [b"a.txt"]
