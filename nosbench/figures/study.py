"""Figure: search algorithms on NOS-Bench, many seeds of each, against the number of sampled rules.

    python -m nosbench.figures.study FILE.jsonl [FILE.jsonl ...] [-o FILE]
    python -m nosbench.figures.study runs/study               # every setting of a study

A line is the mean over the seeds of one setting of study.py, its band the middle 80 % of them; each
kind of setting has a column of its own, with random search in all of them. The figure is Figure 4 of the
paper with what that figure does not tell: how many different good rules were found, what they are worth
on seeds that the search did not see, and whether it still explores.

A second one, NAME-distinct, has the number of distinct rules in its place: a search that collapses
samples on, but its line ends early. The table of standings.py is printed too.

What to look for: a high mean reward with a falling entropy is a search that writes one rule in many
spellings. The best rules by the search's own scores are flattered by its noise; the fresh scores tell.
"""

import sys
from pathlib import Path

from config import as_program

import numpy as np
from matplotlib.figure import Figure

from nosbench.standings import Setting, counted, read, table
from plots import style
from plots.style import command, plt

PANELS = {
    "found_fresh": ("Different top-1 % {} found", "{}, top by fresh seeds"),
    "top10_fresh": ("Ten best {}, scored on fresh seeds", "mean validation accuracy"),
    "latest": ("The latest fifth of the samples", "mean reward"),
    "entropy": ("Entropy over {}", "nats"),
}
KINDS = {
    "paper": "The paper's setting",
    "plain": "Larger steps",
    "new": "Known ones passed over",
    "long": "The same, for 10,000 rules",
}
BAND = (10, 90)  # percentiles


def by_kind(settings: list[Setting]) -> dict[str, list[Setting]]:
    """Sort settings by kind; random search, treated alike where there is such, is beside each."""
    chance = [setting for setting in settings if setting.config["algorithm"] == "random"]
    groups = {}
    for kind in KINDS:
        mine = [s for s in settings if s.kind == kind and s not in chance]
        alike = [s for s in chance if (s.kind == "plain") == (kind in ("paper", "plain"))]
        if mine:
            groups[kind] = mine + (alike or chance)
    return groups or {settings[0].kind: settings}


def picture(settings: list[Setting], by: str = "sampled") -> Figure:
    """Draw the figure against the number of "sampled" rules or "distinct" ones, the mean over seeds."""
    groups, things = by_kind(settings), counted(settings)
    size = {"figsize": (2.4 + 3.1 * len(groups), 10.5), "sharex": True, "sharey": "row"}
    figure, axes = plt.subplots(len(PANELS), len(groups), squeeze=False, **size)
    labels: dict[plt.Axes, list] = {}
    marks = max((setting.rules for setting in settings), key=len)
    for row, (name, (title, unit)) in zip(axes, PANELS.items(), strict=True):
        for panel, group in zip(row, groups.values(), strict=True):
            for setting in group:
                values, color = setting.values[name], style.ALGORITHM[setting.config["algorithm"]]
                rules = setting.rules if by == "sampled" else setting.values["distinct"].mean(0)
                low, high = np.percentile(values, BAND, axis=0)
                panel.fill_between(rules, low, high, color=color, alpha=0.12, lw=0)
                panel.plot(rules, values.mean(0), color=color, lw=1.7)
                end = values.mean(0)[-1]
                # Dots lead from where a search ends early to its label.
                panel.plot([rules[-1], marks[-1]], [end, end], color=color, lw=1, ls=(0, (1, 3)))
                labels.setdefault(panel, []).append((end, setting.name, color))
            panel.set(xscale="log")
            panel.set_xticks(marks, [f"{mark:,}" for mark in marks], fontsize=8, rotation=45)
            panel.minorticks_off()
        row[0].set_ylabel(unit.format(things))
        row[0].set_title(title.format(things), fontsize=10, weight="normal")
        if name in ("found_fresh", "entropy"):
            row[0].set_ylim(0, None)
    above = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    for kind, top, bottom in zip(groups, axes[0], axes[-1], strict=True):
        top.annotate(KINDS[kind], (0, 1), (0, 24), fontsize=11, weight="bold", **above)
        bottom.set_xlabel("sampled rules" if by == "sampled" else f"distinct {things}")
    numbers = [len(setting.seeds) for setting in settings]
    seeds = " to ".join(map(str, dict.fromkeys((min(numbers), max(numbers)))))
    lags = sorted({setting.config["lag"] for setting in settings})
    text = (
        f"Mean of {seeds} searches, band: middle {BAND[1] - BAND[0]} % of them. "
        f"Lag {', '.join(map(str, lags))}. Counted by {settings[0].identity}. "
        "Fresh: mean of the seeds that the search did not see. "
        "Entropy is estimated from 1,000 draws: about 7 at most."
    )
    depth = {setting.config["iterations"] for setting in settings}
    what = "on NOS-Bench, a table of all rules of depth 1" if depth == {1} else "on NOS-Bench's child"
    style.frame(figure, f"Search algorithms {what}", text)
    style.label_all(labels, 8)
    return figure


def draw(paths: list[Path], output: Path) -> list[Path]:
    """Draw the figure and print the table; return the files written.

    Raises:
        RunError: a file is no study.
    """
    settings = read(paths)
    paths = style.save(picture(settings), output)
    other = output.with_name(f"{output.stem}-distinct{output.suffix}")
    paths += style.save(picture(settings, "distinct"), other)
    print(table(settings) + "\n")
    return paths


def main(argv: list[str] | None = None) -> int:
    return command("nosbench.figures.study", __doc__, draw, argv, what="files or folders of study.py")


if __name__ == "__main__":
    sys.exit(as_program(main))
