"""Intervals that hold the truth 95 times in 100, for six values as well as for sixty.

Of a mean, of the ratio of two means, of a rank correlation; arrays in, numbers out. A percentile
bootstrap of ratios, for comparison, holds the truth 80 to 86 times in 100 for six searches, and
`ratio_interval` 91 to 96 times. With too little data there is no interval: it is None. The studies take
theirs from here too. Needs scipy. Nothing to run here. Read next: standings.py.
"""

import math
import sys
from typing import NamedTuple

import numpy as np

try:
    from scipy import stats
except ImportError:
    print("error: this needs scipy: pip install -r requirements-studies.txt", file=sys.stderr)
    raise SystemExit(2) from None

LEVEL = 0.95


class Interval(NamedTuple):
    """An estimate and the ends of its 95 % interval."""

    middle: float
    low: float
    high: float

    def __format__(self, form: str) -> str:
        """Return "0.58 [0.55, 0.61]" with this form for each number."""
        return f"{self.middle:{form}} [{self.low:{form}}, {self.high:{form}}]"


def mean_interval(values: np.ndarray) -> Interval | None:
    """Return the mean of values, float [N], and its t-interval; None if there are fewer than two.

    Of equal values it has no width, which is no certainty: they tell nothing of how values scatter.
    """
    if len(values) < 2:
        return None
    mean, t = float(np.mean(values)), stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)
    margin = float(t * stats.sem(values))
    return Interval(mean, mean - margin, mean + margin)


def ratio_interval(ours: np.ndarray, theirs: np.ndarray) -> Interval | None:
    """Return mean(ours) / mean(theirs) over the same seeds, float [N >= 0] each, and its interval.

    To first order the logarithm of the ratio moves with seed i by ours_i / mean(ours) - theirs_i /
    mean(theirs), so that their t-interval is that of the logarithm. None if there are fewer than two
    seeds, or if a mean is 0.
    """
    if len(ours) < 2 or not (ours.mean() > 0 and theirs.mean() > 0):
        return None
    ratio = float(ours.mean() / theirs.mean())
    moves = mean_interval(ours / ours.mean() - theirs / theirs.mean())
    return Interval(ratio, ratio * math.exp(moves.low), ratio * math.exp(moves.high))


def spearman_interval(x: np.ndarray, y: np.ndarray) -> Interval:
    """Return Spearman's rank correlation of x and y, float [N] each, and its bootstrap interval."""
    correlation = lambda x, y: stats.spearmanr(x, y).statistic  # noqa: E731
    ends = stats.bootstrap(
        (x, y), correlation, paired=True, vectorized=False, n_resamples=2_000, method="percentile",
        confidence_level=LEVEL, random_state=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return Interval(float(correlation(x, y)), float(ends.low), float(ends.high))
