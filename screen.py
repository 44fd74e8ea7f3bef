"""Screening: milliseconds that tell which rules are not worth the minutes of training them.

Most strings of the language cannot learn: their update ignores the gradient, or climbs, or never
moves far. A chain of tests, the cheap ones first, finds nearly all of them; a rule that fails one is
not trained and gets the reward of a failure. Rejecting by the angle between update and gradient is
an idea of a later optimizer search (arXiv 2209.13575).

The two thresholds were chosen on some trained rules and proven on others: `python -m studies.screening`.

Nothing to run here. Read next: training.py.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch import Tensor

from dsl import BETAS, EPS, ParameterStep, Rule

# DEVIATION: the paper trains every rule; `--no-screen` does so too.
MIN_DESCENT = 0.1  # mean cosine with the true gradient, at the best of the gradient scales
MAX_LOSS = 0.97  # of the starting loss that the best learning rate must get below

# --- a rule outside a network ---------------------------------------------------------------------

# Shapes: R rows, each a little problem of its own (a gradient scale, a learning rate); N weights.


def updates(rule: Rule, w: Tensor, gradient: Callable[[], Tensor], steps: int) -> Iterator[Tensor]:
    """Yield a rule's update [R, N] at each step; what consumes it may move `w` [R, N] in place."""
    generator, state = torch.Generator().manual_seed(0), {}
    group = {"betas": BETAS, "eps": EPS, "total_steps": steps}
    for _ in range(steps):
        yield ParameterStep(w, gradient(), state, group, generator).update(rule)


@lru_cache(maxsize=1)
def probe(rule: Rule, largest: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return updates of a rule with warm moving averages, and the true gradient they should follow.

    The gradients are noisy, with a mean as large as the noise, at scales from `largest` to 1e-4 of it.

    Returns:
        float32 [5 steps, R, N] and float32 [R, N].
    """
    generator = torch.Generator().manual_seed(1)
    scale = largest * torch.logspace(0, -4, 5).unsqueeze(1)  # [R, 1]
    w = 0.1 * torch.randn(5, 512, generator=generator)
    mean = scale * torch.randn(5, 512, generator=generator)
    noisy = lambda: mean + scale * torch.randn(5, 512, generator=generator)  # noqa: E731
    return torch.stack(list(updates(rule, w, noisy, steps=20))[-5:]), mean


# --- the tests, each True if the rule fails -------------------------------------------------------

# The last two find what the first two do, and more; these are cheaper, and say why.


def ignores_gradient(rule: Rule, largest: float = 1.0) -> bool:
    """No operand that the update depends on is made from the gradient: an exact reason."""
    return {"w", "T"}.issuperset(rule.reads)


def is_constant(rule: Rule, largest: float = 1.0) -> bool:
    """All weights always get the same update."""
    update, _ = probe(rule, largest)
    return bool((update == update[0, 0, 0]).all())


def ignores_direction(rule: Rule, largest: float = 1.0) -> bool:
    """The mean cosine between update and true gradient is below MIN_DESCENT at every scale."""
    update, mean = probe(rule, largest)
    update = update.double().nan_to_num(0.0, 0.0, 0.0)
    update = update / update.abs().amax(2, keepdim=True).clamp(min=1e-300)  # no overflow in squares
    cosine = torch.cosine_similarity(update, mean.double(), dim=2, eps=1e-300)  # [5 steps, R]
    return bool(cosine.mean(0).max() < MIN_DESCENT)


def does_not_descend(rule: Rule, largest: float = 1.0) -> bool:
    """On a quadratic, 50 steps do not bring the loss below MAX_LOSS of what it was at the start.

    Its axes differ by 1000 in curvature. A row is one of 8 learning rates, 1e-6 to 10, at one of 3
    gradient scales; the best row counts. A network bears steps that are ten times too long here, so the
    least rate is below the child's.
    """
    generator = torch.Generator().manual_seed(2)
    lr = torch.logspace(-6, 1, 8).repeat(3).unsqueeze(1)  # [R, 1]
    scale = largest * torch.logspace(0, -2, 3).repeat_interleave(8).unsqueeze(1)  # [R, 1]
    curvature = torch.logspace(-3, 0, 64)[torch.randperm(64, generator=generator)]
    start, away = 0.1 * torch.randn(2, 64, generator=generator)
    target, w = start + away, start.repeat(len(lr), 1)

    def gradient() -> Tensor:
        noise = 0.03 * torch.randn(64, generator=generator)
        return scale * curvature * (w - target + noise)

    for update in updates(rule, w, gradient, steps=50):
        w.sub_(lr * update)
    loss = (curvature * (w - target) ** 2).sum(1) / (curvature * away**2).sum()
    return not loss.nan_to_num(torch.inf).min() < MAX_LOSS


TESTS = {
    "ignores the gradient": ignores_gradient,
    "constant": is_constant,
    "ignores the direction": ignores_direction,
    "does not descend": does_not_descend,
}


def screen(rule: Rule, largest: float = 1.0) -> str | None:
    """Return the name of the first test that a rule fails, or None if it is worth training.

    Args:
        largest: scale of the largest gradients it is tried with; a network's, if that is more than 1.
    """
    return next((name for name, fails in TESTS.items() if fails(rule, largest)), None)
