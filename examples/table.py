"""A pandas table with a column of images into a collection, and the collection as a table again.

    python examples/table.py products.csv --column image

The column has paths or addresses; the others become the metadata of the images, and come back as columns. A data set
of Hugging Face's is given likewise: `photos.add(row["image"] for row in dataset)`.
"""

import argparse
import os
from pathlib import Path

import pandas as pd

from polyglance import Collection

SPACE = os.environ.get("POLYGLANCE_MODEL__SPACE", "mini")


def main() -> None:
    """Read the arguments, add the rows, and show what is stored."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--column", default="image")
    given = parser.parse_args()
    rows = pd.read_csv(given.table)
    images = [str(given.table.parent / each) if "://" not in each else each for each in rows[given.column]]
    metas = rows.drop(columns=given.column).to_dict("records")
    with Collection.open("example-table", space=SPACE) as photos:
        added = photos.add(images, meta=[{str(name): value for name, value in each.items()} for each in metas])
        print(f"{added.counts.stored} stored, {added.counts.unchanged} unchanged, {added.counts.rejected} rejected")
        for reject in added.rejects:
            print(f"{reject.uri}: {reject.reason}")
        stored = pd.DataFrame(
            {"uri": each.payload["uri"], "width": each.payload["width"], **each.payload.get("meta", {})}
            for each in photos.iterate()
        )
    print(stored.to_string(index=False))


if __name__ == "__main__":
    main()
