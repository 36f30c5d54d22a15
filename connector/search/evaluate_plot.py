"""The scores of an evaluation as an image: a bar a language, the best language first. Needs the extra ``plot``."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from connector.errors import InvalidQuery
from connector.extras import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from connector.search.evaluate import Evaluation

KINDS = (".pdf", ".png", ".svg")
SHADES = (
    ("recall_10", "recall@10", "#c6dbef"),
    ("recall_5", "recall@5", "#6baed6"),
    ("recall_1", "recall@1", "#2171b5"),
)


def check_plot(path: Path) -> None:
    """Raise InvalidQuery for a file that cannot be drawn to, ConfigError where the extra is missing."""
    if path.suffix.lower() not in KINDS:
        raise InvalidQuery(f"the plot {str(path)!r} is none of {', '.join(KINDS)}.")
    if not path.absolute().parent.is_dir():
        raise InvalidQuery(f"the plot {str(path)!r} lies in a folder that does not exist.")
    require("plot", what="--plot")


def plot(found: "Evaluation", path: Path, *, title: str) -> None:
    """Draw the scores by language to a PNG, PDF or SVG. Raises InvalidQuery, ConfigError."""
    check_plot(path)
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a name in a script that no font here has
        try:
            _drawn(found, title=title).savefig(path, dpi=120)
        except OSError as error:
            raise InvalidQuery(f"the plot {str(path)!r} cannot be written: {error}.") from error


def _drawn(found: "Evaluation", *, title: str) -> "Figure":
    from matplotlib.figure import Figure

    scores = sorted(found.languages, key=lambda score: (score.recall_10, score.mrr))  # the last one is drawn on top
    names = [f"{score.language} ({score.captions:,})" for score in scores]
    figure = Figure(figsize=(8, 1.9 + 0.26 * len(scores)), layout="constrained")
    axes = figure.add_subplot()
    for field, label, colour in SHADES:  # the longer bar first: each covers the start of the one before
        axes.barh(names, [getattr(score, field) for score in scores], color=colour, label=label, height=0.8)
    axes.plot([score.mrr for score in scores], names, "|", color="black", markersize=9, label="MRR")
    if found.mean is not None:
        axes.axvline(
            found.mean.recall_10, color="#777777", linestyle=":", label=f"mean @10: {found.mean.recall_10:.3f}"
        )
    axes.set(xlim=(0, 1), xlabel="share of captions, by exact search", title=title)
    axes.margins(y=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=5, frameon=False, fontsize="small")
    return figure
