"""Oracles: the table's answers against brute force, measured ones against the table's."""

import random

import numpy as np
import pytest

from dsl import Rule
from loop import ProposerConfig, make_space
from nosbench import micro
from nosbench.oracle import Lookup, Measured, make_oracle, top_families
from nosbench.table import NONE
from sameness import Families

SPACE = {"subset": "full", "constraints": ("operands-differ", "no-final-addition")}
CONFIG = ProposerConfig(iterations=1, **SPACE)


def some(table, number: int, good: bool) -> list[int]:
    chosen = np.flatnonzero((table.mean > 0.6) == good)
    return random.Random(0).sample(chosen.tolist(), number)


@pytest.fixture(scope="module")
def legal(table) -> dict[int, list[int]]:
    """The classes of the space by family."""
    groups = {}
    for number in sorted({table.number(rule) for rule in make_space(CONFIG)}):
        groups.setdefault(int(table.family[number]), []).append(number)
    return groups


@pytest.mark.parametrize("seeds", [[1], [0, 2]])
def test_top_families_are_the_best_hundredth_by_the_mean_over_seeds_and_members(table, legal, seeds):
    scores = table.accuracy[:, seeds]
    means = {family: float(np.mean([scores[n] for n in members])) for family, members in legal.items()}
    top, bar = top_families(CONFIG, scores.mean(1))
    assert len(set(top.tolist())) == len(top) == round(0.01 * len(legal))
    assert set(top.tolist()) <= set(legal)
    assert bar == pytest.approx(min(means[family] for family in top))
    assert sum(mean > bar + 1e-9 for mean in means.values()) < len(top)


def test_what_is_measured_is_what_stands_in_the_table(table):
    """At depth 1, where both can answer. A family is top if the mean of its found rules is."""
    measured, lookup = Measured(CONFIG, 2), Lookup(CONFIG, 2)
    dead = np.flatnonzero((table.correct == NONE).any(1))[:2].tolist()
    known = some(table, 6, good=False) + some(table, 6, good=True) + dead
    for family in top_families(CONFIG, table.mean)[0][:6].tolist():
        known += table.near_copies(family)[:3]
    flawed = table.near_copies(int(table.family[table.number("1 adam id id mul")]))
    known += [flawed[0], flawed[-1]]  # the best is above the bars, the mean of the two below
    numbers = [measured.number(table.rule(table.measured[n])) for n in known]
    np.testing.assert_allclose(measured.rewards(numbers), lookup.rewards(known))
    np.testing.assert_allclose(measured.fresh(numbers), lookup.fresh(known))
    own, fresh = table.accuracy[:, 2], table.accuracy[:, :2].mean(1)
    families, groups = Families(), {}
    for n in dict.fromkeys(known):
        groups.setdefault(families(table.rule(table.measured[n])), []).append(n)
    assert len(set(measured.families(numbers).tolist())) == len(groups) < len(set(known))
    expected = []
    for scores in (own, fresh):
        bar = top_families(CONFIG, scores)[1]
        expected.append(sum(np.mean(scores[members]) >= bar for members in groups.values()))
        assert scores[flawed[0]] >= bar
    assert measured.found(numbers) == tuple(expected) and min(expected) > 0


def test_a_rule_is_measured_once_whatever_its_spelling(monkeypatch):
    calls, measure = [], micro.measure
    counted = lambda rules, seed: calls.append((rules, seed)) or measure(rules, seed)  # noqa: E731
    monkeypatch.setattr(micro, "measure", counted)
    oracle = make_oracle(ProposerConfig(iterations=2), 0)
    spellings = ["g m id id mul | r1 g id id left", "m g id id mul | r1 v id log left"]
    numbers = [oracle.number(Rule.parse(rule)) for rule in spellings]
    assert numbers == [0, 0]
    first = oracle.rewards(numbers)
    assert first[0] == first[1] and (oracle.rewards([0]) == first[0]).all()
    oracle.fresh([0])
    assert calls == [(spellings[:1], seed) for seed in (0, 1, 2)]
    correct = measure(spellings[:1], 0).correct[0]
    assert first[0] == pytest.approx(0 if correct == NONE else correct / micro.NUM_VALIDATION)
