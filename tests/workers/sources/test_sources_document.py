import re
import shlex
from contextlib import closing
from pathlib import Path

import pytest

from connector.cli import options
from connector.errors import READ_FAULTS
from connector.remote.http import WEB_FAULTS
from connector.settings import Settings
from workers.sources.open import open_source

DOCUMENT = Path(__file__).parents[3].joinpath("docs", "sources.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^polyglance ingest .+$", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_document_names_a_source_and_settings_that_exist(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, _, where, *rest = shlex.split(command)
    assert rest[::2] == ["--set"] * (len(rest) // 2)
    given = options.overrides(space=None, collection=None, settings=rest[1::2])
    with closing(open_source(where, settings=Settings.load({"s3.region": "us-east-1", **given}))) as source:
        assert source.root


def test_the_document_has_commands_for_every_kind_of_source() -> None:
    assert len(COMMANDS) >= 7


def test_every_setting_of_the_sources_is_in_the_document() -> None:
    named = set(re.findall(r"`((?:s3|web|table)\.\w+)", DOCUMENT))
    named |= {name for command in COMMANDS for name in re.findall(r"(?:s3|web|table)\.\w+(?==)", command)}
    assert named == {name for name in Settings.names() if name.startswith(("s3.", "web.", "table."))}


def test_every_reason_is_in_the_document() -> None:
    assert re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE) == list(READ_FAULTS)


def test_what_fetching_may_say_is_what_reading_may_say() -> None:
    assert set(WEB_FAULTS) <= set(READ_FAULTS)
