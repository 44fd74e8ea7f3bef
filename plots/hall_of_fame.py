"""Figure: the best families that were found, beside the optimizers that people made.

    python -m plots.hall_of_fame RUN [RUN ...] [-o FILE]

A family is rules that no training can tell apart; its best rule is drawn, in the training that made it
so. Left, the held-out accuracy after each epoch of the long training; right, after one epoch with each
learning rate of the sweep, of which the best (ringed) went on. Crosses below are rates that stopped,
since they diverged or fell behind; how far these would have come is not known. The formulas tell the
mean and standard deviation over all trainings of the family, and of how many rules they are.

What to look for: a rule that is good at one rate only is hard to use; one that is good at several is
worth more than a thousandth of accuracy. A family's mean over many trainings is to be trusted more than
a single training. All are the best of hundreds, so their lead is partly luck: score them again with
other seeds before believing it.
"""

import sys
import textwrap
from pathlib import Path

from config import as_program

import numpy as np
from matplotlib.figure import Figure

from plots import style
from plots.runs import Group, all_runs, humans, notes, plural, ranked, read_groups, score, title
from plots.style import command, plt
from results import Family, RunError

MOST = 6  # families whose best rule is drawn
MARKS = "osD^vP"  # of the rules, so that nobody depends on colours


def contestants(groups: list[Group], best: list[Family]) -> list[tuple[dict, str, dict]]:
    """Return the best families' best rules, then the human optimizers: record, short name and look."""
    chosen = []
    for rank, (family, mark) in enumerate(zip(best, MARKS, strict=False), 1):
        look = {"color": style.FOUND[rank - 1], "marker": mark, "ms": 4.5, "lw": 1.6, "zorder": 3}
        chosen.append((family.best, f"rule {rank}", look))
    for line in humans(groups):
        look = {"color": style.HUMAN[line["name"]], "lw": 1.6, "ls": style.DASHED, "zorder": 4}
        chosen.append((line, style.HUMAN_NAMES[line["name"]], look))
    return chosen


def told(family: Family) -> str:
    """Return mean and spread over a family's trainings, and how many rules and trainings those are."""
    spread = "" if family.spread is None else f" sd {family.spread:.3f}"
    rules, trainings = plural(family.num_rules, "rule"), plural(len(family.trainings), "training")
    return f"{family.reward:.3f}{spread}, {rules}, {trainings}"


def draw_curves(axes: plt.Axes, chosen: list[tuple[dict, str, dict]], score: str) -> None:
    """Draw accuracy against epoch, labelled at the end."""
    labels = []
    for record, name, look in chosen:
        curve = np.array(record["curve"], dtype=float)  # None, where it diverged, becomes NaN
        axes.plot(np.arange(1, len(curve) + 1), curve, **look, gid=name)
        if record["status"] == "ok":
            labels.append((curve[-1], f"{name} {curve[-1]:.3f}", look["color"]))
    epochs = max((len(record["curve"]) for record, _, _ in chosen), default=1)
    axes.set(
        title="Best rule of each family",
        xlabel="epoch",
        ylabel=score,
        xticks=range(1, epochs + 1),
    )
    style.label_right(axes, labels)


def draw_sweeps(axes: plt.Axes, strip: plt.Axes, chosen: list[tuple[dict, str, dict]]) -> None:
    """Draw accuracy against learning rate, and below it the rates without one, a row a rule."""
    strip.sharex(axes)
    for row, (record, name, look) in enumerate(chosen):
        rates, scores = np.array(record["sweep"], dtype=float).reshape(-1, 2).T
        axes.plot(rates, scores, **look, gid=name)
        best = rates == record["lr"]
        axes.plot(rates[best], scores[best], "o", ms=9, mfc="none", mec=look["color"], mew=1.2)
        lost = rates[np.isnan(scores)]
        strip.plot(lost, [row] * len(lost), "x", color=look["color"], ms=4.5, mew=1.4, gid=name)
    axes.set(title="The sweep of rates", xscale="log", xticks=rates[::2])
    if not any("scale" in record for record, _, _ in chosen):
        axes.update_datalim([(rates[0], 0)])  # so that the margin above is one of the whole axis
        axes.autoscale_view()
        axes.set(title="One epoch at each rate", ylim=(0, None))
    axes.tick_params(labelbottom=False)
    strip.set(ylim=(len(chosen), -1), yticks=[], xlabel="learning rate")
    strip.set_ylabel("stopped", fontsize=8)
    if all(len(line.get_xdata()) == 0 for line in strip.lines):
        strip.text(0.5, 0.45, "none", transform=strip.transAxes, ha="center", va="center", fontsize=8)
    strip.grid(visible=False, axis="y")


def picture(groups: list[Group], families: list[Family]) -> Figure:
    """Draw the figure of runs and their families, best first.

    Raises:
        RunError: no rule has trained to the end yet.
    """
    if not families:
        raise RunError("no rule has trained to the end, so there is no best one to draw")
    best = families[:MOST]
    chosen = contestants(groups, best)
    formulas = []
    for (record, name, _), family in zip(chosen, best, strict=False):
        text = textwrap.fill(f"{record['infix']}  ({told(family)})", 85, subsequent_indent="    ")
        formulas.append(f"{name}:  {text}")
    lines = 0.2 * sum(formula.count("\n") + 1 for formula in formulas)
    rows = [["curves", "sweep"], ["curves", "strip"], ["legend", "legend"]]
    size, heights = (7.2, 4.4 + lines), [3, 0.6, lines]
    figure, panels = plt.subplot_mosaic(rows, figsize=size, height_ratios=heights, width_ratios=(1, 1.1))
    text = f"The best of {len(families):,} families by their mean in these searches: partly luck. "
    style.frame(figure, title(all_runs(groups)), text + notes(groups))

    keys = [plt.Line2D([], [], **look) for _, _, look in chosen[: len(best)]]
    panels["legend"].axis("off")
    panels["legend"].legend(keys, formulas, loc="upper left", borderaxespad=0, fontsize=9)
    draw_sweeps(panels["sweep"], panels["strip"], chosen)
    draw_curves(panels["curves"], chosen, score(all_runs(groups)))
    return figure


def draw(folders: list[Path], output: Path) -> list[Path]:
    """Draw the figure of some runs; return the files written. Raises RunError as `picture` does."""
    groups = read_groups(folders)
    return style.save(picture(groups, ranked(groups)), output)


def main(argv: list[str] | None = None) -> int:
    return command("plots.hall_of_fame", __doc__, draw, argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
