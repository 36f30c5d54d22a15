"""A disk below a watched folder that is really mounted and really taken away, in a namespace of its own.

    unshare -rm python -m tests.vanishing_mount FOLDER

Prints what is stored by the scene's steps, as one JSON object.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.images import write_images
from tests.watch_scene import Scene, in_store


def main(top: Path) -> dict[str, object]:
    """Mount, watch, take away, prune, and bring back."""
    scene = Scene(top / "album", top / "data", {"ingest.max_prune": 1.0})
    disk = scene.album / "2024" / "disk"
    disk.mkdir(parents=True)
    steps: dict[str, object] = {}
    mount(disk)
    write_images(scene.album, ["a.png", "b.png", "2024/c.png", "2024/disk/d.png", "2024/disk/sub/e.png"])
    with scene.watched():
        steps["mounted"] = sorted(scene.names())
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
        (scene.album / "a.png").unlink()
        in_store(lambda: "a.png" not in scene.names())
        steps["taken away while watched"] = sorted(scene.names())
    (scene.album / "b.png").unlink()
    with scene.watched():
        in_store(lambda: "b.png" not in scene.names())
        steps["watched anew"] = sorted(scene.names())
    steps["pruned"] = prune(scene)
    mount(disk)
    write_images(disk, ["d.png"], first_seed=3)
    with scene.watched():
        steps["another disk there"] = sorted(scene.names())
    return steps


def mount(where: Path) -> None:
    """An empty disk in memory."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(where)], check=True)


def prune(scene: Scene) -> dict[str, object]:
    """What the command line says."""
    command = [sys.executable, "-m", "polyglance", "prune", str(scene.album), "--space", "mini", "--yes", "--json"]
    environment = {**os.environ, "POLYGLANCE_QDRANT__PATH": str(scene.data), "POLYGLANCE_INGEST__MAX_PRUNE": "1"}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return {name: json.loads(said)[name] for name in ("removed", "kept")}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))) + "\n")
