"""Figure: search algorithms on NOS-Bench, many seeds of each, against the number of sampled rules.

    python -m nosbench.figures.study FILE.jsonl [FILE.jsonl ...] [-o FILE]
    python -m nosbench.figures.study runs/study               # every setting of a study

A line is the mean over the seeds of one setting of study.py, its band the middle 80 % of them; each
kind of setting has a column of its own, with random search in all of them. The figure is Figure 4 of the
paper with what that figure does not tell: how many different good rules were found, what they are worth
on seeds that the search did not see, and whether it still explores.

A second one, NAME-distinct, has the number of distinct rules in its place: a search that collapses
samples on, but its line ends early. The table of the last checkpoint is printed too, and how many times
as many top rules a setting finds as another, with a bootstrap interval over the seeds.

What to look for: a high mean reward with a falling entropy is a search that writes one rule in many
spellings. The best rules by the search's own scores are flattered by its noise; the fresh scores tell.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from plots import style
from plots.style import command, plt
from results import RunError, read_lines
from studies.significance import mean_interval, ratio_interval

PANELS = {
    "found_fresh": ("Different top-1 % rules found", "rules, top by fresh seeds"),
    "top10_fresh": ("Ten best rules, scored on fresh seeds", "mean validation accuracy"),
    "latest": ("The latest fifth of the samples", "mean reward"),
    "entropy": ("Entropy over distinct rules", "nats"),
}
KINDS = {
    "paper": "The paper's setting",
    "plain": "Larger steps",
    "new": "Known rules passed over",
    "long": "The same, for 10,000 rules",
}
BAND = (10, 90)  # percentiles
COLUMNS = {  # what the table says, and with how many digits
    "latest": ("latest fifth", 3),
    "best": ("best", 3),
    "best_fresh": ("best, fresh seeds", 3),
    "top10_fresh": ("ten best, fresh seeds", 3),
    "found": ("top rules, own seed", 0),
    "found_fresh": ("top rules, fresh seeds", 0),
    "distinct": ("distinct", 0),
    "distinct_100": ("of the last 100", 2),
    "entropy": ("entropy, at most 7", 2),
}
# What the others are measured against.
RIVALS = ("random", "random-new", "evolution-new", "evolution-200-25", "evolution-long")


class Setting:
    """The searches of one setting, as study.py wrote them."""

    def __init__(self, file: Path):
        lines = read_lines(file)
        if not lines:
            raise RunError(f"{file} is no study, or holds no search yet")
        try:
            self.name, self.config = lines[0]["name"], lines[0]["config"]
            number = min(len(line["checkpoints"]) for line in lines)
            self.rules = np.array(lines[0]["checkpoints"][:number])
            self.values = {
                name: np.array([line[name][:number] for line in lines], dtype=float)
                for name in (*PANELS, *COLUMNS, "found_by_distinct")
            }
        except (KeyError, TypeError) as error:
            raise RunError(f"{file} is no study: {error} is missing") from None
        self.seeds = [(line["seed"], line["table_seed"]) for line in lines]

    @property
    def kind(self) -> str:
        """Which of KINDS it is, by the ends of study.py's names."""
        if self.config["candidates"] == 1:
            return "paper" if self.name.endswith("-paper") else "plain"
        return "long" if self.name.endswith("-long") else "new"

    def at(self, name: str, rules: int) -> np.ndarray:
        """Return a value after so many rules, float [seeds]; NaN where nobody looked."""
        places = np.flatnonzero(self.rules == rules)
        return self.values[name][:, places[0]] if len(places) else np.full(len(self.seeds), np.nan)


def read(paths: list[Path]) -> list[Setting]:
    """Read settings, those of a folder by name.

    Raises:
        RunError: a file is no study.
    """
    files = [
        file for path in paths for file in (sorted(path.glob("*.jsonl")) if path.is_dir() else [path])
    ]
    if not files:
        raise RunError(
            f"no study in {', '.join(map(str, paths))}; make one: python -m nosbench.study random reinforce-new"
        )
    settings = [Setting(file) for file in files]
    order = list(style.ALGORITHM)
    return sorted(settings, key=lambda s: (order.index(s.config["algorithm"]), s.name))


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
    """Draw the figure against the number of "sampled" or of "distinct" rules, the mean over seeds."""
    groups = by_kind(settings)
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
        row[0].set_ylabel(unit)
        row[0].set_title(title, fontsize=10, weight="normal")
        if name in ("found_fresh", "entropy"):
            row[0].set_ylim(0, None)
    above = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    for kind, top, bottom in zip(groups, axes[0], axes[-1], strict=True):
        top.annotate(KINDS[kind], (0, 1), (0, 24), fontsize=11, weight="bold", **above)
        bottom.set_xlabel(f"{by} rules")
    numbers = [len(setting.seeds) for setting in settings]
    seeds = " to ".join(map(str, dict.fromkeys((min(numbers), max(numbers)))))
    lags = sorted({setting.config["lag"] for setting in settings})
    text = (
        f"Mean of {seeds} searches, band: middle {BAND[1] - BAND[0]} % of them. "
        f"Lag {', '.join(map(str, lags))}. Fresh: mean of the seeds that the search did not see. "
        "Entropy is estimated from 1,000 draws: about 7 at most."
    )
    depth = {setting.config["iterations"] for setting in settings}
    what = "on NOS-Bench, a table of all rules of depth 1" if depth == {1} else "on NOS-Bench's child"
    style.frame(figure, f"Search algorithms {what}", text)
    style.label_all(labels, 8)
    return figure


def table(settings: list[Setting]) -> str:
    """Return the standing at the last checkpoint that all reached, as Markdown."""
    ends = [setting.rules[-1] for setting in settings]
    last = min(ends)
    head = ["setting", "n", *(title for title, _ in COLUMNS.values()), "top rules at 500 distinct"]
    rows = [head, ["---"] * len(head)]
    for setting in settings:
        row = [setting.name, str(len(setting.seeds))]
        for name, (_, digits) in COLUMNS.items():
            values = setting.at(name, last)
            spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
            row.append(f"{values.mean():.{digits}f}{spread}")
        at_500 = setting.at("found_by_distinct", 500)
        rows.append([*row, "-" if np.isnan(at_500).any() else f"{at_500.mean():.0f}"])
    short = [s.name for s in settings if s.rules[-1] == last < max(ends)]
    limit = f" (all that {', '.join(short)} has)" if short else ""
    lines = [f"After {last:,} sampled rules{limit}, mean ± standard deviation over n searches:", ""]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    for part in (course(settings, last), early(settings, last)):
        lines += ["", *part] if part else []
    for name in ("found", "found_fresh"):
        if ratios := compared(settings, name, last):
            lines += ["", *ratios]
    return "\n".join(lines)


def course(settings: list[Setting], last: int) -> list[str]:
    """Return lines of Markdown: how many top rules each has found after so many sampled ones."""
    marks = [mark for mark in max((s.rules for s in settings), key=len) if 500 <= mark <= last]
    if len(marks) < 2:
        return []
    lines = ["Mean number of top rules, own seed / fresh seeds, after so many sampled rules:", ""]
    lines += [f"| setting | {' | '.join(f'{mark:,}' for mark in marks)} |"]
    lines += ["|---" * (len(marks) + 1) + "|"]
    for setting in settings:
        found = [[setting.at(name, m).mean() for name in ("found", "found_fresh")] for m in marks]
        lines.append(f"| {setting.name} | {' | '.join(f'{a:.0f} / {b:.0f}' for a, b in found)} |")
    return lines


def early(settings: list[Setting], last: int) -> list[str]:
    """Return lines of Markdown: the ten best of a fifth of the rules, minus random search's of all."""
    rivals = [setting for setting in settings if setting.name in ("random", "random-new")]
    others = [s for s in settings if s.config["algorithm"] != "random" and last // 5 in s.rules]
    if not rivals or not others:
        return []
    lines = [
        f"Ten best, fresh seeds, after {last // 5:,} rules, minus random search's after {last:,} "
        "[95 % interval over the same seeds]:",
        "",
        f"| setting | {' | '.join(rival.name for rival in rivals)} |",
        "|---" * (len(rivals) + 1) + "|",
    ]
    for setting in others:
        cells = []
        for rival in rivals:
            x, y = paired(setting, rival, "top10_fresh", last // 5, last)
            cells.append("{:+.4f} [{:+.4f}, {:+.4f}]".format(*mean_interval(x - y)))
        lines.append(f"| {setting.name} | {' | '.join(cells)} |")
    return lines


def paired(ours: Setting, theirs: Setting, name: str, our_rules: int, their_rules: int) -> tuple:
    """Return a value of two settings over the seeds that both have, float [seeds] each."""
    same = sorted(set(ours.seeds) & set(theirs.seeds))
    places = [[setting.seeds.index(seed) for seed in same] for setting in (ours, theirs)]
    return ours.at(name, our_rules)[places[0]], theirs.at(name, their_rules)[places[1]]


def compared(settings: list[Setting], name: str, last: int) -> list[str]:
    """Return lines of Markdown: how many times as many of something each finds as its rivals.

    The interval is over searches on given table seeds; the ratio on each of these stands behind it.
    """
    rivals = [s for rival in RIVALS for s in settings if s.name == rival]
    if not rivals or len(settings) == 1:
        return []
    what = COLUMNS[name][0].capitalize()
    lines = [f"{what}, times the rival's [95 % interval over the same seeds] (on each table seed):", ""]
    lines += [f"| setting | {' | '.join(rival.name for rival in rivals)} |"]
    lines += ["|---" * (len(rivals) + 1) + "|"]
    for setting in settings:
        cells = []
        for rival in rivals:
            x, y = paired(setting, rival, name, last, last)
            if setting is rival or not len(x):
                cells.append("-")
                continue
            tables = np.array([table for _, table in sorted(set(setting.seeds) & set(rival.seeds))])
            each = [x[tables == t].sum() / y[tables == t].sum() for t in np.unique(tables)]
            middle, low, high = ratio_interval(x, y)
            apart = ", ".join(f"{ratio:.2f}" for ratio in each)
            cells.append(f"{middle:.2f} [{low:.2f}, {high:.2f}] ({apart})")
        lines.append(f"| {setting.name} | {' | '.join(cells)} |")
    return lines


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
    return command("study", __doc__, draw, argv, what="files or folders of study.py")


if __name__ == "__main__":
    sys.exit(main())
