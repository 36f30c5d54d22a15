"""The units for systemd are ones that systemd takes, and run commands that there are."""

import configparser
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from workers.cli.commands import app

UNITS = sorted((Path(__file__).parent.parent / "docs" / "systemd").iterdir())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze, of systemd")
def test_systemd_takes_every_unit(tmp_path: Path) -> None:
    """With a program that is there, and a user that this machine has, in place of those of the pages."""
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8").replace("/usr/local/bin/polyglance", sys.executable)
        (tmp_path / unit.name).write_text(text.replace("User=polyglance\n", ""), encoding="utf-8")
    paths = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if "polyglance" in line]) == (0, [])


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.suffix == ".service"], ids=lambda unit: unit.stem)
def test_every_unit_runs_commands_that_there_are(unit: Path) -> None:
    parsed = configparser.ConfigParser(strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(unit.read_text(encoding="utf-8"))
    started = [line.partition("=")[2] for line in unit.read_text(encoding="utf-8").splitlines() if "ExecStart=" in line]
    assert started
    front = typer.main.get_command(app)
    for line in started:
        program, *arguments = shlex.split(line)
        assert program == "/usr/local/bin/polyglance"
        front.main([arguments[0], "--help"], standalone_mode=False)
    assert parsed["Service"]["User"] == "polyglance"
