"""Figure: the ways of optimizers through the Rosenbrock valley, and how fast f falls on them.

    python -m plots.rosenbrock RUN [-o FILE]

RUN is a finished folder of studies.valley. Of what people made and the best rules, the run with the
lowest final value from the first start is drawn, from some of its points. Steps are linear: on a
logarithmic axis the last decade, in which they part, would be a quarter. Bello et al., ICML 2017,
section 4.2.
"""

import sys
from pathlib import Path

from config import as_program

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from plots import style
from plots.style import command, plt
from results import RunError, read_config, read_lines
from rosenbrock import rosenbrock

FLOOR = 1e-32  # of f; nearer to the minimum float64 has no digits left
GROUND = LinearSegmentedColormap.from_list("ground", ["#FFFFFF", "#DCE4EC", "#A9B8C9"])


def looks(winners: list[dict]) -> list[dict]:
    """Return a colour and dash of its own for each; what people made is thinner and in front."""
    rules, people = (
        [winner["name"] for winner in winners if bool(winner["rule"]) == found]
        for found in (True, False)
    )
    human = {name: style.HUMAN.get(name.lower(), style.DARK) for name in people}  # DARK: the tuned Adam
    chosen = []
    for name in (winner["name"] for winner in winners):
        if name in human:
            dash = (0, (4, 1.5, *(1, 1.5) * people.index(name)))  # as many dots as stand before it
            chosen.append({"color": human[name], "lw": 1.5, "zorder": 3, "ls": dash})
        else:
            number = rules.index(name)
            dash = (0, (8, 2, *(1, 2) * number)) if number else "-"
            chosen.append({"color": style.FOUND[number], "lw": 2.0, "zorder": 2, "ls": dash})
    return chosen


def draw_valley(axes: plt.Axes, winners: list[dict], levels: np.ndarray, xlim: tuple, ylim: tuple):
    """Draw the contours of f, at these powers of ten, and the winners' paths."""
    x, y = np.meshgrid(np.linspace(*xlim, 300), np.linspace(*ylim, 300))
    height = np.log10(rosenbrock(x, y) + FLOOR)
    axes.contourf(x, y, height, levels=levels, cmap=GROUND, extend="both")
    axes.contour(x, y, height, levels=levels, colors="white", linewidths=0.8, linestyles="solid")
    for winner, look in zip(winners, looks(winners), strict=True):
        axes.plot(winner["path"]["x"], winner["path"]["y"], **look)
    axes.plot(1, 1, "*", color="black", markersize=12, markeredgecolor="white", zorder=5)
    axes.set(xlim=xlim, ylim=ylim)
    axes.grid(False)


def draw_fall(axes: plt.Axes, winners: list[dict], steps: int):
    """Draw f against the step, each line labelled at its end."""
    labels = []
    for winner, look in zip(winners, looks(winners), strict=True):
        values = np.maximum(winner["path"]["value"], FLOOR)
        axes.plot(winner["path"]["iteration"], values, **look)
        eps = f" {winner['eps']:g}" if "tuned" in winner["name"] else ""
        labels.append((values[-1], f"{winner['name']}{eps}, {winner['lr']:g}", look["color"]))
    axes.set(yscale="log", xlim=(0, steps))
    style.label_right(axes, labels, size=10)
    for label in axes.texts:  # coloured, because they name the paths on the left too
        label.set(color=label.arrow_patch.get_edgecolor())


def draw(folders: list[Path], output: Path) -> list[Path]:
    """Draw the figure of a run folder; return the files written.

    Raises:
        RunError: the folder is none of studies.valley, or not finished.
    """
    [folder] = folders
    saved = read_config(folder)
    if saved.get("script") not in ("studies.valley", "rosenbrock.py"):  # its name in older folders
        raise RunError(f"{folder} is a run of another script than studies.valley")
    if not (folder / "summary.csv").exists():
        raise RunError(f"{folder} is not finished; go on: python -m studies.valley --resume {folder}")
    config = saved["config"]
    records = sorted(read_lines(folder / "records.jsonl"), key=lambda record: record["id"])
    winners = [record for record in records if "path" in record]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.8), width_ratios=(1, 0.72))

    start = x, y = config["start_x"], config["start_y"]
    xlim, ylim = (min(-1.5, x - 0.3), max(1.5, x + 0.3)), (min(-0.4, y - 0.3), max(2.2, y + 0.3))
    draw_valley(left, winners, np.arange(-1, 3.1, 0.5), xlim, ylim)
    left.plot(*start, "o", color="white", markeredgecolor="black", zorder=5)
    left.annotate("start", start, (-4, -12), textcoords="offset points", ha="right")
    zoom = left.inset_axes((0.35, 0.63, 0.46, 0.35))
    draw_valley(zoom, winners, np.arange(-4, 0.1, 0.5), (0.85, 1.03), (0.74, 1.06))
    for winner, look in zip(winners, looks(winners), strict=True):
        end = {"color": look["color"], "markeredgecolor": "white", "zorder": 4}
        zoom.plot(winner["path"]["x"][-1], winner["path"]["y"][-1], "o", **end)
    zoom.tick_params(labelsize=8)
    zoom.spines[:].set_visible(True)
    left.indicate_inset_zoom(zoom, edgecolor="#4D4D4D")
    left.set(xlabel="x", ylabel="y", title="The way to the minimum")

    draw_fall(right, winners, config["iterations"])
    right.set(xlabel="step", title="f(x, y) on the way")
    right.text(1.045, 1, "optimizer, rate", transform=right.transAxes, va="center", color="#666666")
    drawn = {winner["name"] for winner in winners}
    raced = [record for record in records if "path" not in record]
    ended = {record["name"] for record in raced if record["starts"][0]["status"] == "ok"}
    lost = {record["name"] for record in raced} - ended
    starts = config["starts"]
    text = f"From the first of {starts} starts, the rules best over all of them. " if starts > 1 else ""
    text += f"And {len(ended - drawn)} rules that did worse. " if ended - drawn else ""
    text += f"Diverged at every rate: {len(lost)}." if lost else ""
    if text:
        figure.supxlabel(text, color=style.FAINT, fontsize=10, wrap=True)
    return style.save(figure, output)


def main(argv: list[str] | None = None) -> int:
    return command("plots.rosenbrock", __doc__, draw, argv, what="a folder of studies.valley", nargs=1)


if __name__ == "__main__":
    sys.exit(as_program(main))
