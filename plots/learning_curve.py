"""Figure: does the controller learn to write better rules? The paper's Figure 4.

    python -m plots.learning_curve RUN [RUN ...] [-o FILE]

Every sampled rule is a dot. Below, all of them with the moving mean: what the controller is paid
for. Above, a close-up of the best: best so far beside the human optimizers. Runs that differ in
their seeds alone become one mean with a band, as far as all of them go.

What to look for: the mean should rise above that of random search. It also rises when a controller
has collapsed onto one good rule, so look at entropy.py and at the hollow dots too: duplicates, whose
score is reused. Best so far is a maximum of noisy scores: it says little on one seed.
"""

import sys
from collections import Counter
from functools import partial
from pathlib import Path

from config import as_program

import numpy as np
from matplotlib import patheffects
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import StrMethodFormatter

from plots import style
from plots.runs import Group, Run, all_runs, humans, notes, read_groups, score, setting_of, title
from plots.style import command, plt

WINDOW = 50  # rules in the moving mean; fewer in a run of less than 200, more in one of thousands
RASTER = 3_000  # dots above which an SVG holds them as a picture
DRAWN = ("id", "status", "cached_from", "reward")  # of a record, all that is drawn
HALO = [patheffects.withStroke(linewidth=3.5, foreground="white")]


def kind(record: dict) -> str:
    """Return how a record is drawn."""
    if record["status"] != "ok":
        return "rejected" if record["status"] == "rejected" else "failed"
    return "trained" if record["cached_from"] is None else "duplicate"


def moving_mean(run: Run, window: int) -> np.ndarray:
    """Return the mean reward of the last `window` rules, from rule `window` on."""
    total = np.cumsum([0.0, *(record["reward"] for record in run.records)])
    return (total[window:] - total[:-window]) / window


def best_so_far(run: Run) -> np.ndarray:
    """Return the best score of the rules that trained to the end; NaN before the first one."""
    scores = [record["reward"] if record["status"] == "ok" else np.nan for record in run.records]
    return np.fmax.accumulate(np.array(scores, dtype=float))


def draw_dots(axes: plt.Axes, group: Group, alpha: float) -> None:
    """Draw every rule that trained to the end; duplicates are hollow."""
    # A fill that cannot be seen, as without one matplotlib draws dot by dot: seconds for many.
    for which, fill, edge in (("duplicate", 0, 0.7), ("trained", alpha, 0)):
        points = [
            (record["id"] + 1, record["reward"]) for record in group.records if kind(record) == which
        ]
        x, y = np.array(points).reshape(-1, 2).T
        fill, line = ([to_rgba(group.color, opacity)] for opacity in (fill, alpha))
        dots = axes.scatter(x, y, s=4 + 20 * alpha, facecolors=fill, edgecolors=line, lw=edge)
        dots.set(rasterized=len(points) > RASTER, gid=f"{group.label} {which}")


def draw_failures(axes: plt.Axes, groups: list[Group], alpha: float) -> list[tuple[float, str, str]]:
    """Draw a row of marks a group: rules without a score, paler if rejected; return labels."""
    labels = []
    for row, group in enumerate(groups):
        told = []
        for which, color in (("rejected", style.RANDOM), ("failed", style.DIVERGED)):
            x = [record["id"] + 1 for record in group.records if kind(record) == which]
            look = {"color": color, "ms": 7, "alpha": min(0.7, 2 * alpha)}
            axes.plot(x, [row] * len(x), "|", gid=f"{group.label} {which}", **look)
            told += [f"{len(x):,} {which}"] * (which == "failed" or len(x) > 0)
        labels.append((row, f"{group.name}: {', '.join(told)}", group.color))
    axes.set(ylim=(len(groups) - 0.4, -0.6), yticks=[], xlabel="rules sampled")
    axes.set_ylabel("failed", rotation=0, ha="right", va="center")
    axes.grid(False)
    return labels


def close_up(groups: list[Group], people: dict[str, float]) -> tuple[float, float]:
    """Return limits of y between which the best rules and the human optimizers can be told apart."""
    bests = [best_so_far(run)[-1] for group in groups for run in group.runs]
    bests = [best for best in bests if np.isfinite(best)]
    if not bests:
        return 0.0, 1.0
    good = np.quantile([r["reward"] for g in groups for r in g.records if r["status"] == "ok"], 0.9)
    low, high = min([*bests, *(people.values() or [good])]), max([*bests, *people.values()])
    margin = 0.12 * (high - low) + 0.005 * ((high - low) if is_own(groups) else 1)
    return low - margin, high + margin


def is_own(groups: list[Group]) -> bool:
    """Return whether these are searches on a task of one's own, whose scores have no range."""
    return "task" in groups[0].runs[0].config


def explain(axes: plt.Axes, groups: list[Group], window: int) -> None:
    """Write title and legend: dots with their counts, a row a group, then lines and bands."""
    dot = partial(Line2D, [], [], ls="", marker="o", ms=5)
    trained, duplicates = [], []
    lines = [(Line2D([], [], color=style.FAINT, lw=2.2), f"mean of the last {window} rules")]
    for group in groups:
        counts, number = Counter(map(kind, group.records)), len(group.runs)
        label = f"{group.label}, {number} seeds" if number > 1 else group.label
        label = style.fold(f"{label}: {counts['trained']:,} rules scored", 45)
        trained.append((dot(color=group.color), label))
        hollow = dot(markeredgecolor=group.color, markerfacecolor="none")
        duplicates.append((hollow, f"duplicates: {counts['duplicate']:,}" + "\n" * label.count("\n")))
    if any(len(group.runs) > 1 for group in groups):
        lines.append((Patch(color=style.FAINT, alpha=0.25, lw=0), "lowest to highest seed"))
    style.legend_columns(axes, [trained, duplicates, lines], "Every rule")


def picture(groups: list[Group]) -> Figure:
    """Draw the figure."""
    runs = all_runs(groups)
    longest = max(len(run.records) for run in runs)
    window = max(min(WINDOW, longest // 4), longest // 50, 2)
    alpha = 0.1 + 0.4 * min(1.0, 400 / sum(len(run.records) for run in runs)) ** 0.5
    people = {line["name"]: line["reward"] for line in humans(groups) if line["status"] == "ok"}

    heights = [2, 3, 0.22 * len(groups)]
    size = {"figsize": (7.2, 6), "height_ratios": heights}
    figure, (top, every, strip) = plt.subplots(3, 1, sharex=True, **size)
    best, mean = [], []
    for group in reversed(groups):  # the first one comes to lie on top
        draw_dots(top, group, alpha)
        draw_dots(every, group, alpha)
        last, end = style.draw_band(
            top, group.band(best_so_far), f"{group.label} best", group.color, drawstyle="steps-post"
        )
        where = f" at {last:,}" if last < longest else ""
        best.append((end, f"best of {group.name} {end:.3f}{where}", group.color))
        averaged = group.band(partial(moving_mean, window=window))
        _, end = style.draw_band(
            every, averaged, f"{group.label} mean", group.color, window, lw=2.2, path_effects=HALO
        )
        mean.append((end, f"mean of {group.name} {end:.2f}{where}", group.color))
    for name, reached in people.items():
        top.axhline(reached, color=style.HUMAN[name], lw=1.2, ls=style.DASHED, zorder=1)
        best.append((reached, f"{style.HUMAN_NAMES[name]} {reached:.3f}", style.HUMAN[name]))
    low, high, name = *close_up(groups, people), runs[0].config.get("score_name", "accuracy")
    top.set(ylim=(low, high), ylabel=name, title="The best rules, close up")
    every.set(ylim=(min(-0.02, low), max(1.02 * high, 0.1)), ylabel=name, xlim=(0, longest + 1))
    failure = setting_of(runs[0], "failure_reward")
    if is_own(groups):
        config = runs[0].config
        failure, room = config["failure"], 0.05 * (high - config["failure"])
        every.set(ylim=(failure - room, high + room))
        every.axhspan(config["human"] - config["noise"], config["human"] + config["noise"], alpha=0.15)
        for told in ("untrained", *["trivial"] * bool(config["trivial"])):
            [level] = config["trivial"] if told == "trivial" else [config["untrained"]]
            every.axhline(level, color=style.FAINT, lw=1.2, ls=style.DOTTED, zorder=1)
            mean.append((level, f"{told} {level:.3g}", style.FAINT))
    strip.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    failures = draw_failures(strip, groups, alpha)

    explain(every, groups, window)
    again = any(setting_of(run, "replicates") > 1 for run in runs)
    text = f"Score: {score(runs)}{', the mean of trainings so far' * again}. The best is partly luck. "
    text += f"Marks at the bottom: rejected rules grey, failed ones orange; both count {failure:.3g}. "
    text += "Pale band: the best human optimizer, give or take a training's noise. " * is_own(groups)
    text += "Dashed: human optimizers, a training each. " * bool(people)
    text += "Lines are means over seeds. " if len(runs) > len(groups) else ""
    style.frame(figure, title(runs), text + notes(groups))
    style.label_all({top: best, every: mean, strip: failures})
    return figure


def draw(folders: list[Path], output: Path) -> list[Path]:
    """Draw the figure of some runs; return the files written. Raises RunError as `read_groups` does."""
    return style.save(picture(read_groups(folders, DRAWN)), output)


def main(argv: list[str] | None = None) -> int:
    return command("plots.learning_curve", __doc__, draw, argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
