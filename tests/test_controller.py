"""Tests of policy.py and controller.py against brute force, dense algebra and plain loops.

The policy is checked against its own re-implementation, cell by cell; the algorithms against steps
made by hand. Where the 200,000 parameters of the LSTM are too many for a dense matrix, a small policy
with the same two methods takes its place.
"""

import copy
import itertools
import json
import math
import random
from collections import deque

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Categorical, kl_divergence
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from controller import (
    HIDDEN,
    INIT_RANGE,
    Batch,
    Controller,
    ControllerConfig,
    Policy,
    conjugate_gradient,
    entropy,
    expectation,
    fisher_product,
    log_prob_of,
    masked_log_softmax,
    mean_kl,
    surrogate,
    trpo_step,
)
from dsl import CONSTRAINTS, SearchSpace

ALGORITHMS = ("trpo", "ppo", "reinforce")
TOKENS = {"operands": ("g", "m", "1"), "unary": ("id", "neg"), "binary": ("add", "mul")}
FEW = {"operands": ("g", "m"), "unary": ("id",), "binary": ("add", "mul")}  # small enough at depth 2
EVERY = tuple(CONSTRAINTS)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def make_space(iterations=1, constraints=EVERY, tokens=TOKENS):
    return SearchSpace(iterations, **tokens, constraints=[CONSTRAINTS[name] for name in constraints])


def make_policy(space, seed=0, spread=0.3, dtype=torch.float64):
    """A policy whose weights are N(0, spread), so that its distributions are far from flat."""
    policy, generator = Policy(space).to(dtype), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.normal_(0, spread, generator=generator)
    return policy


def legal(tokens, constraints):
    """The paper's three constraints, on a whole string."""
    groups = [tokens[i : i + 5] for i in range(0, len(tokens), 5)]
    broken = {
        "operands-differ": any(a == b for a, b, *_ in groups),
        "no-final-addition": groups[-1][4] == "add",
        "reuse-computed": not all(a[0] == "r" or b[0] == "r" for a, b, *_ in groups[1:]),
    }
    return not any(broken[name] for name in constraints)


def all_strings(space, constraints=EVERY):
    slots = [space.choices(position) for position in range(space.length)]
    return [tokens for tokens in itertools.product(*slots) if legal(tokens, constraints)]


def batch_of(strings, space, log_prob=None, dtype=torch.float64):
    """Strings as a Batch; a token is allowed where some legal string goes on with it."""
    T = space.length
    slots = [space.choices(t) for t in range(T)]
    follow = {}
    for string in all_strings(space):
        for t in range(T):
            follow.setdefault(string[:t], set()).add(string[t])
    masks = torch.zeros(len(strings), T, max(map(len, slots)), dtype=torch.bool)
    for b, string in enumerate(strings):
        for t in range(T):
            for token in follow[string[:t]]:
                masks[b, t, slots[t].index(token)] = True
    tokens = torch.tensor([[slots[t].index(string[t]) for t in range(T)] for string in strings])
    return Batch(tokens, masks, torch.zeros(len(strings), dtype=dtype) if log_prob is None else log_prob)


def random_batch(policy, n, seed):
    """Sampled strings with their log-probabilities in the policy's own precision."""
    rules, batch = policy.sample(n, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        log_prob = log_prob_of(policy.log_probs(batch.tokens, batch.masks), batch.tokens)
    return rules, Batch(batch.tokens, batch.masks, log_prob)


def random_masks(*shape, seed=0):
    """Masks with one allowed entry a row at least, and a few rows with one or all of them."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(shape, generator=generator) < 0.5
    flat = masks.view(-1, shape[-1])
    flat[torch.arange(len(flat)), torch.randint(shape[-1], (len(flat),), generator=generator)] = True
    flat[0] = True
    flat[1], flat[1, 0] = False, True
    return masks


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def chi_square_bound(bins):
    """Mean plus five standard deviations of chi-square; seeds are fixed, so it never flickers."""
    return bins - 1 + 5 * math.sqrt(2 * (bins - 1))


class BigramPolicy(nn.Module):
    """Logits depend on the token before and on a shared hidden layer: few parameters, not linear."""

    def __init__(self, T, V, seed=0, spread=1.0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        shapes = {"embedding": (V + 1, 3), "first": (3, 3), "second": (T, 3, V), "bias": (T, V)}
        for name, shape in shapes.items():
            value = spread * torch.randn(shape, generator=generator, dtype=torch.float64)
            setattr(self, name, nn.Parameter(value))

    def log_probs(self, tokens, masks):
        before = torch.cat([torch.full_like(tokens[:, :1], len(self.embedding) - 1), tokens[:, :-1]], 1)
        hidden = torch.tanh(self.embedding[before] @ self.first)
        return masked_log_softmax(torch.einsum("bth,thv->btv", hidden, self.second) + self.bias, masks)


def bigram_case(seed, B=6, T=4, V=4, spread=1.0):
    """A bigram policy, a batch drawn without regard to it, and advantages."""
    policy, masks = BigramPolicy(T, V, seed, spread), random_masks(B, T, V, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.multinomial(masks.reshape(-1, V).double(), 1, generator=generator).view(B, T)
    with torch.no_grad():
        log_prob = log_prob_of(policy.log_probs(tokens, masks), tokens)
    return policy, Batch(tokens, masks, log_prob), randn(B, seed=seed + 1)


def kl_by_loops(old, new, masks):
    """Mean over rules of the summed KL, from torch.distributions on the allowed entries alone."""
    total = 0.0
    for b, t in itertools.product(*map(range, masks.shape[:2])):
        p, q = (Categorical(logits=x[b, t][masks[b, t]]) for x in (old, new))
        total += float(kl_divergence(p, q))
    return total / len(masks)


# --- the policy -----------------------------------------------------------------------------------


def test_policy_is_one_lstm_layer_of_150_with_a_softmax_at_each_position():
    policy = Policy(make_space(2, (), TOKENS))  # V: 3 operands and r1
    shapes = {name: tuple(p.shape) for name, p in policy.named_parameters()}
    assert shapes == {
        "start": (150,),
        "embedding": (9, 4, 150),
        "lstm.weight_ih_l0": (600, 150),
        "lstm.weight_hh_l0": (600, 150),
        "lstm.bias_ih_l0": (600,),
        "lstm.bias_hh_l0": (600,),
        "head_weight": (10, 150, 4),
        "head_bias": (10, 4),
    }


def test_initial_weights_are_uniform_in_plus_minus_0_08():
    assert INIT_RANGE == 0.08
    for name, parameter in Policy(make_space(3, ())).named_parameters():
        values = np.sort(parameter.detach().numpy().ravel())
        n = len(values)
        assert np.abs(values).max() <= 0.08, name
        distance = np.abs((values + 0.08) / 0.16 - (np.arange(n) + 0.5) / n).max()
        assert distance < 2.2 / math.sqrt(n), name  # Kolmogorov-Smirnov, p about 1e-4


@pytest.mark.parametrize(("iterations", "tokens"), [(1, TOKENS), (2, FEW)])
def test_log_probs_equal_a_reimplementation_cell_by_cell(iterations, tokens):
    space = make_space(iterations, tokens=tokens)
    policy = make_policy(space)
    strings = random.Random(0).sample(all_strings(space), 10)
    batch = batch_of(strings, space)
    cell = nn.LSTMCell(HIDDEN, HIDDEN, dtype=torch.float64)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in policy.lstm.state_dict().items()})
    for parameter in (*policy.parameters(), *cell.parameters()):
        parameter.requires_grad_(False)
    got = policy.log_probs(batch.tokens, batch.masks)
    for b, string in enumerate(strings):
        x, state = policy.start[None], (torch.zeros(1, HIDDEN, dtype=torch.float64),) * 2
        for t, token in enumerate(string):
            state = cell(x, state)
            logits = state[0][0] @ policy.head_weight[t] + policy.head_bias[t]
            allowed = [i for i in range(len(logits)) if batch.masks[b, t, i]]
            total = math.log(sum(math.exp(logits[i]) for i in allowed))
            for i in range(len(logits)):
                expected = float(logits[i]) - total if i in allowed else -math.inf
                # float64, so only the order of sums differs
                assert float(got[b, t, i]) == pytest.approx(expected, abs=1e-12)
            if t < space.length - 1:
                x = policy.embedding[t, space.choices(t).index(token)][None]


@pytest.mark.parametrize(("iterations", "tokens"), [(1, TOKENS), (2, FEW)])
def test_probabilities_of_all_legal_strings_sum_to_one(iterations, tokens):
    space = make_space(iterations, tokens=tokens)
    batch = batch_of(all_strings(space), space)
    policy = make_policy(space)
    with torch.no_grad():
        probabilities = log_prob_of(policy.log_probs(batch.tokens, batch.masks), batch.tokens).exp()
    assert len(probabilities) == space.size()
    assert probabilities.max() > 3 * probabilities.min()  # not flat, or the test would be weak
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-12)  # float64 rounding


def test_sample_agrees_with_log_probs_and_with_brute_force_masks():
    space = make_space(2, tokens=FEW)
    policy = make_policy(space, dtype=torch.float32)
    rules, batch = policy.sample(40, torch.Generator().manual_seed(0))
    log_probs = policy.log_probs(batch.tokens, batch.masks)
    # Ten float32 terms of a few nats each.
    torch.testing.assert_close(batch.log_prob, log_prob_of(log_probs, batch.tokens), atol=1e-5, rtol=0)
    brute_force = batch_of([rule.tokens for rule in rules], space)
    assert torch.equal(batch.tokens, brute_force.tokens)
    assert torch.equal(batch.masks, brute_force.masks)
    assert not batch.log_prob.requires_grad


def test_sampled_frequencies_match_the_probabilities():
    space, n = make_space(), 6000
    policy = make_policy(space, seed=1, dtype=torch.float32)
    strings = all_strings(space)
    batch = batch_of(strings, space, dtype=torch.float32)
    with torch.no_grad():
        p = log_prob_of(policy.log_probs(batch.tokens, batch.masks), batch.tokens).exp().double()
    rules, _ = policy.sample(n, torch.Generator().manual_seed(0))
    index = {string: i for i, string in enumerate(strings)}
    counts = torch.bincount(torch.tensor([index[rule.tokens] for rule in rules]), minlength=len(strings))
    assert (n * p).min() > 5  # chi-square needs that
    chi_square = float(((counts - n * p) ** 2 / (n * p)).sum())
    assert chi_square < chi_square_bound(len(strings))
    flat = float(((counts - n / len(p)) ** 2 / (n / len(p))).sum())
    assert flat > 10 * chi_square_bound(len(strings))  # the test tells it from uniform sampling


def test_masked_token_is_never_sampled_and_has_exactly_zero_probability():
    space = make_space(1, ("operands-differ", "no-final-addition"))
    policy = make_policy(space, dtype=torch.float32)
    with torch.no_grad():  # the forbidden tokens are the ones that the policy wants most
        policy.head_bias[0, 0] = policy.head_bias[1, 0] = policy.head_bias[4, 0] = 50.0
    rules, batch = policy.sample(200, torch.Generator().manual_seed(0))
    assert all(rule.tokens[0] == "g" != rule.tokens[1] and rule.tokens[4] != "add" for rule in rules)
    log_probs = policy.log_probs(batch.tokens, batch.masks)
    assert not batch.masks[:, 1, 0].any() and not batch.masks[:, 4, 0].any()
    assert (log_probs[~batch.masks] == -math.inf).all()
    assert (log_probs[~batch.masks].exp() == 0).all()
    assert log_probs[batch.masks].isfinite().all()


@pytest.mark.parametrize("iterations", [1, 2, 3])
@pytest.mark.parametrize("chosen", [(), *((name,) for name in CONSTRAINTS), EVERY])
def test_all_samples_are_legal(iterations, chosen):
    space = make_space(iterations, chosen)
    rules, batch = make_policy(space, spread=1.0).sample(60, torch.Generator().manual_seed(0))
    for rule, tokens in zip(rules, batch.tokens.tolist(), strict=True):
        assert [space.choices(t)[i] for t, i in enumerate(tokens)] == list(rule.tokens)
        assert legal(rule.tokens, chosen)


# --- the masked distribution ----------------------------------------------------------------------


def test_exp_of_entropy_counts_the_allowed_choices_for_flat_logits():
    masks = random_masks(5, 4, 7)
    log_probs = masked_log_softmax(torch.full(masks.shape, 3.0, dtype=torch.float64), masks)
    torch.testing.assert_close(entropy(log_probs, masks).exp(), masks.sum(-1).double())


def test_exp_of_a_flat_policys_entropy_is_the_size_of_the_space():
    space = make_space(1, ("operands-differ", "no-final-addition"))
    policy = make_policy(space, spread=0.0)
    _, batch = policy.sample(4, torch.Generator().manual_seed(0))
    string_entropy = entropy(policy.log_probs(batch.tokens, batch.masks), batch.masks).sum(-1)
    size = torch.full((4,), 24.0, dtype=torch.float64)  # 3 * 2 operands, 2 * 2 unary, 1 binary
    torch.testing.assert_close(string_entropy.exp(), size)


def test_entropy_and_kl_equal_torch_distributions():
    masks = random_masks(5, 4, 7)
    p, q = (masked_log_softmax(2 * randn(5, 4, 7, seed=seed), masks) for seed in (1, 2))
    expected = torch.tensor(
        [[Categorical(logits=p[b, t][masks[b, t]]).entropy() for t in range(4)] for b in range(5)]
    )
    torch.testing.assert_close(entropy(p, masks), expected, check_dtype=False, atol=1e-6, rtol=0)
    assert float(mean_kl(p, q, masks)) == pytest.approx(kl_by_loops(p, q, masks), rel=1e-10)
    values = randn(5, 4, 7, seed=3)
    mean = sum(p[2, 1, i].exp() * values[2, 1, i] for i in range(7) if masks[2, 1, i])
    torch.testing.assert_close(expectation(p, values, masks)[2, 1], mean)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_first_and_second_derivatives_are_finite_and_right_beside_forbidden_tokens(scale):
    masks = random_masks(2, 2, 4, seed=3)
    x, y = scale * randn(2, 2, 4, seed=1), (scale * randn(2, 2, 4, seed=2)).requires_grad_()
    old = masked_log_softmax(x, masks)

    def functions(logits):
        log_probs = masked_log_softmax(logits, masks)
        return entropy(log_probs, masks).sum(), mean_kl(old, log_probs, masks)

    for value in functions(y):
        (gradient,) = torch.autograd.grad(value, y, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), y, retain_graph=True)
        assert value.isfinite() and gradient.isfinite().all() and second.isfinite().all()
    if scale == 1:  # finite differences
        assert torch.autograd.gradcheck(functions, y) and torch.autograd.gradgradcheck(functions, y)


def test_kl_of_a_distribution_with_itself_and_its_gradient_are_zero():
    masks = random_masks(5, 4, 7)
    logits = randn(5, 4, 7).requires_grad_()
    log_probs = masked_log_softmax(logits, masks)
    kl = mean_kl(log_probs.detach(), log_probs, masks)
    (gradient,) = torch.autograd.grad(kl, logits)
    assert kl.item() == 0
    assert gradient.abs().max() < 1e-15  # float64 rounding of probabilities that sum to one


def test_kl_is_never_negative():
    masks = random_masks(3, 4, 6)
    for seed in range(50):
        scale = 10.0 ** (seed % 4 - 2)
        p, q = (masked_log_softmax(scale * randn(3, 4, 6, seed=2 * seed + i), masks) for i in (0, 1))
        assert float(mean_kl(p, q, masks)) > 0


# --- the surrogate --------------------------------------------------------------------------------


def test_surrogates_gradient_on_fresh_samples_is_reinforces():
    policy = make_policy(make_space())
    _, batch = random_batch(policy, 6, seed=0)
    advantages, config = randn(6), ControllerConfig(entropy_coeff=0.3)
    parameters = list(policy.parameters())
    got = torch.autograd.grad(surrogate(policy, batch, advantages, config), parameters)
    expected = [torch.zeros_like(p) for p in parameters]
    for b in range(6):
        log_probs = policy.log_probs(batch.tokens[b : b + 1], batch.masks[b : b + 1])
        log_pi, bonus = 0.0, 0.0
        for t, token in enumerate(batch.tokens[b]):
            log_pi = log_pi + log_probs[0, t, token]
            bonus = bonus + Categorical(logits=log_probs[0, t][batch.masks[b, t]]).entropy()
        for sign, value in ((float(advantages[b]), log_pi), (0.3, bonus)):
            parts = torch.autograd.grad(value, parameters, retain_graph=True)
            for total, part in zip(expected, parts, strict=True):
                total += sign * part / 6
    for a, b in zip(got, expected, strict=True):
        # float64, but the distribution's own clamping of probabilities costs some digits
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


def test_ratio_makes_samples_of_another_policy_count_right():
    """Importance weights from any sampling policy, here the uniform one, give the exact mean reward."""
    space = make_space()
    strings = all_strings(space)
    uniform = torch.full((len(strings),), -math.log(len(strings)), dtype=torch.float64)
    batch, rewards = batch_of(strings, space, uniform), randn(len(strings))
    policy, config = make_policy(space), ControllerConfig(entropy_coeff=0.0)

    def mean_reward():
        log_probs = policy.log_probs(batch.tokens, batch.masks)
        return (log_prob_of(log_probs, batch.tokens).exp() * rewards).sum()

    value = surrogate(policy, batch, rewards, config)
    torch.testing.assert_close(value, mean_reward())
    (gradient,) = torch.autograd.grad(value, [policy.head_bias])
    h = 1e-5
    for index in ((0, 0), (1, 2), (3, 1)):
        difference = []
        for sign in (1, -1):
            with torch.no_grad():
                policy.head_bias[index] += sign * h
                difference.append(float(mean_reward()))
                policy.head_bias[index] -= sign * h
        # central differences: error h^2, and rounding over h
        numeric = (difference[0] - difference[1]) / (2 * h)
        assert float(gradient[index]) == pytest.approx(numeric, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("clip", [0.1, 0.2])
def test_ppo_takes_the_minimum_of_the_clipped_and_the_unclipped_term(clip):
    policy = make_policy(make_space())
    _, fresh = random_batch(policy, 14, seed=0)
    ratios = [0.3, 0.79, 0.85, 1.0, 1.15, 1.21, 3.0] * 2
    advantages = torch.tensor([1.5] * 7 + [-0.5] * 7, dtype=torch.float64)
    config = ControllerConfig(entropy_coeff=0.0)
    for b, (ratio, advantage) in enumerate(zip(ratios, advantages.tolist(), strict=True)):
        one = Batch(fresh.tokens[[b]], fresh.masks[[b]], fresh.log_prob[[b]] - math.log(ratio))
        value = surrogate(policy, one, advantages[[b]], config, clip)
        bounded = min(max(ratio, 1 - clip), 1 + clip)
        assert value.item() == pytest.approx(min(ratio * advantage, bounded * advantage))
        (gradient,) = torch.autograd.grad(value, [policy.head_bias])
        gone_far_enough = ratio > 1 + clip if advantage > 0 else ratio < 1 - clip
        assert bool((gradient == 0).all()) == gone_far_enough
    shifted = Batch(fresh.tokens, fresh.masks, fresh.log_prob - torch.tensor(ratios).log())
    terms = [
        min(r * a, min(max(r, 1 - clip), 1 + clip) * a)
        for r, a in zip(ratios, advantages.tolist(), strict=True)
    ]
    whole = surrogate(policy, shifted, advantages, config, clip)
    assert whole.item() == pytest.approx(sum(terms) / 14, rel=1e-6)  # the ratios are float32


# --- TRPO -----------------------------------------------------------------------------------------


def random_spd(n, seed):
    a = randn(n, n, seed=seed)
    return a @ a.T / n + torch.eye(n, dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 2, 5, 30])
@pytest.mark.parametrize("seed", [0, 1])
def test_conjugate_gradient_is_exact_after_n_iterations(n, seed):
    A, b = random_spd(n, seed), randn(n, seed=seed + 10)
    x = conjugate_gradient(lambda v: A @ v, b, n)
    # it may end once the residual is 1e-5 of b
    torch.testing.assert_close(x, torch.linalg.solve(A, b), rtol=0, atol=1e-5 * float(b.norm()))


@pytest.mark.parametrize("iters", [1, 2, 4])
def test_conjugate_gradient_is_the_best_point_of_the_krylov_space(iters):
    A, b = random_spd(12, 3), randn(12, seed=4)
    krylov = torch.stack([torch.linalg.matrix_power(A, k) @ b for k in range(iters)], 1)
    best = krylov @ torch.linalg.solve(krylov.T @ A @ krylov, krylov.T @ b)
    original = b.clone()
    torch.testing.assert_close(conjugate_gradient(lambda v: A @ v, b, iters), best)
    assert torch.equal(b, original)


def test_conjugate_gradient_stops_when_the_residual_is_gone():
    products = []
    eigenvector = torch.tensor([0.0, 2.0, 0.0], dtype=torch.float64)

    def product(v):
        products.append(v)
        return torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64) * v

    assert torch.equal(conjugate_gradient(product, eigenvector, 10), eigenvector / 4)
    assert len(products) == 1
    assert torch.equal(conjugate_gradient(product, torch.zeros(3), 10), torch.zeros(3))
    assert len(products) == 1


@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_fisher_product_equals_the_explicit_hessian_of_the_mean_kl(damping):
    policy, batch, _ = bigram_case(0)
    names = [name for name, _ in policy.named_parameters()]
    shapes = [p.shape for p in policy.parameters()]
    theta = parameters_to_vector(policy.parameters()).detach()
    old = policy.log_probs(batch.tokens, batch.masks).detach()

    def kl(vector):
        parts = vector.split([shape.numel() for shape in shapes])
        values = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        new = torch.func.functional_call(
            Bound(policy), {f"policy.{k}": v for k, v in values.items()}, (batch,)
        )
        return sum(
            kl_divergence(*(Categorical(logits=x[b, t][batch.masks[b, t]]) for x in (old, new)))
            for b, t in itertools.product(range(6), range(4))
        ) / 6  # fmt: skip

    hessian = torch.autograd.functional.hessian(kl, theta)
    product = fisher_product(policy, batch, damping)
    matrix = torch.stack([product(e) for e in torch.eye(len(theta), dtype=torch.float64)], 1)
    expected = hessian + damping * torch.eye(len(theta))
    torch.testing.assert_close(matrix, expected, rtol=1e-6, atol=1e-9)  # Categorical's clamping
    torch.testing.assert_close(matrix, matrix.T)
    assert torch.linalg.eigvalsh(matrix).min() > damping - 1e-12
    assert matrix.norm() > 0.1


class Bound(nn.Module):
    """Makes log_probs the forward that functional_call needs."""

    def __init__(self, policy):
        super().__init__()
        self.policy = policy

    def forward(self, batch):
        return self.policy.log_probs(batch.tokens, batch.masks)


def test_fisher_product_of_the_lstm_is_the_second_moment_of_the_scores():
    """v'Fw = E[(v . grad log p)(w . grad log p)], with directional derivatives by differences."""
    policy = make_policy(make_space())
    _, batch = random_batch(policy, 4, seed=0)
    theta = parameters_to_vector(policy.parameters()).detach()
    h = 1e-5

    def log_probs_at(vector):
        vector_to_parameters(vector, policy.parameters())
        with torch.no_grad():
            return policy.log_probs(batch.tokens, batch.masks)

    directions = [randn(len(theta), seed=seed) / len(theta) ** 0.5 for seed in range(2)]
    slopes = [(log_probs_at(theta + h * v) - log_probs_at(theta - h * v)) / (2 * h) for v in directions]
    p = log_probs_at(theta).exp()
    product = fisher_product(policy, batch, 0.0)
    images = [product(v) for v in directions]
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        expected = 0.0
        for b, t, a in batch.masks.nonzero().tolist():
            expected += float(p[b, t, a] * slopes[i][b, t, a] * slopes[j][b, t, a]) / 4
        # central differences: relative error of about h^2 and of rounding / h
        assert float(directions[i] @ images[j]) == pytest.approx(expected, rel=1e-5, abs=1e-10)
    damped = fisher_product(policy, batch, 0.5)(directions[0])
    torch.testing.assert_close(damped, images[0] + 0.5 * directions[0])


def test_trpo_step_goes_the_dense_natural_gradient_to_the_edge_of_the_trust_region():
    policy, batch, advantages = bigram_case(1, spread=0.5)
    before = parameters_to_vector(policy.parameters()).detach().clone()
    n = len(before)
    # Rounding keeps conjugate gradients from ending after n iterations exactly, hence 3n.
    config = ControllerConfig(entropy_coeff=0.1, max_kl=1e-6, cg_iters=3 * n, cg_damping=0.01)
    value = surrogate(policy, batch, advantages, config)
    gradient = parameters_to_vector(torch.autograd.grad(value, list(policy.parameters())))
    product = fisher_product(policy, batch, 0.01)
    F = torch.stack([product(e) for e in torch.eye(n, dtype=torch.float64)], 1)
    x = torch.linalg.solve(F, gradient)
    step = math.sqrt(2e-6 / float(x @ F @ x)) * x

    report = trpo_step(policy, batch, advantages, config)
    assert report["accepted"] and report["line_search_steps"] == 1
    moved = parameters_to_vector(policy.parameters()).detach() - before
    torch.testing.assert_close(moved, step, rtol=0, atol=1e-4 * float(step.norm()))  # CG's end
    assert report["surrogate_gain"] == pytest.approx(float(gradient @ step), rel=1e-2)  # first order
    undamped = F - 0.01 * torch.eye(n)
    assert report["kl"] == pytest.approx(float(step @ undamped @ step) / 2, rel=1e-2)  # second order


def test_trpo_steps_are_accepted_within_the_trust_region_or_leave_no_trace():
    """Huge radii make the quadratic model wrong, so one trial often fails."""
    outcomes = []
    for seed in range(120):
        policy, batch, advantages = bigram_case(seed)
        max_kl, trials = (0.01, 0.3, 3.0)[seed % 3], (1, 1, 10)[seed % 3 - seed // 60]
        config = ControllerConfig(
            entropy_coeff=0.01, max_kl=max_kl, backtrack_iters=trials, cg_damping=1e-3
        )
        original = copy.deepcopy(policy)
        report = trpo_step(policy, batch, advantages, config)
        with torch.no_grad():
            old, new = (p.log_probs(batch.tokens, batch.masks) for p in (original, policy))
            gain = surrogate(policy, batch, advantages, config)
            gain -= surrogate(original, batch, advantages, config)
        outcomes.append((report["accepted"], trials))
        assert 1 <= report["line_search_steps"] <= trials
        if report["accepted"]:
            kl = kl_by_loops(old, new, batch.masks)
            assert 0 < kl <= max_kl * (1 + 1e-6)  # Categorical's clamping
            assert gain > 0
            assert report["kl"] == pytest.approx(kl, rel=1e-6)
            assert report["surrogate_gain"] == pytest.approx(float(gain), rel=1e-6)
        else:
            for a, b in zip(original.parameters(), policy.parameters(), strict=True):
                assert torch.equal(a, b)
            assert report["kl"] == report["surrogate_gain"] == 0
    assert {(True, 1), (False, 1), (True, 10)} <= set(outcomes)
    assert 10 < sum(accepted for accepted, _ in outcomes) < 110


@pytest.mark.parametrize("max_kl", [0.01, 0.1])
def test_trpo_keeps_the_lstm_within_the_trust_region(max_kl):
    space = make_space(2)
    config = ControllerConfig(max_kl=max_kl, entropy_coeff=0.02)
    for seed in range(4):
        policy = make_policy(space, seed, spread=(0.05, 0.2)[seed % 2], dtype=torch.float32)
        original = copy.deepcopy(policy)
        _, batch = policy.sample(5, torch.Generator().manual_seed(seed))
        advantages = randn(5, seed=seed).float()
        report = trpo_step(policy, batch, advantages, config)
        with torch.no_grad():
            old, new = (p.double().log_probs(batch.tokens, batch.masks) for p in (original, policy))
            gain = surrogate(policy, batch, advantages, config)
            gain -= surrogate(original, batch, advantages, config)
        assert report["accepted"]  # ten trials, each smaller: a gradient that is not zero finds one
        # float32 sums of terms of order one
        assert 0.05 * max_kl < kl_by_loops(old, new, batch.masks) <= max_kl + 1e-6
        assert report["kl"] == pytest.approx(kl_by_loops(old, new, batch.masks), abs=1e-6)
        assert gain > 0


def test_failed_line_search_restores_the_lstm_bit_for_bit():
    """One trial only, far beyond where the KL is quadratic, so that it overshoots its bound."""
    config = ControllerConfig(max_kl=1e3, backtrack_iters=1, cg_damping=1e-6)
    for seed in range(10):  # about eight in ten fail
        controller = Controller(make_space(), "trpo", config, seed)
        before = copy.deepcopy(controller.policy.state_dict())
        report = controller.tell(controller.ask(5), [0.9, 0.1, 0.1, 0.3, 0.2])
        after = controller.policy.state_dict()
        if report["accepted"]:
            assert not torch.equal(before["head_bias"], after["head_bias"])
            continue
        assert report["kl"] == report["surrogate_gain"] == 0 and report["line_search_steps"] == 1
        assert all(torch.equal(before[name], after[name]) for name in before)
        return
    pytest.fail("no line search failed")


def test_trpo_without_anything_to_learn_changes_nothing():
    policy = make_policy(make_space(), dtype=torch.float32)
    before = copy.deepcopy(policy.state_dict())
    _, batch = policy.sample(5, torch.Generator().manual_seed(0))
    report = trpo_step(policy, batch, torch.zeros(5), ControllerConfig(entropy_coeff=0.0))
    assert not report["accepted"] and report["line_search_steps"] == 0
    assert all(torch.equal(before[name], after) for name, after in policy.state_dict().items())


# --- the controller -------------------------------------------------------------------------------


def share_right(rule, target=("m", "g", "neg", "id", "mul")):
    """The synthetic reward: the share of tokens that equal the target's."""
    return sum(a == b for a, b in zip(rule.tokens, target, strict=True)) / len(target)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_baseline_starts_at_the_first_mean_and_is_a_moving_average(algorithm):
    controller = Controller(make_space(), algorithm, ControllerConfig(baseline_decay=0.75), 0)
    means, draws, expected = [], np.random.default_rng(0), None
    for _ in range(4):
        rewards = draws.random(4).tolist()
        report = controller.tell(controller.ask(4), rewards)
        mean = sum(rewards) / 4
        expected = mean if expected is None else expected
        means.append(report["baseline"])
        assert report["baseline"] == pytest.approx(expected, rel=1e-6)  # the mean is float32
        expected = 0.75 * expected + 0.25 * mean
        assert controller.baseline == pytest.approx(expected, rel=1e-6)
    assert len(set(means[1:])) == 3


@pytest.mark.parametrize("lag", [0, 2])
@pytest.mark.parametrize("algorithm", ["reinforce", "ppo"])
def test_updates_equal_adam_steps_made_by_hand(algorithm, lag):
    """Baseline before the batch moves it, ratios to the policy that sampled, one step or four."""
    config = ControllerConfig(controller_lr=1e-3, entropy_coeff=0.05, baseline_decay=0.5, ppo_clip=0.001)
    controller = Controller(make_space(), algorithm, config, 3)
    policy = copy.deepcopy(controller.policy)
    adam = torch.optim.Adam(policy.parameters(), lr=1e-3)
    baseline, waiting = None, []
    for update in range(3 + lag):
        generator = torch.Generator()
        generator.set_state(controller.generator.get_state())
        rules = controller.ask(4)
        _, batch = policy.sample(4, generator)  # by the policy of now, to be learned from later
        waiting.append((rules, batch))
        if update < lag:
            continue
        rules, batch = waiting.pop(0)
        rewards = [share_right(rule) for rule in rules]
        report = controller.tell(rules, rewards)
        baseline = sum(rewards) / 4 if baseline is None else baseline
        for _ in range(4 if algorithm == "ppo" else 1):
            log_probs = policy.log_probs(batch.tokens, batch.masks)
            loss = 0.0
            for b in range(4):
                log_pi = sum(log_probs[b, t, token] for t, token in enumerate(batch.tokens[b]))
                ratio = (log_pi - batch.log_prob[b]).exp()
                advantage = rewards[b] - baseline
                gain = ratio * advantage
                if algorithm == "ppo":
                    gain = torch.minimum(gain, ratio.clamp(0.999, 1.001) * advantage)
                bonus = sum(
                    Categorical(logits=log_probs[b, t][batch.masks[b, t]]).entropy() for t in range(5)
                )
                loss = loss - (gain + 0.05 * bonus) / 4
            adam.zero_grad()
            loss.backward()
            adam.step()
        baseline = 0.5 * baseline + 0.5 * sum(rewards) / 4
        assert report["accepted"] and report["kl"] > 0
    moved = 0.0
    start = Controller(make_space(), algorithm, config, 3).policy
    for p, q, r in zip(
        controller.policy.parameters(), policy.parameters(), start.parameters(), strict=True
    ):
        # Adam divides by the gradient's size, so rounding shows where the gradient all but vanishes:
        # compare whole tensors.
        assert (p - q).norm() < 0.02 * (p - r).norm()
        moved = max(moved, float((p - r).detach().abs().max()))
    assert moved > 1e-3  # three steps or more of Adam's unit size


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_batches_may_be_told_later_but_only_in_the_order_asked(algorithm):
    controller = Controller(make_space(), algorithm, ControllerConfig(), 0)
    waiting = deque(controller.ask(3) for _ in range(4))
    for _ in range(6):
        batch = waiting.popleft()
        report = controller.tell(batch, [share_right(rule) for rule in batch])
        waiting.append(controller.ask(3))
        assert all(parameter.isfinite().all() for parameter in controller.policy.parameters())
        json.dumps(report, allow_nan=False)  # plain finite numbers
        assert set(report) == {
            "baseline", "entropy", "entropy_coeff",
            "kl", "surrogate_gain", "line_search_steps", "accepted",
        }  # fmt: skip
    assert len(report["entropy"]) == 5

    assert waiting[0] != waiting[1]
    with pytest.raises(AssertionError, match="order"):
        controller.tell(waiting[1], [0.0] * 3)


def history(seed, algorithm, updates=3):
    controller = Controller(make_space(), algorithm, ControllerConfig(controller_lr=1e-3), seed)
    told = []
    for _ in range(updates):
        rules = controller.ask(4)
        told.append((rules, controller.tell(rules, [share_right(rule) for rule in rules])))
    return told, parameters_to_vector(controller.policy.parameters())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_same_seed_same_history_and_another_seed_another(algorithm):
    (told, weights), (again, same), (other, _) = (history(seed, algorithm) for seed in (1, 1, 2))
    assert told == again and torch.equal(weights, same)
    assert told[0][0] != other[0][0]


def test_global_random_state_is_neither_used_nor_touched():
    states, samples = [], []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        controller = Controller(make_space(), "trpo", ControllerConfig(), 7)
        samples.append(controller.ask(5))
        controller.tell(samples[-1], [0.1, 0.2, 0.3, 0.4, 0.5])
        after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        assert torch.equal(before[0], after[0]) and before[1:] == after[1:]
        states.append(before[0])
    assert samples[0] == samples[1] and not torch.equal(*states)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_controller_learns_a_synthetic_reward(algorithm):
    config = ControllerConfig(max_kl=0.1, controller_lr=3e-3)
    space = make_space(1, (), {"operands": ("g", "m", "v", "1"), "unary": ("id", "neg", "exp", "log"),
                               "binary": ("add", "sub", "mul", "div")})  # fmt: skip
    controller = Controller(space, algorithm, config, 0)
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
def test_entropy_bonus_alone_raises_entropy(algorithm):
    config = ControllerConfig(entropy_coeff=1.0, controller_lr=3e-3)
    controller = Controller(make_space(), algorithm, config, 0)
    controller.policy.load_state_dict(make_policy(make_space(), spread=0.2).state_dict())
    entropies = []
    for _ in range(8):
        rules = controller.ask(5)
        report = controller.tell(rules, [0.5] * 5)  # equal to the baseline: no advantage
        entropies.append(sum(report["entropy"]))
    most = math.log(3 * 2 * 2 * 2 * 1)
    assert all(value <= most + 1e-5 for value in entropies)
    assert most - entropies[-1] < 0.7 * (most - entropies[0])
