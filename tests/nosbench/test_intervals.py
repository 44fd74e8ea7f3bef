"""Intervals: the closed form, how often they cover, and none where the data says nothing."""

import numpy as np
import pytest

from nosbench.intervals import Interval, mean_interval, ratio_interval


def coverage(truth: float, intervals: list[Interval | None]) -> float:
    return float(np.mean([one is not None and one.low <= truth <= one.high for one in intervals]))


def test_mean_interval_is_the_closed_form_and_covers_as_often_as_it_says():
    margin = 2.77645 * (2.5 / 5) ** 0.5  # t of 4 degrees of freedom, from a table
    interval = mean_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert interval == pytest.approx((3, 3 - margin, 3 + margin), rel=1e-5)
    assert f"{interval:+.1f}" == "+3.0 [+1.0, +5.0]"
    assert mean_interval(np.array([0.3, 0.3])) == (0.3, 0.3, 0.3)
    samples = np.random.default_rng(0).normal(7, 2, (2_000, 5))
    covered = coverage(7, list(map(mean_interval, samples)))
    assert covered == pytest.approx(0.95, abs=0.015)  # three standard errors


@pytest.mark.parametrize("n, least", [(6, 0.90), (30, 0.93)])
def test_ratio_interval_covers_the_ratio_of_counts(n, least):
    """Searches that find about 230 and 30 rules, as REINFORCE and random search do on the table."""
    rng, intervals = np.random.default_rng(n), []
    for _ in range(1_000):
        # Counts vary more than Poisson's: the mean of each search differs.
        ours = rng.poisson(rng.normal(230, 30, n).clip(1))
        theirs = rng.poisson(rng.normal(30, 3, n).clip(1))
        intervals.append(ratio_interval(ours, theirs))
    assert least < coverage(230 / 30, intervals) < 0.97


def test_ratio_interval_is_paired_and_none_where_the_data_says_nothing():
    theirs = np.random.default_rng(0).uniform(50, 150, size=30)
    assert ratio_interval(2 * theirs, theirs) == pytest.approx((2, 2, 2))
    ours = np.random.default_rng(1).permutation(2 * theirs)
    middle, low, high = ratio_interval(ours, theirs)
    assert middle == pytest.approx(2) and low < 1.9 and high > 2.1
    assert ratio_interval(theirs, ours) == pytest.approx((1 / middle, 1 / high, 1 / low))
    one = np.array([2.0])
    for few in (one, one[:0]):
        assert mean_interval(few) is None and ratio_interval(few, few) is None
    assert ratio_interval(theirs, np.zeros(30)) is ratio_interval(np.zeros(30), theirs) is None
