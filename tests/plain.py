"""The language said once more: each token in plain numpy, each constraint, all and random strings."""

import itertools
import math
import re

import numpy as np
import torch

from dsl import Rule

PAPER_OPERANDS = "g g2 g3 m v gamma sign_g sign_m 1 noise 1e-4w 1e-3w 1e-2w 1e-1w adam rmsprop".split()
PAPER_UNARY = "id neg exp log clip1e-5 clip1e-4 clip1e-3 drop0.1 drop0.3 drop0.5 sign".split()
PAPER_BINARY = "add sub mul div left".split()
EXTRA_OPERANDS, EXTRA_UNARY, EXTRA_BINARY = "2 ld cd rd anoise".split(), ["sqrt"], ["pow"]
ALL_TOKENS = PAPER_OPERANDS + EXTRA_OPERANDS, PAPER_UNARY + EXTRA_UNARY, PAPER_BINARY + EXTRA_BINARY

POWERSIGN = "sign_g sign_m id id mul | r1 g exp id mul"

# What each token means, in plain numpy.
NUMPY_UNARY = {
    "id": lambda x: x,
    "neg": lambda x: -x,
    "exp": np.exp,
    "log": lambda x: np.log(np.abs(x)),
    "clip1e-5": lambda x: np.clip(x, -0.00001, 0.00001),
    "clip1e-4": lambda x: np.clip(x, -0.0001, 0.0001),
    "clip1e-3": lambda x: np.clip(x, -0.001, 0.001),
    "sign": np.sign,
    "sqrt": lambda x: np.sqrt(np.abs(x)),
}
NUMPY_BINARY = {
    "add": lambda x, y, eps: x + y,
    "sub": lambda x, y, eps: x - y,
    "mul": lambda x, y, eps: x * y,
    "div": lambda x, y, eps: x / (y + eps),
    "left": lambda x, y, eps: x,
    "pow": lambda x, y, eps: x**y,
}


def average(history, beta):
    """A bias-corrected moving average is the mean with weights beta^age."""
    weights = [beta**age for age in reversed(range(len(history)))]
    return np.average(history, axis=0, weights=weights)


def numpy_operand(token, w, history, betas, eps, done):
    """One operand from the weights and all gradients so far; `done` is t / T."""
    g, one = history[-1], np.ones_like(w)
    m, v, gamma = (average(history**power, beta) for power, beta in zip((1, 2, 3), betas, strict=True))
    return {
        **{"g": g, "g2": g**2, "g3": g**3, "m": m, "v": v, "gamma": gamma},
        **{"sign_g": np.sign(g), "sign_m": np.sign(m), "1": one, "2": 2 * one},
        **{f"1e-{k}w": w / 10**k for k in (4, 3, 2, 1)},
        **{"adam": m / (np.sqrt(v) + eps), "rmsprop": g / (np.sqrt(v) + eps)},
        "ld": one * (1 - done),
        "cd": one * (1 + np.cos(np.pi * done)) / 2,
        "rd": one * (1 + np.cos(np.pi * done / 2)) / 2,
    }[token]


def random_rule(rng, depth, operands=ALL_TOKENS[0], unary=ALL_TOKENS[1], binary=ALL_TOKENS[2]):
    tokens = []
    for k in range(depth):
        # Half of the later operands are computed ones, so that groups depend on each other.
        for _ in range(2):
            computed = k and rng.random() < 0.5
            tokens.append(f"r{rng.randrange(k) + 1}" if computed else rng.choice(operands))
        tokens += [rng.choice(unary), rng.choice(unary), rng.choice(binary)]
    return Rule(tuple(tokens))


def random_operands(dtype=torch.float64, seed=0, n=32):
    """Every operand at moderate size; those that are functions of others agree with them."""
    rng = np.random.default_rng(seed)
    x = {token: rng.normal(size=n) for token in ALL_TOKENS[0]}
    x |= {f"1e-{k}w": 10**-k * x["1e-4w"] for k in (4, 3, 2, 1)}
    x |= {"g2": x["g"] ** 2, "g3": x["g"] ** 3, "1": np.ones(n), "2": np.full(n, 2.0)}
    x |= {"v": x["v"] ** 2, "sign_g": np.sign(x["g"]), "sign_m": np.sign(x["m"])}
    return {token: torch.tensor(value, dtype=dtype) for token, value in x.items()}


def allowed(tokens, names):
    """Whether a whole string keeps the named constraints, each said once more here."""
    groups = [tokens[i : i + 5] for i in range(0, len(tokens), 5)]
    computed = {"r1", "r2", "r3"}
    kept = {
        "operands-differ": all(op1 != op2 for op1, op2, *_ in groups),
        "no-final-addition": tokens[-1] != "add",
        "reuse-computed": all(computed & set(group[:2]) for group in groups[1:]),
    }
    return all(kept[name] for name in names)


def brute_force(depth, operands, unary, binary):
    """All strings, legal or not."""
    slots = []
    for k in range(depth):
        bank = (*operands, *(f"r{i + 1}" for i in range(k)))
        slots += [bank, bank, unary, unary, binary]
    return itertools.product(*slots)


def assert_frequencies(counts, probabilities):
    """Chi-square within five standard deviations of its mean; seeds are fixed, so it never flickers."""
    n, bins = sum(counts.values()), len(probabilities)
    assert set(counts) <= set(probabilities)
    assert n * min(probabilities.values()) > 5  # chi-square needs that
    chi_square = sum((counts[x] - n * p) ** 2 / (n * p) for x, p in probabilities.items())
    assert chi_square < bins - 1 + 5 * math.sqrt(2 * (bins - 1))


def pairs(table: str) -> list[tuple[str, str]]:
    """Return the pairs `a = b` of a table, whose columns are two spaces or more apart."""
    cells = re.split(r"\n|  +", table.strip())
    return [tuple(cell.split(" = ")) for cell in cells]
