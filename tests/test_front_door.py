"""``import polyglance`` beside modules of the user's own that are called as our packages are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import polyglance

ROOT = Path(__file__).parents[1]
WORKERS = "raised = []\ndef run():\n    return 'my workers run'\ndef crew():\n    return len(raised)\n"
CONNECTOR = "settings = 'my settings'\nclass Plug:\n    pass\n"
USES = """
import pickle
from polyglance import (AsyncImageSearch, ConfigError, Hit, ImageSearch, Query, RunIncomplete, Settings, image, ingest,
                        point, text)
import workers, connector
import connector.settings, workers.run.shards
from connector.errors import PolyglanceError
from connector import Plug, settings
from workers import run, crew
assert run() == "my workers run" and settings == "my settings"
assert workers.run() == "my workers run" and connector.settings == "my settings"
workers.raised.append(1)
assert crew() == 1
workers.added = 3
assert workers.added == 3
assert issubclass(ConfigError, PolyglanceError) and ImageSearch.__module__ == "connector.search.client"
assert isinstance(pickle.loads(pickle.dumps(Plug())), Plug)
assert pickle.loads(pickle.dumps(Hit(id="a", score=.5, payload={}))).id == "a"
try:
    connector.nonsense
except AttributeError as error:
    assert "nonsense" in str(error)
print("done", sorted({"Plug", "settings", "ImageSearch"} - set(dir(connector))))
"""


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A folder with modules of the user's own."""
    (tmp_path / "workers.py").write_text(WORKERS, encoding="utf-8")
    (tmp_path / "connector.py").write_text(CONNECTOR, encoding="utf-8")
    return tmp_path


def run(*arguments: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.parametrize("first", ["", "import workers, connector\n", "import polyglance\n"])
def test_a_script_has_our_names_and_its_own_modules(beside: Path, first: str) -> None:
    (beside / "script.py").write_text(first + USES, encoding="utf-8")

    assert run("script.py", folder=beside) == "done []"


def test_so_has_an_interpreter_in_that_folder(beside: Path) -> None:
    assert run("-c", USES, folder=beside) == "done []"


def test_a_package_of_the_users_keeps_the_modules_that_we_have_not(tmp_path: Path) -> None:
    (tmp_path / "connector").mkdir()
    (tmp_path / "connector" / "__init__.py").write_text("from connector.cable import LENGTH\n", encoding="utf-8")
    (tmp_path / "connector" / "cable.py").write_text("LENGTH = 3\n", encoding="utf-8")
    code = (
        "from polyglance import ImageSearch, Settings\nfrom connector import LENGTH\n"
        "import connector.cable\nprint(LENGTH, connector.cable.LENGTH, ImageSearch.__name__)"
    )

    assert run("-c", code, folder=tmp_path) == "3 3 ImageSearch"


def test_the_users_module_is_not_run_before_it_is_looked_into(beside: Path) -> None:
    (beside / "connector.py").write_text("raise SystemExit('the user's module was run')", encoding="utf-8")

    assert run("-c", "from polyglance import ingest; print(ingest.__name__)", folder=beside) == "ingest"


def test_the_command_line_works_there_too(beside: Path) -> None:
    assert "Find images" in run("-m", "polyglance", "--help", folder=beside)
    assert "model.space" in run("-m", "polyglance", "settings", folder=beside)


def test_every_public_name_is_there_and_listed() -> None:
    import connector

    assert sorted(polyglance.__all__) == polyglance.__all__
    for name in polyglance.__all__:
        assert getattr(polyglance, name) is not None
    assert set(connector.__all__) <= set(polyglance.__all__) <= set(dir(polyglance))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = polyglance.nonsense


PIPED = """
import polyglance, sys
from workers.cli.commands import COMMANDS
deeper = [["collection", "restore", "--help"], ["migrate", "start", "--help"], ["space", "export", "--help"]]
wrong = [["ingest", "--bogus"], ["frobnicate"], ["search", "--limit", "many"], ["collection", "restore"]]
for call in [["--help"], [], *([name, "--help"] for name in COMMANDS), *deeper, *wrong]:
    try:
        polyglance.main(call)
    except SystemExit:
        pass
"""


def test_help_and_wrong_calls_are_never_wrapped_in_a_pipe(workplace: Path) -> None:
    """A pipe gets the same in the narrowest terminal and in the widest, and no box is drawn."""

    def piped(columns: int, *, forced: str) -> tuple[str, str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": str(columns), forced: "1"}
        ran = subprocess.run(
            [sys.executable, "-c", PIPED], cwd=workplace, env=environment, capture_output=True, text=True, check=True
        )
        return ran.stdout, ran.stderr

    narrow, wide = piped(20, forced="FORCE_COLOR"), piped(400, forced="GITHUB_ACTIONS")

    assert narrow == wide
    assert "  Put off the server's indexing until the end, for large first loads.\n" in narrow[0]
    assert "and a share of its images. Exit code 1 where it is damaged.\n" in narrow[0]
    assert "Error: No such option: --bogus (Possible options: --bulk, --runs)\n" in narrow[1]
    assert not set("╭│╰─\x1b") & set("".join(narrow))
