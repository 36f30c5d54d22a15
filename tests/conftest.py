"""Fixtures that more than one part of the suite uses."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import polyglance
from connector.process import usable_cores
from connector.settings import Settings
from tests.scratch import ROOM_FOR_ALL, memory_with, scratch_folder
from tests.twins import Twins, write_twins
from workers.demo import tour
from workers.run.ingestion import ingest

ROOT = Path(__file__).parents[1]
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # or Haystack reports to its makers


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: many tests wait for others' clocks."""
    return usable_cores() + 1


def pytest_configure(config: pytest.Config) -> None:
    """Let ``tmp_path`` be in memory where there is room, and gone with the run; ``--basetemp`` keeps it."""
    memory = memory_with(ROOM_FOR_ALL)
    if memory is None or config.option.basetemp is not None:  # also in xdist's processes, which are told
        return
    folder = memory / f"polyglance-tests-{os.getpid()}"
    config.option.basetemp = str(folder)
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(scope="session")
def tiny_twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    """Small random-weight models in both published layouts: 224 pixels, 512 dims, a few megabytes."""
    return write_twins(tmp_path_factory.mktemp("twins"))


@pytest.fixture(scope="session")
def mini_twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    """The same in the shape of space mini: 64 pixels, 128 dims."""
    return write_twins(tmp_path_factory.mktemp("mini-twins"), size="mini")


@pytest.fixture
def copied_twins(tiny_twins: Twins, tmp_path: Path) -> Twins:
    """A copy of the tiny twins that a test may break."""
    return tiny_twins.copy(tmp_path / "copy")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder in an environment without a single setting."""
    for name in list(os.environ):
        if name.upper().startswith("POLYGLANCE_") and not name.startswith("POLYGLANCE_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))  # in the user's own, `make demo` ingested last
    folder = tmp_path / "workplace"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def data_folder(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The embedded engine's data folder of this test, not yet there; the environment names it.

    Ingestion works in the process of the test, which saves seconds; worker processes have tests of their own.
    """
    del workplace  # its environment and no more
    with scratch_folder() as folder:
        monkeypatch.setenv("POLYGLANCE_QDRANT__PATH", str(folder / "data"))
        monkeypatch.setenv("POLYGLANCE_INGEST__WORKERS", "0")
        yield folder / "data"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches this process and its children, also where it is ignored: under nohup, in a background job."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The last line of standard output, as JSON."""
        return json.loads(self.out.splitlines()[-1])


class CommandLine:
    """``polyglance`` in this process or, where a test needs signals and limits, in one of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *, folder: Path) -> None:
        self._capsys = capsys
        self._folder = folder

    def __call__(self, *arguments: object) -> Ran:
        """Run the command here."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            polyglance.main([str(argument) for argument in arguments])
        captured = self._capsys.readouterr()
        return Ran(int(left.value.code or 0), captured.out, captured.err)

    def start(
        self, *arguments: object, under: Sequence[str] = (), out: int = subprocess.PIPE, tty: int = subprocess.DEVNULL
    ) -> "subprocess.Popen[str]":
        """Start the command in a child, under another command where one is given; its output is piped."""
        code = "import sys, polyglance; polyglance.main(sys.argv[1:])"
        return subprocess.Popen(
            [*under, sys.executable, "-P", "-c", code, *map(str, arguments)],
            cwd=self._folder,
            stdin=tty,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: object, under: Sequence[str] = ()) -> Ran:
        """Run the command in a child and wait for it."""
        return finish(self.start(*arguments, under=under))


def finish(child: "subprocess.Popen[str]") -> Ran:
    """What a child did, once it has ended."""
    with child:
        out, err = child.communicate(timeout=200)
    return Ran(child.returncode, out, err)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], workplace: Path) -> CommandLine:
    """The command line, in an empty working folder."""
    return CommandLine(capsys, folder=workplace)


@pytest.fixture(scope="session")
def noto() -> Iterator[Settings]:
    """The settings of a collection that holds the bundled Noto images, in space mini. Nobody has it open."""
    with scratch_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        settings = Settings.load(
            {
                "model.space": "mini",
                "ingest.workers": 0,
                "qdrant.path": str(folder / "data"),
                "qdrant.meta_fields": tour.META_FIELDS,
            }
        )
        report = ingest([str(tour.IMAGES)], settings=settings, recreate=False, show=_unseen, wait=_unseen).report
        assert report.counts.stored == report.counts.listed > 1000
        yield settings


def _unseen(_: object) -> AbstractContextManager[None]:
    return nullcontext()
