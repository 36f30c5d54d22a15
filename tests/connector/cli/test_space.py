"""``polyglance space``, and a space of one's own from ingestion to classification."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from connector.models.catalog import space_names
from tests.conftest import CommandLine
from tests.connector.models.test_weights import published
from tests.family_twins import write_family
from tests.images import write_images
from tests.twins import write_mclip


def test_the_list_names_every_space_with_its_licence_and_whether_it_is_here(cli: CommandLine) -> None:
    ran = cli("space", "list", "--json")

    rows = {row["name"]: row for row in ran.json["spaces"]}
    assert tuple(rows) == space_names()
    assert rows["mini"]["present"]
    assert rows["siglip2-b32"]["licence"] == "Apache-2.0"
    assert cli("space", "list").out.count("\n") == 2 * len(rows)


def test_what_is_shown_is_a_file_that_declares_the_same_space(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(cli("space", "show", "siglip2-b32").out)

    shown = cli("space", "show", str(tmp_path / "mine.toml"), "--json")

    assert shown.json == {**cli("space", "show", "siglip2-b32", "--json").json, "name": "mine"}


def test_a_check_loads_what_is_here_and_prints_the_probe(cli: CommandLine, tmp_path: Path) -> None:
    sound = cli("space", "check", "mini", "--json")
    assert [(row["tower"], row["outcome"]) for row in sound.json["towers"]] == [
        ("image", "sound"),
        ("multilingual", "sound"),
    ]
    assert len(sound.json["towers"][0]["probe"]) == 8

    twin = write_family("clip", tmp_path)
    twin.space.write_text(twin.space.read_text().replace("dims = 32", "dims = 48"))
    broken = cli("space", "check", str(twin.space), "--tower", "image", "--json")
    assert broken.code == 1
    assert broken.json["towers"][0]["outcome"] == "damaged"
    assert "gives 32 dims" in broken.json["towers"][0]["detail"]


def test_a_tower_that_is_not_there_is_named(cli: CommandLine) -> None:
    ran = cli("space", "check", "mini", "--tower", "english")

    assert ran.code == 2
    assert "space mini has no tower 'english'; it has: image, multilingual" in ran.err


def test_a_pickle_is_converted_once(cli: CommandLine, tmp_path: Path) -> None:
    folder = write_mclip(tmp_path / "mclip", weights="bin")

    assert cli("space", "convert", str(folder)).out.strip() == str(folder / "model.safetensors")
    assert "has no pickle that lacks its safetensors" in cli("space", "convert", str(folder)).err
    assert cli("space", "convert", str(tmp_path / "nowhere")).code == 2


def test_a_licence_is_asked_for_once(cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    twin = write_family("clip", tmp_path)
    told = twin.space.read_text().replace('"Apache-2.0"', '"CC-BY-NC-4.0"')
    twin.space.write_text(f"commercial = false\n{told}")

    refused = cli("space", "pull", str(twin.space))
    assert refused.code == 2
    assert "is licensed under CC-BY-NC-4.0, which does not allow commercial use. Accept it by" in refused.err

    assert cli("space", "pull", str(twin.space), "--accept-licence").code == 0
    assert cli("space", "pull", str(twin.space)).code == 0


@pytest.mark.parametrize(
    "wrong", ["a pipe", "a folder", "another program's file", "a wrong key", "no such user", "nothing"]
)
def test_every_command_refuses_what_declares_no_space_and_stores_nothing(
    cli: CommandLine, data_folder: Path, tmp_path: Path, wrong: str
) -> None:
    place = tmp_path / "a place with spaces"
    write_images(place, ["photos/a.png"])
    os.mkfifo(place / "pipe.toml")
    shutil.copy(place / "photos/a.png", place / "png.toml")
    (place / "key.toml").write_text(f"size = 3\n{cli('space', 'show', 'mini').out}")
    given, says = {
        "a pipe": (place / "pipe.toml", "it is no file"),
        "a folder": (place / "photos", "is a folder; a space is declared by a file"),
        "another program's file": (place / "png.toml", "cannot be read"),
        "a wrong key": (place / "key.toml", "there is no key size (known here: "),
        "no such user": ("~nobody-here/mine.toml", "~nobody-here/mine.toml cannot be read"),
        "nothing": (place / "none.toml", "does not exist"),
    }[wrong]
    photos = place / "photos"
    for command in (
        ("space", "show", given),
        ("space", "check", given),
        ("space", "pull", given),
        ("ingest", photos, "--space", given),
        ("search", "dog", "--space", given),
        ("classify", photos / "a.png", "--labels", "a,b", "--space", given),
        ("plan", "--images", "1000", "--space", given),
        ("plan", "--images", "1000", "--space", "mini", "--to", given),
        ("tune", photos, "--space", given),
        ("migrate", "--space", "mini", "--to", given),
    ):
        ran = cli(*command)
        assert (ran.code, "Traceback" in ran.err) == (2, False), (command, ran)
        assert says in ran.err, (command, ran.err)
    assert not data_folder.exists()


@pytest.mark.slow
def test_ones_own_space_serves_from_ingestion_to_classification(cli: CommandLine, tmp_path: Path) -> None:
    twin = write_family("siglip", tmp_path)
    write_images(tmp_path, ["photos/a.png", "photos/b.jpg", "photos/c.png"])
    given = ("--space", str(twin.space), "--set", f"qdrant.path={tmp_path / 'qdrant'}", "--set", "ingest.workers=0")

    stored = cli("ingest", str(tmp_path / "photos"), *given, "--json")
    assert stored.code == 0, stored.err
    found = cli("search", "--image", str(tmp_path / "photos/b.jpg"), *given, "--json")
    assert found.json["hits"][0]["uri"].endswith("b.jpg")
    assert found.json["hits"][0]["score"] > 0.999
    chosen = cli("classify", str(tmp_path / "photos/a.png"), "--labels", "dog,cat", *given, "--json")
    assert sum(label["probability"] for label in chosen.json["labels"]) == pytest.approx(1)

    twin.space.write_text(twin.space.read_text().replace('resize = "squash"', 'resize = "crop"'))
    other = cli("search", "dog", *given)
    assert other.code != 0
    assert "preparation: bilinear" in other.err or "preparation: crop bilinear" in other.err


def polyglance(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with its own caches: the hub's client reads its address at import."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    places = {"HF_HOME": str(home / "hf"), "XDG_DATA_HOME": str(home / "data"), "XDG_CACHE_HOME": str(home / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "polyglance", *arguments],
        env={**inherited, **places, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_what_was_pulled_from_a_mirror_serves_offline_and_is_checked(tmp_path: Path) -> None:
    twin = write_family("siglip", tmp_path)
    told = twin.space.read_text().replace("./siglip", "someone/siglip")
    (tmp_path / "mine.toml").write_text(told)
    with published(twin.folder, name="someone/siglip") as mirror:
        pulled = polyglance("space", "pull", str(tmp_path / "mine.toml"), "--json", home=tmp_path, HF_ENDPOINT=mirror)
    assert pulled.returncode == 0, pulled.stderr
    image, text = json.loads(pulled.stdout)["towers"]
    assert (image["fetched"], text["fetched"]) == (True, False)  # both halves are in one model
    assert len(image["revision"]) == 40
    assert len(image["sha256"]) == 64

    checked = polyglance("space", "check", str(tmp_path / "mine.toml"), "--json", home=tmp_path, HF_HUB_OFFLINE="1")
    assert checked.returncode == 0, checked.stderr
    assert {row["outcome"] for row in json.loads(checked.stdout)["towers"]} == {"sound"}


@pytest.mark.slow
def test_half_a_download_is_told_and_fetched_again(tmp_path: Path) -> None:
    twin = write_family("siglip", tmp_path)
    (tmp_path / "mine.toml").write_text(twin.space.read_text().replace("./siglip", "someone/siglip"))
    mine = str(tmp_path / "mine.toml")
    with published(twin.folder, name="someone/siglip") as mirror:
        assert polyglance("space", "pull", mine, home=tmp_path, HF_ENDPOINT=mirror).returncode == 0
        (file,) = (tmp_path / "hf").rglob("snapshots/*/model.safetensors")
        whole = file.read_bytes()
        file.resolve().write_bytes(whole[: len(whole) // 2])

        checked = polyglance("space", "check", mine, "--tower", "image", home=tmp_path, HF_HUB_OFFLINE="1")
        assert "missing" in checked.stdout
        assert "not here, or not whole" in checked.stdout
        assert polyglance("space", "pull", mine, home=tmp_path, HF_ENDPOINT=mirror).returncode == 0
    assert file.read_bytes() == whole


@pytest.mark.slow
def test_a_pickle_is_fetched_and_converted_on_purpose_alone(tmp_path: Path) -> None:
    folder = write_mclip(tmp_path / "mclip", dims=128, weights="bin")
    (tmp_path / "mine.toml").write_text(
        'dims = 128\nlanguages = "none"\nlicence = "MIT"\n[image]\nfamily = "sentence-transformers"\n'
        'model = "someone/image"\nsize = 64\n[text.multilingual]\nfamily = "xlm-roberta"\nmodel = "someone/mclip"\n'
        'prefix = "transformer."\nprojection = "LinearTransformation."\nprojection_bias = true\n'
    )
    mine = str(tmp_path / "mine.toml")
    with published(folder, name="someone/mclip") as mirror:
        pulled = polyglance(
            "space", "pull", mine, "--tower", "multilingual", "--json", home=tmp_path, HF_ENDPOINT=mirror
        )
    assert pulled.returncode == 0, pulled.stderr
    (text,) = json.loads(pulled.stdout)["towers"]
    assert text["converted"]
    checked = polyglance("space", "check", mine, "--tower", "multilingual", home=tmp_path, HF_HUB_OFFLINE="1")
    assert "sound" in checked.stdout, checked.stdout + checked.stderr
