"""What verdicts share: a row of the table, the published records behind it, and how numbers are said.

Nothing to run here. Read next: searching.py beside this file.
"""

import csv
from glob import glob
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nosbench.standings import Setting, paired
from plots.runs import Run, read_all
from rules import NAMED_RULES, RECALLED
from studies.trials import read_trials

PUBLISHED = Path(__file__).parent.parent / "runs" / "published"
REPORTED = {name for name, named in NAMED_RULES.items() if named.source == RECALLED}


class Claim(NamedTuple):
    """A row of the table."""

    claim: str
    paper: str
    here: str
    n: str
    verdict: str
    command: str


NOT_RUN = Claim("", "", "-", "-", "not run", "")


PAPERS = ("reproduced", "partly", "not reproduced")
OURS = ("holds", "holds in part", "does not hold")  # of what the paper does not claim


def graded(wins: list[bool], words: tuple[str, str, str] = PAPERS) -> str:
    """Return the verdict: the first word if all are won, the second if some are; not for no wins."""
    return words[0] if all(wins) else words[1] if any(wins) else words[2]


# --- records --------------------------------------------------------------------------------------


def summary(folder: str) -> list[dict]:
    """Return the rows of a published run's summary.csv; none if it is not there.

    What looks like a number is one, except in names: a rule's may be "1". An empty cell is None.
    """
    file = PUBLISHED / folder / "summary.csv"
    if not file.exists():
        return []

    def value(column: str, text: str) -> float | str | None:
        if column in ("kind", "name", "infix", "rule", "against"):
            return text
        try:
            return float(text)
        except ValueError:
            return text or None

    with file.open(newline="", encoding="utf-8") as lines:
        return [{name: value(name, text) for name, text in row.items()} for row in csv.DictReader(lines)]


def records(folder: str) -> list[dict]:
    """Return the records of a published run, in the order of their ids."""
    return read_trials(PUBLISHED / folder)


def runs(pattern: str) -> list[Run]:
    """Return the published searches whose names match."""
    return read_all(sorted(map(Path, glob(str(PUBLISHED / pattern)))))


def searches(folder: str, setting: str) -> Setting | None:
    """Return one setting of a published study, None if none of its searches is there."""
    file = PUBLISHED / folder / f"{setting}.jsonl"
    return Setting(file) if file.exists() and file.stat().st_size else None


class Pair(NamedTuple):
    """A value of two settings after so many rules, each float [seeds that both have]."""

    ours: np.ndarray
    theirs: np.ndarray
    rules: int


def pair_of(folder: str, ours: str, theirs: str, what: str) -> Pair | None:
    """Return a pair of two settings of a study, None if they have not two seeds in common."""
    settings = [searches(folder, name) for name in (ours, theirs)]
    if None in settings:
        return None
    last = int(min(setting.rules[-1] for setting in settings))
    values = paired(*settings, what, last, last)
    return Pair(*values, rules=last) if len(values[0]) > 1 else None


# --- numbers --------------------------------------------------------------------------------------


def shown(values: tuple[float, float, float], digits: int = 2, sign: str = "") -> str:
    """Return a mean with its interval."""
    middle, low, high = (f"{value:{sign}.{digits}f}" for value in values)
    return f"{middle} [{low}, {high}]"


def probability(p: float) -> str:
    return f"p {p:.3f}" if p >= 0.001 else "p < 0.001"


def extent(values: list[float], digits: int = 3) -> str:
    """Return a mean with the lowest and the highest."""
    ends = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{ends}"
