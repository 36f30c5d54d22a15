"""A collection that may only be read is searched all the same: a disk that is mounted so, a folder of somebody else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, CommandLine
from tests.images import write_images

pytestmark = pytest.mark.usefixtures("data_folder")

MOUNT = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
"""Run the rest with the folder ``$0`` mounted to be read only, in a namespace that ends with it."""


def can_mount() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    tried = subprocess.run(["unshare", "-rm", "sh", "-c", "mount --bind /tmp /tmp"], capture_output=True, check=False)
    return tried.returncode == 0


@pytest.fixture
def stored(
    cli: CommandLine, data_folder: Path, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The data folder with a collection of two images; the cache of copies is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    write_images(workplace / "album", ["a.png", "b.png"])
    assert cli("ingest", "album", "--space", "mini").code == 0
    return data_folder


@pytest.mark.skipif(not can_mount(), reason="needs the right to mount, in a namespace of its own")
def test_a_collection_on_a_read_only_disk_is_searched_and_not_written(
    cli: CommandLine, stored: Path, workplace: Path, tmp_path: Path
) -> None:
    under = ["unshare", "-rm", "sh", "-c", MOUNT, str(stored)]

    for _ in range(2):  # the second time the copy is there
        ran = cli.run("search", "a dog", "--space", "mini", "--json", under=under)
        assert (ran.code, len(ran.json["hits"])) == (0, 2), ran.err
    refused = cli.run("collection", "optimize", "--space", "mini", under=under)
    assert (refused.code, "may only be read" in refused.err) == (1, True), refused.err
    (copy,) = (path for path in (tmp_path / "cache/polyglance/read-only").glob("*/*") if path.is_dir())

    write_images(workplace / "album", ["c.png"], first_seed=9)
    assert cli("ingest", "album", "--space", "mini").code == 0
    ran = cli.run("search", "a dog", "--space", "mini", "--json", under=under)
    assert len(ran.json["hits"]) == 3
    assert not copy.exists()  # of each collection there is one


TOGETHER = """
import subprocess, sys
from contextlib import closing
from connector.settings import Settings
from connector.store.open import open_engine

settings = Settings.load({"model.space": "mini"})
with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
    engine.count()
    code = "import sys, polyglance; polyglance.main(sys.argv[1:])"
    command = [sys.executable, "-P", "-c", code, "search", "--sample", "--space", "mini", "--json"]
    sys.exit(subprocess.run(command, check=False).returncode)
"""
"""A process that has the collection open while another one asks."""


def may_write_all() -> bool:
    """Whether this user writes also where the rights of a folder say no."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.mark.slow
@pytest.mark.skipif(
    may_write_all() and shutil.which("setpriv") is None, reason="root writes everywhere without setpriv"
)
@pytest.mark.skipif(sys.platform == "win32", reason="folders have no such rights there")
def test_two_processes_share_a_collection_that_may_only_be_read(stored: Path, tmp_path: Path) -> None:
    under = ["setpriv", "--bounding-set", "-dac_override"] if may_write_all() else []
    folders = [stored, *(each for each in stored.rglob("*") if each.is_dir())]
    for each in stored.rglob("*"):
        each.chmod(0o555 if each.is_dir() else 0o444)
    stored.chmod(0o555)
    try:
        done = subprocess.run([*under, sys.executable, "-c", TOGETHER], capture_output=True, text=True, check=False)
    finally:
        for each in folders:
            each.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"content_hash"') == 2
    assert [*(tmp_path / "cache/polyglance/read-only").glob("*/lock")], "it was a copy that they shared"
