"""What all figures share: colours, fonts, labels beside an axis, and saving as PNG and SVG."""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")  # figures go to files; no screen is needed
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# One colour a thing, the same in every figure; a palette that colour-blind readers can tell apart
# (Okabe and Ito 2008).
CONTROLLER, RANDOM, DIVERGED = "#0072B2", "#8C8C8C", "#D55E00"
HUMAN = {"sgd": "#E69F00", "momentum": "#CC79A7", "rmsprop": "#009E73", "adam": "#56B4E9"}
HUMAN_NAMES = {"sgd": "SGD", "momentum": "Momentum", "rmsprop": "RMSProp", "adam": "Adam"}
FOUND = ["#0072B2", "#D55E00", "#332288", "#882255", "#117733", "#000000"]
ALGORITHM = {
    "trpo": CONTROLLER,
    "ppo": "#332288",
    "reinforce": "#882255",
    "evolution": "#117733",
    "random": RANDOM,
}
SPARE = ["#AA4499", "#999933", "#000000"]  # for an algorithm's second, third and fourth settings
TOKENS = {"op1": "#332288", "op2": "#88CCEE", "u1": "#117733", "u2": "#999933", "b": "#CC6677"}
DARK, FAINT = "#333333", "#777777"  # text, and text that may be overlooked
DASHED = (0, (4, 1.5))  # what people made, and limits
DOTTED = (0, (1, 1.2))  # rules with a name, where found ones are solid

plt.rcParams.update(
    {
        "figure.figsize": (7.2, 4.2),
        "figure.dpi": 100,
        "savefig.dpi": 200,
        "figure.constrained_layout.use": True,
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#4D4D4D",
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#E6E6E6",
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "0",  # the same figure, the same bytes
    }
)


def spread(places: list[float], gap: float, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Return where to put labels: as near to their places as a gap between all of them allows.

    Least squares: labels that touch move as one block to the mean of where they would be.

    Args:
        places: in any order.
        low, high: what no label leaves, as long as they fit between.
    """
    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(order))
    blocks: list[list[float]] = []
    for wish in np.asarray(places, dtype=float)[order] - steps:
        blocks.append([wish])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    settled = np.array([np.mean(block) for block in blocks for _ in block])
    result = np.empty(len(order))
    result[order] = np.clip(settled, low, max(low, high - gap * (len(order) - 1))) + steps
    return result


def label_right(axes: plt.Axes, labels: list[tuple[float, str, str]], size: float = 9) -> None:
    """Write labels (y, text, colour) beside the axes, each with a line from its y; none overlap.

    All else must be drawn, and the limits of y final. A label whose y is NaN is left out; one whose y
    is beyond the limits stays within them.
    """
    label_all({axes: labels}, size)


def label_all(labels: dict[plt.Axes, list[tuple[float, str, str]]], size: float = 9) -> None:
    """Write labels beside several axes of a figure, as `label_right` does."""
    figure = next(iter(labels)).figure
    figure.get_layout_engine().execute(figure)  # so that heights are known; slow, so once for all
    line = {"arrowstyle": "-", "lw": 1.2, "relpos": (0, 0.5), "shrinkA": 2, "shrinkB": 0}
    line["patchA"] = None  # or a steep line would be cut where it leaves the text's box, a row too early
    look = {"color": DARK, "fontsize": size, "va": "center", "annotation_clip": False}
    for axes, entries in labels.items():
        entries = [entry for entry in entries if np.isfinite(entry[0])]
        points = axes.get_window_extent().height * 72 / figure.dpi
        to_axes = axes.transData + axes.transAxes.inverted()
        heights = [np.clip(to_axes.transform((0, y))[1], 0, 1) for y, _, _ in entries]
        places = spread(heights, 1.25 * size / points)
        for (_, text, color), height, place in zip(entries, heights, places, strict=True):
            at = {"xy": (1, height), "xytext": (20, points * (place - height))}
            at |= {"xycoords": "axes fraction", "textcoords": "offset points"}
            axes.annotate(text, **at, **look, arrowprops={**line, "color": color})


def legend_columns(axes: plt.Axes, columns: list[list[tuple]], title: str) -> None:
    """Write the title of an axes and under it a legend; each column is a list of (key, text)."""
    rows = max(map(len, columns))
    blank = (Line2D([], [], ls=""), "")
    keys = [entry for column in columns for entry in (column + [blank] * rows)[:rows]]
    place = {
        "loc": "lower left",
        "bbox_to_anchor": (-0.01, 1),
        "borderaxespad": 0.1,
        "ncols": len(columns),
    }
    look = {"fontsize": 9, "handletextpad": 0.5, "columnspacing": 1.5}
    axes.legend(*zip(*keys, strict=True), **place, **look).set_in_layout(False)
    axes.set_title(title, pad=6 + 14 * rows)


def frame(figure: Figure, title: str, caption: str) -> None:
    """Write the title above everything and small print below, broken into lines that fit."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.8, weight="bold", wrap=True)
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=8, color=FAINT, wrap=True)


def save(figure: Figure, path: Path) -> list[Path]:
    """Write the figure as PNG and as SVG beside it; return both paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = path.stem if path.suffix in (".png", ".svg") else path.name
    paths = [path.with_name(f"{stem}.png"), path.with_name(f"{stem}.svg")]
    figure.savefig(paths[0])
    figure.savefig(paths[1], metadata={"Date": None})
    plt.close(figure)
    return paths
