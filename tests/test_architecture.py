"""What holds for the whole house: who imports whom, and that nobody pays for a model who asked for none."""

import ast
import graphlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.core
import typer.main

import polyglance
from connector.settings import Settings
from tests import module_table
from tests.ways import FILTER_WAY, IMAGE_WAY, QUERY_WAY
from workers.cli.commands import COMMANDS as LISTED
from workers.demo import tour

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "sentence_transformers", "qdrant_client", "qdrant_edge", "boto3", "PIL")
LATER = ("fastapi", "pyarrow", "pydantic_settings", "onnxruntime", "tokenizers", "numpy", "httpx", "typer", "rich")


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


FLOORS = (
    ("polyglance",),
    ("workers.cli",),
    ("workers.service",),
    ("workers.api", "workers.collection", "workers.demo", "workers.watch"),
    ("workers.progress",),
    ("workers.progress_bar",),
    ("workers.migrate",),
    ("workers.duplicates", "workers.run", "workers.teach"),
    ("workers.executors", "workers.sizing"),
    ("workers.alerts",),
    ("workers.pipeline",),
    ("workers.sources",),
    ("workers.metadata", "workers.ocr"),
    ("workers.plain_json", "workers.records"),
    ("connector.cli",),
    ("connector.integrations",),
    ("connector.service",),
    ("connector.alerts",),
    ("connector.search",),
    ("connector.understand",),
    ("connector.filters", "connector.images", "connector.models", "connector.run_status"),
    ("connector.store",),
    ("connector.remote",),
    ("connector.settings",),
    ("connector.alert_settings", "connector.ocr_settings", "connector.words"),
    ("connector.extras", "connector.process", "connector.records", "connector.settings_sources"),
    ("connector.config_files",),
    ("connector.errors",),
    (
        "connector.awaited",
        "connector.files",
        "connector.places",
        "connector.printable",
        "connector.sums",
        "connector.version",
    ),
)
"""The house from the roof down: a room imports only what stands below it, never one of its own floor."""

ALIKE = ("connector.cli", "workers.cli", "workers.executors")
"""Rooms of one module a command or a kind of executor, however short."""

FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in [*modules("connector"), *modules("workers"), ROOT / "polyglance.py"]}


def room_of(module: str) -> str:
    """The part of a module's name that stands on a floor: a folder of a package, or a module beside the folders."""
    return ".".join(module.split(".")[:2])


def imported(module: str) -> set[str]:
    """The modules of ours that a module imports."""
    return (imports(MODULES[module]) & MODULES.keys()) - {"connector", "workers"}


def test_every_room_stands_on_a_floor() -> None:
    assert {room_of(module) for module in MODULES} - {"connector", "workers"} == FLOOR_OF.keys()


def test_imports_run_downwards_only() -> None:
    upwards = [
        f"{module} -> {other}"
        for module in MODULES.keys() - {"connector", "workers"}
        for other in imported(module)
        if room_of(module) != room_of(other) and FLOOR_OF[room_of(module)] >= FLOOR_OF[room_of(other)]
    ]

    assert not upwards


def test_no_modules_import_one_another() -> None:
    graph = {module: imported(module) - {module} for module in MODULES}

    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_a_room_has_a_size() -> None:
    """Between a cupboard and a hall: a module has at most 400 lines, and one under 40 more readers than one."""
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    readers = Counter(other for module in MODULES for other in imported(module))

    assert not {module for module, count in lines.items() if count > 400}
    small = {module for module, count in lines.items() if 0 < count < 40 and readers[module] == 1}
    assert not {module for module in small if room_of(module) not in ALIKE}


def test_the_page_names_every_module() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")

    assert module_table.table() in page, "python -m tests.module_table writes it anew"


def test_the_page_shows_the_floors() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    drawing = page.partition("<!-- floors -->")[2].partition("<!-- end of floors -->")[0]
    drawn = [re.findall(r"[\w.]+", line) for line in drawing.splitlines() if line.startswith("    ")]

    assert [tuple(sorted(floor)) for floor in drawn] == [tuple(sorted(floor)) for floor in FLOORS]


@pytest.mark.slow
def test_ways_through_the_house_are_short() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.ways"], cwd=ROOT, capture_output=True, text=True, check=True)
    counts = {name: int(count) for name, count in re.findall(r"^(.*): (\d+) modules$", done.stdout, re.MULTILINE)}

    assert counts.keys() == {IMAGE_WAY, QUERY_WAY, FILTER_WAY}
    assert counts[IMAGE_WAY] <= 20
    assert counts[QUERY_WAY] <= 15  # 12, two that look whether the text says when or where, and the one that fuses
    assert counts[FILTER_WAY] <= 5


def test_no_module_imports_the_tests_or_the_workshop() -> None:
    sources = [*modules("connector"), *modules("workers"), ROOT / "polyglance.py"]

    assert len(sources) > 30
    assert not [path for path in sources if roots(path) & {"tests", "benchmarks", "demo", "conftest"}]


def test_only_the_store_knows_which_engine_it_is() -> None:
    """Everybody else asks ``capabilities`` and opens engines by ``connector.store.open``."""
    inside = ROOT / "connector/store"
    outside = [
        path
        for path in [*modules("connector"), *modules("workers"), ROOT / "polyglance.py"]
        if not path.is_relative_to(inside)
    ]
    importing = [
        path
        for path in outside
        if any(name.startswith(("connector.store.edge", "connector.store.server")) for name in imports(path))
    ]
    asking = [
        f"{path}:{node.lineno}"
        for path in outside
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name | ast.Attribute)
        and (f".{ast.unparse(node)}").endswith((".qdrant.url", ".EmbeddedEngine", ".ServerEngine"))
    ]

    assert len(outside) > 100
    assert not importing
    assert not asking


TAKING_APART = {"split", "rsplit", "partition", "rpartition", "removesuffix", "removeprefix", "startswith", "endswith"}


def test_the_store_library_is_imported_from_its_top() -> None:
    """Where one thread imports it and another one of its modules, each waits for what the other has half imported."""
    behind = ROOT / "connector/store/server/errors.py"  # whose one importer has the whole library before
    for path in {*modules("connector"), *modules("workers")} - {behind}:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        types = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for part in ast.walk(node)
        }
        named = [
            name
            for node in ast.walk(tree)
            if id(node) not in types
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
        ]
        assert not [name for name in named if name.startswith("qdrant_client.")], path


def test_only_one_module_makes_versions_and_takes_them_apart() -> None:
    def is_version(node: ast.expr) -> bool:
        return ast.unparse(node).rpartition(".")[2].strip("()") in {"version", "stored_version", "ref.version"}

    guilty = []
    for path in [*modules("connector"), *modules("workers")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Attribute(value=value, attr=attr) if attr in TAKING_APART and "version" in ast.unparse(value):
                    guilty.append(f"{path}:{node.lineno}")
                case ast.BinOp(left=left, right=right, op=ast.Add()) if is_version(left) or is_version(right):
                    guilty.append(f"{path}:{node.lineno}")
                case ast.FormattedValue(value=value) if is_version(value):
                    guilty.append(f"{path}:{node.lineno}")
                case ast.keyword(arg="version", value=ast.JoinedStr() | ast.Constant(value=str())):
                    guilty.append(f"{path}:{node.value.lineno}")
    assert not guilty


def loaded_after(code: str, *, of: tuple[str, ...] = HEAVY) -> set[str]:
    """The heavy modules that a fresh interpreter has loaded when ``code`` is done."""
    ending = f"\nimport sys\nprint('HEAVY', *[name for name in {of} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code + ending], cwd=ROOT.parent, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("package", ["polyglance", "connector", "workers"])
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    assert loaded_after(f"import {package}", of=(*HEAVY, *LATER)) == set()


def test_a_text_question_to_the_bundled_space_loads_no_torch_and_no_filter(noto: Settings) -> None:
    code = (
        "import polyglance, sys\n"
        f"overrides = {{'qdrant.path': {str(noto.qdrant.path)!r}, 'model.space': 'mini'}}\n"
        "with polyglance.ImageSearch.open(overrides=overrides) as search: assert search.text('ein Hund', limit=3)"
    )

    assert loaded_after(code, of=(*HEAVY, "scipy", "sklearn", "httpx", "lark", "rich", "fastapi")) == {"qdrant_edge"}


def test_an_ingestion_that_finds_nothing_new_loads_nothing_that_only_work_takes(noto: Settings, tmp_path: Path) -> None:
    given = {"qdrant.path": noto.qdrant.path, "ingest.runs": tmp_path, "model.space": "mini"}
    sets = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    call = f"polyglance.main({['ingest', str(tour.IMAGES), *sets]})"
    code = f"import polyglance\ntry: {call}\nexcept SystemExit as left: assert not left.code"

    assert loaded_after(code, of=(*HEAVY, "numpy", "rich", "lark", "httpx", "pyarrow")) == {"qdrant_edge"}


def test_the_service_starts_without_torch() -> None:
    code = "import connector.service.run, connector.models.text_tower"

    assert loaded_after(code, of=("torch", "transformers", "sentence_transformers", "boto3")) == set()


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


def test_the_list_of_commands_says_the_first_line_of_each() -> None:
    front = typer.main.get_command(polyglance.app)
    lines = {name: (each.help or "").splitlines()[0] for name, each in front.commands.items()}  # type: ignore[attr-defined]

    assert {name: line for name, (_, line) in LISTED.items()} == lines


def test_a_command_imports_no_other_commands_module() -> None:
    code = "import polyglance\ntry: polyglance.main(['search', '--help'])\nexcept SystemExit: pass"
    others = tuple({module for module, _ in LISTED.values()} - {"connector.cli.search"})

    assert loaded_after(code, of=others) == set()


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


def test_completion_is_offered_once_for_all_commands() -> None:
    offering = [
        name for name, command in COMMANDS.items() for each in command.params if "--show-completion" in each.opts
    ]

    assert offering == []


def test_every_command_that_answers_speaks_json_too() -> None:
    for name in ("ingest", "search", "classify", "evaluate", "export", "rejected", "settings"):
        options = {text for each in COMMANDS[f"polyglance {name}"].params for text in each.opts}
        assert {"--json", "--set", "--space", "--collection"} <= options
