"""Tests of screen.py: each test of the chain against rules whose fate can be worked out by hand."""

import random

import pytest
import torch

from dsl import CONSTRAINTS, OPERANDS, Rule, SearchSpace
from rules import NAMED_RULES
from screen import TESTS, probe, screen, updates

# What people made, and what is known to train well, in several spellings and scales.
GOOD = ["g 1 id id left", "m 1 id id left", "adam 1 drop0.5 id mul", "rmsprop 1 clip1e-5 id left"]
GOOD += ["sign_m 1 id id mul", "sign_g sign_m id id mul | r1 g exp id mul", "g 1e-1w id id add"]
GOOD += ["m g2 id exp div", "g 1 neg id left | 1 r1 id id sub | r2 1 id id sub"]
BAD = {
    "ignores the gradient": ["1 1e-4w id id add", "noise 1e-1w exp drop0.5 mul", "1 g id id left"]
    + ["1e-2w 1 id id left | r1 g id id left", "ld cd id id mul"],
    "constant": ["v 1 sign id left", "sign_g 1 id id mul | r1 r1 id id mul | r2 g sign clip1e-3 left"],
    "ignores the direction": [
        "g 1 neg id left",  # climbs
        "m sign_m id id mul",  # |m|
        "v 1 id id left",
        "1e-1w g3 id clip1e-5 add",  # decay with hardly any gradient
    ],
    "does not descend": ["g3 1 id clip1e-5 mul"],
}


@pytest.mark.parametrize(
    "rule", [*GOOD, *(named.rule for named in NAMED_RULES.values() if named.source == "human")]
)
def test_rules_that_train_well_pass(rule):
    assert screen(Rule.parse(rule)) is None


@pytest.mark.parametrize("reason", TESTS)
def test_hopeless_rules_are_rejected_for_the_right_reason(reason):
    assert {screen(Rule.parse(rule)) for rule in BAD[reason]} == {reason}


def test_a_rule_said_to_ignore_the_gradient_does_so():
    """Against brute force: the same weights and random draws, other gradients, other updates."""
    rng, found = random.Random(0), 0
    spaces = [SearchSpace(depth, constraints=tuple(CONSTRAINTS.values())) for depth in (1, 2)]
    w = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    for rule in [space.sample(rng) for space in spaces for _ in range(300)]:
        if TESTS["ignores the gradient"](rule):
            found += 1
            one, two = (torch.Generator().manual_seed(seed) for seed in (1, 2))
            runs = [updates(rule, w, lambda g=g: torch.randn(2, 50, generator=g), 3) for g in (one, two)]
            first, second = (torch.stack(list(run)).nan_to_num(7.0) for run in runs)
            assert torch.equal(first, second), rule
    assert found > 50


def test_probe_follows_the_true_gradient_as_closely_as_its_noise_allows():
    """The gradient itself has signal and noise of equal power: a cosine of 1 / sqrt(2)."""
    update, mean = probe(Rule.parse("g 1 id id left"))
    cosine = torch.cosine_similarity(update.double(), mean.double(), dim=2, eps=1e-300)
    assert torch.allclose(cosine, torch.full_like(cosine, 0.5**0.5), atol=0.1)  # 512 weights
    update, _ = probe(Rule.parse("m 1 id id left"))
    average = torch.cosine_similarity(update.double(), mean.double(), dim=2, eps=1e-300)
    assert (average.mean(0) > cosine.mean(0)).all()  # averaging takes noise away
    assert torch.allclose(mean.std(1), torch.tensor([1, 1e-1, 1e-2, 1e-3, 1e-4]), rtol=0.2)


def test_screening_is_the_same_every_time_and_leaves_the_global_generator_alone():
    rng, space = random.Random(2), SearchSpace(2, operands=tuple(OPERANDS))
    rules, before = [space.sample(rng) for _ in range(40)], torch.get_rng_state()
    first = [screen(rule) for rule in rules]
    assert [screen(rule) for rule in reversed(rules)] == first[::-1]
    assert torch.equal(torch.get_rng_state(), before)
    assert None in first and len(set(first)) > 2
