"""Figure: what a rule's accuracy does when a hyperparameter is changed by factors of 2 and 10.

    python -m studies.figures.robustness RUN [-o FILE]    # RUN is a finished folder of it

A panel each for the horizon of the moving averages, delta and the batch size; lines are means over
seeds, dots the seeds. What to look for: whether found rules (solid) and those with a name (dotted) fall
more than the human optimizers (dashed). A rule without averages, or without division, cannot mind the
first or second change.
"""

import sys
from pathlib import Path

from config import as_program

import numpy as np
from matplotlib.figure import Figure

from plots import style
from plots.style import command, plt
from results import RunError, score_label, worth
from rules import HUMAN, NAMED_RULES
from studies.trials import read_config, read_trials

TITLES = {"beta_horizon": "Horizon of the averages", "eps": "Delta", "batch_size": "Batch size"}


def picture(saved: dict, records: list[dict]) -> Figure:
    """Draw the figure."""
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 4.4), sharey=True)
    labels: list[tuple[float, str, str]] = []
    for panel, (what, title) in zip(axes, TITLES.items(), strict=True):
        others, labels = iter(style.FOUND * len(saved["field"])), []
        for name, rule in saved["field"]:
            human = name in HUMAN
            color = style.HUMAN[name] if human else next(others)
            mine = [r for r in records if r["rule"] == rule and r["what"] in (what, None)]
            points = np.array([(r["factor"], worth(r)) for r in mine])
            factors = np.unique(points[:, 0])
            means = [points[points[:, 0] == factor, 1].mean() for factor in factors]
            panel.plot(*points.T, ".", color=color, ms=4, alpha=0.4)
            line = style.DASHED if human else style.DOTTED if name in NAMED_RULES else "-"
            look = {"ls": line, "color": color, "gid": f"{name} {what}"}
            panel.plot(factors, means, lw=1.6, **look)
            labels.append((means[-1], style.HUMAN_NAMES.get(name, name)[:36], color))
        panel.set(title=title, xscale="log", xlabel="times what the search had")
        panel.set_xticks(factors, [f"{factor:g}" for factor in factors])
        panel.minorticks_off()
    axes[0].set_ylabel(score_label(saved))
    text = f"{len(saved['seeds'])} fresh seeds; the learning rate is swept anew for each change."
    style.frame(figure, "Rules with hyperparameters that they were not searched with", text)
    style.label_right(axes[-1], labels, 8)
    return figure


def draw(folders: list[Path], output: Path) -> list[Path]:
    """Draw the figure; return the files written.

    Raises:
        RunError: the folder is none of studies.robustness, or not finished.
    """
    folder = folders[0]
    saved = read_config(folder, "robustness")
    if not (folder / "summary.csv").exists():
        raise RunError(
            f"{folder} is not finished; go on: python -m studies.robustness --resume {folder}"
        )
    return style.save(picture(saved, read_trials(folder)), output)


def main(argv: list[str] | None = None) -> int:
    what = "a run folder of studies.robustness"
    return command("studies.figures.robustness", __doc__, draw, argv, what=what, nargs=1)


if __name__ == "__main__":
    sys.exit(as_program(main))
