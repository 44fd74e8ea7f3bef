"""Oracles: the table's answers against brute force, measured ones against the table's."""

import random

import numpy as np
import pytest

from dsl import Rule
from nosbench import micro
from nosbench.oracle import Lookup, Measured, make_oracle, top_rules
from nosbench.table import NONE
from search import ProposerConfig, make_space

CONFIG = ProposerConfig(
    iterations=1, subset="full", constraints=("operands-differ", "no-final-addition")
)


def some(table, number: int, good: bool) -> list[int]:
    chosen = np.flatnonzero((table.mean > 0.6) == good)
    return random.Random(0).sample(chosen.tolist(), number)


def test_top_rules_are_the_best_hundredth_of_the_distinct_rules_of_the_space(table):
    scores = table.accuracy[:, 1]
    top = set(top_rules(CONFIG, scores).tolist())
    legal = {table.number(rule) for rule in make_space(CONFIG)}
    assert top <= legal and len(top) == round(0.01 * len(legal))
    worst = min(scores[n] for n in top)
    assert sum(scores[n] > worst for n in legal) < len(top)


def test_lookup_rewards_by_one_seed_and_tells_the_others_mean(table):
    oracle, numbers = Lookup(CONFIG, 1), some(table, 20, good=True)
    np.testing.assert_array_equal(oracle.rewards(numbers), table.accuracy[numbers, 1])
    np.testing.assert_allclose(oracle.fresh(numbers), table.accuracy[numbers][:, [0, 2]].mean(1))
    tops = [top_rules(CONFIG, s) for s in (table.accuracy[:, 1], table.accuracy[:, [0, 2]].mean(1))]
    numbers += tops[0][:3].tolist() + tops[1][-5:].tolist()
    numbers = list(dict.fromkeys(numbers))
    assert oracle.found(numbers) == tuple(len(set(numbers) & set(top.tolist())) for top in tops)


def test_what_is_measured_is_what_stands_in_the_table(table):
    """At depth 1, where both can answer, and its top rules are those that reach the table's bar."""
    measured, lookup = Measured(CONFIG, 2), Lookup(CONFIG, 2)
    known = some(table, 6, good=False) + some(table, 6, good=True)
    known += top_rules(CONFIG, table.mean)[:6].tolist()
    numbers = [measured.number(table.rule(table.measured[n])) for n in known]
    np.testing.assert_allclose(measured.rewards(numbers), lookup.rewards(known))
    np.testing.assert_allclose(measured.fresh(numbers), lookup.fresh(known))
    scores = table.accuracy[:, 2], table.accuracy[:, :2].mean(1)
    bars = [scores[top_rules(CONFIG, scores)[-1]] for scores in scores]
    assert measured.found(numbers) == tuple(
        sum(scores[n] >= bar for n in known) for scores, bar in zip(scores, bars, strict=True)
    )
    assert min(measured.found(numbers)) > 0


def test_a_rule_is_measured_once_whatever_its_spelling(monkeypatch):
    calls = []
    measure = micro.measure

    def counted(rules, seed):
        calls.extend((rule, seed) for rule in rules)
        return measure(rules, seed)

    monkeypatch.setattr(micro, "measure", counted)
    oracle = make_oracle(ProposerConfig(iterations=2), 0)
    spellings = ["g m id id mul | r1 g id id left", "m g id id mul | r1 v id log left"]
    numbers = [oracle.number(Rule.parse(rule)) for rule in spellings]
    assert numbers == [0, 0]
    first = oracle.rewards(numbers)
    assert first[0] == first[1] and (oracle.rewards([0]) == first[0]).all()
    assert calls == [(spellings[0], 0)]
    oracle.fresh([0])
    assert calls[1:] == [(spellings[0], 1), (spellings[0], 2)]
    correct = measure(spellings[:1], 0).correct[0]
    assert first[0] == pytest.approx(0 if correct == NONE else correct / micro.NUM_VALIDATION)
