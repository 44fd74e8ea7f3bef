"""Tests of dsl.py against numpy, torch.optim and brute force, written from the paper's statements."""

import copy
import itertools
import math
import pickle
import random
import re
from collections import Counter

import numpy as np
import plain
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import NUMPY_BINARY, NUMPY_UNARY, POWERSIGN, random_operands, random_rule

import dsl
from dsl import OPERANDS, UNARY, Rule, RuleError, RuleOptimizer, SearchSpace, apply_rule

SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.5, -1e-40, 1e-40, 1e-20, -1e20, 3e38, math.inf, -math.inf, math.nan]


def bits(x):
    """Integer view of a tensor with all NaNs made one, so that signs of zero are compared too."""
    x = torch.where(x.isnan(), torch.full_like(x, math.nan), x).contiguous()
    return x.view({torch.float32: torch.int32, torch.float64: torch.int64}[x.dtype])


def special_operands(dtype=torch.float32):
    """Operands over all pairs of special values, and some ordinary ones; g2, g3, signs consistent."""
    g, m = torch.tensor(list(itertools.product(SPECIAL, SPECIAL)), dtype=dtype).T.contiguous()
    x = random_operands(dtype, n=2 * len(g))
    x["g"][: len(g)], x["m"][: len(g)] = g, m
    for token, seed in (("v", 1), ("gamma", 2), ("adam", 3), ("noise", 4), ("1e-4w", 5)):
        x[token][: len(g)] = g[torch.randperm(len(g), generator=torch.Generator().manual_seed(seed))]
    x |= {"g2": x["g"] * x["g"], "g3": x["g"] * x["g"] * x["g"]}
    return x | {f"sign_{t}": torch.from_numpy(np.sign(x[t].numpy())) for t in ("g", "m")}


def compute(rule, operands, seed=0, **kw):
    rule = rule if isinstance(rule, Rule) else Rule.parse(rule)
    return apply_rule(rule, operands, generator=torch.Generator().manual_seed(seed), **kw)


def test_tables_hold_the_papers_tokens_in_order_and_extras_only_in_arxiv():
    paper = plain.PAPER_OPERANDS, plain.PAPER_UNARY, plain.PAPER_BINARY
    assert [len(tokens) for tokens in paper] == [16, 11, 5]
    assert [list(tokens) for tokens in dsl.SUBSETS["full"].values()] == [*paper]
    tables = OPERANDS, UNARY, dsl.BINARY
    arxiv = dsl.SUBSETS["arxiv"].values()
    for table, tokens, chosen in zip(tables, plain.ALL_TOKENS, arxiv, strict=True):
        assert sorted(table) == sorted(tokens) == sorted(chosen)


# --- operands -------------------------------------------------------------------------------------


@pytest.mark.parametrize("betas, eps", [((0.9, 0.999, 0.999), 1e-8), ((0.5, 0.0, 0.8), 0.1)])
@pytest.mark.parametrize("token", [token for token in OPERANDS if "noise" not in token])
def test_operand_equals_numpy_at_every_step(token, betas, eps):
    history = np.random.default_rng(0).normal(size=(12, 3, 4))
    history[10:, 0, 0] = math.nan
    w = torch.from_numpy(history[0].copy()).requires_grad_()
    given = {} if eps == 1e-8 else {"betas": betas, "eps": eps}  # the first case is the default
    optimizer = RuleOptimizer([w], f"{token} 1 id id div", lr=0.1, total_steps=8, **given)
    for t in range(12):
        # Steps 8 to 11 lie beyond T, where the decays stay at their end.
        before = w.detach().numpy().copy()
        operand = plain.numpy_operand(token, before, history[: t + 1], betas, eps, min(t / 8, 1))
        w.grad = torch.from_numpy(history[t].copy())
        optimizer.step()
        # float64 roundings of numbers of size one, divided by lr
        update = (before - w.detach().numpy()) / 0.1
        np.testing.assert_allclose(update, operand / (1 + eps), rtol=0, atol=1e-13)


@pytest.mark.parametrize("token", OPERANDS)
def test_operand_reads_and_keeps_what_its_line_says(token):
    w, g = torch.tensor([[0.3, -2.0], [0.1, 0.5]], dtype=torch.float64)

    def value(w=w, g=g, total_steps=8):
        group = {"betas": (0.9, 0.99, 0.999), "eps": 1e-8, "total_steps": total_steps}
        generator, state = torch.Generator().manual_seed(0), {}
        for _ in range(2):
            result = OPERANDS[token].value(dsl.ParameterStep(w, g, state, group, generator))
        return result, state.keys() - {"step"}

    (before, kept), words = value(), set(OPERANDS[token].reads.split())
    assert kept == words - {"g", "w", "T"}
    others = {"g": value(g=-2 * g), "w": value(w=-2 * w), "T": value(total_steps=9)}
    depends = {word for word, (after, _) in others.items() if not torch.equal(after, before)}
    assert depends - {"g"} == words & {"w", "T"} and ("g" in depends) == bool(words - {"w", "T"})


DRAWS = [("noise g id id left", 0, lambda t: 0.01, 3)]
DRAWS += [("anoise g id id left", 0, lambda t: math.sqrt(1 / (1 + t) ** 0.55), 3)]
DRAWS += [("1 g drop0.5 id left", 0.5, lambda t: 0.5, 1)]  # heads or tails


@pytest.mark.parametrize("rule, mean, std, kurtosis", DRAWS)
def test_draws_have_their_spread_and_are_fresh_each_time(rule, mean, std, kurtosis):
    n = 100_000
    params = [torch.zeros(n, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    draws, elsewhere = [], torch.get_rng_state()
    for seed in (0, 1):
        optimizer = RuleOptimizer(params, rule, lr=1.0, seed=seed)
        for t in range(3):
            before = train(optimizer, [])
            after = train(optimizer, [[torch.zeros_like(w) for w in params]])
            draws += [x.numpy() for x in ((before - after - mean) / std(t)).split(n)]
    assert torch.equal(torch.get_rng_state(), elsewhere)
    # Standard errors: mean 1/sqrt(n), std 1/sqrt(2n), kurtosis sqrt(24/n), correlation 1/sqrt(n).
    for x in draws:
        assert abs(x.mean()) < 5 / math.sqrt(n)
        assert abs(x.std() - 1) < 5 / math.sqrt(2 * n)
        assert abs((x**4).mean() - kurtosis) < 0.15
    assert np.abs(np.corrcoef(draws) - np.eye(12)).max() < 5 / math.sqrt(n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", [*NUMPY_UNARY, *NUMPY_BINARY])
def test_function_equals_numpy_on_special_values(function, dtype):
    more = [*(c * s for c in (0.999e-5, 1.001e-4, 2e-3) for s in (1, -1)), -1e-8]
    more += [5e-324, -1e-310, 1.7e308, 709.0] if dtype is np.float64 else []
    x, y = np.array(list(itertools.product([*SPECIAL, *more], repeat=2)), dtype).T.copy()
    operands = {"g": torch.from_numpy(x), "m": torch.from_numpy(y)}
    unary = function in UNARY
    rule = f"g g {function} id left" if unary else f"g m id id {function}"
    for eps in (1e-8, 0.0, 1.0):
        result = compute(rule, operands, eps=eps).numpy()
        with np.errstate(all="ignore"):
            expected = NUMPY_UNARY[function](x) if unary else NUMPY_BINARY[function](x, y, eps)
        assert result.dtype == expected.dtype
        # exp, log and pow may differ in the last bits between libraries
        np.testing.assert_allclose(result, expected, rtol=10 * np.finfo(dtype).eps)
        number = ~np.isnan(expected)
        assert (np.signbit(result) == np.signbit(expected))[number].all()


@pytest.mark.parametrize("token, p", [("drop0.1", 0.1), ("drop0.3", 0.3), ("drop0.5", 0.5)])
def test_drop_puts_positive_zero_with_its_probability_draws_anew_and_never_rescales(token, p):
    n = 40_000
    for x in (torch.linspace(-3, 3, n), torch.tensor([math.nan, math.inf, -math.inf, -1.0] * (n // 4))):
        dropped = compute(f"g g {token} id left", {"g": x})
        is_zero = bits(dropped) == 0
        assert abs(is_zero.double().mean().item() - p) < 5 * math.sqrt(p * (1 - p) / n)
        assert torch.equal(bits(dropped[~is_zero]), bits(x[~is_zero]))
    operands = {"g": torch.ones(n)}  # two drops draw independently, a reused result keeps its draw
    twice = compute(f"g g {token} {token} add", operands)
    reused = compute(f"g g {token} id left | r1 r1 id id add", operands)
    assert reused.unique().tolist() == [0, 2]
    shares = [(twice == kept).double().mean().item() for kept in (0, 1, 2)]
    assert shares == pytest.approx([p * p, 2 * p * (1 - p), (1 - p) ** 2], abs=0.0125)  # 5 errors


def numpy_update(rule, operands, eps=1e-8):
    """Read the tokens left to right; every group is computed, dead or not."""
    bank = {token: value.numpy() for token, value in operands.items()}
    for k in range(len(rule.tokens) // 5):
        op1, op2, u1, u2, b = rule.tokens[5 * k : 5 * k + 5]
        bank[f"r{k + 1}"] = NUMPY_BINARY[b](NUMPY_UNARY[u1](bank[op1]), NUMPY_UNARY[u2](bank[op2]), eps)
    return bank[f"r{k + 1}"]


def test_apply_rule_equals_a_plain_interpreter_on_random_rules():
    rng, operands = random.Random(0), random_operands()
    for _ in range(1000):
        rule = random_rule(rng, rng.randint(1, 4), unary=list(NUMPY_UNARY))
        with np.errstate(all="ignore"):
            expected = numpy_update(rule, operands)
        # exp and pow differ in the last bit between libraries; nesting and cancellation enlarge it
        update = apply_rule(rule, operands).numpy()
        np.testing.assert_allclose(update, expected, rtol=1e-6, atol=1e-12, err_msg=str(rule))


# --- reading and printing -------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 4), st.data())
def test_parse_and_print_are_inverse_for_any_spacing(rng, depth, data):
    tokens = list(random_rule(rng, depth).tokens)
    space = st.text(" \t\n\r\f\v\x1c\x85\u2003\u2028", min_size=1, max_size=3)
    text = data.draw(st.sampled_from(["", " ", "\n"]))
    for i, token in enumerate(tokens):
        bar = "|" if i and i % 5 == 0 and data.draw(st.booleans()) else ""
        text += bar + token + data.draw(space)
    rule = Rule.parse(text)
    assert list(rule.tokens) == tokens
    groups = [" ".join(tokens[i : i + 5]) for i in range(0, len(tokens), 5)]
    assert str(rule) == " | ".join(groups)
    assert Rule.parse(str(rule)) == rule and hash(Rule.parse(str(rule))) == hash(rule)


G = "g m id id add"  # any group
WRONG = [  # text with «» around what the caret must be under, and words that the message must hold
    ("g «foo» id id mul", ["unknown operand 'foo' at token 2"]),
    ("g m «iid» id mul", ["unknown unary function 'iid' at token 3"]),
    ("g m id id «plus»", ["unknown binary function 'plus' at token 5"]),
    ("«r1» m id id add", ["unknown operand 'r1' at token 1"]),
    (f"{G} | r1 «r2» id id add", ["unknown operand 'r2' at token 7"]),
    (f"{G} | «r01» r1 id id add", ["unknown operand 'r01' at token 6"]),
    ("«id» m g id add", ["unknown operand 'id' at token 1"]),
    ("g m id «|» id add", ["misplaced '|'", "5"]),
    (f"«|» {G}", ["misplaced '|'"]),
    (f"{G} {G} | {G} {G} «g»", ["too long", "at most 4 groups of 5"]),
    ("g m id id«»", ["wrong length: 4 tokens", "1"]),
    (f"{G} | r1 m«»", ["wrong length: 7 tokens", "3"]),
    ("«»", ["wrong length: 0 tokens", "5, 10, 15 or 20"]),
    (f"  {G}\n r1 «oops» id id add", ["'oops' at token 7"]),
    (f"{G}\r\n r1 «oops» id id add", ["'oops' at token 7"]),
]


@pytest.mark.parametrize("text, words", WRONG)
def test_error_names_the_token_and_points_a_caret_at_it(text, words):
    before, marked = re.match("(.*)«(.*)»", text, re.DOTALL).groups()
    with pytest.raises(RuleError) as caught:
        Rule.parse(re.sub("[«»]", "", text))
    message, line, caret = str(caught.value).split("\n")
    assert isinstance(caught.value, ValueError)
    assert all(word in message for word in words)
    if "unknown" in message:  # exactly what is allowed there
        group, slot = divmod(len(before.replace("|", " ").split()), 5)
        computed = [f"r{k + 1}" for k in range(group)] if slot < 2 else []
        table = (OPERANDS, OPERANDS, UNARY, UNARY, dsl.BINARY)[slot]
        assert message.split("allowed: ")[1].split() == [*table, *computed]
    line, caret = line.expandtabs(), caret.expandtabs()  # as a terminal shows them
    start = caret.index("^")
    assert caret.strip() == "^" * max(1, len(marked))
    assert line[start : start + len(marked)] == marked
    assert line[:start].split() == before.split()


FRAGMENTS = [*itertools.chain(*plain.ALL_TOKENS), "r1", "r9", "|", G, f"{G} | {G}"]


@settings(max_examples=150, deadline=None)
@given(
    st.text() | st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=9).map(" ".join),
    st.sampled_from([1, 1, 2, 10_000]),
)
def test_any_text_of_any_length_is_a_rule_or_a_rule_error(text, times):
    text *= times
    try:
        rule = Rule.parse(text)
    except RuleError as error:
        assert str(error).split("\n")[-1].strip("^ ") == ""
    else:
        assert Rule.parse(str(rule)) == rule
        assert list(rule.tokens) == text.replace("|", " ").split()


# --- key: equal keys, equal bits ------------------------------------------------------------------


def assert_equal_keys_mean_equal_bits(rules, operands, least_merged):
    seen, merged = {}, 0
    for rule in rules:
        update = bits(compute(rule, operands))
        first, first_update = seen.setdefault(rule.key(), (rule, update))
        merged += first is not rule
        assert torch.equal(update, first_update), f"one key, two updates: {first} and {rule}"
    assert merged >= least_merged  # else the test above compares nothing


def test_equal_keys_mean_equal_bits_for_all_depth_one_rules_of_the_operands_that_merge():
    # Only g, g2, g3, 1 and the signs appear in identities; v stands for the other operands.
    unary = tuple(token for token in UNARY if token not in ("clip1e-5", "drop0.1", "drop0.5"))
    tokens = ("g", "g2", "v", "1", "sign_g"), unary, tuple(dsl.BINARY)
    assert_equal_keys_mean_equal_bits(SearchSpace(1, *tokens), special_operands(), 4_000)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_equal_keys_mean_equal_bits_for_random_deep_rules(depth, dtype):
    rng, binary = random.Random(depth), ["add", "sub", "mul", "left"]
    small = ["g", "g2", "1", "sign_g", "m"], ["id", "neg", "sign", "drop0.5"], binary
    clips = ["g", "1"], ["neg", "clip1e-4", "clip1e-3", "log", "sqrt"]
    rules, clips = ([random_rule(rng, depth, *some) for _ in range(800)] for some in (small, clips))
    assert_equal_keys_mean_equal_bits(rules + clips, special_operands(dtype), 80)


def test_equal_keys_give_equal_training_with_random_operands():
    rng, seen, merged = random.Random(5), {}, 0
    tokens = ["noise", "anoise", "g", "1"], ["id", "neg", "drop0.3"], ["add", "mul", "left"]
    for i in range(600):
        rule, (w,) = random_rule(rng, 1 + i % 2, *tokens), parameters(shapes=[(7,)])
        train(RuleOptimizer([w], rule, lr=0.1, seed=3), gradients([w], 3))
        first = seen.setdefault(rule.key(), (rule, w))
        merged += first[0] is not rule
        assert torch.equal(first[1], w), f"{first[0]} and {rule}"
    assert merged > 100


MERGED = """
g m id id add = m g id id add                                g m exp log mul = m g log exp mul
g m exp id left = g adam exp drop0.5 left                    g m exp id left = g 1 exp id mul
g m id id left = v v id id add | g m id id left              g m exp id left = 1 g sign exp mul
g m neg id left | r1 m neg id left = g m id id left          g m neg neg mul = g m id id mul
g m neg id mul = g m id neg mul                              g m id neg add = g m id id sub
g m neg neg sub = m g id id sub                              g m id neg sub = m g id id add
g m neg id div = g m id id div | r1 g neg id left            g g id id mul = g2 m id id left
g m neg id left | r1 m log id left = g m log id left         g g2 id id mul = g3 m id id left
g m neg id left | r1 m sqrt id left = g m sqrt id left       g m sign id left = sign_g m id id left
g m clip1e-4 id left | r1 m clip1e-3 id left = g m clip1e-4 id left
g m neg id left | r1 m clip1e-4 id left = g m clip1e-4 id left | r1 m neg id left
g m clip1e-4 id left | r1 m sign id left = sign_g m id id left
g m drop0.3 id left = m g drop0.5 id left | g 1 drop0.3 id mul
g m drop0.3 id add = m g id drop0.3 add                      sign_m m sign id left = m m sign id left
"""


@pytest.mark.parametrize("a, b", plain.pairs(MERGED))
def test_key_merges(a, b):
    assert Rule.parse(a).key() == Rule.parse(b).key()


# --- the optimizer against torch.optim ------------------------------------------------------------

SHAPES = [(4, 3), (5,), ()]


def parameters(dtype=torch.float32, seed=0, shapes=SHAPES):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=generator, dtype=dtype).requires_grad_() for s in shapes]


def gradients(params, steps, seed=1):
    """Fixed random gradients, some elements zero: one list of tensors a step."""
    generator = torch.Generator().manual_seed(seed)

    def draw(w):
        keep = torch.rand(w.shape, generator=generator) > 0.1
        return torch.randn(w.shape, generator=generator, dtype=w.dtype) * keep

    return [[draw(w) for w in params] for _ in range(steps)]


def train(optimizer, grads, scheduler=None):
    """Step through the gradients and return all weights as one vector."""
    weights = [w for group in optimizer.param_groups for w in group["params"]]
    for step in grads:
        for w, grad in zip(weights, step, strict=True):
            w.grad = None if grad is None else grad.clone()
        optimizer.step()
        if scheduler:
            scheduler.step()
    return torch.cat([w.detach().flatten() for w in weights])


def momentum(params, lr):
    """The corrected average of g is SGD's momentum buffer times 0.1 / (1 - 0.9^t)."""
    optimizer = torch.optim.SGD(params, lr, momentum=0.9, dampening=0)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.1 / (1 - 0.9 ** (t + 1)))


TWINS = {
    "g g id id left": lambda params, lr: (torch.optim.SGD(params, lr), None),
    "m g id id left": momentum,
    "adam g id id left": lambda params, lr: (torch.optim.Adam(params, lr), None),
    "rmsprop g id id left": lambda params, lr: (torch.optim.Adam(params, lr, betas=(0.0, 0.999)), None),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lr", [1e-2, 10.0])
@pytest.mark.parametrize("steps", [1, 10, 50])
@pytest.mark.parametrize("rule", TWINS)
def test_rule_equals_its_torch_optimizer(rule, steps, lr, dtype):
    params, start = parameters(dtype), parameters(dtype)
    optimizer, scheduler = TWINS[rule](parameters(dtype), lr)
    theirs = train(optimizer, gradients(params, steps), scheduler)
    ours = train(RuleOptimizer(params, rule, lr), gradients(params, steps))
    # Weights of size one and 50 steps of size up to 3 lr are rounded once a step.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=50 * torch.finfo(dtype).eps * max(1, 3 * lr))
    assert not any(torch.equal(w, w0) for w, w0 in zip(params, start, strict=True))


def test_groups_have_their_own_lr_rule_betas_and_eps():
    adam = {"rule": Rule.parse("adam g id id left"), "betas": (0.5, 0.9, 0.9), "eps": 1e-3}
    options = [{"lr": 0.1, "rule": " g g id  id left"}, adam | {"lr": 0.2}]
    options += [{"rule": "ld g id id mul", "total_steps": 10}, {}]
    default = {"rule": "m g id id left", "lr": 0.05}
    groups = [{"params": parameters(seed=i), **own} for i, own in enumerate(options)]
    together = RuleOptimizer(groups[:3], **default)
    together.add_param_group(groups[3])
    grads = gradients([w for group in groups for w in group["params"]], 10)
    weights = train(together, grads).split(18)
    for i, own in enumerate(options):
        alone = RuleOptimizer(parameters(seed=i), **default | own)
        assert torch.equal(weights[i], train(alone, [step[3 * i : 3 * i + 3] for step in grads]))
    written = ["g g id id left", "adam g id id left", "ld g id id mul", "m g id id left"]
    assert [group["rule"] for group in together.param_groups] == written


# --- the optimizer by itself ----------------------------------------------------------------------

RANDOM_RULE = "noise g drop0.3 id mul | r1 adam id drop0.1 add"


def test_only_averages_that_the_update_reads_are_stored():
    dead = "m v id id add | g ld id id left"  # nor does it ask for total_steps
    averages = {dead: "", POWERSIGN: "m", "g gamma id log sub | r1 v id id div": "gamma v"}
    for rule, kept in averages.items():
        params = parameters()
        optimizer = RuleOptimizer(params, rule, lr=0.1)
        train(optimizer, gradients(params, 2))
        assert all(set(optimizer.state[w]) - {"step"} == {*kept.split()} for w in params)
        assert set(Rule.parse(rule).kept) == {*kept.split()}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_trains_on_bit_for_bit_with_random_operands(copied):
    params = parameters()
    grads, optimizer = gradients(params, 10), RuleOptimizer(params, RANDOM_RULE, lr=0.1, seed=4)
    train(optimizer, grads[:5])
    others, other = copied((params, optimizer))
    expected = train(optimizer, grads[5:])
    assert torch.equal(train(other, grads[5:]), expected)
    assert all(torch.equal(w, o) and w is not o for w, o in zip(params, others, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_weights_have_float32_averages_and_only_the_new_weights_round(dtype):
    short = torch.linspace(-1, 1, 40).to(dtype).requires_grad_()
    long, steps = short.detach().float().requires_grad_(), 400
    first, second = (RuleOptimizer([w], "adam 1 id id mul", lr=0.01) for w in (short, long))
    short.grad = torch.full_like(short, 0.3)
    g = long.grad = short.grad.float()
    for t in range(steps):
        if t == steps // 2:
            saved = copy.deepcopy(first.state_dict())
            first = RuleOptimizer([short], "adam 1 id id mul", lr=0.01)
            first.load_state_dict(saved)
        first.step()
        second.step()
        long.data = long.detach().to(dtype).float()
        assert torch.equal(short.float(), long)
    state = first.state[short]
    assert {x.dtype for x in state.values()} == {torch.float32}
    # the closed form of v for a constant gradient; in bfloat16 v would have stalled far below it
    torch.testing.assert_close(state["v"], (1 - 0.999**steps) * g * g, rtol=1e-3, atol=0)


@pytest.mark.parametrize("rule", [  # decays without a horizon; gamma takes three betas
    "g foo id id mul", "", "ld g id id mul", "cd g id id mul", "rd g id id mul", "gamma g id id left",
])  # fmt: skip
def test_wrong_rule_is_a_value_error_in_the_constructor_and_in_a_group(rule):
    good = {"rule": "g g id id left", "lr": 0.1, "betas": (0.9, 0.9)}
    with pytest.raises(ValueError):
        RuleOptimizer(parameters(), **good | {"rule": rule})
    optimizer = RuleOptimizer(parameters(), **good)
    with pytest.raises(ValueError):
        optimizer.add_param_group({"params": parameters(), "rule": rule})


# --- search spaces against brute force ------------------------------------------------------------


SMALL = [
    (1, ("g", "noise", "1"), ("id", "drop0.5"), ("add", "left")),
    (1, ("rmsprop", "rd"), ("exp", "neg", "sqrt"), ("pow", "add", "sub")),
    (2, ("g", "rmsprop"), ("id", "sign"), ("add", "mul")),
    (2, ("m", "v", "1e-4w"), ("id",), ("div", "add", "left")),
    (3, ("g", "m"), ("id",), ("add", "left")),
]


@pytest.mark.parametrize(
    "names", [(), *((name,) for name in dsl.CONSTRAINTS), tuple(dsl.CONSTRAINTS)], ids=str
)
@pytest.mark.parametrize("small", SMALL, ids=lambda small: f"depth{small[0]}-{small[1][0]}")
def test_space_equals_brute_force(small, names):
    space = SearchSpace(*small, constraints=tuple(dsl.CONSTRAINTS[name] for name in names))
    legal = [tokens for tokens in plain.brute_force(*small) if plain.allowed(tokens, names)]
    assert [rule.tokens for rule in space] == legal
    assert space.size() == len(legal)

    # Mask of every prefix of a legal string: exactly the tokens that continue some legal string.
    following = {}
    for tokens in legal:
        for i, token in enumerate(tokens):
            following.setdefault(tokens[:i], set()).add(token)
    for prefix, tokens in following.items():
        space.mask(prefix).fill_(False)  # which is the caller's to change
        choices, mask = space.choices(len(prefix)), space.mask(prefix)
        assert mask.dtype == torch.bool and mask.shape == (len(choices),)
        assert {token for token, may in zip(choices, mask.tolist(), strict=True) if may} == tokens

    legal = set(legal)
    for tokens in random.Random(0).sample(list(plain.brute_force(*small)), 48):
        assert space.contains(Rule(tokens)) == (tokens in legal)


def test_sampling_is_legal_and_uniform_and_what_is_of_another_space_is_not_contained():
    for text in (f"{G} | {G}", "g v id id add", "g m sqrt id add", "g m id id pow"):
        assert SearchSpace(1, ("g", "m")).contains(Rule.parse(text)) == (text == G)
    space = SearchSpace(2, ("g", "m"), ("id",), ("add", "sub"), tuple(dsl.CONSTRAINTS.values()))
    rng = random.Random(0)
    counts = Counter(space.sample(rng) for _ in range(1500))
    plain.assert_frequencies(counts, dict.fromkeys(space, 1 / space.size()))


ADDED = {"binary": ("add",), "constraints": (dsl.CONSTRAINTS["no-final-addition"],)}
WRONG_SPACES = [more | {"iterations": n} for more, n in (({}, 0), ({}, 5), (ADDED, 1), (ADDED, 3))]
WRONG_SPACES += [{"operands": tokens} for tokens in (("g", "foo"), ("g", "r1"), (), ("g", "g"))]
WRONG_SPACES += [{"unary": ("id", "add")}, {"unary": ()}, {"binary": ("add", "id")}, {"binary": ()}]
WRONG_SPACES += [{"operands": ("g",), "constraints": (dsl.CONSTRAINTS["operands-differ"],)}]
WRONG_SPACES += [{"constraints": (lambda token, prefix, groups: prefix[:1] != ("adam",),)}]


@pytest.mark.parametrize("wrong", WRONG_SPACES, ids=lambda space: "-".join(space))
def test_wrong_or_stuck_space_is_a_value_error(wrong):
    with pytest.raises(ValueError):
        SearchSpace(**wrong)
