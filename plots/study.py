"""Figure: search algorithms on NOS-Bench, many seeds of each, against the number of sampled rules.

    python -m plots.study FILE.jsonl [FILE.jsonl ...] [-o FILE]
    python -m plots.study runs/study               # every setting of a study

A line is the mean over the seeds of one setting of study.py, its band the middle 80 % of them. The
figure is Figure 4 of the paper with what that figure does not tell: how many different good rules
were found, what they are worth on seeds that the search did not see, and whether it still explores.

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
                name: np.array([line[name][:number] for line in lines], dtype=float) for name in PANELS
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
        "Dotted: the paper's; dashed: tuned; solid: tuned, and known rules are passed over."
    )
    style.frame(figure, "Search algorithms on a table of all rules of depth 1", text)
    style.label_all(labels, 8)
    return figure


def draw(paths: list[Path], output: Path) -> list[Path]:
    """Draw the figure; return the files written.

    Raises:
        RunError: a file is no study.
    """
    return style.save(picture(read(paths)), output)


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
