"""Tests of differences against brute force and hand examples."""

import itertools
import runpy
import sys

import numpy as np
import pytest

from studies.significance import holm, sign_flip_p, smallest_p


@pytest.mark.parametrize("n", [2, 5, 8])
def test_sign_flip_p_counts_all_patterns(n):
    patterns = np.array(list(itertools.product((-1, 1), repeat=n)))
    for seed in range(5):
        scores = np.random.default_rng(seed).integers(-30, 60, n)  # whole numbers have exact ties
        far = np.abs(patterns @ scores) >= abs(scores.sum())
        assert sign_flip_p(scores / 2_000) == pytest.approx(far.mean(), rel=1e-12)


def test_smallest_p_is_that_of_one_sign_alone():
    for n in (2, 6, 16):
        assert sign_flip_p(np.arange(1.0, n + 1)) == sign_flip_p(-np.arange(1.0, n + 1)) == smallest_p(n)
    scores, sums = np.random.default_rng(1).integers(-20, 30, 18), np.zeros(1)  # drawn patterns
    for score in scores:
        sums = np.concatenate([sums - score, sums + score])
    assert sign_flip_p(scores / 100) == pytest.approx((np.abs(sums) >= scores.sum()).mean(), abs=0.005)
    assert smallest_p(17) <= sign_flip_p(np.arange(1.0, 18)) < 5e-5
    assert sign_flip_p(np.zeros(6)) == sign_flip_p(np.ones(1)) == sign_flip_p(np.ones(0)) == 1


def test_holm_is_as_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.02]) == pytest.approx([0.5, 0.04])
    assert holm([0.6, 0.7, 0.9]) == [1, 1, 1]
    assert holm([0.03]) == [0.03] and holm([]) == []


def test_without_scipy_a_study_says_what_to_install_in_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "scipy", None)
    for name in [name for name in sys.modules if name.split(".")[0] in ("studies", "nosbench")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("studies.compare", run_name="__main__")
    [line] = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and "pip install -r requirements-studies.txt" in line
