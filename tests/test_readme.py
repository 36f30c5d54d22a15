"""The README is true: its blocks run, its links lead somewhere, every command is in it.

Blocks fenced as ``bash`` and ``python`` are run, one after the other, in one home folder; those fenced as ``sh`` need
what a test machine lacks (a Docker engine, downloaded weights) or are ``make`` itself, which runs these tests.
"""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import typer.main

import polyglance
from tests.images import write_images

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(*languages: str) -> list[tuple[str, str]]:
    """The fenced blocks of these languages, with their language, in order."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    return [(language, text) for language, text in found if language in languages]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with a few images, as the README takes it for granted."""
    write_images(tmp_path, ["Pictures/beach.jpg", "Pictures/2024/walk.jpg", "beach.jpg"])
    return tmp_path


def run(language: str, text: str, *, environment: Mapping[str, str], home: Path) -> None:
    """Run one block as a reader would paste it; any failing line fails it."""
    command = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.timeout(900)  # a process for each line, each of which loads a model
def test_every_block_of_the_readme_runs(home: Path) -> None:
    scripts = Path(sys.executable).parent
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {
        **os.environ,
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "POLYGLANCE_SERVE__PORT": port,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
    }
    run("bash", "polyglance demo", environment=environment, home=home)
    assert (home / "polyglance-demo.html").stat().st_size > 10_000
    for language, text in blocks("bash", "python"):
        run(language, text.replace("localhost:8000", f"localhost:{port}"), environment=environment, home=home)


def test_every_command_is_in_the_readme() -> None:
    names = set(typer.main.get_command(polyglance.app).commands)  # type: ignore[attr-defined]
    assert {name for name in names if f"polyglance {name}" not in README and f"make {name}" not in README} == set()


def test_every_link_of_the_documents_leads_somewhere() -> None:
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "demo").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
