"""polyglance as `pip install polyglance` leaves it: the wheel, what it requires, no extra; and every command there.

    python -m tests.bare_install            what .ci/run does
    python -m tests.bare_install --keep DIR leaves the environment there

The environment is bare and cheap: what the wheel requires, and what that requires, is linked into it file by file from
the environment that this runs in, and ``pip check`` says whether that was all. No network is needed but for hatchling.
"""

import argparse
import importlib.metadata
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import typer.main
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import polyglance
from tests.images import write_images

ROOT = Path(__file__).parents[1]
PACKAGES = ("connector", "workers", "polyglance.py")
WAIT_S = 240


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a command: how it must end, and what it must say."""

    command: str
    code: int = 0
    says: str = ""
    """A pattern that its output, or its one line of error, has to match."""


def needs(extra: str) -> str:
    """The end of the one line of a command that cannot do without an extra."""
    return rf"pip install 'polyglance\[{extra}\]'$"


CALLS = (
    Call("settings", says=r"model\.space +\"clip-vit-b-32\""),
    Call("plan --images 1e6", says="1,000,000 images"),
    Call("demo", says="polyglance-demo.html"),
    Call("ingest photos --space mini", says="stored"),
    Call("ingest table.parquet --space mini", 2, needs("parquet")),
    Call("ingest photos --space mini --executor ray", 2, needs("ray")),
    Call("ingest s3://bucket/prefix --space mini --set s3.reader=obstore", 2, needs("obstore")),
    Call("search dog --space mini --json", says='"hits"'),
    Call("search --image photos/one.png --space mini", says="one.png"),
    Call("search --image phone.heic --space mini", 2, needs("heic")),
    Call("classify photos/one.png --labels red,blue --space mini", says="red"),
    Call("evaluate captions.jsonl --space mini", says=r"recall@1"),
    Call("evaluate captions.jsonl --space mini --plot recall.png", 2, needs("plot")),
    Call("export images.parquet --space mini", 2, needs("parquet")),
    Call("status --space mini", says="finished|done"),
    Call("rejected --space mini --json", says=r"\[|\{|^$"),
    Call("retry --space mini"),
    Call("prune photos --space mini --dry-run", says="nothing is gone"),
    Call("forget photos --space mini --dry-run", says="photos"),
    Call("relocate photos moved --space mini --dry-run", 1, r"^polyglance: [^\n]+$"),
    Call("check --space mini", says="sound"),
    Call("check --space mini --read-data 100%", 2, needs("serve")),
    Call("duplicates --space mini", 2, needs("serve")),
    Call("alert add dog --space mini --notify file:dogs.jsonl", says="are told to file:"),
    Call("alert list --space mini", says="dog"),
    Call("alert test dog --space mini", 2, "32 images"),
    Call("alert deliver --space mini", says="^$"),
    Call("alert remove f00 --space mini", 2, "has no alert 'f00'"),
    Call("ocr --space mini", 2, needs("serve")),
    Call("migrate --to clip-vit-b-32 --space mini", 2, needs("serve")),
    Call("migrate status --space mini", says="space mini answers"),
    Call("migrate compare dog --space mini", 2, "nothing is to compare"),
    Call("migrate switch --space mini", 2, "is not being migrated"),
    Call("migrate roll-back --space mini", 2, "no way back"),
    Call("migrate drop --space mini --yes", 2, "vectors of mini alone"),
    Call("ingest --ocr photos --space mini", 2, needs("ocr")),
    Call("tune photos --space mini --seconds 0.1", says="a second"),
    Call("collection list", says="images-mini"),
    Call("collection backup saved.zip --space mini", says="saved.zip"),
    Call("collection restore saved.zip --space mini --collection again", says="again"),
    Call("collection create --space mini --collection empty", says="is ready"),
    Call("collection info --space mini", says="points"),
    Call("collection optimize --space mini"),
    Call("collection words --space mini", says="has the words of its"),
    Call("collection locate --space mini", says="names of their places"),
    Call("collection alias photos --space mini", 2, "has no aliases.* name a server"),
    Call("collection push http://127.0.0.1:9 --space mini --set qdrant.retry_s=0.1", 1, r"^polyglance: [^\n]+$"),
    Call("collection delete --space mini --collection empty --yes"),
    Call("space list", says=r"mini +128 dims"),
    Call("space show mini", says=r"\[image\]"),
    Call("space check mini", says="sound"),
    Call("space pull mini --json", says='"fetched": ?false'),
    Call("space convert photos", says="^$|no pickle"),
    Call("teach --parallel lines.tsv --language bn --space mini --out mini-bn --epochs 1", says="recall@10"),
    Call("serve", 2, needs("serve")),
    Call("mcp", 2, needs("mcp")),
)
WATCH = "watch photos --space mini"
"""Goes on until it is told to stop."""


def main() -> None:
    """Build, install, and run every command; exit with 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--keep", type=Path, help="Leave the environment in this folder.")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        wheel = build(folder / "wheel")
        faults = [*contents(wheel), *uncalled()]
        commands = installed(wheel, folder / "venv")
        faults += ran(commands, home=folder / "home")
    for fault in faults:
        print(f"!! {fault}")  # noqa: T201  (a script reports on its standard output)
    sys.exit(bool(faults))


def build(folder: Path) -> Path:
    """The wheel of this source tree."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(pip, check=True)
    (wheel,) = folder.glob("polyglance-*.whl")
    return wheel


def contents(wheel: Path) -> Iterator[str]:
    """What the wheel lacks of the tracked files of both packages, and what it holds besides."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    tracked = {name for name in listed.split("\0") if name}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    yield from (f"the wheel lacks {name}" for name in sorted(tracked - held))
    yield from (f"the wheel holds {name}, which git does not track" for name in sorted(held - tracked))


def uncalled() -> Iterator[str]:
    """Commands that this script forgets."""
    waiting: list[tuple[str, Any]] = [("", typer.main.get_command(polyglance.app))]
    called = [*(call.command for call in CALLS), WATCH]
    while waiting:
        name, command = waiting.pop()
        inner: Mapping[str, Any] = getattr(command, "commands", {})
        waiting += [(f"{name} {each}".strip(), below) for each, below in inner.items()]
        if not inner and not any(each == name or each.startswith(f"{name} ") for each in called):
            yield f"no call of `polyglance {name}` in {Path(__file__).name}"


def installed(wheel: Path, folder: Path) -> Path:
    """A new environment with the wheel and what it requires; returns its folder of commands."""
    venv.create(folder, clear=True, symlinks=True)
    python = folder / "bin" / "python"
    (site,) = (folder / "lib").glob("python*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    (ours,) = importlib.metadata.distributions(name="polyglance", path=[str(site)])
    for distribution in required(ours):
        link(distribution, site)
    subprocess.run([*pip, "check"], check=True)
    return folder / "bin"


def required(ours: importlib.metadata.Distribution) -> list[importlib.metadata.Distribution]:
    """Every distribution of this environment that one needs without an extra of its own."""
    found: dict[tuple[str, str], importlib.metadata.Distribution] = {}
    waiting = [*wanted_by(ours, extra="")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) not in found:
            found[name, extra] = importlib.metadata.distribution(name)
            waiting += wanted_by(found[name, extra], extra=extra)
    return [*{name: distribution for (name, _), distribution in found.items()}.values()]


def wanted_by(distribution: importlib.metadata.Distribution, *, extra: str) -> Iterator[tuple[str, str]]:
    """The names that a distribution requires, each with "" and with every extra that is wanted of it."""
    for text in distribution.requires or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield from ((canonicalize_name(requirement.name), wanted) for wanted in ("", *requirement.extras))


def link(distribution: importlib.metadata.Distribution, site: Path) -> None:
    """Put links to the files of an installed distribution into another environment."""
    for file in distribution.files or []:
        if not PurePosixPath(file).is_absolute() and ".." not in file.parts:
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.symlink_to(Path(str(distribution.locate_file(file))))


def ran(commands: Path, *, home: Path) -> Iterator[str]:
    """Run every command; what does not end as it should."""
    home.mkdir()
    photos(home)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("POLYGLANCE_", "PYTHON"))}
    environment = kept | {"HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "XDG_CACHE_HOME": str(home / "cache")}
    for call in CALLS:
        arguments = [str(commands / "polyglance"), *shlex.split(call.command)]
        started = time.perf_counter()
        done = subprocess.run(
            arguments,
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_S,
        )
        print(f"{time.perf_counter() - started:5.1f} s  polyglance {call.command}")  # noqa: T201
        yield from unexpected(call, done)
    yield from watched(commands, home=home, environment=environment)


def photos(home: Path) -> None:
    """What the calls name."""
    write_images(home, ["photos/one.png", "photos/two.jpg"])
    (home / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    (home / "table.parquet").write_bytes(b"PAR1")
    caption = '{"image": "one.png", "caption": "one", "language": "en"}\n'
    (home / "captions.jsonl").write_text(caption, encoding="utf-8")
    lines = "".join(f"a dog {number}\tকুকুর {number}\n" for number in range(20))
    (home / "lines.tsv").write_text(lines, encoding="utf-8")


def unexpected(call: Call, done: "subprocess.CompletedProcess[str]") -> Iterator[str]:
    """What is wrong with how a call has ended."""
    told = done.stdout if call.code == 0 else done.stderr
    if done.returncode != call.code:
        yield f"polyglance {call.command}: exit code {done.returncode}, not {call.code}\n{done.stdout}{done.stderr}"
    elif not re.search(call.says, told.strip()):
        yield f"polyglance {call.command}: says nothing like {call.says!r}\n{done.stdout}{done.stderr}"
    elif call.code and len(done.stderr.splitlines()) != 1:
        yield f"polyglance {call.command}: more than one line\n{done.stderr}"


def watched(commands: Path, *, home: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Start ``watch``, and end it once it works."""
    arguments = [str(commands / "polyglance"), *shlex.split(WATCH)]
    with subprocess.Popen(arguments, cwd=home, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    if process.returncode != 0 or "watching" not in first or "Traceback" in rest:
        yield f"polyglance {WATCH}: exit code {process.returncode}\n{first}{rest}"


if __name__ == "__main__":
    main()
