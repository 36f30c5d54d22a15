from pathlib import Path

import pytest
from pydantic import ValidationError

from connector.errors import ConfigError
from connector.models.catalog import BEST_TOWERS, find_space, fingerprint_of, space_names, text_tower_of
from connector.settings import ModelSettings, Settings
from connector.store.schema import CollectionSchema


def test_the_default_space_is_known() -> None:
    space = find_space(ModelSettings().space)

    assert (space.name, space.dims, space.image_size) == ("clip-vit-b-32", 512, 224)
    assert ModelSettings().text_tower in space.text


def test_an_unknown_space_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"unknown space 'maxi'; known: .*clip-vit-b-32, .*mini, .*\./my-space\.toml"):
        find_space("maxi")


@pytest.mark.parametrize("name", space_names())
def test_every_space_is_whole(name: str) -> None:
    space = find_space(name)

    assert space.name == name
    assert space.dims > 0
    assert space.image_size > 0
    assert space.text
    assert space.languages
    assert space.licence
    assert all(0 < value < 1 for value in (*space.image.mean, *space.image.std))


def test_the_catalogue_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        BEST_TOWERS["de"] = "english"  # type: ignore[index]
    with pytest.raises(ValidationError, match="frozen"):
        find_space("mini").dims = 7  # type: ignore[misc]


DECLARED = """
dims = 128
languages = "none"
licence = "Apache-2.0"

[image]
family = "sentence-transformers"
model = "./image"
size = 64

[text.multilingual]
family = "sentence-transformers"
model = "someone/text"

[score]
scale = 20.0
"""


def declared(folder: Path, *, old: str = "", new: str = "", name: str = "mine.toml") -> str:
    """A file that declares a space, with one thing said otherwise."""
    assert old in DECLARED
    file = folder / name
    file.write_text(DECLARED.replace(old, new, 1) if old else DECLARED)
    return str(file)


def test_a_file_declares_a_space_that_is_named_after_it(tmp_path: Path) -> None:
    space = find_space(declared(tmp_path))

    assert (space.name, space.dims, space.image_size) == ("mine", 128, 64)
    assert space.image.model == str(tmp_path / "image")  # a folder that begins with a dot lies beside the file
    assert space.text["multilingual"].model == "someone/text"
    assert fingerprint_of(space).space == "mine"


def test_a_collection_is_named_after_the_space_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declared(tmp_path)
    monkeypatch.chdir(tmp_path)

    settings = Settings.load({"model.space": "./mine.toml"})

    assert settings.collection == "images-mine"
    assert settings.model.space == str(tmp_path / "mine.toml")  # it holds in every process, wherever that works


WRONG = {
    "a wrong key": ("dims = 128", "dimensions = 128", "there is no key dimensions; dims is meant"),
    "a wrong key of a tower": ("size = 64", "sise = 64", r"there is no key image\.sise; size is meant"),
    "a key that is nothing like any": ("size = 64", "size = 64\nzzz = 1", r"there is no key image\.zzz \(known here: "),
    "a wrong key of a text tower": (
        'model = "someone/text"',
        'model = "x/y"\nlower = true',
        r"there is no key text\.multilingual\.lower; lowercase is meant",
    ),
    "a missing key": ('licence = "Apache-2.0"', "", "licence is missing"),
    "a wrong value": ("size = 64", "size = 0", r"image\.size = 0 does not fit: .*greater than or equal to 1"),
    "an unknown family": (
        'family = "sentence-transformers"',
        'family = "dino"',
        r"image\.family = 'dino' does not fit: .*'siglip'",
    ),
    "a branch for a revision": ("size = 64", 'size = 64\nrevision = "main"', r"image\.revision = 'main' does not fit"),
    "no towers": ("[text.multilingual]", "[nothing]", "text is missing"),
    "padding without a length": (
        'model = "someone/text"',
        'model = "x/y"\npadding = "max_length"',
        r'text\.multilingual .* does not fit: padding = "max_length" needs max_length',
    ),
    "no TOML": ("dims = 128", "dims :", "cannot be read"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, fault: str) -> None:
    old, new, message = WRONG[fault]

    with pytest.raises(ConfigError, match=message):
        find_space(declared(tmp_path, old=old, new=new))


def test_a_file_that_is_not_there_and_names_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml does not exist"):
        find_space(str(tmp_path / "nowhere.toml"))
    with pytest.raises(ConfigError, match="a space is named after its file, in small letters"):
        find_space(declared(tmp_path, name="My Space.toml"))
    with pytest.raises(ConfigError, match="mini is a space that polyglance brings; give the file another name"):
        find_space(declared(tmp_path, name="mini.toml"))


def test_the_fingerprints_of_existing_collections_stay_as_they_were() -> None:
    """As written before spaces were declared in files: byte for byte, so that both old and new programs read them."""
    for name, dims, size in (("clip-vit-b-32", 512, 224), ("mini", 128, 64)):
        told = CollectionSchema(fingerprint_of(find_space(name))).to_json()["fingerprint"]
        assert told == {"space": name, "dims": dims, "image_size": size, "pixels": 2, "weights": None}


def test_two_preparations_of_the_same_size_are_told_apart(tmp_path: Path) -> None:
    squashed = find_space(declared(tmp_path, old="size = 64", new='size = 64\nresize = "squash"'))
    cropped = find_space(declared(tmp_path))

    (difference,) = fingerprint_of(squashed).differences(fingerprint_of(cropped))

    assert difference == "preparation: squash bicubic here, as CLIP does there"
    schema = CollectionSchema(fingerprint_of(squashed))
    assert CollectionSchema.from_json(schema.to_json()) == schema


def test_a_space_without_a_tower_called_multilingual_speaks_by_its_first() -> None:
    space = find_space("clip-vit-b-16")

    assert text_tower_of(ModelSettings(), space=space) == space.text["english"]
    with pytest.raises(ConfigError, match="space clip-vit-b-16 has no text tower 'multilingual'; it has: english"):
        text_tower_of(ModelSettings(text_tower="multilingual"), space=space)
