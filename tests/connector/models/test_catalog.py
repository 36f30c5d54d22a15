import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from connector.errors import ConfigError, ModelError
from connector.models.catalog import BEST_TOWERS, find_space, fingerprint_of, space_names, text_tower_of
from connector.models.lookup import find_model, is_present
from connector.settings import ModelSettings, Settings
from connector.store.schema import CollectionSchema
from connector.store.stored_schema import schema_from_json


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
        r'text\.multilingual does not fit: padding = "max_length" needs max_length',
    ),
    "no TOML": ("dims = 128", "dims :", "cannot be read"),
    "a name of its own": ("dims = 128", 'dims = 128\nname = "other"', "a space is named after its file, here mine"),
    "nested without end": ("dims = 128", f"dims = {'[' * 5000}", "cannot be read: its values are nested too deeply"),
    "a number in quotes": ("dims = 128", 'dims = "128"', "dims = '128' does not fit: .*valid integer"),
    "yes for a number": ("dims = 128", "dims = true", "dims = True does not fit: .*valid integer"),
    "more dims than a store has": ("dims = 128", "dims = 70000", "dims = 70000 does not fit"),
    "a deviation of nothing": ("size = 64", "size = 64\nstd = [0.0, 0.2, 0.2]", r"image\.std\.0 = 0\.0 does not fit"),
    "values up to 255": (
        "size = 64",
        "size = 64\nmean = [127.5, 127.5, 127.5]",
        r"image\.mean\.0 = 127\.5 does not fit",
    ),
    "no number at all": ("size = 64", "size = 64\nmean = [nan, 0.5, 0.5]", r"image\.mean\.0 = nan does not fit"),
    "two channels": ("size = 64", "size = 64\nstd = [0.5, 0.5]", r"image\.std\.2 is missing"),
    "a wall of pixels": ("size = 64", "size = 1000000", r"image\.size = 1000000 does not fit"),
    "a list of towers": ("[image]", "[[image]]", r"image = \[.* does not fit"),
    "a text for a tower": (
        "[text.multilingual]",
        '[text]\nen = "x/y"\n[text.multilingual]',
        r"text\.en = 'x/y' does not fit",
    ),
    "a tower's name on two lines": ("[text.multilingual]", '[text."a\\nb"]', "does not fit: String should match"),
    "a text tower called image": ("[text.multilingual]", "[text.image]", "a text tower cannot be called image"),
    "a key that the family does not read": (
        'model = "someone/text"',
        'model = "x/y"\nlowercase = true',
        r"text\.multilingual does not fit: sentence-transformers does not read lowercase: take that out",
    ),
    "a shape that is not read": (
        "size = 64",
        'size = 64\nshape = {width = 8, layers = 1, heads = 1, patch = 4, activation = "gelu", eps = 1e-5}',
        "image does not fit: a shape is declared for open-clip and siglip alone",
    ),
    "heads that do not divide": (
        'family = "sentence-transformers"\n',
        'family = "open-clip"\n'
        'shape = {width = 8, layers = 1, heads = 3, patch = 4, activation = "gelu", eps = 1e-5}\n',
        r"image\.shape does not fit: a width of 8 cannot be shared by 3 heads",
    ),
    "siglip with a mask": (
        'family = "sentence-transformers"\nmodel = "someone/text"',
        'family = "siglip"\nmodel = "x/y"\nmax_length = 64\npadding = "max_length"',
        "siglip reads its padding",
    ),
    "a scale that is none": (
        "scale = 20.0",
        "scale = -1",
        r"score\.scale = -1 does not fit: .*greater than 0 or .*'weights'",
    ),
    "a probe of a tower that is not there": (
        "[image]",
        '[probe]\ntower = "other"\nvector = [0.1]\n[image]',
        "probe.tower = 'other' is no text tower; there are: multilingual",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, fault: str) -> None:
    old, new, message = WRONG[fault]

    with pytest.raises(ConfigError, match=message):
        find_space(declared(tmp_path, old=old, new=new))


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (lambda file: file.mkdir(), "it is a folder, not a file"),
    "a pipe": (os.mkfifo, "it is no file"),
    "a link to itself": (lambda file: file.symlink_to(file.name), "cannot be read"),
    "nothing": (lambda file: file.write_bytes(b""), "dims is missing; languages is missing"),
    "bytes": (lambda file: file.write_bytes(b"\xff\xfe\x00"), "cannot be read: 'utf-8' codec"),
    "more than anybody writes": (lambda file: file.write_bytes(bytes(1 << 21)), "has more than 1,048,576 bytes"),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_declaration_is_said_to_be_none(tmp_path: Path, kind: str) -> None:
    make, message = NO_FILES[kind]
    make(tmp_path / "mine.toml")

    with pytest.raises(ConfigError, match=message):
        find_space(str(tmp_path / "mine.toml"))


def test_a_file_with_a_byte_order_mark_and_windows_line_ends_is_read(tmp_path: Path) -> None:
    file = Path(declared(tmp_path))
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))

    assert find_space(str(file)).dims == 128


def test_a_folder_is_no_space_and_a_file_says_how_it_is_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a folder; a space is declared by a file beside it, such as .*\.toml"):
        find_space(str(tmp_path))
    with pytest.raises(ConfigError, match=r"~nobody-here/mine\.toml cannot be read"):
        find_space("~nobody-here/mine.toml")


@pytest.mark.parametrize("model", ["https://huggingface.co/openai/clip", "x" * 5000, "~nobody-here/clip"])
def test_what_can_be_no_model_is_said_to_be_none(tmp_path: Path, model: str) -> None:
    space = find_space(declared(tmp_path, old="./image", new=model))

    assert not is_present(space.image)
    with pytest.raises(ModelError, match=r"can be none .*: name a folder, or a model of the hub as owner/name"):
        find_model(space.image)


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
    assert schema_from_json(schema.to_json()) == schema


def test_a_space_without_a_tower_called_multilingual_speaks_by_its_first() -> None:
    space = find_space("clip-vit-b-16")

    assert text_tower_of(ModelSettings(), space=space) == space.text["english"]
    with pytest.raises(ConfigError, match="space clip-vit-b-16 has no text tower 'multilingual'; it has: english"):
        text_tower_of(ModelSettings(text_tower="multilingual"), space=space)
