"""Figure: where optimizers walk in the Rosenbrock valley, and how fast f falls on the way.

    python -m plots.rosenbrock RUN [-o FILE]

RUN is a folder that rosenbrock.py made. Of each optimizer the run with the lowest final value is
drawn, from the points that paths.jsonl keeps. Section 4.2 of the paper has the same comparison.
"""

import sys
import textwrap
from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D

from config import Parser
from plots import style
from plots.style import plt
from results import RunError, read_config, read_lines

FLOOR = 1e-32  # of f; below it float64 has no digits left near the minimum
GROUND = LinearSegmentedColormap.from_list("ground", ["#FFFFFF", "#CBD5E1"])
LABEL_GAP = 0.06  # between two labels, as a fraction of the axis


def looks(winners: list[dict]) -> dict[str, dict]:
    """Return each optimizer's line style by name: rules solid, torch's dashed, its tuned Adam dotted."""
    human = {"ls": (0, (4, 1.5)), "lw": 1.5, "zorder": 3}
    rules = [winner["name"] for winner in winners if winner["rule"]]
    chosen = {
        name: {"color": style.FOUND[i % len(style.FOUND)], "lw": 2.0, "zorder": 2}
        for i, name in enumerate(rules)
    }
    for name in (winner["name"] for winner in winners if not winner["rule"]):
        chosen[name] = human | {"color": style.HUMAN[name.lower().split(",")[0]]}
        chosen[name] |= {"ls": (0, (1, 1.2))} if "," in name else {}
    return chosen


def draw_valley(axes: plt.Axes, winners: list[dict], x_range: tuple, y_range: tuple) -> None:
    """Draw the contours of f and the winners' paths."""
    x, y = np.meshgrid(np.linspace(*x_range, 500), np.linspace(*y_range, 500))
    height = np.log10((1 - x) ** 2 + 100 * (y - x * x) ** 2 + FLOOR)
    levels = np.arange(-4, 4.1, 0.5)
    axes.contourf(x, y, height, levels=levels, cmap=GROUND, extend="both")
    axes.contour(x, y, height, levels=levels, colors="white", linewidths=0.7, linestyles="solid")
    for winner in winners:
        axes.plot(winner["x"], winner["y"], **looks(winners)[winner["name"]])
    axes.plot(1, 1, "*", color="black", markersize=11, markeredgecolor="white", zorder=5)
    axes.set(xlim=x_range, ylim=y_range)
    axes.grid(False)


def draw_fall(axes: plt.Axes, winners: list[dict]) -> None:
    """Draw f against steps, each line labelled at its end."""
    look, last = looks(winners), winners[0]["iteration"][-1]
    lowest = min(min(winner["value"]) for winner in winners)
    axes.set(xscale="log", yscale="log", xlim=(1, max(last, 2)))
    for winner in winners:
        axes.plot(winner["iteration"], np.maximum(winner["value"], FLOOR), **look[winner["name"]])
    axes.set_ylim(max(lowest, FLOOR) / 10)
    bottom, top = np.log10(axes.get_ylim())
    place = 1.0
    for winner in sorted(winners, key=lambda winner: -winner["value"][-1]):
        end = (np.log10(max(winner["value"][-1], FLOOR)) - bottom) / (top - bottom)
        place = min(end, place - LABEL_GAP)
        axes.annotate(
            f"{winner['name']}, {winner['lr']:g}",
            (1, end),
            (1.06, place),
            xycoords="axes fraction",
            color=look[winner["name"]]["color"],
            va="center",
            arrowprops={"arrowstyle": "-", "color": "#BBBBBB", "lw": 0.8, "shrinkA": 2, "shrinkB": 1},
        )


def draw(folder: Path, path: Path) -> list[Path]:
    """Draw the figure of a run folder; return the files written.

    Raises:
        RunError: no race in this folder, or none that stayed finite.
    """
    config, records = read_config(folder), read_lines(folder / "records.jsonl")
    winners = read_lines(folder / "paths.jsonl")
    if not winners:
        raise RunError(f"{folder} has no paths to draw")
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5), width_ratios=(1, 0.8))
    draw_valley(left, winners, (-1.5, 1.5), (-0.4, 2.2))
    zoom = left.inset_axes((0.36, 0.64, 0.44, 0.34))
    draw_valley(zoom, winners, (0.85, 1.03), (0.74, 1.06))
    zoom.tick_params(labelsize=8)
    for spine in zoom.spines.values():
        spine.set_visible(True)
    left.indicate_inset_zoom(zoom, edgecolor="#4D4D4D")
    for winner in winners:
        color = looks(winners)[winner["name"]]["color"]
        zoom.plot(winner["x"][-1], winner["y"][-1], "o", color=color, markeredgecolor="white", zorder=4)
    left.set(xlabel="x", ylabel="y", title="Best run of each optimizer")
    draw_fall(right, winners)
    right.set(xlabel="step", title="f(x, y)")
    return style.save(figure, path)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="plots.rosenbrock", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder of rosenbrock.py")
    parser.add_argument("-o", type=Path, metavar="FILE", dest="file", help="default: RUN/rosenbrock.png")
    args = parser.parse_args(argv)
    try:
        print(*draw(args.run, args.file or args.run / "rosenbrock.png"))
    except RunError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
