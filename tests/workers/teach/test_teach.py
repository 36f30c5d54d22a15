"""Teaching: a space of its own comes out, its tower reads the language, and whatever fails leaves nothing behind."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from connector.models.catalog import find_space
from connector.models.image_tower import ImageTower, canonical_pixels
from connector.models.text_models import load_text_model
from connector.models.text_tower import TextTower
from connector.records import Vectors
from connector.settings import ModelSettings
from tests.conftest import CommandLine
from tests.family_twins import write_family
from tests.twins import Twins
from workers.demo import tour

IMAGES = Path(str(tour.IMAGES))
ANIMALS = ("dog", "cat", "bird", "fish", "horse", "cow", "pig", "mouse", "bear", "fox", "frog", "bee")
OLD = "abcdefghijklmnopqrstuvwxyz"
CIPHER = str.maketrans(OLD, "".join(chr(0x2D30 + number) for number in range(len(OLD))))
"""English in the letters of Tifinagh, which no tower of ours reads: a language that nobody has to know."""


def tifinagh(text: str) -> str:
    return text.lower().translate(CIPHER)


def pairs(words: list[str], *, count: int) -> Iterator[str]:
    """Lines of two words, each in English and in the cipher."""
    for number in range(count):
        first, second = words[number % len(words)], words[(number * 7 + 3) % len(words)]
        text = f"{first} and {second} {number // len(words) or ''}".strip()
        yield f"{text}\t{tifinagh(text)}"


@pytest.fixture
def lines(workplace: Path) -> Path:
    file = workplace / "captions.tsv"
    file.write_text("\n".join(pairs([*ANIMALS], count=60)) + "\n", encoding="utf-8")
    return file


def vectors(space: object, texts: list[str]) -> Vectors:
    return TextTower.load(ModelSettings(space=str(space), device="cpu", text_runtime="torch")).embed(texts)


def test_a_taught_space_is_a_space(cli: CommandLine, lines: Path, workplace: Path) -> None:
    ran = cli(
        "teach",
        "--parallel",
        lines,
        "--language",
        "zgh",
        "--space",
        "mini",
        "--out",
        "mini-zgh",
        "--epochs",
        12,
        "--json",
    )
    assert ran.code == 0, ran.err
    told = ran.json
    file = workplace / "mini-zgh" / "mini-zgh.toml"
    assert told["lines"] == {"zgh": 54}
    assert told["new_tokens"] > 15
    assert told == json.loads((file.parent / "report.json").read_text(encoding="utf-8"))
    roles = {row["role"]: row for row in told["languages"]}
    assert roles["taught"]["texts"] == roles["source"]["texts"] == 6
    assert told["trained"]["tokens_alone"]

    assert cli("space", "check", "./mini-zgh/mini-zgh.toml").out.count("sound") == 2
    space, parent = find_space(str(file)), find_space("mini")
    assert space.text["multilingual"].languages.endswith("taught: zgh")
    assert space.probe.vector
    tower = ImageTower.load(ModelSettings(space=str(file), device="cpu", precision="float32"))
    same = ImageTower.load(ModelSettings(space="mini", device="cpu", precision="float32"))
    pixels = canonical_pixels(space.image_size)
    assert np.array_equal(tower.embed(pixels), same.embed(pixels)), "a collection's vectors stay good"

    wanted = vectors("mini", ["a dog"])[0]
    before, after = (vectors(each, [tifinagh("a dog"), "ein Hund"]) @ wanted for each in ("mini", file))
    assert after[0] > before[0] + 0.1
    others = ["ein Hund", "собака", "犬が走る", "a dog, 1984!"]
    assert np.array_equal(vectors(file, others), vectors("mini", others)), "no other language moves"
    assert parent == find_space("mini")


@pytest.mark.parametrize("words", ["new", "known"])
def test_a_language_in_known_letters_gets_its_words_or_is_trained_beside_the_others(
    cli: CommandLine, workplace: Path, words: str
) -> None:
    sources = [line.partition("\t")[0] for line in pairs([*ANIMALS], count=60)]
    named = [[word for word in each.split() if word in ANIMALS] for each in sources]
    texts = [" ".join(f"{word}imo" if words == "new" else word for word in reversed(each)) for each in named]
    rows = [f"{source}\t{text}\n" for source, text in zip(sources, texts, strict=True)]
    (workplace / "lines.tsv").write_text("".join(rows), encoding="utf-8")
    ran = cli(
        *("teach", "--parallel", "lines.tsv", "--language", "tl", "--space", "mini", "--out", "mini-tl"),
        *("--epochs", 4, "--json"),
    )
    assert ran.code == 0, ran.err
    told = ran.json
    assert told["trained"]["tokens_alone"] is (told["new_tokens"] > 0) is (words == "new")
    others = ["ein Hund im Schnee", "a fox and a horse", "dogma"]
    file = workplace / "mini-tl" / "mini-tl.toml"
    assert np.array_equal(vectors(file, others), vectors("mini", others)) is (words == "new")
    assert told["drift"] > 0.95


@pytest.mark.parametrize("family", ["clip", "siglip", "open-clip", "mexma"])
def test_every_family_can_be_taught(cli: CommandLine, lines: Path, workplace: Path, family: str) -> None:
    twin = write_family(family, workplace)
    ran = cli(
        *("teach", "--parallel", lines, "--language", "zgh", "--space", twin.space),
        *("--out", "taught", "--epochs", 2, "--json"),
    )
    assert ran.code == 0, ran.err
    assert ran.json["new_tokens"] > 0
    space = find_space(str(workplace / "taught" / "taught.toml"))
    spec = space.text["multilingual"]
    model = load_text_model(Path(spec.model), spec)
    few = model.tokenize([tifinagh("dog")])
    with torch.inference_mode():
        found = model.module(few.ids, few.mask)
    assert found.shape == (1, space.dims)
    assert cli("space", "check", "./taught/taught.toml").code == 0


def test_the_published_layout_grows_a_word_piece_vocabulary(
    cli: CommandLine, lines: Path, workplace: Path, tiny_twins: Twins
) -> None:
    """The default text tower: DistilBERT, whose tokenizer says unknown to a whole word."""
    ran = cli(
        *("teach", "--parallel", lines, "--language", "zgh", "--space", "clip-vit-b-32", "--out", "taught"),
        *("--set", f"model.text_model={tiny_twins.text}", "--set", f"model.image_model={tiny_twins.image}"),
        *("--epochs", 2, "--json"),
    )
    assert ran.code == 0, ran.err
    assert ran.json["new_tokens"] > 0
    spec = find_space(str(workplace / "taught" / "taught.toml")).text["multilingual"]
    tokenizer = load_text_model(Path(spec.model), spec).tokenizer
    assert tokenizer.unk_token not in tokenizer.tokenize(tifinagh("dog and cat"))


def test_images_of_ones_own_are_looked_at(cli: CommandLine, workplace: Path) -> None:
    images = {path.stem: path for path in sorted(IMAGES.rglob("*.png"))[:40]}
    rows = [f"{name} {number}\t{tifinagh(name)}\t{path.name}" for name, path in images.items() for number in range(2)]
    (workplace / "lines.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (workplace / "images").mkdir()
    for path in images.values():
        shutil.copy(path, workplace / "images")
    kept = [{"image": path.name, "caption": name, "language": "en"} for name, path in images.items()]
    (workplace / "kept.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    ran = cli(
        *("teach", "--parallel", "lines.tsv", "--language", "zgh", "--images", "images", "--keep", "kept.jsonl"),
        *("--space", "mini", "--out", "mini-zgh", "--epochs", 2, "--json"),
    )
    assert ran.code == 0, ran.err
    assert {row["role"]: row["among"] for row in ran.json["languages"]} == {"taught": 40, "source": 40, "kept": 40}
    assert ran.json["trained"]["losses"]["shown"] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--space", "nosuch"), "unknown space 'nosuch'"),
        (("--space", "mini", "--tower", "english"), "has no text tower 'english'"),
        (("--space", "mini", "--language", "bn"), "1 files and 2 languages"),
        (("--space", "mini", "--out", "there"), "is there already"),
        (("--space", "mini", "--out", "clip-vit-b-32"), "is a space that polyglance brings"),
        (("--space", "mini", "--out", "Mine!"), "small letters, digits and hyphens"),
        (("--space", "mini", "--images", "nowhere"), "no line names an image"),
        (("--space", "mini", "--keep", "nowhere.jsonl"), "cannot be read"),
    ],
)
def test_what_cannot_be_taught_is_said_in_a_line(
    cli: CommandLine, lines: Path, workplace: Path, arguments: tuple[str, ...], says: str
) -> None:
    (workplace / "there").mkdir()
    before = sorted(workplace.rglob("*"))
    ran = cli("teach", "--parallel", lines, "--language", "zgh", "--out", "new", *arguments)
    assert ran.code == 2
    assert says in ran.err
    assert ran.err.count("\n") == 1
    assert sorted(workplace.rglob("*")) == before


def test_a_full_disk_leaves_nothing_behind(cli: CommandLine, lines: Path, workplace: Path) -> None:
    disk = workplace / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted as root")
    try:
        given = ("teach", "--parallel", lines, "--language", "zgh", "--space", "mini", "--out", disk / "new")
        (disk / "ballast").write_bytes(bytes(30_000_000))
        ran = cli(*given)
        assert ran.code == 1
        assert "bytes free" in ran.err
        assert [each.name for each in disk.iterdir()] == ["ballast"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_language_in_an_unknown_script_is_learned_from_2000_lines(cli: CommandLine, workplace: Path) -> None:
    """The names of the bundled images, in pairs; what is asked are the names alone, of all images."""
    sidecars = sorted(IMAGES.rglob("*.png.json"))
    names = [json.loads(each.read_text(encoding="utf-8"))["name"] for each in sidecars]
    (workplace / "lines.tsv").write_text("\n".join(pairs(names, count=2000)) + "\n", encoding="utf-8")
    ran = cli(
        *("teach", "--parallel", "lines.tsv", "--language", "zgh", "--space", "mini", "--out", "mini-zgh", "--json")
    )
    assert ran.code == 0, ran.err
    pictures = [each.with_suffix("") for each in sidecars]
    with (workplace / "captions.jsonl").open("w", encoding="utf-8") as file:
        for name, picture in zip(names, pictures, strict=True):
            for language, text in (("en", name), ("zgh", tifinagh(name))):
                row = {"image": picture.name, "caption": text, "language": language}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    found = {}
    for space in ("mini", "./mini-zgh/mini-zgh.toml"):
        assert cli("ingest", IMAGES, "--space", space, "--set", "qdrant.path=data").code == 0
        rows = cli("evaluate", "captions.jsonl", "--space", space, "--set", "qdrant.path=data", "--json").json
        found[space] = {row["language"]: row["recall_10"] for row in rows["languages"]}
    before, after = found.values()
    assert before["zgh"] < 0.05
    assert after["zgh"] >= 0.9 * before["en"]
    assert after["en"] >= before["en"] - 0.005
