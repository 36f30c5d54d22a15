"""A webhook in a process of its own: what it is sent, it writes down; what it answers, it is told.

    python -m tests.workers.alerts.hook FOLDER      prints its port

FOLDER/answer holds the status of its answers, ``slow`` for none at all, or ``302 ADDRESS``; FOLDER/heard has a line of
JSON for each request, with its headers and its body.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Hook:
    """The webhook, as a test sees it."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=secret"

    def answers(self, what: str) -> None:
        """Let it answer so from now on."""
        (self.folder / "answer").write_text(what)

    @property
    def heard(self) -> list[dict[str, Any]]:
        """Every request that it took with success."""
        return [each for each in self.requests if each["status"] == 200]

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Every request."""
        file = self.folder / "heard"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@contextmanager
def hooked(folder: Path) -> Iterator[Hook]:
    """A webhook for the length of a block."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.workers.alerts.hook", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Hook(folder, int(process.stdout.readline()))
        finally:
            process.kill()


def main(folder: Path) -> None:
    """Listen until killed."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            answer = folder / "answer"
            status, _, more = (answer.read_text() if answer.exists() else "200").partition(" ")
            said = {
                "status": int(status) if status.isdigit() else 0,
                "headers": {k.lower(): v for k, v in self.headers.items()},
            }
            with (folder / "heard").open("a") as file:
                file.write(json.dumps({**said, "body": body.decode()}) + "\n")
            if status == "slow":
                time.sleep(30)
                return
            self.send_response(int(status))
            if more:
                self.send_header("location", more)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    print(server.server_address[1], flush=True)  # noqa: T201  (whoever started it reads it)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
