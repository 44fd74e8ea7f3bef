"""Figure: rules on another network or task, epoch by epoch, beside the human optimizers.

    python -m studies.figures.transfer RUN [-o FILE]    # RUN is a folder of studies.transfer

Each rule at the rate that its validation scores chose, mean over seeds; the band is lowest to highest.
Found rules are solid, those with a name dotted, human optimizers dashed. What to look for: whether a
lead lasts to the end, or is only a faster start; with one seed a small one is no lead.
"""

import sys
from pathlib import Path

from config import as_program

import numpy as np
from matplotlib.figure import Figure

from plots import style
from plots.style import command, plt
from results import RunError
from rules import NAMED_RULES
from studies.analysis import curves, read_summary
from studies.tasks import BEST, METRICS
from studies.trials import read_config, read_trials

TITLES = {
    "wrn": "A Wide ResNet 16-1 on CIFAR-10",
    "fashion": "The search's ConvNet on Fashion-MNIST",
    "text": "A character-level language model of Python's reference",
}


def picture(saved: dict, records: list[dict], rows: list[dict]) -> Figure:
    """Draw the figure of the rows of summary.csv, best first."""
    figure, axes = plt.subplots(figsize=(7.6, 5.0))
    labels, ends = [], []
    colors = {line: iter(style.FOUND * len(rows)) for line in ("-", style.DOTTED)}
    metric = METRICS[saved["task"]]
    for row in rows:
        human = row["human"] == "True"
        name = style.HUMAN_NAMES[row["name"]] if human else row["name"]
        line = style.DOTTED if row["name"] in NAMED_RULES else "-"
        color = style.HUMAN[row["name"]] if human else next(colors[line])
        values = np.array([*curves(records, row["rule"], float(row["final_lr"])).values()])
        mean, epochs = values.mean(0), np.arange(1, values.shape[1] + 1)
        if len(values) > 1:
            axes.fill_between(epochs, values.min(0), values.max(0), color=color, alpha=0.15, lw=0)
        look = {"color": color, "lw": 1.8, "marker": "o", "ms": 3}
        look["ls"] = style.DASHED if human else line
        axes.plot(epochs, mean, gid=row["name"], **look)
        labels.append((mean[-1], f"{name[:44]} {mean[-1]:.3f}, rate {float(row['final_lr']):g}", color))
        ends.append(mean)
    # What never learned must not flatten the others.
    shown = np.array([mean for mean in ends if np.isfinite(mean[-1])])
    if len(shown):
        worst = min if BEST[metric] is max else max
        limits = BEST[metric](shown.max(), shown.min()), worst(np.median(shown[:, 0]), shown[0].min())
        low, high = min(limits), max(limits)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.set(xlabel="epochs", ylabel=f"validation {metric}")
    text = f"Seeds: {saved['config']['seeds']}. Rates: seven swept in one epoch, the best one "
    text += "and its neighbours trained to the end, the best of these by final validation score drawn. "
    text += "Found rules solid, those with a name dotted, human optimizers dashed."
    style.frame(figure, TITLES[saved["task"]], text)
    style.label_right(axes, labels, 8)
    return figure


def draw(folders: list[Path], output: Path) -> list[Path]:
    """Draw the figure; return the files written.

    Raises:
        RunError: the folder is none of studies.transfer, or not finished.
    """
    folder = folders[0]
    saved = read_config(folder, "transfer")
    if not (rows := read_summary(folder)):
        raise RunError(f"{folder} is not finished; go on: python -m studies.transfer --resume {folder}")
    return style.save(picture(saved, read_trials(folder), rows), output)


def main(argv: list[str] | None = None) -> int:
    what = "a run folder of studies.transfer"
    return command("studies.figures.transfer", __doc__, draw, argv, what=what, nargs=1)


if __name__ == "__main__":
    sys.exit(as_program(main))
