"""Webhooks: signed, told again by the same id, and never in the way of an ingestion."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.alerts.conftest import Library
from tests.workers.alerts.hook import Hook, hooked
from workers.alerts.delivering import deliver

SECRET = f"whsec_{base64.b64encode(b'a key of twenty-four byte').decode()}"


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[Hook]:
    with hooked(tmp_path / "hook") as made:
        yield made


def test_a_webhook_hears_each_image_once_and_can_tell_who_speaks(library: Library, hook: Hook) -> None:
    alert = library.ask("a guitar", notify=[f"webhook:{hook.url}"])
    library.bring("objects/guitar.png")
    signing = library.with_settings(alerts__signing_key=SECRET)
    done = signing.ingest().alerts
    signing.ingest()
    signing.ingest(recreate=True)

    assert done is not None
    assert (done.told, done.waiting) == (1, 0)
    (heard,) = hook.heard
    told = json.loads(heard["body"])
    assert told["type"] == "alert.matched"
    assert (told["data"]["alert"]["id"], told["data"]["image"]["filename"]) == (alert.id, "guitar.png")
    headers = heard["headers"]
    assert headers["webhook-id"] == told["data"]["id"]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{heard['body']}".encode()
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("503", "HTTP 503"),
        ("404", "HTTP 404"),
        ("302 http://example.org/", "it leads to 'http://example.org/'"),
        ("slow", "no answer in time"),
    ],
)
def test_what_a_webhook_did_not_take_waits_until_it_does(library: Library, hook: Hook, answer: str, why: str) -> None:
    library.ask("a guitar", notify=[f"webhook:{hook.url}", f"file:{library.top / 'told.jsonl'}"])
    library.bring("objects/guitar.png")
    quick = library.with_settings(alerts__timeout_s=0.5, alerts__attempts=2, alerts__wait_s=0)
    hook.answers(answer)
    done = quick.ingest()
    assert done.alerts is not None
    assert done.report.counts.rejected == 0
    while not (failed := deliver(quick.settings)):  # the run's own thread may still be at it
        continue
    assert (failed.told, failed.waiting) == (0, 1)
    (said,) = failed.down.values()
    assert why in said
    assert "secret" not in json.dumps(failed.as_json())
    assert len((library.top / "told.jsonl").read_text(encoding="utf-8").splitlines()) == 1  # the other target has it

    hook.answers("200")
    healed = deliver(quick.settings)
    assert healed is not None
    assert (healed.told, healed.waiting) == (1, 0)
    assert len(hook.heard) == 1
    assert len({each["headers"]["webhook-id"] for each in hook.requests}) == 1


def test_what_users_of_the_service_name_must_be_public(library: Library, hook: Hook) -> None:
    library.ask("a guitar", notify=[f"webhook:{hook.url}"], guarded=True)
    library.bring("objects/guitar.png")
    done = library.with_settings(alerts__attempts=1).ingest().alerts
    assert done is not None
    assert (done.told, done.waiting) == (0, 1)
    assert "not public" in next(iter(done.down.values()))
    assert hook.requests == []


def test_a_command_reads_the_message_and_one_that_fails_is_called_again(library: Library) -> None:
    script = library.top / "notify.py"
    script.write_text(
        "import pathlib, sys\n"
        "here = pathlib.Path(__file__).parent\n"
        "if not (here / 'ready').exists(): sys.exit('not ready')\n"
        "with (here / 'told').open('a') as file: file.write(sys.stdin.read())\n"
    )
    library.ask("a guitar", notify=[f"command:python3 {script}"])
    library.bring("objects/guitar.png")
    done = library.ingest().alerts
    assert done is not None
    assert "not ready" in next(iter(done.down.values()))
    (library.top / "ready").touch()
    assert library.ingest().alerts is not None
    assert json.loads((library.top / "told").read_text())["data"]["image"]["filename"] == "guitar.png"
