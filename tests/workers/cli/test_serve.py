"""``polyglance serve`` as a command: what it opens, how many processes answer, how it ends, and what it holds on to."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from benchmarks.bench_service import soak
from connector import CollectionMissing, Settings
from connector.store.open import open_engine
from connector.store.schema import CollectionSchema, Fingerprint
from tests.connector.service.conftest import ROOT, address_in, copied, ready
from tests.qdrant_standin.standin import running
from workers.cli.serve import open_some

MEMORY_GROWTH = 0.05
"""How much more memory a service may hold at the end of a soak than in its second quarter."""


def test_where_nothing_was_ingested_into_the_default_space_the_demo_is_served(
    noto: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with copied(noto) as mini:
        (mini.qdrant.path / "images-mini").rename(mini.qdrant.path / "demo")
        default = Settings(qdrant=mini.qdrant)
        search, opened = open_some(default, choose=True)
        with closing(search):
            assert (opened.model.space, opened.collection) == ("mini", "demo")
        assert "this is the demo's" in capsys.readouterr().err
        with pytest.raises(CollectionMissing, match="images-clip-vit-b-32"):
            open_some(default, choose=False)


def test_where_nothing_was_ingested_at_all_that_is_said(tmp_path: Path) -> None:
    default = Settings.load({"qdrant.path": tmp_path / "data"})
    with pytest.raises(CollectionMissing, match="images-clip-vit-b-32"):
        open_some(default, choose=True)


@pytest.mark.slow
def test_with_log_json_every_line_of_a_service_and_its_jobs_parses(noto: Settings, tmp_path: Path) -> None:
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "broken.png").write_bytes(b"\x89PNG no more")
    with copied(noto) as mini:
        where, roots = {"path": str(mini.qdrant.path)}, f"serve.roots={json.dumps([str(tmp_path)])}"
        with served(["--set", roots], where, log=tmp_path / "log", front=["-v", "--log-json"]) as (url, process):
            job = httpx.post(f"{url}/v1/ingestions", json={"places": [str(tmp_path / "album")]}, timeout=240)
            assert job.status_code == 202, job.text
            followed = httpx.get(f"{url}/v1/ingestions/{job.json()['id']}/events", timeout=240)
            assert "event: end" in followed.text
        assert process.wait() in (0, -signal.SIGTERM)

    told = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]

    assert any("Uvicorn running on http://" in each["message"] for each in told)
    assert any(each["message"].startswith("request ") for each in told)
    assert any(each["message"].startswith("shard_done ") for each in told), "of the process of the ingestion"


@pytest.mark.slow
def test_several_processes_answer_on_one_port_are_counted_together_and_end_together(tmp_path: Path) -> None:
    with running() as standin:
        qdrant = {"url": standin.url, "grpc_port": str(standin.grpc_port)}
        settings = Settings.load({"model.space": "mini", **{f"qdrant.{name}": value for name, value in qdrant.items()}})
        with closing(open_engine(settings.qdrant, collection=settings.collection)) as engine:
            engine.create(CollectionSchema(Fingerprint("mini", dims=128, image_size=64)))
        with served(["--workers", "2"], qdrant, log=tmp_path / "log") as (url, process):
            statuses = asyncio.run(_statuses(url, times=40))
            assert statuses == [200] * 40
            name = 'polyglance_requests_total{method="POST",route="/v1/search",status="200"} 40.0'
            assert name in httpx.get(f"{url}/metrics", timeout=240).text
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
            assert psutil.wait_procs(children, timeout=30)[1] == []


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_under_load_for_a_minute_a_service_holds_on_to_no_more_memory(noto: Settings) -> None:
    with copied(noto) as settings:
        found = soak(["model.space=mini", f"qdrant.path={settings.qdrant.path}"], for_s=60)
    assert set(found["statuses"]) == {200}
    assert found["growth"] < MEMORY_GROWTH, found["memory_mib"]


@contextmanager
def served(
    arguments: list[str], qdrant: dict[str, str], *, log: Path, front: Sequence[str] = ()
) -> "Iterator[tuple[str, subprocess.Popen[bytes]]]":
    """A ready service with these arguments, options ``front`` before the command, and its process."""
    names = {f"POLYGLANCE_QDRANT__{name.upper()}": value for name, value in qdrant.items()}
    command = [sys.executable, "-m", "polyglance", *front, "serve", "--space", "mini", "--port", "0", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **names}
    with log.open("w") as out, subprocess.Popen(command, env=environment, stderr=out, cwd=log.parent) as process:
        try:
            url = address_in(log)
            assert ready(url) == 200
            yield url, process
        finally:
            process.terminate()


async def _statuses(url: str, *, times: int) -> list[int]:
    async with httpx.AsyncClient(base_url=url, timeout=240) as client:
        asked = [client.post("/v1/search", json={"text": f"dog {number}"}) for number in range(times)]
        return [answer.status_code for answer in await asyncio.gather(*asked)]
