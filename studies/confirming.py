"""The best rule of each kind once more, on seeds that chose nothing: what transfer and longrun end with.

A rule that was chosen by its scores owes part of them to luck. So the best found rule, the best named
one and the best human optimizer train again on further seeds, and the leads there, paired by seed, are
what is claimed. Named are the rules of rules.py and other optimizers. Nothing to run here. Read next:
transfer.py and longrun.py.
"""

from collections.abc import Callable

from config import ConfigError

import numpy as np

from nosbench.intervals import Interval, mean_interval
from results import aligned
from rules import HUMAN, NAMED_RULES, is_class
from studies.analysis import lead


def check(seeds: int) -> None:
    """Raise ConfigError if there are too few further seeds for an interval; none at all is fine."""
    if seeds == 1:
        raise ConfigError("--confirm-seeds is 1; it must be 0 or, for an interval, at least 2")


def kind_of(row: dict) -> str:
    """Return whether a row's rule is human, named or found, which has its formula for a name."""
    if row["name"] in HUMAN:
        return "human"
    return "named" if row["name"] in NAMED_RULES or is_class(row["rule"]) else "found"


def finalists(rows: list[dict], score: str) -> list[dict]:
    """Return of each kind the first row with a score, in their order.

    None at all if every human optimizer diverged: nobody is left to compare with.
    """
    best: dict[str, dict] = {}
    for row in rows:
        if row[score] is not None:
            best.setdefault(row.get("kind") or kind_of(row), row)
    return list(best.values()) if "human" in map(kind_of, best.values()) else []


def table(
    rows: list[dict], columns: dict[str, str], rate: str, ends: Callable[[dict, str], dict[int, float]]
) -> str:
    """Return the finalists' scores on the further seeds as aligned text.

    Args:
        rows: the finalists.
        columns: heading and name of each measure; leads are by the last.
        rate: name of a row's learning rate.
        ends: returns a row's scores by seed of a measure; NaN where a training diverged.
    """

    def told(value: float | Interval, form: str) -> str:
        return f"{value:{form}}" if np.isfinite(value).all() else "-"

    person, judged = next(row for row in rows if row["name"] in HUMAN), list(columns.values())[-1]
    lines = [[*columns, "sd", f"minus {person['name'].upper()}", "rate", "update"]]
    for row in rows:
        scores = [np.array([*ends(row, measure).values()]) for measure in columns.values()]
        cells = [told(some.mean(), ".4f") for some in scores] + [told(scores[-1].std(ddof=1), ".4f")]
        ahead = mean_interval(lead(ends(row, judged), ends(person, judged)))
        cells += ["-" if row is person else told(ahead, "+.4f"), f"{row[rate]:g}"]
        lines.append([*cells, row["name"].upper() if row["name"] in HUMAN else row["name"]])
    count = len(ends(person, judged))
    head = f"\nThe best of each kind on {count} further seeds, which chose nothing. sd is of one\n"
    head += "training, the difference is paired by seed, in brackets its 95 % interval; both of the\n"
    head += "column before:\n"
    return "\n".join([head, *aligned(lines)]) + "\n"
