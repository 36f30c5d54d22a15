"""Nothing out of a file, a store or a request acts on a terminal or begins a line of a log."""

import json
import logging
import stat
import sys
from pathlib import Path

import pytest

from connector.files import private_folder
from connector.printable import (
    JsonFormatter,
    PrintableFormatter,
    mask_credentials,
    printable,
    printable_json,
    printable_lines,
)
from tests.conftest import CommandLine

HOSTILE = ["\x1b[31m", "\x9b2J", "\x07", "\r", "\n", "\x00", "\x7f", "\u202e", "\u2066", "\u2028", "\x85", "\udcff"]
KEPT = ["Straße", "犬と猫", "naïve café", "می‌خواهم", "👩‍🚒", "a b", "a\u3000b"]


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
def test_what_could_act_on_a_terminal_is_replaced(hostile: str) -> None:
    for shown in (printable(f"a{hostile}b"), printable_lines(f"a{hostile}b").replace("\n", "")):
        assert hostile not in shown
        assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in shown)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://me:secret@host/x.jpg", "http://***@host/x.jpg"),
        ("HTTPS://secret@host", "HTTPS://***@host"),
        ("ftp://me:se@cret@host:21/x", "ftp://***@host:21/x"),
        ("s3://key:se/cret@bucket/x.jpg", "s3://***@bucket/x.jpg"),
        ("http://me:secret word@host/", "http://***@host/"),
        ("http:me:secret@host", "http:***@host"),
        ("http:\\\\me:secret@host", "http:\\\\***@host"),
        ("file://me:secret@host/x.jpg", "file://***@host/x.jpg"),
        ("cannot reach 'http://a:secret@b' or (http://c:secret@d)", "cannot reach 'http://***@b' or (http://***@d)"),
        ("https://proxy/?url=http://me:secret@host/x", "https://proxy/?url=http://***@host/x"),
        ("me:secret@host:9000", "***@host:9000"),
        ("s3.endpoint_url = 'me:se/cret@host'", "s3.endpoint_url = '***@host'"),
        ("queue=me:secret@[::1]:80", "queue=***@[::1]:80"),
    ],
)
def test_a_name_and_password_in_an_address_are_masked(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org:8080/@me/x.jpg",
        "http://[2001:db8::1]:80/a@b.jpg",
        "s3://bucket/a:b@c.jpg",
        "file:///home/a:b/x@y.jpg",
        "see http://host/a: write to me@example.org",
        "a@b.jpg",
    ],
)
def test_an_address_without_a_password_stays(text: str) -> None:
    assert mask_credentials(text) == text


def test_masking_takes_time_in_proportion_to_the_text() -> None:
    for hostile in ("http:" * 200_000, "a" * 200_000, "http://" + "a:" * 50_000, "a://" * 30_000, "a:" * 100_000):
        for text in (hostile, hostile + "@"):
            assert mask_credentials(text).startswith("a" if text.startswith("a") else "http")


@pytest.mark.parametrize("text", KEPT)
def test_letters_of_every_script_stay(text: str) -> None:
    assert printable(text) == text
    assert printable_json(text) == json.dumps(text, ensure_ascii=False)


@pytest.mark.parametrize("hostile", [*HOSTILE, "\U000e0001"], ids=ascii)
def test_json_says_all_and_acts_on_nothing(hostile: str) -> None:
    made = printable_json({"name": f"a{hostile}b"})
    assert printable(made) == made
    assert json.loads(made) == {"name": f"a{hostile}b"}


def test_a_log_line_is_one_line_whatever_stands_in_it() -> None:
    record = logging.LogRecord("name", logging.INFO, "file", 1, "read path=%s", ("a\nERROR forged\x1b[2J",), None)
    line = PrintableFormatter("%(levelname)s %(message)s").format(record)
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


def test_no_line_of_a_log_holds_a_password() -> None:
    record = logging.LogRecord("name", logging.INFO, "file", 1, "queue=%s", ("https://me:secret@host/q",), None)
    assert PrintableFormatter("%(message)s").format(record) == "queue=https://***@host/q"


def test_a_log_line_of_json_tells_all_and_no_password() -> None:
    try:
        raise ValueError("at https://me:secret@host/q")
    except ValueError:
        failed = sys.exc_info()
    said = ("a\nERROR forged\x1b[2J", "https://me:secret@host/q")
    record = logging.LogRecord("connector.remote", logging.ERROR, "file", 1, "read path=%s of %s", said, failed)
    record.created = 1_700_000_000.25
    line = JsonFormatter().format(record)
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line
    assert "secret" not in line
    told = json.loads(line)
    assert told["message"] == "read path=a\nERROR forged\x1b[2J of https://***@host/q"
    assert (told["time"], told["level"], told["logger"]) == (
        "2023-11-14T22:13:20.250+00:00",
        "ERROR",
        "connector.remote",
    )
    assert "ValueError: at https://***@host/q" in told["traceback"]


def test_rejects_are_listed_without_acting_on_the_terminal(data_folder: Path, tmp_path: Path, cli: CommandLine) -> None:
    del data_folder
    images = tmp_path / "images"
    images.mkdir()
    (images / "evil\x1b[2J\u202egpj.jpg").write_bytes(b"secret\x1b]0;bytes\x07")
    cli("ingest", images, "--space", "mini")

    listed = cli("rejected", "--space", "mini")
    as_json = cli("rejected", "--space", "mini", "--json")

    for text in (listed.out, as_json.out):
        assert "not_an_image" in text
        assert "secret" not in text
        assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_a_data_folder_is_for_its_user_alone(tmp_path: Path) -> None:
    private_folder(tmp_path / "above" / "data")
    for folder in (tmp_path / "above", tmp_path / "above" / "data"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    private_folder(tmp_path / "above" / "data")


def test_what_ingestion_and_engine_write_is_for_their_user_alone(
    data_folder: Path, tmp_path: Path, cli: CommandLine
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "none.jpg").write_bytes(b"no image")
    cli("ingest", images, "--space", "mini")
    made = [data_folder, *(each for each in data_folder.iterdir() if each.is_dir())]
    assert len(made) > 1
    assert {stat.S_IMODE(each.stat().st_mode) for each in made} == {0o700}
