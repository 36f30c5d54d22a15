"""Without an extra: one line with the ``pip install`` to run, exit code 2, and nothing done before."""

import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from tomllib import loads

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from connector.errors import ConfigError
from connector.extras import MODULES, Extra, advice, missing, require
from tests.conftest import CommandLine
from tests.images import write_images

PROJECT = loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def without(patch: pytest.MonkeyPatch, extra: Extra) -> None:
    """Let an import of anything the extra brings fail from now on."""
    for name in MODULES[extra]:
        for loaded in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
            patch.delitem(sys.modules, loaded)
        patch.setitem(sys.modules, name, None)


def test_every_extra_of_the_project_is_known_by_what_it_brings() -> None:
    extras = {name: wanted for name, wanted in PROJECT["optional-dependencies"].items() if name != "dev"}
    distributions = packages_distributions()

    assert extras.keys() == MODULES.keys()
    for extra, wanted in extras.items():
        found = {name for module in MODULES[extra] for name in distributions[module]}
        brought = {canonicalize_name(name) for name in found}
        assert brought == {Requirement(each).name for each in wanted}


@pytest.mark.parametrize("extra", MODULES)
def test_what_is_missing_is_named_with_what_brings_it(extra: Extra, monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing(extra) == []
    require(extra, what="this")
    without(monkeypatch, extra)

    assert missing(extra) == [*MODULES[extra]]
    with pytest.raises(ConfigError) as refused:
        require(extra, what="this")
    assert str(refused.value) == advice(extra, what="this")
    assert str(refused.value).endswith(f"{MODULES[extra][-1]}: pip install 'polyglance[{extra}]'")


@pytest.mark.parametrize(
    ("extra", "command"),
    [
        ("serve", "serve"),
        ("mcp", "mcp"),
        ("parquet", "export images.parquet"),
        ("parquet", "ingest table.parquet --space mini"),
        ("plot", "evaluate captions.jsonl --space mini --plot recall.png"),
        ("ray", "ingest images --space mini --executor ray"),
        ("obstore", "ingest s3://bucket/prefix --space mini --set s3.reader=obstore"),
    ],
)
def test_a_command_whose_extra_is_missing_says_so_in_one_line(
    extra: Extra, command: str, cli: CommandLine, workplace: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(workplace, ["images/one.png"])
    (workplace / "table.parquet").write_bytes(b"PAR1")
    (workplace / "captions.jsonl").write_text('{"image": "one.png", "caption": "one", "language": "en"}\n')
    without(monkeypatch, extra)

    ran = cli(*command.split())

    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("polyglance: ")
    assert ran.err.rstrip("\n").endswith(f"pip install 'polyglance[{extra}]'")
    assert len(ran.err.splitlines()) == 1
    assert not list(data_folder.rglob("*.json")), "nothing was done before"
