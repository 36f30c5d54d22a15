"""Text in images is read while they are ingested, or later; whatever goes wrong with that, no image is lost."""

import io
import os
import shutil
import tarfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from benchmarks import written
from connector.errors import ConfigError
from connector.ocr_settings import OcrSettings
from connector.records import Point, StoredPoint, id_of
from connector.settings import Settings
from connector.store.engine import WordsQuery
from connector.store.open import open_engine
from connector.store.schema import Fingerprint, schema_for
from tests.conftest import CommandLine
from tests.images import write_images
from tests.qdrant_standin.standin import running
from workers.ocr.reader import check_reader, rapid_files, tesseract_languages
from workers.ocr.tesseract import TesseractReader
from workers.ocr.texts import TextStage
from workers.pipeline.metadata import hash_of
from workers.run.read_text import read_text

rapidocr = pytest.importorskip("rapidocr", reason="the extra ocr is not installed")


def drawn(text: str, *, turn: int = 0, lines: int = 1) -> bytes:
    """A PNG with a text on it, turned by so many degrees."""
    image = Image.new("RGB", (420, 60 + 50 * lines), (250, 250, 240))
    pen = ImageDraw.Draw(image)
    for row in range(lines):
        pen.text((25, 20 + 50 * row), text, font=ImageFont.load_default(36), fill=(20, 20, 60))
    file = io.BytesIO()
    image.rotate(turn, expand=True, fillcolor=(250, 250, 240)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def settings(data_folder: Path) -> Settings:
    """Settings of a new collection in space mini; one process reads."""
    return Settings.load({"model.space": "mini", "qdrant.path": str(data_folder), "ocr.processes": "1"})


@pytest.fixture(autouse=True)
def one_reader(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line reads with one process, into space mini."""
    del data_folder  # its environment comes first
    monkeypatch.setenv("POLYGLANCE_OCR__PROCESSES", "1")
    monkeypatch.setenv("POLYGLANCE_MODEL__SPACE", "mini")


def points(settings: Settings) -> dict[str, StoredPoint]:
    """Every stored point by its file name."""
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        page = engine.scroll(limit=1_000, vectors=True)
    return {each.uri.rpartition("/")[2]: each for each in page.points}


def found(settings: Settings, text: str) -> list[str]:
    """The names of the images that are found by these words."""
    with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
        (hits,) = engine.query([WordsQuery(text)])
    return [each.uri.rpartition("/")[2] for each in hits]


# while images are ingested


def test_text_is_read_while_images_are_ingested_whichever_way_up_it_stands(
    cli: CommandLine, settings: Settings, workplace: Path
) -> None:
    folder = workplace / "photos"
    write_images(folder, ["plain.png"])
    (folder / "plate.png").write_bytes(drawn("RE16 TGK"))
    (folder / "copy.png").write_bytes(drawn("RE16 TGK"))
    (folder / "turned.png").write_bytes(drawn("Quittung 2024", turn=90))

    done = cli("ingest", "--ocr", folder, "--json")

    assert done.code == 0, done.err
    assert done.json["ocr"] == {"text": 2, "no_text": 1}
    there = points(settings)
    assert there["plate.png"].payload["ocr_text"] == "RE16 TGK"
    assert there["turned.png"].payload["ocr_text"] == "Quittung 2024"
    how = there["plate.png"].payload["ocr"]
    assert (how["reader"], how["lines"]) == ("rapidocr", 1)
    assert 0.9 < how["confidence"] <= 1
    assert {name: there["copy.png"].payload[name] for name in ("ocr", "ocr_text")} == {
        "ocr": how,
        "ocr_text": "RE16 TGK",
    }
    assert "ocr_text" not in there["plain.png"].payload
    assert there["plain.png"].payload["ocr"]["lines"] == 0
    assert sorted(found(settings, "re16")) == ["copy.png", "plate.png"]
    assert found(settings, "quittung 2024") == ["turned.png"]
    assert "text read: in 2 images, none in 1" in cli("status").out

    os.utime(folder / "plate.png", (1, 1))  # another version of the same bytes
    again = cli("ingest", folder, "--json")

    assert again.json["stored"] == 1
    assert again.json["ocr"] == {}
    assert points(settings)["plate.png"].payload["ocr_text"] == "RE16 TGK"


def test_an_ingestion_reads_no_text_unless_it_is_asked_to(
    cli: CommandLine, settings: Settings, workplace: Path
) -> None:
    (workplace / "photos").mkdir()
    (workplace / "photos" / "plate.png").write_bytes(drawn("RE16 TGK"))

    done = cli("ingest", "photos", "--json")

    assert done.json["stored"] == 1
    assert "ocr" not in points(settings)["plate.png"].payload
    assert "ocr" not in done.json["busy"]


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_costs_the_text_and_no_image(
    cli: CommandLine, settings: Settings, workplace: Path
) -> None:
    (workplace / "photos").mkdir()
    (workplace / "photos" / "plate.png").write_bytes(drawn("RE16 TGK"))
    (workplace / "models").mkdir()
    (workplace / "models" / "broken.onnx").write_bytes(b"no model")

    done = cli("ingest", "photos", "--ocr", "all", "--set", "ocr.models=models")

    assert done.code == 0
    assert "stored 1" in done.out
    assert "not read: not_loaded 1. `polyglance ocr` tries those again" in done.out
    assert "ocr" not in points(settings)["plate.png"].payload
    assert "not_loaded 1" in cli("status").out


@pytest.mark.slow
def test_a_reader_that_hangs_is_given_up_and_every_image_is_stored(
    cli: CommandLine, settings: Settings, workplace: Path
) -> None:
    (workplace / "photos").mkdir()
    for number in range(5):
        (workplace / "photos" / f"{number}.png").write_bytes(drawn(f"Gate {number}"))

    done = cli("ingest", "photos", "--ocr", "all", "--set", "ocr.timeout_s=0.001", "--json")

    assert done.json["stored"] == 5
    assert done.json["ocr"] == {"timeout": 3, "given_up": 2}
    assert not any("ocr" in each.payload for each in points(settings).values())


def test_what_is_not_there_to_read_with_is_said_before_any_work(
    cli: CommandLine, settings: Settings, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "empty").mkdir()
    (workplace / "photos").mkdir()
    monkeypatch.setenv("PATH", str(workplace / "empty"))
    for say, sets in {
        "in which there is no *.onnx": ["ocr.models=empty"],
        "ocr.reader is tesseract, which is not installed": ["ocr.reader=tesseract"],
    }.items():
        for command in (["ingest", "photos", "--ocr"], ["ocr"]):
            refused = cli(*command, *(part for each in sets for part in ("--set", each)))
            assert refused.code == 2
            assert say in refused.err
            assert len(refused.err.splitlines()) == 1
    assert not settings.qdrant.path.exists() or not points_exist(settings)
    assert "--only documents" in cli("ocr", "--only", "photos").err


def points_exist(settings: Settings) -> bool:
    """Whether anything was written."""
    return any(settings.qdrant.path.glob(f"{settings.collection}*"))


# images that are stored already


def library(folder: Path) -> dict[str, bytes]:
    """A folder with a sign, a copy of it, a page of text and an image without any."""
    files = {
        "sign.png": drawn("Ausgang"),
        "copy.png": drawn("Ausgang"),
        "page.png": drawn("Haltestelle Markt", lines=8),
        "plain.png": write_images(folder, ["plain.png"])[0].read_bytes(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


@pytest.mark.slow
def test_text_is_read_in_stored_images_without_touching_a_vector(
    cli: CommandLine, settings: Settings, workplace: Path
) -> None:
    folder = workplace / "photos"
    library(folder)
    with tarfile.open(workplace / "shard.tar", "w") as tar:
        data = drawn("Bahnhof")
        member = tarfile.TarInfo("station.png")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    assert cli("ingest", folder, "shard.tar").code == 0
    before = points(settings)

    documents = cli("ocr", "--only", "documents", "--json")

    assert documents.code == 0, documents.err
    assert documents.json["counts"] == {"no_document": 4, "text": 1}
    assert points(settings)["page.png"].payload["ocr_text"].splitlines() == ["Haltestelle Markt"] * 8

    done = cli("ocr", "--json", "--where", 'filename != "station.png"')

    assert done.code == 0
    assert done.json["counts"] == {"text": 2, "no_text": 1, "known": 1}
    assert cli("ocr", "--json").json["counts"] == {"known": 4, "text": 1}
    again = cli("ocr", "--json")
    assert again.json["counts"] == {"known": 5}
    sure = cli("ocr", "--again", "--json", "--where", 'filename == "sign.png"', "--set", "ocr.min_confidence=1.0")
    assert sure.json["counts"] == {"no_text": 1}
    assert found(settings, "ausgang") == ["copy.png"]
    after = points(settings)
    assert after["shard.tar#station.png"].payload["ocr_text"] == "Bahnhof"
    for name, point in before.items():
        assert np.array_equal(np.asarray(point.vector), np.asarray(after[name].vector))
        kept = {key: value for key, value in after[name].payload.items() if key not in ("ocr", "ocr_text")}
        assert kept == point.payload


@pytest.mark.slow
def test_an_original_that_is_gone_or_another_one_is_counted_and_the_rest_is_read(
    cli: CommandLine, workplace: Path
) -> None:
    folder = workplace / "photos"
    library(folder)
    assert cli("ingest", folder).code == 0
    (folder / "page.png").unlink()
    (folder / "plain.png").write_bytes(drawn("other"))

    done = cli("ocr", "--json")

    assert done.code == 1
    assert done.json["counts"] == {"text": 2, "missing": 2}
    assert done.json["left"] == 2
    assert {uri.rpartition("/")[2] for uri in done.json["unread"]} == {"page.png", "plain.png"}
    assert "not read: missing 2" in cli("ocr").out


@pytest.mark.slow
def test_text_is_read_in_the_images_of_a_server(settings: Settings, workplace: Path) -> None:
    folder = workplace / "photos"
    files = library(folder)
    with running() as standin:
        qdrant = standin.settings("rest").model_copy(update={"collection": "read"})
        served = settings.model_copy(update={"qdrant": qdrant})
        with closing(open_engine(served.qdrant, collection="read")) as engine:
            engine.create(schema_for(Fingerprint("mini", 4, 64), served))
            engine.upsert([point(folder / name, data) for name, data in files.items()])

            first = read_text(engine, settings=served)
            other = served.model_copy(update={"ocr": served.ocr.model_copy(update={"min_confidence": 1.0})})
            second = read_text(engine, settings=other)

            assert first.counts == {"text": 3, "no_text": 1}
            assert second.counts == {"known": 4}
            (hits,) = engine.query([WordsQuery("haltestelle")])
            assert [hit.uri for hit in hits] == [(folder / "page.png").as_uri()]


def point(path: Path, data: bytes) -> Point:
    """A stored image, without all that an ingestion would say of it."""
    vector = np.full(4, 0.5, np.float32)
    return Point(id_of(path.as_uri()), vector, {"uri": path.as_uri(), "content_hash": hash_of(data)})


# what reads


KOREAN = ((0, 28, "상"), (5, 29, "투"), (4, 30, "메"), (16, 23, "프"), (6, 29, "린"), (9, 28, "시"), (8, 30, "페"))
"""Gap before each syllable, its height, in pixels, and itself."""


def read(data: bytes, settings: OcrSettings) -> tuple[str, Any]:
    """What becomes of one image."""
    stage = TextStage(settings, max_pixels=10**7, only_documents=settings.images == "documents")
    with stage.reading() as process:
        return stage.of(data, known={}, process=process)


def test_a_folder_of_further_models_reads_too_and_is_part_of_the_models_name(tmp_path: Path) -> None:
    shutil.copy(rapid_files(OcrSettings()).recognizer, tmp_path / "further.onnx")
    settings = OcrSettings(models=tmp_path, max_chars=9)

    outcome, fields = read(drawn("Gleisplan Süd"), settings)

    assert outcome == "text"
    assert fields["ocr_text"] == "Gleisplan"
    assert fields["ocr"]["cut"] is True
    assert "further" in fields["ocr"]["model"]
    assert fields["ocr"]["model"] != check_reader(OcrSettings())


@pytest.mark.parametrize("data", [b"", b"no image", drawn("x")[:200]], ids=["empty", "no image", "cut off"])
def test_what_cannot_be_decoded_is_counted_without_starting_a_reader(data: bytes) -> None:
    assert read(data, OcrSettings()) == ("undecodable", {})


needs_fonts = pytest.mark.skipif(written.lacking() is not None, reason=f"not here: {written.lacking()}")


@pytest.fixture(scope="module")
def some() -> Sequence[written.Written]:
    """The plan of some drawn images, of all kinds and scripts."""
    return written.plan(64)


@needs_fonts
def test_the_drawn_images_are_the_same_each_time_and_their_words_are_unique(some: Sequence[written.Written]) -> None:
    words = [each.caption.casefold() for each in some if each.caption]
    assert len(set(words)) == len(words)
    assert {each.script for each in some} == {*written.LANGUAGES, "Code", ""}
    assert len({each.language for each in written.plan(1_200)} - {"", "und"}) >= 20
    assert written.plan(64) == some
    assert written.draw(some[0]).tobytes() == written.draw(some[0]).tobytes()


@pytest.mark.slow
@needs_fonts
def test_signs_plates_screenshots_and_pages_in_latin_letters_and_cjk_are_read(some: Sequence[written.Written]) -> None:
    ours = [each for each in some if each.script in ("Latin", "Han", "Kana", "Code", "")]
    stage = TextStage(OcrSettings(), max_pixels=10**7, only_documents=False)
    with stage.reading() as process:
        for each in ours[:16]:
            file = io.BytesIO()
            written.draw(each).save(file, "JPEG", quality=88)
            outcome, fields = stage.of(file.getvalue(), known={}, process=process)
            assert outcome == ("text" if each.caption else "no_text"), each
            assert plainly(each.caption) in plainly(fields.get("ocr_text", "")), each


def plainly(text: str) -> str:
    """Letters and digits alone."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


@pytest.mark.slow
@needs_fonts
def test_syllables_of_one_korean_word_are_not_parted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are Tesseract's own of an image with 상투메 프린시페 in it, but for columns that nobody reads."""
    at, rows = 12, ["page_num\tblock_num\tpar_num\tline_num\tleft\twidth\theight\tconf\ttext"]
    for gap, height, text in KOREAN:
        rows.append(f"1\t1\t1\t1\t{at + gap}\t25\t{height}\t90\t{text}")
        at += gap + 25
    program = tmp_path / "tesseract"
    program.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(rows) + "\nEND\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    reader = TesseractReader(OcrSettings(reader="tesseract", languages=("kor",)), finder=None)

    (line,) = reader.read(np.full((48, 300, 3), 255, np.uint8))

    assert line.text == "상투메 프린시페"


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")
def test_tesseract_reads_a_script_that_the_bundled_models_do_not_know() -> None:
    if "rus" not in tesseract_languages():
        pytest.skip("tesseract has no Russian")
    what = next(each for each in written.plan(64) if each.language == "ru" and each.kind == "page")
    file = io.BytesIO()
    written.draw(what).save(file, "PNG")

    _, fields = read(file.getvalue(), OcrSettings(reader="tesseract", languages=("eng", "rus")))

    assert what.caption in fields["ocr_text"]
    with pytest.raises(ConfigError, match=r"tesseract has no language xyz; installed: .*rus"):
        check_reader(OcrSettings(reader="tesseract", languages=("xyz",)))
