"""A running stand-in, as tests hold it: its ports, its settings, its script of faults, its counts."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
from pydantic import SecretStr

from connector.settings import QdrantSettings
from tests.qdrant_standin.faults import Fault
from tests.qdrant_standin.limits import Room

ROOT = Path(__file__).parents[2]
Transport = Literal["grpc", "rest"]
TRANSPORTS: tuple[Transport, ...] = ("grpc", "rest")


@dataclass(frozen=True)
class Standin:
    """A stand-in that runs in another process."""

    rest_port: int
    grpc_port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """The address of its REST side."""
        return f"http://127.0.0.1:{self.rest_port}"

    def settings(self, transport: Transport, *, key: str | None = None, **changes: Any) -> QdrantSettings:
        """Settings that lead here: waits are short, and there is time enough for a busy machine.

        A test that wants a limit reached names a short one.
        """
        values: dict[str, Any] = {
            "url": self.url,
            "grpc_port": self.grpc_port,
            "transport": transport,
            "api_key": None if key is None else SecretStr(key),
            "timeout_s": 30.0,
            "retry_s": 60.0,
            "retry_first_s": 0.005,
            "full_wait_s": 4.0,
            "optimize_wait_s": 60.0,
        }
        return QdrantSettings(**{**values, **changes})

    def script(self, *faults: Fault, seed: int = 0) -> None:
        """Let these faults happen from now on, and count anew."""
        self._ask("script", {"faults": [fault.to_json() for fault in faults], "seed": seed})

    def counts(self) -> dict[str, int]:
        """How often each operation was asked, done and broken."""
        found: dict[str, int] = self._ask("counts", {})
        return found

    def set_room(self, room: Room) -> None:
        """Fill the server's disk, or make room on it."""
        self._ask("room", {"room": room})

    def show_statuses(self, collection: str, *statuses: str) -> None:
        """Let the collection show these statuses one after the other; the last one stays."""
        self._ask("statuses", {"collection": collection, "statuses": statuses})

    def record(self) -> None:
        """Keep every REST exchange from now on."""
        self._ask("record", {})

    def exchanges(self) -> list[dict[str, Any]]:
        """The exchanges since ``record``; ends the recording."""
        found: list[dict[str, Any]] = self._ask("exchanges", {})
        return found

    def _ask(self, what: str, value: object) -> Any:
        answer = httpx.post(f"{self.url}/_standin/{what}", json=value, timeout=60.0)
        return answer.raise_for_status().json()["result"]


@contextmanager
def running(*arguments: str) -> Iterator[Standin]:
    """A stand-in for the length of a block; ``arguments`` go to ``python -m tests.qdrant_standin``."""
    command: Sequence[str] = (sys.executable, "-m", "tests.qdrant_standin", *arguments)
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ports = json.loads(process.stdout.readline())
            yield Standin(rest_port=ports["rest_port"], grpc_port=ports["grpc_port"], process=process)
        finally:
            process.kill()
