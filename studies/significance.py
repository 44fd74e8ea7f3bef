"""Is a difference more than noise? A permutation test, and Holm's correction for many of them.

For comparisons of few trainings, each rule with the same seeds: what differs between two rules is
tested on the differences seed by seed, in which the luck that a seed brings to both cancels out.
Nothing here knows about rules or runs. Intervals are in nosbench/intervals.py. Read next: compare.py.
"""

import numpy as np

from nosbench.intervals import stats

PATTERNS = 100_000  # sign patterns that are drawn where there are more than so many


def sign_flip_p(differences: np.ndarray) -> float:
    """Return the two-sided p value of paired differences, float [N], by the sign-flip test.

    If two rules are equally good, each difference is as likely to have the other sign: p is the share
    of sign patterns whose mean is at least as far from 0 as the measured one. All 2^N patterns are
    counted up to N = 16; beyond, 100,000 are drawn and the measured one is counted with them. It is 1
    for fewer than two differences, which prove nothing.
    """
    if len(differences) < 2:
        return 1.0
    # Rounded, since equal sums may come out unequal in their last bits.
    distance = lambda signed, axis: np.abs(signed.mean(axis)).round(12)  # noqa: E731
    test = stats.permutation_test(
        (differences,), distance, permutation_type="samples", alternative="greater",
        n_resamples=PATTERNS, batch=10_000, random_state=np.random.default_rng(0),
    )  # fmt: skip
    return float(test.pvalue)


def smallest_p(n: int) -> float:
    """Return the smallest p value that `sign_flip_p` can give for n differences."""
    return 2 / 2**n if 2**n <= PATTERNS else 1 / (PATTERNS + 1)


def holm(p_values: list[float]) -> list[float]:
    """Return p values corrected for how many there are, in their order (Holm 1979).

    The smallest of k is multiplied by k, the next by k - 1, ..., and none is less than the one before.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected
