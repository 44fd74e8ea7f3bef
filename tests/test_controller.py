"""Tests of controller.py against brute force, dense algebra on small nets and steps made by hand."""

import copy
import itertools
import math
import random
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from plain import allowed, assert_frequencies
from torch import nn
from torch.distributions import Categorical, kl_divergence
from torch.nn.utils import parameters_to_vector

import controller as module
from controller import Batch, Controller, ControllerConfig, Policy
from dsl import CONSTRAINTS, Rule, SearchSpace

ALGORITHMS = ("trpo", "ppo", "reinforce")
TOKENS = {"operands": ("g", "m", "1"), "unary": ("id", "neg"), "binary": ("add", "mul")}
FEW = {"operands": ("g", "m"), "unary": ("id",), "binary": ("add", "mul")}  # small enough at depth 2
EVERY = tuple(CONSTRAINTS)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def make_space(iterations=1, constraints=EVERY, tokens=TOKENS):
    return SearchSpace(iterations, **tokens, constraints=[CONSTRAINTS[name] for name in constraints])


def make_policy(space, seed=0, spread=0.3, dtype=torch.float64):
    """A policy whose weights are N(0, spread), so that its distributions are far from flat."""
    policy, generator = Policy(space).to(dtype), seeded(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.normal_(0, spread, generator=generator)
    return policy


def all_strings(space):
    """All strings that the three constraints allow."""
    strings = itertools.product(*(space.choices(t) for t in range(space.length)))
    return [tokens for tokens in strings if allowed(tokens, EVERY)]


def batch_of(strings, space, log_prob=0.0):
    """Strings as a Batch; a token is allowed where some legal string goes on with it."""
    slots, follow = [space.choices(t) for t in range(space.length)], {}
    for string in all_strings(space):
        for t, token in enumerate(string):
            follow.setdefault(string[:t], set()).add(token)
    masks = torch.zeros(len(strings), len(slots), max(map(len, slots)), dtype=torch.bool)
    for (b, string), (t, slot) in itertools.product(enumerate(strings), enumerate(slots)):
        masks[b, t, [slot.index(token) for token in follow[string[:t]]]] = True
    tokens = torch.tensor([[slots[t].index(token) for t, token in enumerate(s)] for s in strings])
    return Batch(tokens, masks, torch.full((len(strings),), log_prob, dtype=torch.float64))


def log_probability(policy, batch):
    """The log-probability of each rule of a batch, [B]."""
    return module.log_prob_of(policy.log_probs(batch.tokens, batch.masks), batch.tokens)


def random_batch(policy, n, seed=0):
    """Sampled strings with their log-probabilities in the policy's own precision."""
    _, batch = policy.sample(n, seeded(seed))
    return Batch(batch.tokens, batch.masks, log_probability(policy, batch).detach())


@pytest.fixture
def small(monkeypatch):
    """Makes policies small, of about a hundred parameters."""
    monkeypatch.setattr(module, "HIDDEN", 2)


def small_case(seed, spread=1.0):
    """A policy, a batch of its rules and advantages."""
    policy = make_policy(make_space(), seed, spread)
    return policy, random_batch(policy, 6, seed), randn(6, seed=seed + 1)


def eye(n):
    return torch.eye(n, dtype=torch.float64)


def loops(function, masks, *log_probs):
    """A function of torch's own distributions over the allowed entries, summed over T, mean over B."""
    total = 0.0
    for b, t in itertools.product(*map(range, masks.shape[:2])):
        total = total + function(*(Categorical(logits=x[b, t][masks[b, t]]) for x in log_probs))
    return total / len(masks)


def test_initial_weights_are_uniform_in_plus_minus_0_08():
    assert (module.HIDDEN, module.INIT_RANGE) == (150, 0.08)
    for name, parameter in Policy(make_space(3, ())).named_parameters():
        values = np.sort(parameter.detach().numpy().ravel())
        n = len(values)
        assert np.abs(values).max() <= 0.08, name
        distance = np.abs((values + 0.08) / 0.16 - (np.arange(n) + 0.5) / n).max()
        assert distance < 2.2 / math.sqrt(n), name  # Kolmogorov-Smirnov, p about 1e-4


@pytest.mark.parametrize(("iterations", "tokens"), [(1, TOKENS), (2, FEW)])
def test_log_probs_equal_a_reimplementation_cell_by_cell_and_sum_to_one(iterations, tokens):
    space = make_space(iterations, tokens=tokens)
    policy, strings = make_policy(space), all_strings(space)
    p = log_probability(policy, batch_of(strings, space)).exp().detach()
    assert len(p) == space.size() and p.max() > 3 * p.min()  # not flat, or the test would be weak
    assert float(p.sum()) == pytest.approx(1, abs=1e-12)  # float64 rounding
    strings = random.Random(0).sample(strings, 10)
    batch = batch_of(strings, space)
    cell = nn.LSTMCell(module.HIDDEN, module.HIDDEN, dtype=torch.float64)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in policy.lstm.state_dict().items()})
    with torch.no_grad():
        got = policy.log_probs(batch.tokens, batch.masks)
        for b, string in enumerate(strings):
            x, state = policy.start[None], None
            for t, token in enumerate(string):
                state = cell(x, state)
                logits = state[0][0] @ policy.head_weight[t] + policy.head_bias[t]
                total = math.log(sum(math.exp(logit) for logit in logits[batch.masks[b, t]]))
                expected = (logits - total).masked_fill(~batch.masks[b, t], -math.inf)
                torch.testing.assert_close(got[b, t], expected, rtol=0, atol=1e-12)  # order of sums
                if t < space.length - 1:
                    x = policy.embedding[t, space.choices(t).index(token)][None]


def test_sample_agrees_with_log_probs_and_with_brute_force_masks():
    space = make_space(2, tokens=FEW)
    policy = make_policy(space, dtype=torch.float32)
    rules, batch = policy.sample(40, seeded(0))
    # Ten float32 terms of a few nats each.
    torch.testing.assert_close(batch.log_prob, log_probability(policy, batch), atol=1e-5, rtol=0)
    brute_force = batch_of([rule.tokens for rule in rules], space)
    assert torch.equal(batch.tokens, brute_force.tokens)
    assert torch.equal(batch.masks, brute_force.masks)
    assert not batch.log_prob.requires_grad


def test_sampled_frequencies_match_the_probabilities():
    space = make_space()
    policy = make_policy(space, seed=1, dtype=torch.float32)
    strings = all_strings(space)
    p = log_probability(policy, batch_of(strings, space)).exp().double().detach()
    counts = Counter(rule.tokens for rule in policy.sample(6000, seeded(0))[0])
    assert_frequencies(counts, dict(zip(strings, p.tolist(), strict=True)))
    with pytest.raises(AssertionError):  # the test tells it from uniform sampling
        assert_frequencies(counts, dict.fromkeys(strings, 1 / len(strings)))


def test_conjugate_gradient_is_the_best_point_of_the_krylov_space_and_exact_at_its_end():
    a, b = randn(5, 5, seed=3), randn(5, seed=4)
    A, original = a @ a.T / 5 + eye(5), b.clone()
    for iters in (1, 2, 3, 5):
        krylov = torch.stack([torch.linalg.matrix_power(A, k) @ b for k in range(iters)], 1)
        best = krylov @ torch.linalg.solve(krylov.T @ A @ krylov, krylov.T @ b)
        x = module.conjugate_gradient(lambda v: A @ v, b, iters)
        # it may end once the residual is 1e-5 of b
        torch.testing.assert_close(x, best, rtol=0, atol=1e-5 * float(b.norm()))
    torch.testing.assert_close(x, torch.linalg.solve(A, b), rtol=0, atol=1e-5 * float(b.norm()))
    assert torch.equal(b, original)
    # It stops when the residual is gone.
    products, eigenvector, zero = [], torch.tensor([0.0, 2.0, 0.0]), torch.zeros(3)
    product = lambda v: products.append(v) or torch.tensor([1.0, 4.0, 9.0]) * v  # noqa: E731
    assert torch.equal(module.conjugate_gradient(product, eigenvector, 10), eigenvector / 4)
    assert torch.equal(module.conjugate_gradient(product, zero, 10), zero) and len(products) == 1


def test_fisher_product_equals_the_explicit_hessian_of_the_mean_kl(small):
    policy, batch, _ = small_case(0, spread=0.7)
    policy.forward = policy.log_probs  # for functional_call
    shapes = {name: p.shape for name, p in policy.named_parameters()}
    theta = parameters_to_vector(policy.parameters()).detach()
    old = policy.log_probs(batch.tokens, batch.masks).detach()

    def kl(vector):
        parts = vector.split([shape.numel() for shape in shapes.values()])
        values = {name: part.view(shapes[name]) for part, name in zip(parts, shapes, strict=True)}
        new = torch.func.functional_call(policy, values, (batch.tokens, batch.masks))
        return loops(kl_divergence, batch.masks, old, new)

    hessian = torch.autograd.functional.hessian(kl, theta)
    assert hessian.norm() > 0.1
    for damping in (0.0, 0.1):
        log_probs = policy.log_probs(batch.tokens, batch.masks)
        product = module.fisher_product(policy, batch.tokens, log_probs, damping)
        matrix = torch.stack([product(e) for e in eye(len(theta))], 1)
        expected = hessian + damping * eye(len(theta))
        torch.testing.assert_close(matrix, expected, rtol=1e-6, atol=1e-8)  # Categorical's clamping
        assert torch.linalg.eigvalsh(matrix).min() > damping - 1e-12


def objective(batch, advantages, config, log_probs):
    return module.surrogate(log_probs, batch, advantages, config.entropy_coeff)


def check_step(policy, batch, advantages, config, tolerance):
    """Take a step; it is accepted, raises the surrogate and stays within max_kl, or leaves no trace."""
    original = copy.deepcopy(policy)
    report = module.trpo_step(
        policy, batch, partial(objective, batch, advantages, config), config.max_kl
    )
    if not report["accepted"]:
        assert torch.equal(*(parameters_to_vector(p.parameters()) for p in (original, policy)))
        assert report["kl"] == report["surrogate_gain"] == 0
        return report
    with torch.no_grad():
        old, new = (p.double().log_probs(batch.tokens, batch.masks) for p in (original, policy))
        gain = objective(batch, advantages, config, new) - objective(batch, advantages, config, old)
    kl = float(loops(kl_divergence, batch.masks, old, new))
    assert 0 < kl <= config.max_kl + tolerance and gain > 0
    assert report["kl"] == pytest.approx(kl, abs=tolerance)
    assert report["surrogate_gain"] == pytest.approx(float(gain), rel=1e-6, abs=tolerance)
    return report


def test_trpo_step_goes_the_dense_natural_gradient_to_the_edge_of_the_trust_region(monkeypatch, small):
    policy, batch, advantages = small_case(1, spread=0.5)
    before = parameters_to_vector(policy.parameters()).detach().clone()
    n = len(before)
    # Rounding keeps conjugate gradients from ending after n iterations exactly, hence 3n.
    monkeypatch.setattr(module, "CG_ITERS", 3 * n)
    monkeypatch.setattr(module, "CG_DAMPING", 0.01)
    config = ControllerConfig(entropy_coeff=0.1, max_kl=1e-6)
    log_probs = policy.log_probs(batch.tokens, batch.masks)
    product = module.fisher_product(policy, batch.tokens, log_probs, 0.01)
    value = objective(batch, advantages, config, log_probs)
    gradient = parameters_to_vector(
        torch.autograd.grad(value, list(policy.parameters()), retain_graph=True)
    )
    F = torch.stack([product(e) for e in eye(n)], 1)
    x = torch.linalg.solve(F, gradient)
    step = math.sqrt(2e-6 / float(x @ F @ x)) * x

    report = check_step(policy, batch, advantages, config, tolerance=1e-9)
    assert report["accepted"] and report["line_search_steps"] == 1
    moved = parameters_to_vector(policy.parameters()).detach() - before
    torch.testing.assert_close(moved, step, rtol=0, atol=1e-4 * float(step.norm()))  # CG's end
    assert report["surrogate_gain"] == pytest.approx(float(gradient @ step), rel=1e-2)  # first order
    undamped = F - 0.01 * eye(n)
    assert report["kl"] == pytest.approx(float(step @ undamped @ step) / 2, rel=1e-2)  # second order


def test_trpo_steps_are_accepted_within_the_trust_region_or_leave_no_trace(monkeypatch, small):
    """Huge radii make the quadratic model wrong, so one trial often fails."""
    outcomes = []
    monkeypatch.setattr(module, "CG_DAMPING", 1e-3)
    for seed in range(36):
        max_kl, trials = (0.01, 0.3, 3.0)[seed % 3], (1, 1, 10)[seed % 3 - seed // 18]
        monkeypatch.setattr(module, "BACKTRACK_ITERS", trials)
        config = ControllerConfig(entropy_coeff=0.01, max_kl=max_kl)
        report = check_step(*small_case(seed), config, tolerance=1e-6)  # Categorical's clamping
        assert 1 <= report["line_search_steps"] <= trials
        outcomes.append((report["accepted"], trials))
    assert {(True, 1), (False, 1), (True, 10)} <= set(outcomes)
    assert 4 < sum(accepted for accepted, _ in outcomes) < 32
    policy, batch, _ = small_case(0)  # with nothing to learn
    report = check_step(policy, batch, torch.zeros(6), ControllerConfig(entropy_coeff=0.0), 0)
    assert not report["accepted"] and report["line_search_steps"] == 0


def test_a_step_that_lowers_the_objective_is_not_taken_however_small_its_kl(small):
    policy, batch, _ = small_case(0)
    before = parameters_to_vector(policy.parameters()).detach().clone()

    def objective(_):  # rises on the first billionth of the way only
        moved = parameters_to_vector(policy.parameters()) - before
        return (moved - 1e9 * moved.square()).sum()

    report = module.trpo_step(policy, batch, objective, 0.01)
    assert not report["accepted"] and report["line_search_steps"] == module.BACKTRACK_ITERS
    assert torch.equal(before, parameters_to_vector(policy.parameters()))


def share_right(rule, target=("m", "g", "neg", "id", "mul")):
    """The synthetic reward: the share of tokens that equal the target's."""
    return sum(a == b for a, b in zip(rule.tokens, target, strict=True)) / len(target)


@pytest.mark.parametrize("algorithm", ["reinforce", "ppo"])
def test_updates_equal_adam_steps_made_by_hand(algorithm, monkeypatch):
    """Baseline before the batch moves it, ratios to the policy that sampled, one step or four."""
    monkeypatch.setattr(module, "PPO_CLIP", 0.001)
    # The weight of the entropy is grown: 0.0125 / sqrt(1 / 16) = 0.05.
    config = ControllerConfig(controller_lr=1e-3, entropy_coeff=0.0125, entropy_growth=0.5)
    controller = Controller(make_space(), algorithm, config, 3, Rule.fingerprint)
    start, policy = copy.deepcopy(controller.policy), copy.deepcopy(controller.policy)
    adam, baseline, waiting, lag = torch.optim.Adam(policy.parameters(), lr=1e-3), None, [], 2
    for update in range(3 + lag):
        generator = torch.Generator()
        generator.set_state(controller.generator.get_state())
        # by the policy of now, to be learned from later
        waiting.append((controller.ask(4), policy.sample(4, generator)[1]))
        if update < lag:
            continue
        rules, batch = waiting.pop(0)
        rewards = [(update + share_right(rule)) / 10 for rule in rules]  # means that differ
        controller.distinct.new_share = 1 / 16
        report = controller.tell(rules, rewards)
        baseline = sum(rewards) / 4 if baseline is None else baseline
        advantages = torch.tensor(rewards, dtype=torch.float64) - baseline
        for _ in range(4 if algorithm == "ppo" else 1):
            log_probs = policy.log_probs(batch.tokens, batch.masks)
            chosen = log_probs.gather(2, batch.tokens[..., None]).sum((1, 2))
            ratio = (chosen - batch.log_prob).exp()
            gain = ratio * advantages
            if algorithm == "ppo":
                gain = torch.minimum(gain, ratio.clamp(0.999, 1.001) * advantages)
            adam.zero_grad()
            (-gain.mean() - 0.05 * loops(Categorical.entropy, batch.masks, log_probs)).backward()
            adam.step()
        assert report["baseline"] == pytest.approx(baseline, rel=1e-6)  # the mean is float32
        baseline = 0.95 * baseline + 0.05 * sum(rewards) / 4
        assert report["accepted"] and report["kl"] > 0
        assert report["surrogate_gain"] > 0 or algorithm == "ppo"  # four steps may go too far
    with pytest.raises(AssertionError, match="order"):
        controller.tell(waiting[1][0], [0.0] * 4)
    moved = 0.0
    for p, q, r in zip(*(x.parameters() for x in (controller.policy, policy, start)), strict=True):
        # Adam divides by the gradient's size, so rounding shows where the gradient all but vanishes:
        # compare whole tensors.
        assert (p - q).norm() < 0.02 * (p - r).norm()
        moved = max(moved, float((p - r).detach().abs().max()))
    assert moved > 1e-3  # three steps or more of Adam's unit size


@pytest.mark.parametrize("share, factor", [(1.0, 1), (0.1, 100), (1 / 64, 4_096), (0.001, 4_096)])
def test_the_entropys_weight_grows_as_new_rules_get_rare_up_to_a_bound(share, factor):
    config = ControllerConfig(entropy_coeff=0.01, entropy_growth=2.0)
    controller = Controller(make_space(), "reinforce", config, 0, Rule.fingerprint)
    rules = controller.ask(3)
    controller.distinct.new_share = share
    assert controller.tell(rules, [0.0] * 3)["entropy_coeff"] == pytest.approx(0.01 * factor)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_controller_learns_a_synthetic_reward(algorithm):
    config = ControllerConfig(max_kl=0.1, controller_lr=3e-3)
    kinds = {"operands": "g m v 1", "unary": "id neg exp log", "binary": "add sub mul div"}
    space = make_space(1, (), {kind: tokens.split() for kind, tokens in kinds.items()})
    controller = Controller(space, algorithm, config, 0, Rule.fingerprint)
    means = []
    for _ in range(25):
        rules = controller.ask(10)
        rewards = [share_right(rule) for rule in rules]
        means.append(sum(rewards) / 10)
        controller.tell(rules, rewards)
    # Random rules have 1/4 of their tokens right; the mean of 20 has a standard deviation of 0.04.
    assert sum(means[:2]) / 2 < 0.45
    assert sum(means[-5:]) / 5 > 0.6


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_with_ranks_the_order_of_rewards_alone_teaches(algorithm):
    """Whatever their size, whatever a failure is called: units are the task's own business."""
    weights = []
    for ranks, scale in ((True, lambda x: x), (True, lambda x: math.exp(9 * x)), (False, math.exp)):
        config = ControllerConfig(ranks=ranks, elite_coeff=0.3, controller_lr=0.01)
        controller = Controller(make_space(), algorithm, config, 0, Rule.fingerprint)
        rng = random.Random(0)
        for _ in range(4):
            rules = controller.ask(5)
            drawn = [rng.random() for _ in rules]
            controller.tell(rules, [None if x < 0.3 else scale(x) for x in drawn])
        weights.append(parameters_to_vector(controller.policy.parameters()))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    # Ranks are shares of those so far, of which a failure has none.
    controller = Controller(make_space(), algorithm, ControllerConfig(), 0, Rule.fingerprint)
    assert controller._ranks([-1e9, 3.0, None, 3.0]) == [1 / 6, 2 / 3, None, 2 / 3]
    assert controller._ranks([None, 5.0]) == [None, 7 / 8]
