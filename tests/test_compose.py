"""The Compose files, the Dockerfile and the .env belong together, and to the settings. Docker itself does not run here.

``compose_spec`` implements the Compose specification with types and refuses what the specification does not know.
"""

import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import typer.main
import yaml

import polyglance
from connector.settings import Settings
from connector.settings_sources import variable_of

ROOT = Path(__file__).parents[1]
BASE = ROOT / "docker-compose.yml"
GPU = ROOT / "docker-compose.gpu.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def services_of(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["services"]
    return found


SERVICES = services_of(BASE)
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
ENVIRONMENT = [
    (f"{path.name}:{name}", variable, str(value))
    for path in (BASE, GPU)
    for name, service in services_of(path).items()
    for variable, value in service.get("environment", {}).items()
]


def check(text: str) -> None:
    """Raise ValueError where the specification forbids it, once variables and YAML's merges are resolved."""
    resolved = yaml.safe_load(interpolated(text))
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(resolved)).validate()


def interpolated(text: str) -> str:
    """What Compose makes of ``${NAME:-default}`` and of ``${NAME:?message}``, the latter filled in."""
    defaults = re.sub(r"(?<!\$)\$\{\w+:-([^}]*)\}", r"\1", text)
    return re.sub(r"(?<!\$)\$\{\w+:\?[^}]+\}", "filled-in", defaults)


def stages() -> dict[str, str]:
    """The Dockerfile's stages by name, each with its text."""
    parts = re.split(r"^FROM \S+ AS (\w+)$", DOCKERFILE, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("path", [BASE, GPU], ids=lambda path: path.name)
def test_the_file_is_valid_compose(path: Path) -> None:
    check(path.read_text())


@pytest.mark.parametrize(
    "wrong",
    [
        ("    ports:\n", "    portz:\n"),
        ("127.0.0.1:6333:6333", "127.0.0.1:6333:dashboard"),
        ("condition: service_healthy", "condition: service_happy"),
        ("      interval: 5s", "      intervall: 5s"),
        ("  models:\n  state:", "  models: 3\n  state:"),
        ("      - models:/models", "      - nowhere:/models"),
    ],
    ids=lambda wrong: wrong[1].strip(),
)
def test_the_check_bites(wrong: tuple[str, str]) -> None:
    before, after = wrong
    assert before in BASE.read_text()
    with pytest.raises(ValueError, match=r"\S"):
        check(BASE.read_text().replace(before, after))


def test_the_gpu_file_overrides_what_the_base_file_has() -> None:
    assert set(services_of(GPU)) <= set(OURS)


@pytest.mark.parametrize(("where", "variable"), [(w, v) for w, v, _ in ENVIRONMENT if v.startswith("POLYGLANCE_")])
def test_every_setting_in_the_files_is_a_setting(where: str, variable: str) -> None:
    assert variable in {variable_of(name) for name in Settings.names()}, where


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_a_service_load(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in [known for known in os.environ if known.startswith("POLYGLANCE_")]:
        monkeypatch.delenv(variable)
    for where, variable, value in ENVIRONMENT:
        if where.endswith(f":{name}") and variable.startswith("POLYGLANCE_"):
            monkeypatch.setenv(variable, interpolated(value))
    loaded = Settings.load()
    assert loaded.qdrant.url == "http://qdrant:6333"
    assert loaded.qdrant.api_key is not None


def test_every_variable_that_the_files_ask_for_is_in_the_example_and_no_other() -> None:
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", BASE.read_text() + GPU.read_text()))
    given = set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert asked == given


def test_keys_come_from_the_env_file_and_must_be_set() -> None:
    keys = [(where, name, value) for where, name, value in ENVIRONMENT if re.search(r"KEY|PASSWORD|SECRET|USER", name)]
    assert len(keys) >= 6
    for where, name, value in keys:
        assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{where} {name} = {value}"
    example = (ROOT / ".env.example").read_text()
    assert re.findall(r"^\w*KEY=(.+)$", example, flags=re.MULTILINE) == []


def test_qdrant_is_pinned_kept_watched_and_locked() -> None:
    qdrant = SERVICES["qdrant"]
    found = re.fullmatch(r"qdrant/qdrant:v(\d+)\.(\d+)\.\d+", qdrant["image"])
    assert found is not None
    assert (int(found[1]), int(found[2])) >= (1, 19)
    assert qdrant["healthcheck"]["test"]
    assert any(volume.endswith(":/qdrant/storage") for volume in qdrant["volumes"])
    assert "QDRANT__SERVICE__API_KEY" in qdrant["environment"]
    assert all(service["depends_on"]["qdrant"]["condition"] == "service_healthy" for service in OURS.values())


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert ipaddress.ip_address(port.split(":")[0]).is_loopback, port


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_writes_to_its_volumes_alone_and_gains_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in service["tmpfs"]
    assert not service.get("privileged")


def test_the_service_reads_what_ingestions_wrote_down_and_changes_nothing() -> None:
    volumes = SERVICES["api"]["volumes"]
    assert "state:/data:ro" in volumes
    assert all(volume.endswith(":ro") for volume in volumes if not volume.startswith("models:"))
    assert "state:/data" in SERVICES["ingest"]["volumes"]


def test_folders_of_the_image_are_for_its_user_alone() -> None:
    assert "install -d -m 0700 -o polyglance -g polyglance /data /models" in stages()["base"]
    assert "XDG_CACHE_HOME=/models/" in stages()["base"]


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].partition(":")
    assert tag not in ("", "latest")


@pytest.mark.parametrize("name", OURS)
def test_what_a_service_runs_is_a_command(name: str) -> None:
    commands = set(typer.main.get_command(polyglance.app).commands)  # type: ignore[attr-defined]  # a group has them
    assert SERVICES[name]["command"][0] in commands


def test_every_target_that_is_built_is_a_stage_of_the_dockerfile() -> None:
    targets = {
        service["build"]["target"]
        for path in (BASE, GPU)
        for service in services_of(path).values()
        if "build" in service
    }
    assert targets == {"cpu", "cuda"}
    assert targets <= set(stages())


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_an_image_runs_as_nobody_special_and_keeps_to_the_constraints(target: str) -> None:
    text = stages()[target]
    assert text.rstrip().splitlines()[-1] == "USER polyglance"
    assert text.count("pip install") == text.count("-c /tmp/constraints.txt") == 2
    assert "HEALTHCHECK" in stages()["base"]


def test_the_image_installs_extras_that_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for group in re.findall(r"\.whl\)\[([\w,]+)\]", DOCKERFILE):
        assert set(group.split(",")) <= set(extras)


def test_the_build_sees_what_it_copies_and_no_secrets() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {
        source
        for command in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, flags=re.MULTILINE)
        for source in command.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)
