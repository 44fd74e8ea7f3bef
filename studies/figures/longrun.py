"""Figure: the long-run filter. Every rule's validation accuracy, as far as it was allowed to go.

    python -m studies.figures.longrun RUN [-o FILE]    # RUN is a folder of studies.longrun

Found rules are solid and get brighter the longer they lasted, human optimizers dashed. Vertical lines
are the stages' ends, where the worse half of the found rules was stopped. Below stands the training loss
of those that went to the end. What to look for: lines that cross, which are rules whose early lead says
nothing; dips of the accuracy where the training loss jumps, which are steps that undo what was learned.
"""

import sys
from pathlib import Path

from config import as_program

import numpy as np
from matplotlib.figure import Figure

from plots import style
from plots.style import command, plt
from results import RunError, score_label
from studies.longrun import longest, mean_curve
from studies.trials import read_config, read_trials


def picture(saved: dict, records: list[dict]) -> Figure:
    """Draw the figure."""
    of_rule = longest(records)
    ends = sorted({some[0]["epochs"] for some in of_rule.values()})
    panels = ["curve", "losses"] if "losses" in records[-1] else ["curve"]  # older folders have none
    heights = {"height_ratios": [3, 1][: len(panels)]}
    size = (7.6, 3.4 + 1.6 * len(panels))
    figure, grid = plt.subplots(
        len(panels), figsize=size, sharex=True, squeeze=False, gridspec_kw=heights
    )
    axes, lowest = grid[0, 0], grid[-1, 0]
    labels, lasting, finals = [], iter(style.FOUND * len(of_rule)), []
    for some in sorted(of_rule.values(), key=lambda some: -some[0]["epochs"]):
        rule, curve = some[0], mean_curve(some)
        human, to_end = rule["kind"] == "human", rule["epochs"] == ends[-1]
        color = style.HUMAN[rule["name"]] if human else next(lasting) if to_end else "#B0B0B0"
        look = {"color": color, "ls": style.DASHED if human else "-", "lw": 1.6 if to_end else 0.9}
        axes.plot(np.arange(1, len(curve) + 1), curve, gid=rule["name"], **look)
        if to_end:
            name = style.HUMAN_NAMES[rule["name"]] if human else rule["name"]
            labels.append((curve[-1], f"{name[:40]} {curve[-1]:.3f}", color))
            finals.append(curve)
            for loss in panels[1:]:
                lowest.plot(np.arange(1, len(curve) + 1), mean_curve(some, loss), **look | {"lw": 0.9})
    good = np.concatenate(finals)
    if np.isfinite(good).any():
        low, high = np.nanquantile(good, 0.02), np.nanmax(good)
        own = "task" in saved["child"]  # with a range of its own
        axes.set_ylim(
            *(
                (low - 0.1 * (high - low), high + 0.05 * (high - low))
                if own
                else (low - 0.03, high + 0.01)
            )
        )
    axes.set(xscale="log", ylabel=score_label(saved))
    lowest.set_xlabel("epochs")
    if lowest is not axes:
        lowest.set_ylabel("training loss")
        losses = np.concatenate([line.get_ydata() for line in lowest.lines])
        losses = losses[np.isfinite(losses)]
        lowest.set_yscale("log" if losses.size and losses.min() > 0 else "linear")
    for one in grid.flat:
        for end in ends[:-1]:
            one.axvline(end, color=style.FAINT, lw=0.8, ls=":")
    lowest.set_xticks(ends, map(str, ends))
    lowest.minorticks_off()
    child = saved["child"]
    size = f"{child['epoch_size']:,} images" if "epoch_size" in child else f"{child['steps']:,} batches"
    number = max(map(len, of_rule.values()))
    seeds = f"Means over {number} seeds" if number > 1 else "One seed"
    text = f"An epoch has {size}. Rates are those of the searches' "
    text += f"sweeps. {seeds}, from {saved['seeds'][0]}. Grey: stopped at a dotted line."
    found = sum(some[0]["kind"] == "found" for some in of_rule.values())
    title = f"{found} found rules and the human ones, at most {saved['config']['epochs']} epochs"
    style.frame(figure, title, text)
    style.label_right(axes, labels, 8)
    return figure


def draw(folders: list[Path], output: Path) -> list[Path]:
    """Draw the figure; return the files written.

    Raises:
        RunError: the folder is none of studies.longrun, or has no records yet.
    """
    folder = folders[0]
    saved, records = read_config(folder, "longrun"), read_trials(folder)
    if not longest(records):
        raise RunError(f"{folder} has no records yet")
    return style.save(picture(saved, records), output)


def main(argv: list[str] | None = None) -> int:
    what = "a run folder of studies.longrun"
    return command("studies.figures.longrun", __doc__, draw, argv, what=what, nargs=1)


if __name__ == "__main__":
    sys.exit(as_program(main))
