"""What a process says of itself: with JSON, whatever reaches standard error is a line of the log."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import logging, threading, warnings
from connector.process import Logs

Logs(logging.INFO, as_json=True).set_up()
logging.getLogger("of.a.library").info("two\\nlines of %s", "it")
warnings.warn("an old way\\nof doing things")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
try:
    raise OSError("the cause\\nof it")
except OSError:
    logging.getLogger("ours").exception("caught")
[][1]
"""


def test_with_json_warnings_tracebacks_and_the_end_of_a_process_are_lines_that_parse() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )

    assert ran.returncode == 1
    told = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [(each["level"], each["logger"]) for each in told] == [
        ("INFO", "of.a.library"),
        ("WARNING", "py.warnings"),
        ("CRITICAL", "connector.process"),
        ("ERROR", "ours"),
        ("CRITICAL", "connector.process"),
    ]
    ended = ["ZeroDivisionError", "OSError", "IndexError"]
    assert all(name in each["traceback"] for name, each in zip(ended, told[2:], strict=True))
