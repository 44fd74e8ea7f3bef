"""What a study found: its settings read, compared seed by seed, and told as a table.

    settings = read([Path("runs/study")])
    print(table(settings))

The best rules by a search's own scores are flattered by the noise of those scores; what the same rules
score on fresh seeds, which the search did not see, tells more. Settings are compared over the seeds that
both have, so that the luck of a seed cancels out.
Nothing to run here; study.py prints the table. Read next: figures/study.py.
"""

from pathlib import Path

import numpy as np

from nosbench.intervals import mean_interval, ratio_interval
from plots.names import ALGORITHM_NAMES
from results import RunError, markdown, read_lines

COLUMNS = {  # what a search is told by, and with how many digits; {} is what is counted
    "latest": ("latest fifth", 3),
    "best": ("best", 3),
    "best_fresh": ("best, fresh seeds", 3),
    "top10_fresh": ("ten best, fresh seeds", 3),
    "found": ("top {}, own seed", 0),
    "found_fresh": ("top {}, fresh seeds", 0),
    "distinct": ("distinct {}", 0),
    "distinct_100": ("of the last 100", 2),
    "entropy": ("entropy, at most 7", 2),
}
# What the others are measured against.
RIVALS = (
    "random",
    "random-new",
    "evolution-new",
    "evolution-100-25",
    "evolution-200-25",
    "evolution-long",
)


PLURAL = {"family": "families", "class": "classes"}  # what a study counts, by its lines' identity


class Setting:
    """The searches of one setting, as study.py wrote them; older ones are by class, not by family.

    Raises:
        RunError: the file is no study.
    """

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
                for name in (*COLUMNS, "found_by_distinct")
            }
            [self.identity] = {line.get("identity", "class") for line in lines}
            self.counted = PLURAL[self.identity]
        except ValueError:
            raise RunError(f"{file} is no study: some of it is by family, some by class") from None
        except (KeyError, TypeError) as error:
            raise RunError(f"{file} is no study: {error} is missing") from None
        self.seeds = [(line["seed"], line["table_seed"]) for line in lines]

    @property
    def kind(self) -> str:
        """Return "paper", "plain", "new" or "long", as study.py's names end."""
        if self.config["candidates"] == 1:
            return "paper" if self.name.endswith("-paper") else "plain"
        return "long" if self.name.endswith("-long") else "new"

    def at(self, name: str, rules: int) -> np.ndarray:
        """Return a value after so many rules, float [seeds]; NaN where nobody looked."""
        places = np.flatnonzero(self.rules == rules)
        return self.values[name][:, places[0]] if len(places) else np.full(len(self.seeds), np.nan)


def read(paths: list[Path]) -> list[Setting]:
    """Read settings from files and folders; return them by algorithm and name.

    Raises:
        RunError: a file is no study, or there is none.
    """
    files = [
        file for path in paths for file in (sorted(path.glob("*.jsonl")) if path.is_dir() else [path])
    ]
    if not files:
        where = ", ".join(map(str, paths))
        raise RunError(f"no study in {where}; make one: python -m nosbench.study random reinforce-new")
    settings = [Setting(file) for file in files]
    order = list(ALGORITHM_NAMES)
    return sorted(settings, key=lambda s: (order.index(s.config["algorithm"]), s.name))


def counted(settings: list[Setting]) -> str:
    """Return what all settings count, "families" or "classes".

    Raises:
        RunError: some count these, some those, which cannot be compared.
    """
    kinds = {setting.identity: setting.name for setting in settings}
    if len(kinds) > 1:
        said = " and ".join(f"{name} by {kind}" for kind, name in kinds.items())
        raise RunError(f"different things are counted ({said}); make the older ones again")
    return settings[0].counted


def common_seeds(ours: Setting, theirs: Setting) -> list[tuple[int, int]]:
    """Return the seeds that both settings have, each with its table seed."""
    return sorted(set(ours.seeds) & set(theirs.seeds))


def paired(ours: Setting, theirs: Setting, name: str, our_rules: int, their_rules: int) -> tuple:
    """Return a value of two settings over the seeds that both have, float [seeds] each."""
    same = common_seeds(ours, theirs)
    places = [[setting.seeds.index(seed) for seed in same] for setting in (ours, theirs)]
    return ours.at(name, our_rules)[places[0]], theirs.at(name, their_rules)[places[1]]


# --- as Markdown ----------------------------------------------------------------------------------


def table(settings: list[Setting]) -> str:
    """Return the standing at the last checkpoint that all reached, and the settings compared there."""
    ends = [setting.rules[-1] for setting in settings]
    last, things = min(ends), counted(settings)
    head = ["setting", "n", *(title.format(things) for title, _ in COLUMNS.values())]
    head += [f"top {things} at 500 distinct"]
    rows = []
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
    title = f"After {last:,} sampled rules{limit}, counted by {settings[0].identity}, mean ± standard "
    lines = [title + "deviation over n searches:", ""]
    lines += markdown(head, rows)
    parts = [course(settings, last), early(settings, last)]
    parts += [compared(settings, name, last) for name in ("found", "found_fresh")]
    return "\n".join(lines + [line for part in parts if part for line in ("", *part)])


def course(settings: list[Setting], last: int) -> list[str]:
    """Return how many top families each has found after so many sampled rules."""
    marks = [mark for mark in max((s.rules for s in settings), key=len) if 500 <= mark <= last]
    if len(marks) < 2:
        return []
    rows = []
    for setting in settings:
        found = [[setting.at(name, m).mean() for name in ("found", "found_fresh")] for m in marks]
        rows.append([setting.name, *(f"{a:.0f} / {b:.0f}" for a, b in found)])
    title = f"Mean number of top {settings[0].counted}, own seed / fresh seeds, after so many rules:"
    return [title, "", *markdown(["setting", *(f"{mark:,}" for mark in marks)], rows)]


def early(settings: list[Setting], last: int) -> list[str]:
    """Return how the ten best of a fifth of the rules stand to random search's of all."""
    rivals = [setting for setting in settings if setting.name in ("random", "random-new")]
    others = [s for s in settings if s.config["algorithm"] != "random" and last // 5 in s.rules]
    if not rivals or not others:
        return []

    def cell(setting: Setting, rival: Setting) -> str:
        x, y = paired(setting, rival, "top10_fresh", last // 5, last)
        ahead = mean_interval(x - y)
        return "-" if ahead is None else f"{ahead:+.4f}"

    title = f"Ten best, fresh seeds, after {last // 5:,} rules, minus random search's after {last:,} "
    title += "[95 % interval over the same seeds]:"
    rows = [[setting.name, *(cell(setting, rival) for rival in rivals)] for setting in others]
    return [title, "", *markdown(["setting", *(rival.name for rival in rivals)], rows)]


def compared(settings: list[Setting], name: str, last: int) -> list[str]:
    """Return how many times as many of something each finds as its rivals.

    The interval is over searches on given table seeds; the ratio on each of these stands behind it.
    """
    rivals = [s for rival in RIVALS for s in settings if s.name == rival]
    if not rivals or len(settings) == 1:
        return []

    def cell(setting: Setting, rival: Setting) -> str:
        x, y = paired(setting, rival, name, last, last)
        ratio = ratio_interval(x, y)
        if setting is rival or ratio is None:
            return "-"
        tables = np.array([table for _, table in common_seeds(setting, rival)])
        each = [x[tables == t].sum() / y[tables == t].sum() for t in np.unique(tables)]
        return f"{ratio:.2f} ({', '.join(f'{one:.2f}' for one in each)})"

    title = COLUMNS[name][0].format(settings[0].counted).capitalize()
    title += ", times the rival's [95 % interval over the same seeds] "
    title += "(on each table seed):"
    rows = [[setting.name, *(cell(setting, rival) for rival in rivals)] for setting in settings]
    return [title, "", *markdown(["setting", *(rival.name for rival in rivals)], rows)]
