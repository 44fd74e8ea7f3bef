"""The best rules once more, on seeds that chose nothing: what transfer and longrun end with.

A rule that was chosen by its scores owes part of them to luck. So the best found rule and the best named
one train again on further seeds, and beside them all human optimizers, of which the one that is best
there is the reference: that can only favour the human side. The leads over it, paired by seed, are what
is claimed. Named are the rules of rules.py and other optimizers. Nothing to run here. Read next:
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
    """Return the rows of the first found rule, the first named one and all human optimizers.

    Who has no score is passed over; none is left at all if every human optimizer diverged.
    """
    known = [row for row in rows if row[score] is not None]
    kinds = [row.get("kind") or kind_of(row) for row in known]
    some = [row for i, row in enumerate(known) if kinds[i] == "human" or kinds[i] not in kinds[:i]]
    return some if "human" in kinds else []


def reference(rows: list[dict], scores: Callable[[dict], dict[int, float]], higher: bool = True) -> dict:
    """Return the row of the human optimizer with the best mean of scores by seed, of NaN the last."""

    def worth(row: dict) -> float:
        mean = np.mean([*scores(row).values()])
        return -np.inf if np.isnan(mean) else mean if higher else -mean

    return max((row for row in rows if row["name"] in HUMAN), key=worth)


def table(
    rows: list[dict], columns: dict[str, str], rate: str, ends: Callable[[dict, str], dict[int, float]],
    higher: bool = True,
) -> str:  # fmt: skip
    """Return the finalists' scores on the further seeds as aligned text.

    Args:
        rows: the finalists.
        columns: heading and name of each measure; the first tells the reference, leads are by the last.
        rate: name of a row's learning rate.
        ends: returns a row's scores by seed of a measure; NaN where a training diverged.
        higher: whether higher scores are better.
    """

    def told(value: float | Interval, form: str) -> str:
        return f"{value:{form}}" if np.isfinite(value).all() else "-"

    measures = [*columns.values()]
    judged, person = measures[-1], reference(rows, lambda row: ends(row, measures[0]), higher)
    lines = [[*columns, "sd", f"minus {person['name'].upper()}", "rate", "update"]]
    for row in rows:
        scores = [np.array([*ends(row, measure).values()]) for measure in measures]
        cells = [told(some.mean(), ".4f") for some in scores] + [told(scores[-1].std(ddof=1), ".4f")]
        ahead = mean_interval(lead(ends(row, judged), ends(person, judged)))
        cells += ["-" if row is person else told(ahead, "+.4f"), f"{row[rate]:g}"]
        lines.append([*cells, row["name"].upper() if row["name"] in HUMAN else row["name"]])
    count = len(ends(person, judged))
    head = (
        f"\nThe best rules on {count} further seeds, which chose nothing. sd is of one training; the\n"
        "difference, from the best human optimizer there, is paired by seed, in brackets its 95 %\n"
        "interval; both of the column before:\n"
    )
    return "\n".join([head, *aligned(lines)]) + "\n"
