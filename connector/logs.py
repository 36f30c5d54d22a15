"""How every process of ours logs: to standard error, one line an event."""

import logging
import sys


def set_up_logs(level: int) -> None:
    """Send what is at least of this level to standard error. Once a process, at its entry point."""
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
