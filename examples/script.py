"""Bring a folder in, ask a question of it in any language, and print what was found.

    python examples/script.py ~/Pictures "ein Hund im Schnee"

A second run reads only what is new or changed.
"""

import argparse
import os

from polyglance import Collection, ingest

SPACE = os.environ.get("POLYGLANCE_MODEL__SPACE", "mini")


def main() -> None:
    """Read the arguments, ingest, and ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("question")
    parser.add_argument("--limit", type=int, default=5)
    given = parser.parse_args()
    report = ingest(given.folder, collection="example-script", space=SPACE, progress=True)
    print(f"{report.counts.stored} new, {report.counts.unchanged} unchanged, {report.counts.rejected} rejected")
    with Collection.open("example-script", space=SPACE) as photos:
        for hit in photos.search.text(given.question, limit=given.limit):
            print(f"{hit.score:.3f}  {hit.uri}")


if __name__ == "__main__":
    main()
