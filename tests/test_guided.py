"""Tests of rivals.py's guided search against enumeration, and parents and elites that are known."""

import random

import numpy as np
import pytest
import torch
from test_rivals import CONSTRAINED, LARGE, distance, far_apart, legal_strings

from controller import Batch
from dsl import FULL, Rule, SearchSpace
from loop import ProposerConfig, make_proposer, make_space
from nosbench.table import Table
from rivals import Guided, GuidedConfig, RandomSearch
from sameness import Families, profile

NEW = {"candidates": 16, "population": 10, "tournament": 3}


def history(proposer, samples, reward, batch=5):
    """All rules of a search in their order."""
    rules = []
    while len(rules) < samples:
        asked = proposer.ask(batch)
        assert len(asked) == batch
        proposer.tell(asked, [reward(rule) for rule in asked])
        rules += asked
    return rules


@pytest.mark.parametrize("guide", ["behaviour", "lstm", "tokens", "none"])
def test_a_search_finds_all_of_a_small_space_whatever_its_elite_and_then_goes_on(guide):
    """Only one rule is good, so all parents stand at one place; the others are far from it."""
    strings = legal_strings()
    good = Rule(strings[0])
    config = GuidedConfig(guide=guide, elite_parents=1, **NEW)
    guided = Guided(CONSTRAINED, config, 0, str)
    rules = history(guided, 2 * len(strings), lambda rule: float(rule == good))
    assert {rule.tokens for rule in rules} == set(strings)
    assert len(set(rules[: len(strings) * 9 // 10])) == len(strings) * 9 // 10  # no repeat till the end


@pytest.mark.parametrize("candidates", [1, 16])
def test_what_failed_is_no_elite(candidates):
    guided = Guided(LARGE, GuidedConfig(candidates=candidates, population=5), 0, str)
    history(guided, 20, lambda rule: None)
    assert guided.elite == []
    good = guided.ask(5)
    guided.tell(good, [None, 0.2, None, 0.1, None])
    assert guided.elite == [good[1], good[3]]  # all, being less than ten


def test_parents_of_the_elite_do_not_grow_old():
    good, *bad = far_apart(8)
    for share, found in ((1.0, 20), (0.0, 0)):
        config = GuidedConfig(guide="none", elite_parents=share, candidates=1, population=6)
        guided = Guided(LARGE, config, 0, Rule.fingerprint)
        guided.start([good], [0.9])
        guided.tell(bad, [None] * 7)  # the population has forgotten the good one
        assert sum(distance(child, good) == 1 for child in guided.ask(20)) == found


def test_where_the_near_ones_are_known_the_guide_has_farther_ones_to_pick_from():
    """Only 8 neighbours of the elite are new: few of 1,000 candidates, none of which is preferred."""
    good = far_apart(1)[0]
    mutants = Guided(LARGE, GuidedConfig(), 0, str)
    near = list(dict.fromkeys(mutants._mutate(good) for _ in range(5000)))
    config = GuidedConfig(guide="none", guide_width=0.3, **NEW | {"candidates": 200})
    guided = Guided(LARGE, config, 0, str)
    guided.start([good, *near[8:]], [0.9] + [None] * (len(near) - 8))
    asked = guided.ask(5)
    assert len(set(asked) - {good, *near[8:]}) == 5  # all new
    assert len(set(asked) & set(near[:8])) <= 1
    assert guided.forecast.width == 0.3


def test_where_all_near_ones_are_known_two_tokens_change_or_it_comes_from_anywhere():
    good = far_apart(1)[0]
    guided = Guided(LARGE, GuidedConfig(guide="none", **NEW), 0, str)
    near = list(dict.fromkeys(guided._mutate(good) for _ in range(5000)))
    guided.start([good, *near], [0.9] + [None] * len(near))
    asked = [rule for _ in range(4) for rule in guided.ask(5)]
    far = [distance(rule, good) for rule in asked]
    assert 5 <= far.count(2) <= 18 and far.count(0) == far.count(1) == 0


def test_a_search_that_picks_nothing_takes_all_that_it_draws():
    """Even of a space that is known: what was drawn twice is asked for twice."""
    guided = Guided(CONSTRAINED, GuidedConfig(candidates=1, elite_parents=1, population=1), 0, str)
    history(guided, 200, lambda rule: 0.5)
    drawn = []
    brood = guided._brood
    guided._brood = lambda reach: drawn.extend(some := brood(reach)) or some
    assert sorted(map(str, guided.ask(50))) == sorted(map(str, drawn)) and len(set(drawn)) < 50


@pytest.mark.parametrize("guide", ["lstm", "tokens"])
def test_the_guide_leaves_alone_what_the_elite_has_in_common(guide):
    """All of the elite end alike; a mutation by chance changes one of these three in 3 cases of 10."""
    rng, end = random.Random(0), ("neg", "exp", "div")
    members = [Rule((*LARGE.sample(rng).tokens[:7], *end)) for _ in range(100)]
    kept = {}
    for pick in (guide, "none"):
        guided = Guided(LARGE, GuidedConfig(guide=pick, elite_parents=1, **NEW), 0, str)
        guided.start(members, [0.9] * 100)  # the elite are the first ten
        for _ in range(20):
            guided.tell(members[:1], [0.9])
        kept[pick] = sum(rule.tokens[7:] == end for _ in range(5) for rule in guided.ask(10))
    assert kept["none"] < 42 < 48 <= kept[guide]


def test_the_guide_takes_what_behaves_like_the_good_whatever_its_tokens():
    """Good is what points as sign(m) does; half of what is scored then does so nearly."""
    space = SearchSpace(1, **FULL)
    like = profile(Rule.parse("sign_m g id id left"))[0][2]
    share = {}
    for guide in ("behaviour", "none"):
        guided = Guided(space, GuidedConfig(guide=guide, elite_parents=0.8, **NEW), 0, Families())
        reward = lambda rule: max(0.0, np.nan_to_num(profile(rule)[0][2] @ like).item())  # noqa: E731
        late = history(guided, 200, reward)[100:]
        share[guide] = np.mean([reward(rule) for rule in late])
    assert share["behaviour"] > 0.75 > 0.55 > share["none"]


def test_rules_as_a_batch_are_those_that_a_policy_samples():
    guided = Guided(LARGE, GuidedConfig(), 0, Rule.fingerprint)
    rules, sampled = guided.policy.sample(20, torch.Generator().manual_seed(0))
    batch = Batch.of(rules, LARGE)
    assert torch.equal(batch.tokens, sampled.tokens) and torch.equal(batch.masks, sampled.masks)


def test_a_guided_search_of_the_table_leaves_random_search_far_behind():
    table = Table.load("micro")
    config = ProposerConfig(algorithm="guided", iterations=1, subset="full", candidates=16)
    space = make_space(config)
    score = lambda rule: float(table.mean[table.number(rule)]) or None  # noqa: E731
    good = []
    for proposer in (make_proposer(config, space, table.number), RandomSearch(space, config, 0, str)):
        found = {table.number(rule) for rule in history(proposer, 250, score)}
        good.append(sum(table.mean[number] >= 0.6 for number in found))
    assert good[0] > 5 * good[1] > 0
