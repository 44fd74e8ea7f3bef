"""Figure: does the controller still explore, or has it settled?

    python -m plots.entropy RUN [RUN ...] [-o FILE]

Left, the entropy of each token of a rule, a panel a group of five; exp(entropy) is about the number
of choices still weighed, one where a constraint leaves no choice. Right, their sum; how many families
(rules that no training can tell apart) the last 100 rules had, of earlier runs how many keys (spellings
aside, the same update); and how far each update moved the policy. Runs that differ in their seeds alone
become one mean with a band. Runs without a controller, such as random search, are left out.

What to look for: entropy should fall slowly. A fall of the families is the warning: the controller
writes one rule in many ways or again and again, while its mean reward still looks fine.
Orange crosses are updates that the line search gave up, which leave the policy as it was.
"""

import sys
from functools import partial
from pathlib import Path

from config import as_program

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from plots import style
from plots.runs import CONTROLLERS, Group, Run, all_runs, notes, read_groups, title
from plots.style import command, plt
from results import RunError

SLOTS = tuple(style.TOKENS)
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)))  # of groups, in turn


def entropy(run: Run, token: int) -> np.ndarray:
    """Return the entropy of a token of the rule at every update, nats."""
    return np.array([update["entropy"][token] for update in run.updates])


def total(run: Run) -> np.ndarray:
    """Return the entropy of the whole rule at every update, nats."""
    return np.array([sum(update["entropy"]) for update in run.updates])


def counted(run: Run) -> str:
    """Return what a run told its rules apart by: earlier ones by key."""
    return "families" if "families" in run.updates[0] else "keys"


def share(run: Run) -> np.ndarray:
    """Return how many families (or keys) a rule the last 100 rules (all, before) had at every update."""
    name = {"families": "families", "keys": "distinct_keys"}[counted(run)]
    return np.array([update[name] for update in run.updates])


def draw_tokens(axes: plt.Axes, groups: list[Group], number: int) -> list[tuple]:
    """Draw the entropies of the five tokens of one group of a rule; return labels."""
    labels = []
    for slot, color in style.TOKENS.items():
        token = partial(entropy, token=len(SLOTS) * number + SLOTS.index(slot))
        for group, dashes in zip(groups, DASHES * len(groups), strict=False):
            _, end = style.draw_band(
                axes, group.band(token), f"{group.label} {slot} {number}", color, ls=dashes
            )
            labels += [(end, slot, color)] * (group is groups[0])
    axes.set_ylim(0, 1.06 * axes.get_ylim()[1])
    return labels


def draw_steps(axes: plt.Axes, groups: list[Group]) -> list[tuple]:
    """Draw how far every update moved the policy, with a cross where it did not; return labels."""
    labels, highest, rejected = [], 0.0, 0
    for group in groups:
        updates = [update for run in group.runs for update in run.updates]
        failed = [update for update in updates if not update["accepted"]]
        rejected += len(failed)
        for some, mark, color in ((updates, ".", group.color), (failed, "x", style.DIVERGED)):
            x, y = [update["update"] + 1 for update in some], [update["kl"] for update in some]
            axes.plot(x, y, mark, color=color, ms=4, alpha=0.6, gid=f"{group.label} {mark}")
            highest = max([highest, *y])
        if group.algorithm == "trpo":
            limit = group.runs[0].config["max_kl"]
            axes.axhline(limit, color=group.color, lw=1, ls=style.DASHED)
            labels.append((limit, f"limit {limit:g}", group.color))
    highest = max([highest, *(limit for limit, _, _ in labels)]) or 1.0
    if any(group.algorithm == "trpo" for group in groups):  # others have no line search
        labels.append((0.0, f"{rejected:,} rejected", style.DIVERGED))
    axes.set(ylim=(-0.04 * highest, 1.1 * highest), xlabel="updates", ylabel="nats")
    axes.set_title("KL of each update")
    return labels


def picture(groups: list[Group]) -> Figure:
    """Draw the figure of those groups that have a controller.

    Raises:
        RunError: none has one, or no update of a run is there yet, or they differ in depth.
    """
    groups = [group for group in groups if group.algorithm in CONTROLLERS]
    if not groups:
        raise RunError("no run has a controller, whose entropy could be drawn")
    first, *others = all_runs(groups)
    for run in (first, *others):
        if not run.updates:
            raise RunError(f"{run.folder} has no updates yet")
        if run.config["iterations"] != first.config["iterations"]:
            raise RunError(f"{first.folder} and {run.folder} differ in iterations")
    depth = len(groups[0].runs[0].updates[0]["entropy"]) // len(SLOTS)
    longest = max(len(run.updates) for run in all_runs(groups))
    right = ("total", "share", "steps")
    rows = [[row // 3, right[row // depth]] for row in range(3 * depth)]
    figure, panels = plt.subplot_mosaic(rows, figsize=(7.2, 4.8 + 0.4 * depth), sharex=True)
    text = "exp(entropy) is about the number of choices that are still weighed. "
    if any(len(group.runs) > 1 for group in groups):
        text += "Lines: means over seeds; bands: lowest to highest seed. "
    style.frame(figure, title(all_runs(groups)), text + notes(groups))

    panels["total"].set(title="Entropy of the whole rule", ylabel="nats")
    kinds = " or ".join(sorted({counted(run) for run in all_runs(groups)}))
    panels["share"].set(title=f"{kinds.capitalize()} in the last 100 rules", yticks=(0, 0.5, 1))
    panels["share"].yaxis.set_major_formatter(PercentFormatter(1))
    panels[depth - 1].set_xlabel("updates")
    labels = {panels["steps"]: draw_steps(panels["steps"], groups)}
    for number in range(depth):
        of = f", group {number + 1}" if depth > 1 else ""
        panels[number].set(title=f"Entropy per token{of}", ylabel="nats")
        labels[panels[number]] = draw_tokens(panels[number], groups, number)
    for name, series, form in (("total", total, ".1f"), ("share", share, ".0%")):
        axes, labels[panels[name]] = panels[name], []
        for group, dashes in zip(groups, DASHES * len(groups), strict=False):
            last, end = style.draw_band(
                axes, group.band(series), f"{group.label} {name}", group.color, ls=dashes
            )
            where = f" at {last:,}" if last < longest else ""
            labels[axes].append((end, style.fold(f"{group.label} {end:{form}}{where}"), group.color))
        axes.set_ylim(0, 1.06 if name == "share" else 1.06 * axes.get_ylim()[1])
    style.label_all(labels)
    return figure


def draw(folders: list[Path], output: Path) -> list[Path]:
    """Draw the figure of some runs; return the files written. Raises RunError as `picture` does."""
    return style.save(picture(read_groups(folders)), output)


def main(argv: list[str] | None = None) -> int:
    return command("plots.entropy", __doc__, draw, argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
