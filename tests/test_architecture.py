"""What holds for the whole house: who imports whom, and that nobody pays for a model who asked for none."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.core
import typer.main

import polyglance

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "sentence_transformers", "qdrant_client", "qdrant_edge", "boto3", "PIL")


def modules(package: str) -> Iterator[Path]:
    """The source files of a package."""
    return (ROOT / package).rglob("*.py")


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func) and node.args:
            found |= {str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)}
    return found


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def test_the_connector_never_imports_the_workers() -> None:
    guilty = [path for path in modules("connector") if roots(path) & {"workers", "polyglance"}]

    assert not guilty


def test_no_module_imports_the_tests_or_the_workshop() -> None:
    sources = [*modules("connector"), *modules("workers"), ROOT / "polyglance.py"]

    assert len(sources) > 30
    assert not [path for path in sources if roots(path) & {"tests", "benchmarks", "demo", "conftest"}]


def loaded_after(code: str) -> set[str]:
    """The heavy modules that a fresh interpreter has loaded when ``code`` is done."""
    ending = f"\nimport sys\nprint('HEAVY', *[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code + ending], cwd=ROOT.parent, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_importing_the_connector_loads_nothing_heavy() -> None:
    assert loaded_after("import connector; connector.Settings, connector.Hit, connector.PolyglanceError") == set()


@pytest.mark.parametrize("arguments", [["--help"], ["settings"], ["ingest", "--help"], ["search", "--help"]])
def test_help_and_settings_load_nothing_heavy(arguments: list[str]) -> None:
    code = f"import polyglance\ntry: polyglance.main({arguments})\nexcept SystemExit as left: assert not left.code"

    assert loaded_after(code) == set()


def test_the_public_names_are_there_and_typed_for_tools() -> None:
    import connector

    for name in connector.__all__:
        assert getattr(connector, name).__name__ == name
    assert sorted(connector.__all__) == connector.__all__
    assert set(connector.__all__) <= set(dir(connector))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = connector.nonsense
    assert (ROOT / "connector/py.typed").exists()
    assert (ROOT / "workers/py.typed").exists()


def commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Every command with its whole name."""
    front = typer.main.get_command(polyglance.app)
    waiting = [("polyglance", front)]
    while waiting:
        name, command = waiting.pop()
        waiting += [(f"{name} {inner}", each) for inner, each in getattr(command, "commands", {}).items()]
        if not hasattr(command, "commands"):
            yield name, command  # type: ignore[misc]  # what is no group is a TyperCommand


COMMANDS = dict(commands())


def test_there_are_commands() -> None:
    assert {"polyglance ingest", "polyglance search", "polyglance settings", "polyglance demo"} <= COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_and_shows_itself(name: str) -> None:
    text = COMMANDS[name].help or ""

    assert text.splitlines()[0].endswith(".")
    assert name in text, "the help shows one call of the command"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_says_what_it_is_for(name: str) -> None:
    silent = [each.name for each in COMMANDS[name].params if not getattr(each, "help", None)]

    assert not silent


def test_every_command_that_answers_speaks_json_too() -> None:
    for name in ("ingest", "search", "classify", "evaluate", "export", "rejected", "settings"):
        options = {text for each in COMMANDS[f"polyglance {name}"].params for text in each.opts}
        assert {"--json", "--set", "--space", "--collection"} <= options
