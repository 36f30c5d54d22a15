"""Fetch the pinned npm packages into a cache folder, each unpacked under its name."""

import subprocess
import tarfile
import tempfile
from pathlib import Path

from demo.sources import SOURCES, Source


class FetchFailed(RuntimeError):
    """npm did not give a package."""


def fetch_packages(folder: Path) -> None:
    """Fetch every package that is not in `folder` yet."""
    for source in SOURCES:
        if not (folder / source.name).exists():
            _fetch(source, folder)


def _fetch(source: Source, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        archive = _pack(f"{source.package}@{source.version}", Path(scratch))
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        archive.unlink()
        (unpacked,) = (path for path in Path(scratch).iterdir() if path.is_dir())
        unpacked.rename(folder / source.name)


def _pack(spec: str, folder: Path) -> Path:
    """Have npm download one package's archive, checked against the registry's digest."""
    command = ["npm", "pack", spec, "--silent", "--pack-destination", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise FetchFailed("npm is not on the path; it fetches the images and names. Install Node.js.") from error
    except subprocess.CalledProcessError as error:
        raise FetchFailed(f"npm could not fetch {spec}: {error.stderr.strip()}") from error
    (archive,) = folder.glob("*.tgz")
    return archive
