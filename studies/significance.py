"""Is a difference more than noise? Intervals, a permutation test and Holm's correction, in numpy.

For comparisons of few trainings, each rule with the same seeds: what differs between two rules is
tested on the differences seed by seed, in which the luck that a seed brings to both cancels out.
Nothing here knows about rules or runs. Read next: compare.py, which asks.
"""

import itertools
import math

import numpy as np

EXACT = 14  # differences up to which all 2^n sign patterns are counted instead of drawn
DRAWS = 100_000


def inside(t: float, df: int) -> float:
    """Return P(|T| < t) of Student's t with df degrees of freedom, Abramowitz and Stegun 26.7.3-4."""
    angle = math.atan(t / math.sqrt(df))
    cosine, odd = math.cos(angle), df % 2
    term, total = cosine if odd else 1.0, 0.0
    for k in range(2 + odd, df + 1, 2):
        total += term
        term *= cosine * cosine * (k - 1) / k
    part = math.sin(angle) * total
    return 2 / math.pi * (angle + part) if odd else part


def t_quantile(df: int, level: float = 0.95) -> float:
    """Return the t with P(|T| < t) = level, by bisection over the angle atan(t / sqrt(df))."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):  # until the angle is as exact as a float
        middle = (low + high) / 2
        if inside(math.sqrt(df) * math.tan(middle), df) < level:
            low = middle
        else:
            high = middle
    return math.sqrt(df) * math.tan(low)


def mean_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of values, float [N >= 2], and both ends of its t-interval."""
    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    margin = t_quantile(len(values) - 1, level) * error
    return mean, mean - margin, mean + margin


def sign_flip_p(differences: np.ndarray) -> float:
    """Return the two-sided p value of paired differences, float [N], by the sign-flip test.

    If two rules are equally good, each difference is as likely to have the other sign: p is the share
    of sign patterns whose mean is at least as far from 0 as the measured one. All patterns are counted
    up to N = 14, so p is exact and at least 2 / 2^N; 100,000 are drawn beyond.
    """
    n = len(differences)
    if n <= EXACT:
        signs = np.array(list(itertools.product((-1, 1), repeat=n)))  # [2^N, N]
    else:
        signs = np.random.default_rng(0).choice((-1, 1), size=(DRAWS, n))
    measured = abs(np.sum(differences))
    slack = 1e-9 * np.abs(differences).sum()  # equal sums may be rounded differently
    hits = int((np.abs(signs @ differences) >= measured - slack).sum())
    # The measured pattern is one of those drawn, or p could be 0.
    return hits / len(signs) if n <= EXACT else (hits + 1) / (DRAWS + 1)


def smallest_p(n: int) -> float:
    """Return the smallest p value that `sign_flip_p` can give for n differences."""
    return 2 / 2**n if n <= EXACT else 1 / (DRAWS + 1)


def holm(p_values: list[float]) -> list[float]:
    """Return p values corrected for how many there are, in their order (Holm 1979).

    The smallest of k is multiplied by k, the next by k - 1, ..., and none is less than the one before.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


# --- ranks and ratios -----------------------------------------------------------------------------


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value from 0, ties at their mean: float [N] -> float [N]."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[group]


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's rank correlation, Pearson's of the ranks; NaN if one of them is constant."""
    x, y = (ranks(values) - (len(values) - 1) / 2 for values in (x, y))
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm else np.nan


def spearman_interval(x: np.ndarray, y: np.ndarray, resamples: int = 2_000) -> tuple[float, float]:
    """Return the percentile bootstrap's 95 % interval of Spearman's correlation."""
    rng = np.random.default_rng(0)
    drawn = (rng.integers(len(x), size=len(x)) for _ in range(resamples))
    low, high = np.nanpercentile([spearman(x[i], y[i]) for i in drawn], (2.5, 97.5))
    return float(low), float(high)


def ratio_interval(
    ours: np.ndarray, theirs: np.ndarray, resamples: int = 10_000
) -> tuple[float, float, float]:
    """Return the ratio of two means over the same seeds, and its paired bootstrap's 95 % interval."""
    chosen = np.random.default_rng(0).integers(len(ours), size=(resamples, len(ours)))
    ratios = ours[chosen].mean(1) / theirs[chosen].mean(1)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return float(ours.mean() / theirs.mean()), float(low), float(high)
