"""Figure: the same rules scored in two ways; does the cheap way rank them like the dear one?

    python -m studies.figures.agreement DEAR CHEAP [-o FILE]

Each dot is a rule (one `key()`) that both runs scored, for example with two child seeds or with two
lengths of training. Printed and written below are Spearman's rank correlation over the rules that learn
in the dear run, with a bootstrap interval, and the regret. The regret is what the dear run's best rule
scores there above the rule that the cheap run would have chosen.

What to look for: dots far below the diagonal are good rules that the cheap way lost. A high
correlation over all rules means little, since telling what learns from what does not is easy.
"""

import sys
from pathlib import Path

from config import as_program

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from nosbench.intervals import spearman_interval
from plots import style
from plots.runs import Run, read_all, relevant
from plots.style import command, plt
from results import LEARNS, RunError

FEWEST = 10  # rules that learn, or a resample of the bootstrap may hold one rule alone


def common(dear: Run, cheap: Run) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the rewards of rules that both scored, float [N] each, and the ratio of core-seconds
    of those that both trained to the end.

    Raises:
        RunError: too few rules that learn are common to both.
    """
    first, second = (
        {record["key"]: record for record in reversed(run.records) if record["cached_from"] is None}
        for run in (dear, cheap)
    )
    pairs = [(first[key], second[key]) for key in first if key in second]
    if sum(a["reward"] > LEARNS for a, _ in pairs) < FEWEST:
        what = f"fewer than {FEWEST} rules that learn in common"
        raise RunError(f"{dear.folder} and {cheap.folder} have {what}")
    x, y = np.array([[record["reward"] for record in pair] for pair in pairs]).T
    trained = [pair for pair in pairs if all(record["status"] == "ok" for record in pair)]
    timed = [(a["cpu_s"], b["cpu_s"]) for a, b in trained if None not in (a["cpu_s"], b["cpu_s"])]
    costs = np.sum(timed, axis=0) if timed else (np.nan, np.nan)
    return x, y, float(costs[0] / costs[1])


def picture(dear: Run, cheap: Run) -> tuple[Figure, str]:
    """Draw the figure; return it with what it says in words."""
    x, y, ratio = common(dear, cheap)
    learns = x > LEARNS
    among = spearman_interval(x[learns], y[learns])
    chosen = x[y == y.max()].min()  # of equals the worst may be chosen
    text = (
        f"{len(x):,} rules, one a key, {ratio:.2f} times cheaper. Spearman's rank correlation: "
        f"{spearmanr(x, y).statistic:.3f}; over the {learns.sum():,} rules above {LEARNS:g}: "
        f"{among:.3f}. "
        f"Regret of the cheap choice: {x.max() - chosen:.4f}."
    )
    ours, theirs = relevant(dear.config), relevant(cheap.config)
    for run, settings in ((dear, ours), (cheap, theirs)):
        settings["child_seed"] = run.config["child_seed"]
    apart = [
        f"{name} {ours.get(name)} and {value}"
        for name, value in theirs.items()
        if ours.get(name) != value
    ]
    figure, axes = plt.subplots(figsize=(5.4, 5.6))
    ends = [0, 1.03 * max(x.max(), y.max())]
    axes.plot(ends, ends, color=style.FAINT, lw=1, ls=style.DASHED)
    axes.axvline(LEARNS, color=style.FAINT, lw=0.8)
    axes.scatter(x, y, s=14, color=style.CONTROLLER, alpha=0.5, lw=0, gid="rules")
    axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel=dear.folder.name, ylabel=cheap.folder.name)
    style.frame(figure, f"The same rules, {', '.join(apart) or 'same settings'}", text)
    return figure, text


def draw(folders: list[Path], output: Path) -> list[Path]:
    """Draw the figure of two runs and print what it says; return the files written.

    Raises:
        RunError: there are not two of them, a folder is no run, or too few rules are common.
    """
    if len(runs := read_all(folders)) != 2:
        raise RunError(f"{len(runs)} different runs given; two are compared")
    figure, text = picture(*runs)
    print(text)
    return style.save(figure, output)


def main(argv: list[str] | None = None) -> int:
    return command("studies.figures.agreement", __doc__, draw, argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
