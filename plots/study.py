"""Figure: search algorithms on NOS-Bench, many seeds of each, against the number of sampled rules.

    python -m plots.study FILE.jsonl [FILE.jsonl ...] [-o FILE]
    python -m plots.study runs/study               # every setting of a study

A line is the mean over the seeds of one setting of study.py, its band the middle 80 % of them. The
figure is Figure 4 of the paper with what that figure does not tell: how many different good rules
were found, what they are worth on seeds that the search did not see, and whether it still explores.

It prints the table of the last checkpoint too, and how many times as many top rules a setting finds
as another, with a bootstrap interval over the seeds.

What to look for: a high mean reward with a falling entropy is a search that writes one rule in many
spellings. The best rules by the search's own scores are flattered by its noise; the fresh scores tell.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from plots import style
from plots.runs import command
from plots.style import plt
from results import RunError, read_lines
from significance import ratio_interval

PANELS = {
    "found_fresh": ("Different top-1 % rules found", "rules, top by fresh seeds"),
    "top10_fresh": ("Ten best rules, scored on fresh seeds", "mean validation accuracy"),
    "latest": ("The latest fifth of the samples", "mean reward"),
    "entropy": ("Entropy over distinct rules", "nats"),
}
BAND = (10, 90)  # percentiles
COLUMNS = {  # what the table says, and with how many digits
    "latest": ("latest fifth", 3),
    "best": ("best", 3),
    "top10_fresh": ("ten best, fresh seeds", 3),
    "found": ("top rules, own seed", 0),
    "found_fresh": ("top rules, fresh seeds", 0),
    "distinct": ("distinct", 0),
    "distinct_100": ("of the last 100", 2),
    "entropy": ("entropy, at most 7", 2),
}
RIVALS = (
    "random",
    "random-new",
    "evolution-new",
    "evolution-200-25",
    "evolution-long",
)  # what the others are measured against


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
    def look(self) -> dict:
        paper = self.name.endswith("-paper")
        dashes = "-" if self.config["candidates"] > 1 else (0, (1, 1.5)) if paper else (0, (4, 2))
        dashes = (0, (6, 1, 1, 1)) if self.name.endswith("-long") else dashes
        return {"color": style.ALGORITHM[self.config["algorithm"]], "ls": dashes}

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
            f"no study in {', '.join(map(str, paths))}; make one: python study.py random reinforce-new"
        )
    settings = [Setting(file) for file in files]
    order = list(style.ALGORITHM)
    return sorted(settings, key=lambda s: (order.index(s.config["algorithm"]), s.name))


def picture(settings: list[Setting]) -> Figure:
    """Draw the figure."""
    figure, axes = plt.subplots(2, 2, figsize=(9.6, 7.4), sharex=True)
    labels: dict[plt.Axes, list] = {}
    for panel, (name, (title, unit)) in zip(axes.flat, PANELS.items(), strict=True):
        for setting in settings:
            values, look = setting.values[name], setting.look
            low, high = np.percentile(values, BAND, axis=0)
            panel.fill_between(setting.rules, low, high, color=look["color"], alpha=0.12, lw=0)
            panel.plot(setting.rules, values.mean(0), lw=1.7, gid=f"{setting.name} {name}", **look)
            labels.setdefault(panel, []).append((values.mean(0)[-1], setting.name, look["color"]))
        panel.set(title=title, ylabel=unit, xscale="log")
        if name in ("found_fresh", "entropy"):
            panel.set_ylim(0, None)
        marks = max((setting.rules for setting in settings), key=len)
        panel.set_xticks(marks, [f"{mark:,}" for mark in marks], fontsize=9)
        panel.minorticks_off()
    for panel in axes[1]:
        panel.set_xlabel("sampled rules")
    seeds = sorted({len(setting.seeds) for setting in settings})
    lags = sorted({setting.config["lag"] for setting in settings})
    text = (
        f"NOS-Bench, micro tier: no rule is trained. Mean of {' to '.join(map(str, seeds))} searches, "
        f"band: middle {BAND[1] - BAND[0]} % of them. Lag {', '.join(map(str, lags))}. "
        "Dotted: the paper's; dashed: tuned; solid: tuned, and known rules passed over; dash and dot: "
        "so for 10,000 rules. "
        "Fresh: mean of the seeds that the search did not see. Entropy is estimated from 1,000 draws: "
        "about 7 at most."
    )
    style.frame(figure, "Search algorithms on a table of all rules of depth 1", text)
    style.label_all(labels, 8)
    return figure


def table(settings: list[Setting]) -> str:
    """Return the standing at the last checkpoint that all reached, as Markdown."""
    last = min(setting.rules[-1] for setting in settings)
    head = ["setting", "n", *(title for title, _ in COLUMNS.values()), "top rules at 500 distinct"]
    rows = [head, ["---"] * len(head)]
    for setting in settings:
        row = [setting.name, str(len(setting.seeds))]
        for name, (_, digits) in COLUMNS.items():
            values = setting.at(name, last)
            spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
            row.append(f"{values.mean():.{digits}f}{spread}")
        early = setting.at("found_by_distinct", 500)
        rows.append([*row, "-" if np.isnan(early).any() else f"{early.mean():.0f}"])
    lines = [f"After {last:,} sampled rules, mean ± standard deviation over n searches:", ""]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    for name in ("found", "found_fresh"):
        if ratios := compared(settings, name, last):
            lines += ["", *ratios]
    return "\n".join(lines)


def compared(settings: list[Setting], name: str, last: int) -> list[str]:
    """Return lines of Markdown: how many times as many of something each finds as its rivals."""
    found = {s.name: dict(zip(s.seeds, s.at(name, last), strict=True)) for s in settings}
    rivals = [rival for rival in RIVALS if rival in found]
    if not rivals or len(settings) == 1:
        return []
    lines = [
        f"{COLUMNS[name][0].capitalize()}, times the rival's [95 % interval over the same seeds]:",
        "",
    ]
    lines += [f"| setting | {' | '.join(rivals)} |", "|---" * (len(rivals) + 1) + "|"]
    for setting, ours in found.items():
        cells = []
        for rival in rivals:
            same = sorted(ours.keys() & found[rival].keys())
            x, y = (np.array([values[seed] for seed in same]) for values in (ours, found[rival]))
            if setting == rival or not len(same):
                cells.append("-")
                continue
            middle, low, high = ratio_interval(x, y)
            cells.append(f"{middle:.2f} [{low:.2f}, {high:.2f}]")
        lines.append(f"| {setting} | {' | '.join(cells)} |")
    return lines


def draw(paths: list[Path], output: Path) -> list[Path]:
    """Draw the figure and print the table; return the files written.

    Raises:
        RunError: a file is no study.
    """
    settings = read(paths)
    print(table(settings) + "\n")
    return style.save(picture(settings), output)


def main(argv: list[str] | None = None) -> int:
    return command("study", __doc__, draw, argv, what="files or folders of study.py")


if __name__ == "__main__":
    sys.exit(main())
