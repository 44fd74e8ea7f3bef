"""Tests of micro.py: a stack against networks of nn.Linear, trained one by one with RuleOptimizer."""

from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dsl
from dsl import Rule, RuleOptimizer
from nosbench import micro
from nosbench.micro import HIDDEN, INPUTS, RATES, SIZE, SPLIT, SWEEP_STEPS, Stack, make_setup, measure
from nosbench.table import NO_RATE, NONE

STEPS = 8
EXACT = [  # all operands but noise, all unary functions but drops, all binary functions
    *("g 1 id id mul", "adam g2 id exp div", "rmsprop gamma sign id add", "m 1e-2w clip1e-3 neg sub"),
    *("sign_g sign_m id exp mul", "g3 1e-1w clip1e-5 log left", "v 1e-4w log clip1e-4 mul"),
    "m 1e-3w exp id sub",
]
DEEP = [  # computed operands on either side, unused groups, dead sides
    "g m id id mul | r1 v id id div",
    "adam g2 id exp div | g r1 sign neg sub",
    "m 1e-2w clip1e-3 neg sub | adam rmsprop id id left",
    "g v id log left | r1 r1 sign exp mul",
]


class Plain:
    """The same child, written plainly: one network, one rate, autograd."""

    def __init__(self, rule: str, lr: float, seed: int):
        self.task = make_setup(seed)
        self.net = nn.Sequential(nn.Linear(INPUTS - 1, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 10))
        self.layers = self.net[0], self.net[2]
        w = self.task.w[:SPLIT].view(HIDDEN, INPUTS), self.task.w[SPLIT:].view(10, HIDDEN + 1)
        for layer, x in zip(self.layers, w, strict=True):
            layer.weight.data, layer.bias.data = x[:, :-1].clone(), x[:, -1].clone()
        self.optimizer = RuleOptimizer(self.net.parameters(), rule, lr, total_steps=100)

    def train(self, first: int, last: int):
        for step in range(first, last):
            self.optimizer.zero_grad()
            logits = self.net(self.task.images[step][:-1].T)
            F.cross_entropy(logits, self.task.targets[step].argmax(0)).backward()
            self.optimizer.step()
        return self

    def weights(self) -> torch.Tensor:
        parts = [torch.cat([x.weight, x.bias[:, None]], 1).flatten() for x in self.layers]
        return torch.cat(parts).detach()

    @torch.no_grad()
    def correct(self, part) -> int:
        if not self.weights().isfinite().all():
            return NONE
        return sum(int((self.net(images[:-1].T).argmax(1) == c).sum()) for c, images in enumerate(part))


def stacked(rules: list[str], rates: list[float], seed: int = 0) -> Stack:
    lr = torch.tensor(rates).repeat(len(rules)).unsqueeze(1)
    w = make_setup(seed).w.repeat(len(lr), 1)
    return Stack([Rule.parse(rule) for rule in rules], w, lr, {})


@torch.no_grad()
def train(stack: Stack, first: int, last: int, seed: int = 0) -> torch.Tensor:
    stack.train(make_setup(seed), first, last)
    return stack.w


@pytest.mark.parametrize("rules", [EXACT, DEEP])
def test_stack_equals_plain_networks(rules):
    rates = [1e-3, 1e-1]
    w = train(stacked(rules, rates, 1), 0, STEPS, 1).view(len(rules), len(rates), SIZE)
    for i, rule in enumerate(rules):
        for j, lr in enumerate(rates):
            plain = Plain(rule, lr, 1).train(0, STEPS).weights()
            # float32 sums in another order, over 8 steps: a few of 24 bits
            torch.testing.assert_close(w[i, j], plain, rtol=1e-3, atol=2e-5, msg=f"{rule}, {lr}")


def test_whole_protocol_equals_the_plain_one():
    """Sweep, choice of the rate, and a long run that goes on where the sweep's ended."""
    rules = ["g 1 id id mul", "rmsprop m clip1e-3 id mul"]
    scores = measure(rules, 2)
    for i, rule in enumerate(rules):
        sweep = [Plain(rule, lr, 2).train(0, SWEEP_STEPS) for lr in RATES]
        counts = [plain.correct(micro.pictures().validation) for plain in sweep]
        # A picture on the border between two classes may fall to either side. At rates too
        # large training is chaotic, and rounding decides.
        np.testing.assert_allclose(scores.sweep[i, :5].astype(int), counts[:5], atol=4)
        best = sweep[scores.rate[i]]
        assert counts[scores.rate[i]] >= max(n for n in counts if n != NONE) - 4
        best.train(SWEEP_STEPS, SWEEP_STEPS + micro.LONG_STEPS)
        for part, count in (("validation", scores.correct[i]), ("test", scores.test[i])):
            assert abs(int(count) - best.correct(getattr(micro.pictures(), part))) <= 8


DRAWN = ["noise g drop0.5 drop0.5 sub", "g adam drop0.1 drop0.3 mul | r1 noise drop0.5 id sub"]
DRAWN += ["g v drop0.1 drop0.3 left | r1 noise id drop0.5 left"]


@pytest.mark.parametrize("rule", DRAWN)
def test_drops_and_noise_equal_apply_rule_with_the_same_draws(rule, monkeypatch):
    rule, task = Rule.parse(rule), make_setup(0)
    stack, step = stacked([str(rule)], [0.1, 0.3]), {"step": 0}
    draws = iter(range(4))
    monkeypatch.setattr(dsl.torch, "rand", lambda *_, **__: task.uniform[0, next(draws)])
    g = torch.randn(2, SIZE, generator=torch.Generator().manual_seed(0))
    got = stack.update(g, task.noise[0], task.uniform[0])
    group = {"betas": (0.9, 0.999, 0.999), "eps": 1e-8, "total_steps": 100}
    place = dsl.ParameterStep(stack.w, g, step, group, None)
    monkeypatch.setattr(place, "normal", lambda std: std * task.noise[0].expand(2, -1))
    torch.testing.assert_close(got, place.update(rule), rtol=0, atol=0)


def test_score_does_not_depend_on_the_company_equal_keys_have_equal_ones_and_seeds_differ():
    rules = ["m noise id drop0.3 add", "adam g id id left", "g3 v drop0.5 log div", "1 g id id sub"]
    pair = ["m g drop0.3 id add", "g m id drop0.3 add"]
    assert Rule.parse(pair[0]).key() == Rule.parse(pair[1]).key()
    others = list(map(str, islice(dsl.SearchSpace(1), 0, 31 * 4999, 4999)))  # two stacks with them
    together = measure(others + pair + rules, 0)
    for i, rule in enumerate(rules):
        for alone, values in zip(measure([rule], 0), together, strict=True):
            assert np.array_equal(alone[0], values[len(others) + 2 + i]), rule
    assert all(np.array_equal(*values[len(others) : len(others) + 2]) for values in together)
    assert not np.array_equal(measure(pair, 1).sweep[0], together.sweep[len(others)])


def test_weights_that_do_not_move_keep_the_accuracy_of_the_start_and_diverged_ones_have_none():
    """Of equal logits the first class counts, as argmax has it; so does a network of zeros."""
    still, at_large_rates, always = "1 1 id id sub", "g 1 log log add", "g g2 log clip1e-3 div"
    scores, start = measure([still, at_large_rates, always], 0), Plain("g 1 id id mul", 0.0, 0)
    assert (scores.sweep[0] == start.correct(micro.pictures().validation)).all()
    assert (scores.rate[0], scores.test[0]) == (0, start.correct(micro.pictures().test))
    zeros = micro.count_correct(torch.zeros(1, SIZE), micro.pictures().validation)
    assert zeros[0] == micro.pictures().validation[0].shape[1]
    for i, rule in ((1, at_large_rates), (2, always)):
        plain = [Plain(rule, lr, 0).train(0, SWEEP_STEPS) for lr in RATES]
        diverged = [not net.weights().isfinite().all() for net in plain]
        assert (scores.sweep[i] == NONE).tolist() == diverged
    assert 0 < (scores.sweep[1] == NONE).sum() < len(RATES) and scores.correct[1] != NONE
    assert (scores.correct[2], scores.test[2], scores.rate[2]) == (NONE, NONE, NO_RATE)
