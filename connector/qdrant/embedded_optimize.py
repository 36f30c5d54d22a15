"""Optimize a shard in a process of its own: Edge holds the interpreter lock for as long as it works.

Run as ``python -m connector.qdrant.embedded_optimize SHARD``. Killing it is safe: the shard keeps what it had.
"""

import os
import subprocess
import sys
from pathlib import Path

import qdrant_edge as edge

from connector.errors import StoreRefused
from connector.qdrant.embedded_errors import translated


def optimize_apart(shard_path: Path) -> None:
    """Optimize a shard that nobody has open, in a child process, and wait for it.

    Raises our error for whatever the child died of; when the wait is interrupted, the child is killed.
    """
    command = [sys.executable, "-P", "-m", __name__, str(shard_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)}
    child = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if child.returncode < 0:
        raise StoreRefused(
            f"optimizing {shard_path} was killed by signal {-child.returncode} (9 often means: out of memory). "
            "Nothing is lost; searches are exact but slower until `polyglance collection optimize` succeeds."
        )
    if child.returncode:
        raise translated((child.stderr.strip().splitlines() or ["no message"])[-1], folder=shard_path.parent)


def main(shard_path: str) -> None:
    """Build the graph over what it does not cover yet, and merge what was deleted away."""
    shard = edge.EdgeShard.load(shard_path, None)
    try:
        shard.optimize()
    finally:
        shard.close()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except Exception as error:  # noqa: BLE001  (the outermost frame: the message goes to the parent)
        sys.exit(str(error))
