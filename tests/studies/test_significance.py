"""Statistics against tables, brute force, hand examples and coverage."""

import itertools
import math

import numpy as np
import pytest

from studies.significance import EXACT, holm, inside, mean_interval, sign_flip_p, smallest_p, t_quantile

TABLE = {1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 9: 2.26216, 10: 2.22814, 30: 2.04227}


@pytest.mark.parametrize("df", TABLE)
def test_t_quantile_is_that_of_the_tables(df):
    assert t_quantile(df) == pytest.approx(TABLE[df], rel=3e-6)  # the table's last digit
    assert inside(t_quantile(df, 0.99), df) == pytest.approx(0.99, abs=1e-12)


def test_t_quantile_approaches_the_normal_one():
    assert t_quantile(10_000) == pytest.approx(1.96020, abs=1e-5)
    assert t_quantile(1, 0.5) == pytest.approx(1)  # Cauchy: half lies within 1


def test_interval_is_the_closed_form_and_covers_as_often_as_it_says():
    mean, low, high = mean_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert mean == 3
    assert high - 3 == 3 - low == pytest.approx(2.77645 * math.sqrt(2.5 / 5), rel=1e-5)
    assert mean_interval(np.array([0.3, 0.3])) == (0.3, 0.3, 0.3)
    samples = np.random.default_rng(0).normal(7, 2, (4_000, 5))
    covered = np.mean([low <= 7 <= high for _, low, high in map(mean_interval, samples)])
    assert covered == pytest.approx(0.95, abs=0.011)  # three standard errors


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_sign_flip_p_counts_all_patterns(n):
    rng = np.random.default_rng(n)
    for _ in range(5):
        scores = rng.integers(-30, 60, n)  # whole numbers, so brute force knows ties exactly
        patterns = list(itertools.product((-1, 1), repeat=n))
        far = [
            abs(sum(s * int(x) for s, x in zip(pattern, scores, strict=True))) >= abs(int(scores.sum()))
            for pattern in patterns
        ]
        assert sign_flip_p(scores / 2_000) == sum(far) / len(patterns)


def test_sign_flip_p_of_clear_cases():
    assert sign_flip_p(np.zeros(6)) == 1
    assert sign_flip_p(np.full(6, 0.1)) == smallest_p(6) == 2 / 64
    assert sign_flip_p(np.array([0.1, -0.1])) == 1
    assert sign_flip_p(-np.arange(1.0, 7)) == sign_flip_p(np.arange(1.0, 7))


def test_drawn_patterns_agree_with_the_normal_limit():
    differences = np.random.default_rng(1).normal(0.1, 0.5, 60)
    z = abs(differences.sum()) / math.sqrt((differences**2).sum())
    assert sign_flip_p(differences) == pytest.approx(math.erfc(z / math.sqrt(2)), abs=0.01)
    assert sign_flip_p(np.full(EXACT + 20, 0.1)) == pytest.approx(0, abs=1e-4)
    assert sign_flip_p(np.full(EXACT + 20, 0.1)) >= smallest_p(EXACT + 20) > 0


def test_p_is_uniform_if_nothing_differs():
    rng = np.random.default_rng(2)
    p_values = np.array([sign_flip_p(rng.normal(0, 1, 8)) for _ in range(1_000)])
    for level in (0.05, 0.25, 0.5):
        assert (p_values <= level).mean() == pytest.approx(level, abs=0.045)


def test_holm_is_as_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.02]) == pytest.approx([0.5, 0.04])
    assert holm([0.6, 0.7, 0.9]) == [1, 1, 1]
    assert holm([0.03]) == [0.03] and holm([]) == []
