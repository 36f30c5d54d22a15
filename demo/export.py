"""The bundled text tower for ONNX Runtime: ``python -m demo.export`` writes connector/models/mini/text/onnx anew.

To be run whenever the weights have changed; a test holds that the files belong to them. The weights are published in
half precision and stay so in the graph, which casts them: nothing is lost, and the file is as small as theirs.
"""

import logging
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import typer
from onnx import helper, numpy_helper

from connector.models.catalog import find_space
from connector.models.text_export import export
from connector.models.text_models import load_text_model
from connector.models.text_onnx import SHIPPED, ExportedTower

log = logging.getLogger(__name__)

TEXT = Path(find_space("mini").text["multilingual"].model)


def export_text(folder: Path = TEXT, *, out: Path | None = None) -> ExportedTower:
    """Export the text tower in a folder, by default into the folder itself."""
    made = export(load_text_model(folder), folder=folder, out=out or folder / SHIPPED)
    halve(made.whole)
    return made


def halve(path: Path) -> None:
    """Store every float32 weight of a graph in half precision that loses nothing by it."""
    model = onnx.load(path)
    kept, casts = [], []
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if value.dtype != np.float32 or value.size < 2 or not np.array_equal(half.astype(np.float32), value):
            kept.append(tensor)
            continue
        kept.append(numpy_helper.from_array(half, f"{tensor.name}.half"))
        casts.append(helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def main(
    folder: Annotated[Path, typer.Argument(help="The text tower's folder.")] = TEXT,
) -> None:
    """Export a text tower beside its weights."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    made = export_text(folder)
    log.info("wrote %s, %.1f MB", made.whole, made.whole.stat().st_size / 1e6)


if __name__ == "__main__":
    typer.run(main)
