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

from config import Parser
from plots import style
from plots.style import plt
from results import RunError, read_lines

PANELS = {
    "found": ("Different top-1 % rules found", "rules"),
    "top10_fresh": ("Ten best rules, scored on fresh seeds", "mean validation accuracy"),
    "latest": ("The latest fifth of the samples", "mean reward"),
    "entropy": ("Entropy over distinct rules", "nats"),
}
LOOKS = {"-paper": (0, (1, 1.5)), "": (0, (4, 2)), "-new": "-"}  # by the name's end
BAND = (10, 90)  # percentiles
COLUMNS = ("latest", "best", "top10_fresh", "found", "distinct", "distinct_100", "entropy")
RIVALS = ("random", "random-new", "evolution-new")  # what the others are measured against


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
        self.seeds = len(lines)

    @property
    def look(self) -> dict:
        ends = [end for end in LOOKS if end and self.name.endswith(end)]
        return {"color": style.ALGORITHM[self.config["algorithm"]], "ls": LOOKS[ends[0] if ends else ""]}


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
        if name in ("found", "entropy"):
            panel.set_ylim(0, None)
        marks = max((setting.rules for setting in settings), key=len)
        panel.set_xticks(marks, [f"{mark:,}" for mark in marks], fontsize=9)
        panel.minorticks_off()
    for panel in axes[1]:
        panel.set_xlabel("sampled rules")
    seeds = sorted({setting.seeds for setting in settings})
    lags = sorted({setting.config["lag"] for setting in settings})
    text = (
        f"NOS-Bench, micro tier: no rule is trained. Mean of {' to '.join(map(str, seeds))} searches, "
        f"band: middle {BAND[1] - BAND[0]} % of them. Lag {', '.join(map(str, lags))}. "
        "Dotted: the paper's; dashed: tuned; solid: tuned, and known rules are passed over. "
        "Top 1 % by the search's own seed. Entropy is estimated from 1,000 draws: about 7 at most."
    )
    style.frame(figure, "Search algorithms on a table of all rules of depth 1", text)
    style.label_all(labels, 8)
    return figure


def ratio(ours: np.ndarray, theirs: np.ndarray, resamples: int = 10_000) -> tuple[float, float, float]:
    """Return the ratio of two means over the same seeds, and its paired bootstrap's 95 % interval."""
    chosen = np.random.default_rng(0).integers(len(ours), size=(resamples, len(ours)))
    ratios = ours[chosen].mean(1) / theirs[chosen].mean(1)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return float(ours.mean() / theirs.mean()), float(low), float(high)


def table(settings: list[Setting]) -> str:
    """Return the standing at the last checkpoint that all reached, as Markdown."""
    last = min(setting.rules[-1] for setting in settings)
    head = ["setting", "n", "latest fifth", "best", "ten best, fresh", "top rules", "distinct"]
    head += ["of the last 100", "entropy", "top rules at 500 distinct"]
    rows = [head, ["---"] * len(head)]
    for setting in settings:
        at = int(np.flatnonzero(setting.rules == last)[0])
        values = [setting.values[name][:, at] for name in COLUMNS]
        texts = [f"{value.mean():.{d}f} ± {value.std(ddof=1) if len(value) > 1 else 0:.{d}f}"
                 for value, d in zip(values, (3, 3, 3, 0, 0, 2, 2), strict=True)]  # fmt: skip
        half = setting.values["found_by_distinct"][:, int(np.flatnonzero(setting.rules == 500)[0])]
        texts += ["-" if np.isnan(half).any() else f"{half.mean():.0f}"]
        rows.append([setting.name, str(setting.seeds), *texts])
    lines = [f"After {last:,} sampled rules, mean ± standard deviation over n seeds:", ""]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    found = {s.name: s.values["found"][:, int(np.flatnonzero(s.rules == last)[0])] for s in settings}
    rivals = [name for name in RIVALS if name in found]
    if rivals:
        lines += ["", "Top rules found, times as many as the rival [95 % interval, paired by seed]:", ""]
        lines += [f"| setting | {' | '.join(rivals)} |", "|---" * (len(rivals) + 1) + "|"]
    for name, ours in found.items() if rivals else ():
        cells = []
        for rival in rivals:
            n = min(len(ours), len(found[rival]))
            middle, low, high = ratio(ours[:n], found[rival][:n])
            cells.append("" if rival == name else f"{middle:.2f} [{low:.2f}, {high:.2f}]")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(paths: list[Path], output: Path) -> list[Path]:
    """Draw the figure and print the table; return the files written.

    Raises:
        RunError: a file is no study.
    """
    settings = read(paths)
    print(table(settings) + "\n")
    return style.save(picture(settings), output)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m plots.study", description=__doc__)
    parser.add_argument(
        "studies", nargs="+", type=Path, metavar="FILE", help="files or folders of study.py"
    )
    parser.add_argument(
        "-o",
        type=Path,
        default=Path("study.png"),
        metavar="FILE",
        dest="file",
        help="picture, an SVG goes beside it (default: study.png)",
    )
    args = parser.parse_args(argv)
    try:
        paths = draw(args.studies, args.file)
    except (RunError, OSError) as error:
        parser.error(str(error))
    print(f"Wrote {' and '.join(map(str, paths))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
