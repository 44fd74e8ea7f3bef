"""What all figures share: fonts, labels beside an axis, saving as PNG and SVG, and the command line.

Colours and names are in names.py, which does without matplotlib; figures take them from here too.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from config import Parser

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import results
from plots.names import (  # noqa: F401
    ALGORITHM,
    CONTROLLER,
    DARK,
    DIVERGED,
    FAINT,
    FOUND,
    HUMAN,
    HUMAN_NAMES,
    RANDOM,
    TOKENS,
)

DASHED = (0, (4, 1.5))  # what people made, and limits
DOTTED = (0, (1, 1.2))  # rules with a name, where found ones are solid

matplotlib.rcdefaults()  # nobody's matplotlibrc
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


def spread(
    places: list[float], heights: float | list[float], low: float = 0.0, high: float = 1.0
) -> np.ndarray:
    """Return where to put the centres of labels: as near to their places as their heights allow.

    Least squares: labels that touch move as one block to the mean of where they would be.

    Args:
        places: in any order.
        heights: of all labels, or of each.
        low, high: what no centre leaves, as long as they fit between.
    """
    order = np.argsort(places, kind="stable")
    tall = np.broadcast_to(np.asarray(heights, dtype=float), len(order))[order]
    steps = np.cumsum(tall) - tall / 2 - tall[:1] / 2
    blocks: list[list[float]] = []
    for wish in np.asarray(places, dtype=float)[order] - steps:
        blocks.append([wish])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    settled = np.array([np.mean(block) for block in blocks for _ in block])
    result = np.empty(len(order))
    result[order] = np.clip(settled, low, max([low, *(high - steps[-1:])])) + steps
    return result


def fold(text: str, widest: int = 33) -> str:
    """Break a group's label, with what follows it, after a comma if it is long."""
    lines: list[str] = []
    for part in text.split(", "):
        fits = lines and len(f"{lines[-1]}, {part}") <= widest
        lines[-1:] = [f"{lines[-1]}, {part}"] if fits else [*lines[-1:], part]
    return ",\n".join(lines)


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
        row = 1.25 * size / points
        tall = [row * (1 + text.count("\n")) for _, text, _ in entries]
        edge = 0.7 * (max(tall, default=row) - row)  # or a folded label would reach into a title
        places = spread(heights, tall, edge, 1 - edge)
        for (_, text, color), height, place in zip(entries, heights, places, strict=True):
            at = {"xy": (1, height), "xytext": (20, points * (place - height))}
            at |= {"xycoords": "axes fraction", "textcoords": "offset points"}
            axes.annotate(text, **at, **look, arrowprops={**line, "color": color})


def legend_columns(axes: plt.Axes, columns: list[list[tuple]], title: str) -> None:
    """Write the title of an axes and under it a legend; each column is a list of (key, text)."""
    rows = max(map(len, columns))
    lines = max(sum(1 + text.count("\n") for _, text in column) for column in columns)
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
    axes.set_title(title, pad=6 + 14 * lines)


def draw_band(
    axes: plt.Axes, band: tuple, name: str, color: str, first: float = 1, step: float = 1, **look
) -> tuple[float, float]:
    """Draw a mean, and the band from lowest to highest where these differ.

    Args:
        band: lowest, mean and highest values, as `Group.band` returns them.
        name: what the line is called; the band's name has " band" behind it.
        first, step: x of the first value, and from one to the next.
    Returns:
        Where the mean ends, (x, y); NaN if nowhere.
    """
    low, mean, high = band
    x = first + step * np.arange(len(mean))
    if not np.array_equal(low, high, equal_nan=True):
        stairs = look.get("drawstyle", "").removeprefix("steps-") or None
        axes.fill_between(x, low, high, color=color, alpha=0.2, lw=0, step=stairs, gid=f"{name} band")
    axes.plot(x, mean, gid=name, **{"color": color, "lw": 1.8, **look})
    return (x[-1], mean[-1]) if len(mean) else (np.nan, np.nan)


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
    figure.set_layout_engine("none")  # the SVG takes the places that were found for the PNG
    figure.savefig(paths[1], metadata={"Date": None})
    plt.close(figure)
    return paths


def command(
    module: str,
    doc: str,
    draw: Callable[[list[Path], Path], list[Path]],
    argv: list[str] | None,
    file: str = "picture, an SVG goes beside it",
    suffix: str = ".png",
    what: str = "run folders of search.py",
    nargs: str | int = "+",
) -> int:
    """Run a figure's command line: `python -m MODULE RUN [RUN ...] [-o FILE]`."""
    parser, name = Parser(prog=f"python -m {module}", description=doc), module.split(".")[-1]
    parser.add_argument("runs", nargs=nargs, type=Path, metavar="RUN", help=what)
    where = f"{name}{suffix} in RUN or beside it if it is a file, {name}-2-runs{suffix} of two"
    file_help = f"{file}; replaces an older one (default: {where})"
    parser.add_argument("-o", type=Path, metavar="FILE", dest="file", help=file_help)
    args = parser.parse_args(argv)
    first = args.runs[0]
    folder = first.parent if first.is_file() else first
    name += f"-{len(args.runs)}-runs" * (len(args.runs) > 1)  # that of the first alone is another
    target = args.file or folder / f"{name}{suffix}"
    older = target.exists()
    try:
        with results.uncollected():  # half the time, for a tenth more memory, with 100,000 records
            paths = draw(args.runs, target)
    except results.RunError as error:
        parser.error(str(error))
    except BrokenPipeError:  # `... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own last flush
        return 128 + signal.SIGPIPE
    except OSError as error:
        parser.error(f"cannot write {error.filename}: {error.strerror}")
    print(f"Wrote {' and '.join(map(str, paths))}" + ", in place of an older one" * older)
    return 0
