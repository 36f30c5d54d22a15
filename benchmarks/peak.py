"""Run a command and print its peak resident memory: ``python -m benchmarks.peak COMMAND...``."""

import json
import resource
import subprocess
import sys


def main(command: list[str]) -> None:
    """Run ``command``; prints ``{"peak_mib", "counts"}``, the counts being the command's last line of JSON."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # KiB on Linux
    print(json.dumps({"peak_mib": round(peak, 1), "counts": json.loads(done.stdout.splitlines()[-1])}))


if __name__ == "__main__":
    main(sys.argv[1:])
