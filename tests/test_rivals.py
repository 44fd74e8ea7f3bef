"""Tests of rivals.py against brute-force enumeration and closed-form selection probabilities."""

import random
from collections import Counter

import pytest
from plain import allowed, assert_frequencies, brute_force

from dsl import CONSTRAINTS, Rule, SearchSpace
from rivals import Evolution, EvolutionConfig, RandomSearch
from sameness import DistinctConfig

TOKENS = {"operands": ("g", "m", "1"), "unary": ("id", "neg"), "binary": ("add", "mul", "left")}
CONSTRAINED = SearchSpace(1, **TOKENS, constraints=tuple(CONSTRAINTS.values()))
LARGE = SearchSpace(2, constraints=tuple(CONSTRAINTS.values()))


def legal_strings():
    """All strings of CONSTRAINED."""
    return [tokens for tokens in brute_force(1, *TOKENS.values()) if allowed(tokens, CONSTRAINTS)]


def distance(a, b):
    return sum(x != y for x, y in zip(a.tokens, b.tokens, strict=True))


def far_apart(n, least=3):
    """Legal rules of LARGE, any two of which differ in so many tokens that a mutant tells its parent."""
    rng, rules = random.Random(99), []
    while len(rules) < n:
        rule = LARGE.sample(rng)
        if all(distance(rule, other) >= least for other in rules):
            rules.append(rule)
    return rules


def parent(child, rules):
    (found,) = [rule for rule in rules if distance(child, rule) == 1]
    return found


@pytest.mark.parametrize("rival", [RandomSearch, Evolution])
def test_random_search_and_evolutions_beginning_are_uniform_over_the_legal_strings(rival):
    config = DistinctConfig() if rival is RandomSearch else EvolutionConfig(population=3000)
    strings, proposer, counts = legal_strings(), rival(CONSTRAINED, config, 0, str), Counter()
    for _ in range(60):
        rules = proposer.ask(50)
        counts.update(rule.tokens for rule in rules)
        proposer.tell(rules, [float(rule.tokens[0] == "g") for rule in rules])
    assert_frequencies(counts, dict.fromkeys(strings, 1 / len(strings)))
    assert {type(rule) for rule in rules} == {Rule}


def test_every_legal_neighbour_is_a_possible_mutant():
    start = Rule.parse("g m id neg mul")
    evolution = Evolution(CONSTRAINED, EvolutionConfig(population=1, tournament=1), 0, Rule.fingerprint)
    evolution.tell([start], [0.0])
    neighbours = {t for t in legal_strings() if sum(x != y for x, y in zip(t, start.tokens)) == 1}  # noqa: B905
    # g or m to 1, either unary function to the other, mul to left; add may not be last
    assert len(neighbours) == 5
    assert {rule.tokens for rule in evolution.ask(200)} == neighbours


def test_the_oldest_leaves_even_if_it_is_the_best():
    first, *others = far_apart(6)
    evolution = Evolution(LARGE, EvolutionConfig(population=3, tournament=40), 0, Rule.fingerprint)
    evolution.tell([first, *others[:2]], [1.0, 0.1, 0.2])
    # (2/3)^40 is 1e-7: the best is all but sure to be drawn
    assert {parent(child, [first, *others]) for child in evolution.ask(20)} == {first}
    evolution.tell([others[2]], [0.0])
    assert {parent(child, [first, *others]) for child in evolution.ask(20)} == {others[1]}
    report = evolution.tell([others[3], others[4]], [0.4, 0.5])
    assert {parent(child, [first, *others]) for child in evolution.ask(20)} == {others[4]}
    assert report["population_mean"] == pytest.approx((0.0 + 0.4 + 0.5) / 3)


@pytest.mark.parametrize("tournament", [1, 3])
def test_the_best_of_a_tournament_is_the_parent(tournament):
    """Of k draws with replacement from n, the r-th worst is the best with (r^k - (r-1)^k) / n^k."""
    members, n = far_apart(5), 5
    config = EvolutionConfig(population=n, tournament=tournament)
    evolution = Evolution(LARGE, config, 0, Rule.fingerprint)
    ranks = [3, 1, 5, 2, 4]  # not in the order of age
    evolution.tell(members, [rank / 10 for rank in ranks])
    counts = Counter(parent(child, members) for child in evolution.ask(2_000))
    chances = [(rank**tournament - (rank - 1) ** tournament) / n**tournament for rank in ranks]
    assert_frequencies(counts, dict(zip(members, chances, strict=True)))
