"""The pages about asking are true: their blocks run, their answers look as shown, their Python has types."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from connector.settings import Settings
from tests.conftest import CommandLine
from tests.images import write_images

ROOT = Path(__file__).parent.parent
QUERIES = (ROOT / "docs/queries.md").read_text(encoding="utf-8")
PAGES = ("queries", "filters", "labels", "evaluate", "export", "friends", "programs", "operations", "duplicates")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = re.findall(r"^```bash\n(polyglance [^\n]*)\n```\n+```json\n(.*?)^```$", QUERIES, re.MULTILINE | re.DOTALL)
"""Commands whose answer the page shows."""
REFUSED = re.findall(r"^\$ polyglance ([^\n]+)\n([^\n]+)$", QUERIES, re.MULTILINE)


def differences(shown: Any, real: Any, *, at: str = "") -> list[str]:
    """Where an answer does not look as shown: keys that are missing, values of another type."""
    if isinstance(shown, dict) and isinstance(real, dict):
        missing = [f"{at}.{key} is missing" for key in shown.keys() - real.keys()]
        common = shown.keys() & real.keys()
        return missing + [each for key in common for each in differences(shown[key], real[key], at=f"{at}.{key}")]
    if isinstance(shown, list) and isinstance(real, list):
        if not real:
            return [f"{at} is empty"]
        return [each for one in real for each in differences(shown[0], one, at=f"{at}[]")]
    return [] if type(shown) is type(real) else [f"{at} is {real!r}, shown {shown!r}"]


@pytest.fixture
def on_noto(noto: Settings, cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line on the bundled images."""
    monkeypatch.setenv("POLYGLANCE_QDRANT__PATH", str(noto.qdrant.path))
    return cli


@pytest.mark.parametrize(("command", "shown"), SHOWN, ids=[command for command, _ in SHOWN])
def test_an_answer_looks_as_shown(on_noto: CommandLine, command: str, shown: str) -> None:
    ran = on_noto(*shlex.split(command)[1:])

    assert ran.code == 0, ran.err
    assert differences(json.loads(shown), ran.json) == []


@pytest.mark.parametrize(("command", "message"), REFUSED, ids=[command for command, _ in REFUSED])
def test_a_refusal_reads_as_shown(on_noto: CommandLine, command: str, message: str) -> None:
    ran = on_noto(*shlex.split(command), "--space", "mini")

    assert ran.code == 2
    assert ran.err.startswith(message.rstrip(" …"))


def test_the_page_shows_answers_and_refusals() -> None:
    assert len(SHOWN) == 4
    assert len(REFUSED) == 3


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with a few images, after the demo."""
    folder = tmp_path_factory.mktemp("home")
    write_images(folder, ["Pictures/beach.jpg", "Pictures/2024/walk.jpg", "beach.jpg"])
    run("bash", "polyglance demo", home=folder)
    return folder


def run(language: str, block: str, *, home: Path) -> None:
    """Run one block as a reader would paste it; any failing line fails it."""
    command = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "PATH": path}
    done = subprocess.run([*command, block], env=environment, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.timeout(900)  # a process for each line, each of which loads a model
@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs(page: str, home: Path) -> None:
    for language, block in FENCE.findall((ROOT / f"docs/{page}.md").read_text(encoding="utf-8")):
        if language in ("bash", "python"):
            run(language, block, home=home)


def test_the_python_of_every_page_has_types(tmp_path: Path) -> None:
    files = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for number, (language, block) in enumerate(FENCE.findall(page.read_text(encoding="utf-8"))):
            if language == "python":
                files.append(tmp_path / f"{page.stem.lower()}_{number}.py")
                files[-1].write_text(block, encoding="utf-8")

    cache = ROOT / ".mypy_cache"  # what `make lint` has just looked at need not be looked at again
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(cache), *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert len(files) >= 9
    assert done.returncode == 0, done.stdout
