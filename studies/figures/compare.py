"""Figure: found rules against human optimizers on fresh seeds, and what the search's scores were worth.

    python -m studies.figures.compare RUN [-o FILE]    # RUN is a folder of studies.compare

Left, each of the search's best rules: the reward that selected it against its mean on fresh seeds.
Below the diagonal lies what was luck (the winner's curse); lines are human optimizers on the same fresh
seeds. Right, the final stage: a row each, all seeds as dots, validation above test.

What to look for: a rule is better only if it is so by more than the bars, on both kinds of images. Bars
are for each rule alone; the seeds are common to all, so summary.txt, which pairs them, sees more.
"""

import sys
import textwrap
from itertools import count
from pathlib import Path

from config import as_program

import numpy as np
from matplotlib.lines import Line2D

from nosbench.intervals import mean_interval
from plots import style
from plots.names import CHILDREN, DATASETS
from plots.style import command, plt
from results import RunError, guessing, score_label, worth
from rules import NAMED_RULES, is_class, rule_or_class
from studies.compare import measures
from studies.trials import read_config, read_trials

OTHER = "#B0B0B0"  # of rules that were no finalists
NAMED = "#000000"  # of those that --also names


def by_rule(records: list[dict], stage: str) -> dict[str, list[dict]]:
    """Group the records of a stage by rule; what has but one seed yet is left out."""
    groups: dict[str, list[dict]] = {}
    for record in records:
        if record["stage"] == stage:
            groups.setdefault(record["rule"], []).append(record)
    return {rule: mine for rule, mine in groups.items() if len(mine) > 1}


def values(records: list[dict], what: str) -> np.ndarray:
    """Return accuracies, float [seeds]; where it diverged what compare.py counts."""
    return np.array([worth(record, what) for record in records])


def looks(final: dict[str, list[dict]]) -> dict[str, tuple[str, str]]:
    """Return short name and colour of everybody in the final stage, best first."""
    ranked = sorted(final, key=lambda rule: -values(final[rule], "accuracy").mean())
    chosen, found, also = {}, count(1), count(1)
    for rule in ranked:
        kind, name = final[rule][0]["kind"], final[rule][0]["name"]
        if kind == "human":
            chosen[rule] = style.HUMAN_NAMES[name], style.HUMAN[name]
        elif kind == "found":
            chosen[rule] = f"rule {next(found)}", style.CONTROLLER
        else:
            short = class_name(rule) if is_class(rule) else name if name in NAMED_RULES else None
            chosen[rule] = short or f"also {next(also)}", NAMED
    return chosen


def class_name(text: str) -> str:
    """Return a short name of an optimizer class; one that works on another names it first."""
    one = rule_or_class(text)
    inner = dict(one.arguments).get("optimizer")
    if not isinstance(inner, str):
        return one.name
    return f"{class_name(inner) if is_class(inner) else inner.capitalize()}, {one.name.lower()}"


def draw_selection(
    axes: plt.Axes, contestants: list[dict], rerank: dict, looks: dict, score: str
) -> None:
    """Draw fresh mean against the search's reward, a dot a rule, a line a human optimizer."""
    rewards, labels = [], []
    for one in contestants:
        if one["rule"] not in rerank:
            continue
        mean, low, high = mean_interval(values(rerank[one["rule"]], "accuracy"))
        if one["kind"] == "human":
            color = style.HUMAN[one["name"]]
            axes.axhline(mean, color=color, lw=1.6, ls=style.DASHED, zorder=1, gid=one["name"])
            labels.append((mean, style.HUMAN_NAMES[one["name"]], color))
        else:
            rewards.append(one["reward"])
            color = style.CONTROLLER if one["rule"] in looks else OTHER
            bar = {"yerr": [[mean - low], [high - mean]], "elinewidth": 1, "capsize": 0, "zorder": 2}
            axes.errorbar(one["reward"], mean, fmt="o", ms=4.5, color=color, **bar)
    margin = 0.1 * max(0.01, max(rewards) - min(rewards))
    limits = axes.get_ylim()
    axes.axline((0.5, 0.5), slope=1, color=style.FAINT, lw=1, zorder=1)
    axes.set(xlim=(min(rewards) - margin, max(rewards) + margin))
    axes.set(ylim=(limits[0], max(limits[1], max(rewards) + margin)))
    axes.set(xlabel="reward in the search, which selected it", ylabel=f"{score}, mean on fresh seeds")
    dot = {"ls": "", "marker": "o", "ms": 4.5}
    keys = [(Line2D([], [], color=style.CONTROLLER, **dot), "finalist")]
    keys += [(Line2D([], [], color=OTHER, **dot), "other rule")]
    keys += [(Line2D([], [], color=style.FAINT, lw=1), "as in the search")]
    style.legend_columns(axes, [[key] for key in keys], "Scored again: the winner's curse")
    style.label_right(axes, labels)


def draw_final(axes: plt.Axes, final: dict, looks: dict, score: str) -> None:
    """Draw a row for everybody: seeds as dots, mean and interval, validation above test, if any."""
    kinds = measures([record for some in final.values() for record in some])
    for row, (rule, (name, color)) in enumerate(looks.items()):
        for place, (what, kind) in enumerate(kinds.items()):
            accuracies, validation = values(final[rule], what), what == "accuracy"
            y, fill = row + (0.36 * place - 0.18) * (len(kinds) > 1), color if validation else "white"
            mean, low, high = mean_interval(accuracies)
            axes.plot([low, high], [y, y], color=color, lw=5, alpha=0.3, solid_capstyle="butt")
            axes.plot(mean, y, "|", ms=11, mew=2.2, color=color, zorder=3)
            dots = {"s": 14, "lw": 0.9, "facecolors": fill, "edgecolors": color, "zorder": 4}
            axes.scatter(accuracies, np.full(len(accuracies), y), **dots, gid=f"{name} {kind}")
    human = next(rule for rule in looks if final[rule][0]["kind"] == "human")  # the best of them
    reference = values(final[human], "accuracy").mean()
    axes.axvline(reference, color=looks[human][1], lw=1.2, ls=style.DASHED, zorder=0)
    # What hardly learns would leave the others no room: it is named at the edge.
    [record, *_] = final[human]
    least = guessing(record) if "scale" in record else 0.8 * reference
    learn = {rule: values(final[rule], "accuracy").mean() > least for rule in looks}
    drawn = np.concatenate(
        [values(final[rule], what) for rule in looks if learn[rule] for what in kinds]
    )
    margin = 0.05 * np.ptp(drawn)
    axes.set(xlim=(drawn.min() - margin, drawn.max() + margin))
    for row, rule in enumerate(looks):
        if (mean := values(final[rule], "accuracy").mean()) < axes.get_xlim()[0]:
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # its best seeds may be there
            axes.annotate(f"\N{LEFTWARDS ARROW} {mean:.2f}", (0, row), (4, 0), va="center", bbox=paper,
                          xycoords=("axes fraction", "data"), textcoords="offset points")  # fmt: skip
    axes.set(yticks=range(len(looks)), yticklabels=[name for name, _ in looks.values()])
    axes.set(ylim=(len(looks) - 0.4, -0.6), xlabel=score)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    dot = {"ls": "", "marker": "o", "ms": 4, "color": style.DARK}
    fills = {"accuracy": style.DARK, "test_accuracy": "white"}
    keys = [(Line2D([], [], mfc=fills[what], **dot), kind) for what, kind in kinds.items()]
    keys += [(Line2D([], [], ls="", marker="|", ms=11, mew=2.2, color=style.DARK), "mean")]
    seeds = max(map(len, final.values()))
    style.legend_columns(axes, [[key] for key in keys], f"Final stage: {seeds} other seeds")


def draw(folders: list[Path], output: Path) -> list[Path]:
    """Draw the figure of a comparison; return the files written.

    Raises:
        RunError: the folder is none, or has not come to its final stage.
    """
    folder = folders[0]
    saved, records = read_config(folder, "compare"), read_trials(folder)
    config = saved["config"]
    rerank, final = by_rule(records, "rerank"), by_rule(records, "final")
    if not final:
        raise RunError(
            f"{folder} has not come to its final stage; "
            f"go on: python -m studies.compare --resume {folder}"
        )
    contenders = looks(final)
    formulas = [
        textwrap.fill(f"{name}:  {rule_or_class(rule).infix()}", 120, subsequent_indent="        ")
        for rule, (name, _) in contenders.items()
        if final[rule][0]["kind"] != "human"
    ]
    text = 0.19 * sum(formula.count("\n") + 1 for formula in formulas)
    heights = (max(3.4, 0.42 * len(contenders)), text)
    mosaic = [["left", "right"], ["formulas", "formulas"]]
    figure, panels = plt.subplot_mosaic(
        mosaic, figsize=(10.5, sum(heights) + 1.3), height_ratios=heights
    )
    child, seeds = saved["child"], max(map(len, rerank.values()))
    size = f"{child['epoch_size']:,} images" if "epoch_size" in child else f"{child['steps']:,} batches"
    caption = (
        f"Bars: 95 % t-intervals of the mean, {seeds} seeds left and {config['final_seeds']} right. "
        f"Dashed: human means, right the best one. Final learning rates: {config['rates']}. "
        f"Epochs of {size}, {child['epochs']} at the best rate."
    )
    what = Path(child["task"]).name if "task" in child else None
    what = what or f"{DATASETS[child['dataset']]}, {CHILDREN.get(child['downsample'], 'ConvNet')}"
    others = " and others" * any(rows[0]["kind"] == "named" for rows in final.values())
    title = f"{what}: found rules{others} against human optimizers"
    style.frame(figure, title, caption)
    panels["formulas"].axis("off")
    panels["formulas"].text(0, 1, "\n".join(formulas), va="top", fontsize=9)
    score = score_label(saved, "right") if "task" in child else "accuracy"
    draw_final(panels["right"], final, contenders, score)
    score = score_label(saved) if "task" in child else "accuracy"
    draw_selection(panels["left"], saved["contestants"], rerank, contenders, score)
    return style.save(figure, output)


def main(argv: list[str] | None = None) -> int:
    what = "a run folder of studies.compare"
    return command("studies.figures.compare", __doc__, draw, argv, what=what, nargs=1)


if __name__ == "__main__":
    sys.exit(as_program(main))
