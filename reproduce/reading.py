"""What verdicts share: a row of the table, the published records behind it, and how numbers are said.

Nothing to run here. Read next: searching.py beside this file.
"""

from glob import glob
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nosbench import families
from nosbench.intervals import Interval, mean_interval, ratio_interval
from nosbench.standings import Setting, paired
from plots.runs import Run, read_all
from rules import NAMED_RULES, RECALLED
from studies.analysis import lead, read_summary
from studies.trials import read_trials

PUBLISHED = Path(__file__).parent.parent / "runs" / "published"
REPORTED = {name for name, named in NAMED_RULES.items() if named.source == RECALLED}


class Claim(NamedTuple):
    """A row of the table; what has no records keeps the defaults."""

    claim: str
    paper: str  # what the paper says of it
    page: str  # of this folder, has the tables and figures
    number: str = "-"  # the most telling one, with its interval
    n: str = "-"
    verdict: str = "not run"
    details: tuple[str, ...] = ()  # all that the verdict stands on


PAPERS = ("reproduced", "partly", "not reproduced")
OURS = ("holds", "holds in part", "does not hold")  # of what the paper does not claim


def graded(wins: list[bool], words: tuple[str, str, str] = PAPERS) -> str:
    """Return the verdict: the first word if all are won, the second if some are; not run if empty."""
    if not wins:
        return "not run"
    return words[0] if all(wins) else words[1] if any(wins) else words[2]


def decided(ours: dict[int, float], theirs: dict[int, float], higher_is_better: bool = True) -> str:
    """Return the verdict of scores by seed: reproduced if the 95 % interval of our lead is above 0.

    Not if it is below the standard deviation of theirs: a lead that is surely smaller than the luck of
    one training is none. Equal leads have an interval without width, which is no certainty.
    """
    ahead = lead(ours, theirs) if higher_is_better else lead(theirs, ours)
    interval = mean_interval(ahead)
    if interval is not None and np.isfinite(interval).all() and interval.low < interval.high:
        if interval.low > 0:
            return PAPERS[0]
        if interval.high < np.std([*theirs.values()], ddof=1):
            return PAPERS[2]
    return f"not decided, on {several(len(ahead), 'seed')}"


# --- records --------------------------------------------------------------------------------------


def summary(folder: str) -> list[dict]:
    """Return the rows of a published run's summary.csv; none if it is not there."""
    return read_summary(PUBLISHED / folder)


def records(folder: str) -> list[dict]:
    """Return the records of a published run, in the order of their ids."""
    return read_trials(PUBLISHED / folder)


def runs(pattern: str) -> list[Run]:
    """Return the published searches whose names match."""
    return read_all(sorted(map(Path, glob(str(PUBLISHED / pattern)))))


class Ratio(NamedTuple):
    """How many times as much of something one setting of a study has as another."""

    times: Interval
    searches: int  # whose seeds both have
    rules: int  # sampled by each search


def ratio_of(folder: str, ours: str, theirs: str, what: str) -> Ratio | None:
    """Return the ratio of two settings of a study, None if there is no interval."""
    files = [PUBLISHED / folder / f"{name}.jsonl" for name in (ours, theirs)]
    if not all(file.exists() and file.stat().st_size for file in files):
        return None
    settings = [Setting(file) for file in files]
    last = int(min(setting.rules[-1] for setting in settings))
    pair = paired(*settings, what, last, last)
    times = ratio_interval(*pair)
    return times and Ratio(times, len(pair[0]), last)


def families_ratio(folder: str, ours: str, theirs: str, bar: str) -> Interval | None:
    """Return how many times the families of at least `bar` one setting of nosbench/families.py finds.

    None if there is no interval.
    """
    return families.times(
        *(families.by_seed(PUBLISHED / folder / f"{name}.jsonl") for name in (ours, theirs)), bar
    )


# --- numbers --------------------------------------------------------------------------------------


def extent(values: list[float], digits: int = 3) -> str:
    """Return a mean with the lowest and the highest."""
    ends = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{ends}"


def several(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count > 1)}"
