"""Figure: which search finds more? Figure 4 of the paper with what that figure does not tell.

    python -m studies.figures.searches RUN [RUN ...] [RESCORED] [-o FILE]

RUN are folders of search.py, RESCORED is one of studies.rescore on them. Runs that differ in their
seeds alone become one line with a band. The mean reward also rises when a controller writes one good
rule again and again. So beside it stand the good families, rules that no training can tell apart, by
sampled and by trained rules, and the entropy over families. Good is a mean over a family's trainings so
far of at least the median of SGD, Momentum, RMSProp and Adam.

It prints the table too. What to look for: a lead in good families by trained rules, which cost the
time, and in what the ten best score on fresh seeds.
"""

import sys
from functools import partial
from pathlib import Path

from config import as_program

import numpy as np
from matplotlib.figure import Figure

import results
from plots import style
from plots.runs import Group, all_runs, humans, notes, read_groups, setting_of, title
from plots.style import command, plt
from studies.analysis import (
    WINDOW,
    entropy,
    fresh_scores,
    good_by_trained,
    good_families,
    moving_mean,
    standing,
)
from studies.trials import read_trials, study_of

COUNTS = ("sampled", "families", "trained", "good", "core-minutes")
FORMS = dict.fromkeys(COUNTS, ".0f") | {"core-seconds, new": ".2f"}


def table(groups: list[Group], bar: float, fresh: dict[str, float]) -> str:
    """Return the standing at the end, mean [lowest, highest] over a group's runs, as Markdown."""
    rows = []
    for group in groups:
        runs = [standing(run.records, bar, fresh) for run in group.runs]
        row = [group.label, str(len(runs))]
        for name in runs[0]:
            values, form = [run[name] for run in runs], FORMS.get(name, ".3f")
            spread = f" [{min(values):{form}}, {max(values):{form}}]" if len(runs) > 1 else ""
            row.append("-" if np.isnan(values).any() else f"{np.mean(values):{form}}{spread}")
        rows.append(row)
    head = ["search", "runs", *runs[0]]
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    scored = (f"{style.HUMAN_NAMES[line['name']]} {line['reward']:.3f}" for line in humans(groups))
    note = (
        "In brackets the lowest and the highest run. Rules are of one family if no training can tell "
        f"them apart. Good are families with a mean reward of at least {bar:.3f}; best and ten best are "
        f"means of families too. Learn is the share of rewards above {results.LEARNS:g}. Fresh is what "
        "the best rules of the ten best families score on fresh seeds, - if not all ten were rescored. "
        "Entropy is over the families of the last rules. Core-seconds are those of a new rule in the "
        f"second half. Rewards of the human optimizers: {', '.join(scored)}."
    )
    return "\n".join([*lines, "", note])


def picture(groups: list[Group], bar: float) -> Figure:
    """Draw the figure."""
    figure, axes = plt.subplots(2, 2, figsize=(9.6, 7.2))
    panels = {
        "Mean reward": (moving_mean, WINDOW, f"of the last {WINDOW} rules", ".2f"),
        "Good families found": (partial(good_families, bar=bar), 1, "families", ".0f"),
        "The same, by cost": (partial(good_by_trained, bar=bar), 1, "families", ".0f"),
        "Entropy": (entropy, WINDOW, f"nats, families of the last {WINDOW} rules", ".1f"),
    }
    labels = {}
    for panel, (name, (series, first, unit, form)) in zip(axes.flat, panels.items(), strict=True):
        by_cost = name == "The same, by cost"
        labels[panel] = []
        for group in groups:
            band = group.band(lambda run: series(run.records))  # noqa: B023
            _, end = style.draw_band(panel, band, f"{group.label} {name}", group.color, first)
            labels[panel].append((end, style.fold(f"{group.label} {end:{form}}"), group.color))
        panel.set(title=name, ylabel=unit, xlabel=f"rules {'trained' if by_cost else 'sampled'}")
        panel.set_ylim(0, None)
        if all(np.isnan(y) for y, _, _ in labels[panel]):
            panel.text(0.5, 0.5, f"fewer than {WINDOW} rules", ha="center", transform=panel.transAxes)
    text = f"Good: a mean reward of at least {bar:.3f}, the median of the human optimizers. "
    text += "Lines are means over seeds, bands go from the lowest to the highest; by cost they end with "
    text += "the seed that trained fewest. "
    style.frame(figure, title(all_runs(groups)), text + notes(groups))
    style.label_all(labels, 8)
    return figure


def draw(folders: list[Path], output: Path) -> list[Path]:
    """Draw the figure and print the table; return the files written.

    Raises:
        RunError: a folder is no run, is empty, or cannot be compared with the others.
    """
    rescored = [f for f in folders if study_of(f) == "rescore"]
    searched = [folder for folder in folders if folder not in rescored]
    if not searched:
        raise results.RunError(f"{folders[0]} is a rescoring; name the searches too")
    groups = read_groups(searched)
    for folder in rescored:
        child, run = results.read_config(folder)["child"], all_runs(groups)[0]
        for name in child.keys() - {"data", "screen"}:
            if child[name] != setting_of(run, name):
                what = f"{folder} and {run.folder} differ in {name}, so their scores do not compare"
                raise results.RunError(what)
    fresh = fresh_scores([record for folder in rescored for record in read_trials(folder)])
    if not humans(groups):
        raise results.RunError(f"{folders[0]} has no scores of the human optimizers yet")
    bar = results.good_bar(humans(groups))
    print(table(groups, bar, fresh) + "\n")
    return style.save(picture(groups, bar), output)


def main(argv: list[str] | None = None) -> int:
    return command("studies.figures.searches", __doc__, draw, argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
