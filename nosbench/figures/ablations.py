"""Figure: one setting of a study and changes of it, each beside the setting as it is.

    python -m nosbench.figures.ablations FILE.jsonl CHANGED.jsonl [CHANGED.jsonl ...] [-o PICTURE]

The first file is the setting, the others are changes of it, all written by study.py with seeds in
common. A dot is the mean over these seeds after the last checkpoint that both reached, a bar its 95 %
interval: how many times as many top families the change finds, and how much better its ten best and its
latest samples are. The same as a table is printed.

What to look for: a change that raises the mean reward of the samples and lowers what is found has made
the controller repeat itself. Read next: study.py.
"""

import sys
from pathlib import Path
from typing import NamedTuple

from config import as_program

import numpy as np
from matplotlib.figure import Figure

from nosbench.intervals import Interval, mean_interval, ratio_interval
from nosbench.standings import Setting, common_seeds, counted, paired
from plots import style
from plots.names import ALGORITHM_NAMES
from plots.style import command, plt
from results import RunError, markdown

FREE = {"seed", "table_seed", "samples"}  # in which two searches may differ and be of one setting
PANELS = {
    "found_fresh": ("Top {}, by fresh seeds", "times as many"),
    "top10_fresh": ("Ten best, on fresh seeds", "accuracy, difference"),
    "latest": ("The latest fifth of samples", "mean reward, difference"),
}


class Change(NamedTuple):
    """How a changed setting stands to the setting as it is."""

    label: str
    color: str
    searches: int  # seeds that both have
    rules: int
    effects: dict[str, Interval | None]  # of PANELS; None where nothing was found
    distinct: float
    entropy: float


def changes(ours: Setting, theirs: Setting) -> str:
    """Return what sets a setting apart, such as `lag 20 (0)`; its name if it is another algorithm."""
    if ours.config["algorithm"] != theirs.config["algorithm"]:
        return ours.name

    apart = []
    for name, value in ours.config.items():
        before = theirs.config.get(name, value)  # older files lack settings that are newer
        if name in FREE or value == before:
            continue
        if isinstance(value, list):
            apart += [f"without {one}" for one in before if one not in value]
            apart += [f"with {one}" for one in value if one not in before]
        else:
            apart.append(f"{name} {value} ({before})")
    return ", ".join(apart) or "no change"


def measured(ours: Setting, theirs: Setting) -> Change:
    """Compare a change with the setting as it is.

    Raises:
        RunError: they have fewer than two seeds, or no checkpoint, in common.
    """
    common = common_seeds(ours, theirs)
    marks = set(ours.rules) & set(theirs.rules)
    if len(common) < 2 or not marks:
        raise RunError(f"{ours.name} has fewer than two seeds, or no checkpoint, of {theirs.name}")
    last = int(max(marks))
    effects = {}
    for name in PANELS:
        x, y = paired(ours, theirs, name, last, last)
        effects[name] = ratio_interval(x, y) if name == "found_fresh" else mean_interval(x - y)
    mine = [ours.seeds.index(seed) for seed in common]
    distinct, entropy = (ours.at(name, last)[mine].mean() for name in ("distinct", "entropy"))
    color = style.ALGORITHM[ours.config["algorithm"]]
    return Change(changes(ours, theirs), color, len(common), last, effects, distinct, entropy)


def picture(base: Setting, rows: list[Change]) -> Figure:
    """Draw the figure."""
    size = {"figsize": (10.5, 1.8 + 0.32 * len(rows)), "sharey": True}
    figure, axes = plt.subplots(1, len(PANELS), **size)
    places = np.arange(len(rows))[::-1]
    for panel, (name, (title, unit)) in zip(axes, PANELS.items(), strict=True):
        panel.axvline(1 if name == "found_fresh" else 0, color=style.DARK, lw=1, ls=style.DASHED)
        for place, row in zip(places, rows, strict=True):
            if row.effects[name] is None:
                continue
            middle, low, high = row.effects[name]
            panel.plot([low, high], [place, place], color=row.color, lw=1.8)
            panel.plot(middle, place, "o", color=row.color, ms=5, gid=f"{row.label} {name}")
        panel.set_title(title.format(base.counted), fontsize=10, weight="normal")
        panel.set_xlabel(unit)
        panel.grid(False, axis="y")
        panel.locator_params(axis="x", nbins=4)
    axes[0].set_yticks(places, [row.label for row in rows], fontsize=9)
    axes[0].set_xlim(0, None)
    searches, after = (
        " or ".join(f"{number:,}" for number in sorted(set(numbers)))
        for numbers in ([row.searches for row in rows], [row.rules for row in rows])
    )
    text = (
        f"Each beside {base.name} (dashed) over the same {searches} searches, after {after} rules. Bars "
        f"are 95 % intervals; in brackets what {base.name} has; top: the best 1 % of the {base.counted} "
        "that the constraints allow."
    )
    name = ALGORITHM_NAMES[base.config["algorithm"]]
    style.frame(figure, f"{name} on NOS-Bench: what changes of {base.name} do", text)
    return figure


def table(base: Setting, rows: list[Change]) -> str:
    """Return the same in Markdown."""
    head = [
        "change",
        "n",
        f"top {base.counted}, times",
        "ten best",
        "latest fifth",
        "distinct",
        "entropy",
    ]
    cells = []
    for row in rows:
        ratio, best, latest = row.effects.values()
        cells.append([
            row.label,
            str(row.searches),
            "-" if ratio is None else f"{ratio:.2f}",
            f"{best:+.4f}",
            f"{latest:+.3f}",
            f"{row.distinct:.0f}",
            f"{row.entropy:.1f}",
        ])  # fmt: skip
    title = f"Changes of {base.name}, each beside it over the same n searches [95 % interval]:"
    return "\n".join([title, "", *markdown(head, cells)])


def draw(paths: list[Path], output: Path) -> list[Path]:
    """Draw the figure and print the table; return the files written.

    Raises:
        RunError: a file is no study, or shares too little with the first, or counts other things.
    """
    base, *others = map(Setting, paths)
    if not others:
        raise RunError(f"{paths[0]} stands alone; give its changes too")
    counted([base, *others])
    rows = [measured(other, base) for other in others]
    print(table(base, rows))
    return style.save(picture(base, rows), output)


def main(argv: list[str] | None = None) -> int:
    return command(
        "nosbench.figures.ablations", __doc__, draw, argv, what="files of study.py, the first unchanged"
    )


if __name__ == "__main__":
    sys.exit(as_program(main))
