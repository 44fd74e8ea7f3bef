"""How well a cheap score ranks rules: against brute force, and on runs whose agreement is known."""

import itertools
import random

import numpy as np
import pytest
from test_plots import make_run

from plots.runs import read
from studies import significance
from studies.figures import agreement


def counted_ranks(values):
    """Rank by counting, pair by pair: how many are smaller, and half of the equal others."""
    return [sum((b < a) + (b == a) / 2 for b in values) - 0.5 for a in values]


@pytest.mark.parametrize("seed", range(5))
def test_spearman_is_pearson_of_ranks_ties_at_their_mean(seed):
    rng = random.Random(seed)
    x, y = ([rng.randrange(6) for _ in range(12)] for _ in range(2))
    np.testing.assert_allclose(significance.ranks(np.array(x)), counted_ranks(x))
    expected = np.corrcoef(counted_ranks(x), counted_ranks(y))[0, 1]
    assert significance.spearman(np.array(x), np.array(y)) == pytest.approx(expected, abs=1e-12)


def test_spearman_without_ties_is_its_textbook_formula():
    x = np.arange(5.0)
    for y in map(np.array, itertools.permutations(range(5))):
        formula = 1 - 6 * ((x - y) ** 2).sum() / (5 * 24)
        assert significance.spearman(x, y) == pytest.approx(formula, abs=1e-12)


def test_interval_holds_the_correlation_and_narrows_with_the_number_of_rules():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = x + rng.normal(size=400)
    wide, narrow = significance.spearman_interval(x[:50], y[:50]), significance.spearman_interval(x, y)
    assert narrow[0] < significance.spearman(x, y) < narrow[1]
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


def test_a_run_agrees_with_itself_and_not_with_its_reverse(tmp_path, capsys):
    dear = make_run(tmp_path / "dear", samples=60)
    cheap = make_run(tmp_path / "cheap", samples=60, race=True)
    x, y, ratio = agreement.common(read(dear), read(cheap))
    assert len(x) > 20 and (x == y).all() and ratio == pytest.approx(1)
    assert agreement.main([str(dear), str(cheap), "-o", str(tmp_path / "a.png")]) == 0
    assert "race False and True" in (tmp_path / "a.svg").read_text()
    assert "1.000 [1.000, 1.000]. Regret of the cheap choice: 0.0000" in capsys.readouterr().out

    run = read(cheap)
    for record in run.records:
        record["reward"] = 1 - record["reward"]
    x, y, _ = agreement.common(read(dear), run)
    assert significance.spearman(x, y) == pytest.approx(-1)
    _, text = agreement.picture(read(dear), run)
    assert f"Regret of the cheap choice: {x.max() - x.min():.4f}" in text


def test_one_run_alone_is_refused(tmp_path, capsys):
    folder = make_run(tmp_path / "one")
    with pytest.raises(SystemExit) as stop:
        agreement.main([str(folder), str(folder)])
    assert stop.value.code == 2
    assert "two are compared" in capsys.readouterr().err
