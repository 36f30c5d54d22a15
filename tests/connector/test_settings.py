"""Settings: flag over environment over file over default, and nothing unknown goes by in silence."""

import ast
import inspect
import json
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from connector.errors import ConfigError
from connector.settings import Settings
from connector.settings_sources import Section
from tests.conftest import CommandLine

pytestmark = pytest.mark.usefixtures("workplace")


def config(workplace: Path, text: str) -> None:
    (workplace / "polyglance.toml").write_text(text, encoding="utf-8")


def test_without_a_word_the_defaults_hold() -> None:
    settings = Settings.load()

    assert settings.qdrant.url is None
    assert settings.model.space == "clip-vit-b-32"
    assert settings.collection == "images-clip-vit-b-32"
    assert set(Settings.origins().values()) == {"default"}


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config(workplace, "[model]\nspace = 'of-the-file'\nbatch_size = 3\ntext_tower = 'file'\n[ingest]\nchunk = 7\n")
    monkeypatch.setenv("POLYGLANCE_MODEL__SPACE", "of-the-environment")
    monkeypatch.setenv("POLYGLANCE_MODEL__BATCH_SIZE", "5")
    given = {"model.space": "of-the-flag"}

    settings, origins = Settings.load(given), Settings.origins(given)

    assert (settings.model.space, origins["model.space"]) == ("of-the-flag", "flag")
    assert (settings.model.batch_size, origins["model.batch_size"]) == (5, "POLYGLANCE_MODEL__BATCH_SIZE")
    assert (settings.model.text_tower, origins["model.text_tower"]) == ("file", "polyglance.toml")
    assert (settings.ingest.chunk, origins["ingest.chunk"]) == (7, "polyglance.toml")
    assert (settings.model.device, origins["model.device"]) == ("auto", "default")


def test_every_setting_has_an_origin_and_an_explanation() -> None:
    assert list(Settings.origins()) == list(Settings.names())
    for section in Settings.model_fields.values():
        kind = section.annotation
        assert isinstance(kind, type)
        assert issubclass(kind, Section)
        assert set(kind.model_fields) == explained(kind)


def explained(kind: type[Section]) -> set[str]:
    """The settings of a section that have a docstring below them."""
    (section,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(section, ast.ClassDef)
    return {
        ast.unparse(field.target)
        for field, below in pairwise(section.body)
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }


def test_settings_are_frozen() -> None:
    settings = Settings.load()

    with pytest.raises(ValidationError, match="frozen"):
        settings.model.space = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        settings.model = settings.model  # type: ignore[misc]


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("POLYGLANCE_QDRANT_URL", "POLYGLANCE_QDRANT__URL"),
        ("POLYGLANCE_MODEL__BATCHSIZE", "POLYGLANCE_MODEL__BATCH_SIZE"),
        ("POLYGLANCE_INGEST__READER", "POLYGLANCE_INGEST__READERS"),
        ("POLYGLANCE_QDRANT__API_KEYS", "POLYGLANCE_QDRANT__API_KEY"),
    ],
)
def test_an_unknown_variable_names_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, variable: str, nearest: str
) -> None:
    monkeypatch.setenv(variable, "1")

    with pytest.raises(ConfigError, match=f"{variable} is not a setting. The nearest one is {nearest}."):
        Settings.load()


def test_a_variable_unlike_any_points_to_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGLANCE_XYZZY", "1")

    with pytest.raises(ConfigError, match="`polyglance settings` lists them all"):
        Settings.load()


def test_variables_of_the_test_suite_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGLANCE_TEST_QDRANT_URL", "http://localhost:1")

    assert Settings.load().qdrant.url is None


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files pass ``${URL:-}`` on."""
    monkeypatch.setenv("POLYGLANCE_QDRANT__URL", "")
    monkeypatch.setenv("POLYGLANCE_QDRANT__TIMEOUT_S", "")

    assert Settings.load().qdrant.url is None
    assert Settings.load().qdrant.timeout_s == 10.0
    assert Settings.origins()["qdrant.url"] == "default"


def test_a_value_that_does_not_fit_is_named_with_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGLANCE_QDRANT__GRPC_PORT", "123456")
    with pytest.raises(ConfigError, match=r"qdrant.grpc_port = '123456' does not fit: .*65535"):
        Settings.load()

    monkeypatch.setenv("POLYGLANCE_QDRANT__GRPC_PORT", "many")
    with pytest.raises(ConfigError, match=r"qdrant.grpc_port = 'many' does not fit: .*integer"):
        Settings.load()


def test_a_key_that_does_not_fit_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.load({"qdrant.api_key": ["s3cret"]})

    assert "qdrant.api_key" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.load({"model.batch_size": -1, "qdrant.transport": "pigeon", "model.spaces": "mini"})

    assert "model.batch_size = -1" in str(caught.value)
    assert "qdrant.transport = 'pigeon'" in str(caught.value)
    assert "model.spaces is not a setting. The nearest one is model.space." in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[qdrant]\nurll = 'x'\n", "qdrant.urll is not a setting. The nearest one is qdrant.url."),
        ("[qdrannt]\nurl = 'x'\n", "qdrannt is not a setting."),
        ("[qdrant\n", "polyglance.toml or a POLYGLANCE_… variable cannot be read"),
        ("qdrant = 3\n", "setting qdrant = 3 does not fit"),
        ("ingest = 3\n", "setting ingest = 3 does not fit"),
        ("[s3]\nregion = 7\n", "setting s3.region = 7 does not fit"),
    ],
)
def test_a_wrong_file_is_told(workplace: Path, text: str, message: str) -> None:
    config(workplace, text)

    with pytest.raises(ConfigError) as caught:
        Settings.load()

    assert message in str(caught.value)


def test_a_file_that_is_no_text_is_told(workplace: Path) -> None:
    (workplace / "polyglance.toml").write_bytes(b"\xff\xfe[qdrant]")

    with pytest.raises(ConfigError, match=r"polyglance\.toml"):
        Settings.load()


def test_one_tree_holds_the_sections_of_ingestion_too(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(workplace, "[ingest]\nreaders = 2\n[table]\nid_column = 'id'\n[model]\nspace = 'mini'\n")
    monkeypatch.setenv("POLYGLANCE_INGEST__CHUNK", "3")

    settings = Settings.load()

    assert (settings.model.space, settings.ingest.readers, settings.ingest.chunk) == ("mini", 2, 3)
    assert settings.table.id_column == "id"


def test_a_section_that_belongs_to_nobody_is_refused(workplace: Path) -> None:
    config(workplace, "[injest]\nreaders = 2\n")

    with pytest.raises(ConfigError, match="injest is not a setting"):
        Settings.load()


def test_the_users_fields_can_be_given_one_by_one(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGLANCE_QDRANT__META_FIELDS__PRICE", "float")
    assert Settings.load().qdrant.meta_fields == {"price": "float"}

    config(workplace, "[qdrant.meta_fields]\nyear = 'integer'\n")
    assert Settings.load().qdrant.meta_fields == {"price": "float", "year": "integer"}


def test_a_home_folder_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert Settings.load({"qdrant.path": "~/vectors"}).qdrant.path == tmp_path / "vectors"


@pytest.mark.parametrize("name", ["", "a/b", "..", ".runs", "x" * 201])
def test_a_collection_has_a_name_that_a_folder_can_have(name: str) -> None:
    with pytest.raises(ConfigError, match=r"qdrant\.collection"):
        Settings.load({"qdrant.collection": name})


# the command


def test_the_command_shows_values_and_where_they_come_from(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGLANCE_QDRANT__URL", "http://localhost:6333")

    ran = cli("settings", "--set", "model.batch_size=7", "--space", "mini", "--json")

    assert ran.code == 0
    assert ran.json["qdrant.url"] == {"value": "http://localhost:6333", "from": "POLYGLANCE_QDRANT__URL"}
    assert ran.json["model.batch_size"] == {"value": 7, "from": "flag"}
    assert ran.json["model.space"] == {"value": "mini", "from": "flag"}
    assert ran.json["limits.max_bytes"]["from"] == "default"
    assert set(ran.json) == set(Settings.names())
    plain = cli("settings", "--set", "model.batch_size=7")
    assert any(line.split() == ["model.batch_size", "7", "flag"] for line in plain.out.splitlines())


def test_keys_are_masked(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYGLANCE_QDRANT__API_KEY", "s3cret")

    ran = cli("settings", "--json")

    assert "s3cret" not in ran.out + cli("settings").out + repr(Settings.load())
    assert ran.json["qdrant.api_key"]["value"] == "**********"


@pytest.mark.parametrize(
    "given",
    [
        "s3.endpoint_url=http://me:secret@host:9000",
        "s3.endpoint_url=me:secret@host:9000",
        "watch.sqs_url=https://me:secret@host/queue",
        "ingest.ray_address=ray://me:secret@host",
        'serve.cors_origins=["https://me:secret@host"]',
        "serve.public_url=me:secret@host",
        "serve.port=http://me:secret@host",
    ],
)
def test_a_password_in_an_address_is_shown_nowhere(cli: CommandLine, given: str) -> None:
    for form in ((), ("--json",)):
        shown = cli("settings", "--set", given, *form)
        assert "secret" not in shown.out + shown.err
        assert "***@host" in shown.out + shown.err


def test_any_setting_can_be_set_also_a_table(cli: CommandLine) -> None:
    ran = cli("settings", "--json", "--set", 'qdrant.meta_fields={"year": "integer"}', "--set", "ingest.hidden=true")

    assert ran.json["qdrant.meta_fields"]["value"] == {"year": "integer"}
    assert ran.json["ingest.hidden"]["value"] is True


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("qdrant.url", "is no NAME=VALUE; one looks like"),
        ("url=x", "is no NAME=VALUE; one looks like"),
        ("qdrant.urk=x", "qdrant.urk is not a setting. The nearest one is qdrant.url."),
        ("xyzzy.plugh=1", "xyzzy is not a setting."),
        ("qdrant.=1", "is not a setting."),
        ("qdrant.meta_fields={broken", "holds broken JSON"),
        ('qdrant.meta_fields={"a": "colour"}', "does not fit"),
        ("model.batch_size=zero", "model.batch_size = 'zero' does not fit"),
    ],
)
def test_a_wrong_set_is_a_wrong_call(cli: CommandLine, given: str, message: str) -> None:
    ran = cli("settings", "--set", given)

    assert ran.code == 2
    assert message in ran.err
    assert ran.err.startswith("polyglance: ")
    assert not ran.out


def test_the_command_shows_every_section(cli: CommandLine) -> None:
    sections = {name.split(".")[0] for name in json.loads(cli("settings", "--json").out)}

    assert sections == Settings.model_fields.keys()


# ------------------------------------------------------------------------------------------- files, and whom they serve


@pytest.fixture
def home(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder for settings, apart from the working folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(workplace.parent / "home"))
    folder = workplace.parent / "home" / "polyglance"
    folder.mkdir(parents=True)
    return folder


def test_the_users_file_is_read_and_the_working_folders_beats_it(workplace: Path, home: Path) -> None:
    (home / "polyglance.toml").write_text("[model]\nspace = 'of-home'\nbatch_size = 3\n")
    config(workplace, "[model]\nspace = 'of-here'\n")

    settings, origins = Settings.load(), Settings.origins()

    assert (settings.model.space, origins["model.space"]) == ("of-here", "polyglance.toml")
    assert (settings.model.batch_size, origins["model.batch_size"]) == (3, str(home / "polyglance.toml"))


def test_a_file_that_is_named_is_the_only_one(
    workplace: Path, home: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "polyglance.toml").write_text("[model]\nbatch_size = 3\n")
    config(workplace, "[model]\nbatch_size = 4\n")
    named = workplace.parent / "named.toml"
    named.write_text("[model]\nspace = 'of-the-named'\n")

    for arguments in (("--config", named, "settings"), ("settings", "--json", f"--config={named}")):
        told = cli(*arguments, *([] if "--json" in arguments else ["--json"])).json
        assert told["model.space"] == {"value": "of-the-named", "from": str(named)}
        assert told["model.batch_size"]["from"] == "default"
    monkeypatch.setenv("POLYGLANCE_CONFIG", str(named))
    assert Settings.load().model.space == "of-the-named"
    assert cli("settings", "--config", workplace / "none.toml").code == 2


SECRETS = [
    ("[qdrant]\nurl = 'https://evil.example'\n", {"POLYGLANCE_QDRANT__API_KEY": "s3cret-key"}),
    ("[qdrant]\nca_file = '/tmp/x.pem'\n", {"POLYGLANCE_QDRANT__API_KEY": "s3cret-key"}),
    ("[s3]\nendpoint_url = 'https://evil.example'\n", {}),
    ("[watch]\nsqs_url = 'https://evil.example/queue'\n", {}),
    ("[serve]\npublic_url = 'https://evil.example'\n", {"POLYGLANCE_SERVE__API_KEYS": '["s3cret-key"]'}),
    ("[serve]\ncors_origins = ['https://evil.example']\n", {"POLYGLANCE_SERVE__READ_KEYS": '["s3cret-key"]'}),
    ("[ingest]\nray_address = 'ray://evil.example:10001'\n", {}),
    ("[ingest]\nruns = 's3://of-somebody-else/runs'\n", {}),
    ("[serve]\nhost = '0.0.0.0'\napi_keys = ['known-to-others']\n", {}),
    ("[serve]\nhost = '192.168.1.7'\nopen_to_all = true\n", {}),
]


@pytest.mark.parametrize(("text", "variables"), SECRETS, ids=lambda value: str(value)[:30])
def test_a_file_beside_the_caller_sends_no_secret_from_elsewhere_to_an_address_of_its_own(
    workplace: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch, text: str, variables: dict[str, str]
) -> None:
    config(workplace, text)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    refused = cli("settings")

    assert refused.code == 2
    assert "--trust-config" in refused.err
    assert "s3cret" not in refused.err + refused.out
    assert cli("settings", "--trust-config").code == 0
    assert cli("settings", "--config", workplace / "polyglance.toml").code == 0
    monkeypatch.setenv("POLYGLANCE_TRUST_CONFIG", "true")
    Settings.load()


@pytest.mark.parametrize(
    "text", ["[serve]\nhost = 'localhost'\n", "[serve]\nhost = '127.0.0.2'\n", "[ingest]\nruns = 'runs'\n"]
)
def test_what_stays_on_this_machine_may_stand_in_a_file_beside_the_caller(workplace: Path, text: str) -> None:
    config(workplace, text)
    Settings.load()


def test_what_the_users_own_file_and_a_flag_say_is_combined(
    workplace: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYGLANCE_QDRANT__API_KEY", "s3cret-key")
    (home / "polyglance.toml").write_text("[qdrant]\nurl = 'https://mine.example'\n")
    assert Settings.load().qdrant.url == "https://mine.example"
    config(workplace, "[qdrant]\nurl = 'https://evil.example'\n")
    assert Settings.load({"qdrant.url": "https://flag.example"}).qdrant.url == "https://flag.example"
    monkeypatch.delenv("POLYGLANCE_QDRANT__API_KEY")
    config(workplace, "[qdrant]\nurl = 'https://here.example'\napi_key = 'of-the-file'\n")
    assert Settings.load().qdrant.url == "https://here.example"


def test_a_file_beside_the_caller_is_announced_in_one_line(workplace: Path, cli: CommandLine) -> None:
    assert cli("settings").err == ""
    config(workplace, "[model]\nbatch_size = 3\n")
    assert (
        cli("settings").err
        == f"polyglance: settings are read from {workplace / 'polyglance.toml'}, in the working folder.\n"
    )
