"""Figure: which search finds more? Figure 4 of the paper with what that figure does not tell.

    python -m studies.figures.searches RUN [RUN ...] [RESCORED] [-o FILE]

RUN are folders of search.py, RESCORED is one of studies.rescore on them. Runs that differ in their
seeds alone become one line with a band. The mean reward also rises when a controller writes one good
rule again and again. So beside it stand families, rules that no training can tell apart: how many were
tried and how many are good, by sampled rules and by the processor time of their trainings, and their
entropy. Good is a mean over a family's trainings so far of at least the median of SGD, Momentum,
RMSProp and Adam, on fresh seeds if RESCORED is given. The last panel counts with other limits.

It prints the table too. What to look for: a lead in good families by cost, whatever is called good,
and in what the ten best score on fresh seeds.
"""

import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from config import as_program

import numpy as np
from matplotlib.figure import Figure

import results
from data import ANY
from plots import style
from plots.runs import Group, all_runs, humans, notes, read_groups, setting_of, title
from plots.style import command, plt
from studies.analysis import (
    WINDOW,
    entropy,
    families_tried,
    fresh_scores,
    good_bar,
    good_by_bar,
    good_by_cost,
    good_families,
    moving_mean,
    people_scores,
    standing,
)
from studies.trials import read_trials, study_of

COUNTS = ("sampled", "families", "trained", "good", "core-minutes")
STEP_S, BARS = 3, 200  # core-seconds between two points, and points of the last panel
FORMS = dict.fromkeys(COUNTS, ".0f") | {"core-seconds, new": ".2f"}


def table(groups: list[Group], people: dict[str, float], where: str, fresh: dict[str, float]) -> str:
    """Return the standing at the end, mean [lowest, highest] over a group's runs, as Markdown."""
    bar, rows = good_bar(people), []
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
    scored = (f"{style.HUMAN_NAMES[name]} {score:.3f}" for name, score in people.items())
    note = (
        "In brackets the lowest and the highest run. Rules are of one family if no training can tell "
        f"them apart. Good are families with a mean reward of at least {bar:.3f}; best and ten best are "
        f"means of families too. Trained are trainings that came to their end. Learn is the share of "
        f"rewards above {results.LEARNS:g}. Fresh is what "
        "the best rules of the ten best families score on fresh seeds, - if not all ten were rescored. "
        "Entropy is over the families of the last rules. Core-seconds are those of a new rule in the "
        f"second half. The human optimizers, {where}: {', '.join(scored)}."
    )
    return "\n".join([*lines, "", note])


class Panel(NamedTuple):
    """A part of the figure: what it shows of a run's records, and what the axes say."""

    title: str
    series: Callable[[list[dict]], np.ndarray]
    form: str  # of a number
    y: str
    x: str = "rules sampled"
    first: float = 1  # x of the first value
    step: float = 1  # from one value to the next


def panels_of(groups: list[Group], people: dict[str, float]) -> list[Panel]:
    """Return what the figure shows, row by row; `people` is what the human optimizers score, by name."""
    bar, best = good_bar(people), max(record["reward"] for group in groups for record in group.records)
    bars = np.linspace(min(people.values()), max(best, *people.values()), BARS)
    by_cost, by_bar = partial(good_by_cost, bar=bar, step_s=STEP_S), partial(good_by_bar, bars=bars)
    ends, last = "At the end, by what is called good", f"of the last {WINDOW} rules"
    return [
        Panel("Mean reward", moving_mean, ".2f", last, first=WINDOW),
        Panel("Families tried", families_tried, ".0f", "families"),
        Panel("Entropy", entropy, ".1f", f"nats, families {last}", first=WINDOW),
        Panel("Good families found", partial(good_families, bar=bar), ".0f", "good families"),
        Panel("The same, by cost", by_cost, ".0f", "good families", "core-minutes", 0, STEP_S / 60),
        Panel(ends, by_bar, "", "families", "mean reward of at least", bars[0], bars[1] - bars[0]),
    ]


def picture(groups: list[Group], people: dict[str, float], where: str) -> Figure:
    """Draw the figure; `people` and `where` are what `people_scores` returns."""
    figure, axes = plt.subplots(2, 3, figsize=(14.4, 7.2))
    labels = {}
    for place, panel in zip(axes.flat, panels_of(groups, people), strict=True):
        labels[place], ends = [], []
        for group in groups:
            band = group.band(lambda run: panel.series(run.records))  # noqa: B023
            name = f"{group.label} {panel.title}"
            x, end = style.draw_band(place, band, name, group.color, panel.first, panel.step)
            if panel.form:
                text = style.fold(f"{group.label} {end:{panel.form}}")
                labels[place].append((end, text, group.color))
                ends.append((x, end, group.color, f"{name} to its label"))
        place.set(title=panel.title, ylabel=panel.y, xlabel=panel.x)
        place.set_ylim(0, None)
        place.set_xlim(place.get_xlim())
        longest = max((x for x, *_ in ends), default=np.nan)
        for x, end, color, name in ends:
            if x < longest:
                look = {"color": color, "lw": 0.8, "ls": ":"}
                place.plot([x, place.get_xlim()[1]], [end, end], gid=name, **look)
        if panel.form and all(np.isnan(y) for y, _, _ in labels[place]):
            why = "no time of trainings" if panel.step != 1 else f"fewer than {WINDOW} rules"
            place.text(0.5, 0.5, why, ha="center", transform=place.transAxes)
    place.set(yscale="log", ylim=(0.8, None))  # a few families at the right matter as much as hundreds
    place.yaxis.set_major_formatter("{x:g}")
    bar, best = good_bar(people), max(people, key=people.get)
    for name, reward in ("good", bar), (style.HUMAN_NAMES[best], people[best]):
        place.axvline(reward, color=style.FAINT, lw=1, ls=":")
        look = {"rotation": 90, "va": "bottom", "fontsize": 8, "color": style.FAINT}
        place.annotate(name, (reward, 0), (2, 4), ("data", "axes fraction"), "offset points", **look)
    text = f"Good: a mean reward of at least {bar:.3f}, the median of the human optimizers {where}. "
    text += "Upright dotted lines: this and the best of them; level ones lead to a label. "
    text += "Lines: means over seeds; bands: from the lowest to the highest; by cost as far as the "
    text += "cheapest seed. "
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
            ours, theirs = child[name], setting_of(run, name)
            if ours != theirs and ANY not in (ours, theirs):  # older runs do not say what they saw
                what = f"{folder} and {run.folder} differ in {name}, so their scores do not compare"
                raise results.RunError(what)
        if results.read_meta(folder).get("end") is None:
            again = f"python -m studies.rescore --resume {shlex.quote(str(folder))}"
            raise results.RunError(f"{folder} is not finished; go on with: {again}")
    fresh = fresh_scores([record for folder in rescored for record in read_trials(folder)])
    if not humans(groups):
        raise results.RunError(f"{folders[0]} has no scores of the human optimizers yet")
    people, where = people_scores(humans(groups), fresh)
    print(table(groups, people, where, fresh) + "\n")
    return style.save(picture(groups, people, where), output)


def main(argv: list[str] | None = None) -> int:
    return command("studies.figures.searches", __doc__, draw, argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
