"""Screening: milliseconds that tell which rules are not worth the minutes of training them.

Most strings of the language cannot learn: their update ignores the gradient, or climbs, or never
moves far. A chain of tests, the cheap ones first, finds nearly all of them; a rule that fails one is
not trained and gets the reward of a failure. Rejecting by the angle between update and gradient is
an idea of a later optimizer search (arXiv 2209.13575).

The two thresholds were chosen on some trained rules and proven on others (RESULTS.md):

    python -m studies.screening RUN ...                  # of the rules that these runs trained: which would go?
    python -m studies.screening RUN ... --unlike RUN ... # without rules that the thresholds were chosen on

Read next: child.py, which asks before it trains.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

import results
from config import Parser
from dsl import BETAS, EPS, OPERANDS, ParameterStep, Rule

# DEVIATION: the paper trains every rule; `--no-screen` does so too.
MIN_COSINE = 0.1  # mean cosine with the true gradient, at the best of the gradient scales
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
def probe(rule: Rule) -> tuple[Tensor, Tensor]:
    """Return updates of a rule with warm moving averages, and the true gradient they should follow.

    The gradients are noisy, with a mean as large as the noise, at scales from 1 to 1e-4.

    Returns:
        float32 [5 steps, R, N] and float32 [R, N].
    """
    generator = torch.Generator().manual_seed(1)
    scale = torch.logspace(0, -4, 5).unsqueeze(1)  # [R, 1]
    w = 0.1 * torch.randn(5, 512, generator=generator)
    mean = scale * torch.randn(5, 512, generator=generator)
    noisy = lambda: mean + scale * torch.randn(5, 512, generator=generator)  # noqa: E731
    return torch.stack(list(updates(rule, w, noisy, steps=20))[-5:]), mean


# --- the tests, each True if the rule fails -------------------------------------------------------

# The last two find what the first three do, and more; these are cheaper, and say why.


def ignores_gradient(rule: Rule) -> bool:
    """No operand that the update depends on is made from the gradient: an exact reason."""
    free = {"1", "2", "noise", "anoise", "ld", "cd", "rd", "1e-4w", "1e-3w", "1e-2w", "1e-1w"}
    assert free < OPERANDS.keys()
    return free.issuperset(rule.operands)


def is_not_finite(rule: Rule) -> bool:
    """The update is infinite or NaN somewhere, whatever the gradient's scale."""
    update, _ = probe(rule)
    return not update.isfinite().all(2).all(0).any()


def is_constant(rule: Rule) -> bool:
    """All weights always get the same update."""
    update, _ = probe(rule)
    return bool((update == update[0, 0, 0]).all())


def ignores_direction(rule: Rule) -> bool:
    """The mean cosine between update and true gradient is below MIN_COSINE at every scale."""
    update, mean = probe(rule)
    update = update.double().nan_to_num(0.0, 0.0, 0.0)
    update = update / update.abs().amax(2, keepdim=True).clamp(min=1e-300)  # no overflow in squares
    cosine = torch.cosine_similarity(update, mean.double(), dim=2, eps=1e-300)  # [5 steps, R]
    return bool(cosine.mean(0).max() < MIN_COSINE)


def does_not_descend(rule: Rule) -> bool:
    """On a quadratic whose axes differ by 1000 in curvature, 50 steps do not lower the loss.

    A row is one of 7 learning rates, 1e-5 to 10, at one of 3 gradient scales; the best row counts.
    """
    generator = torch.Generator().manual_seed(2)
    lr = torch.logspace(-5, 1, 7).repeat(3).unsqueeze(1)  # [R, 1]
    scale = torch.logspace(0, -2, 3).repeat_interleave(7).unsqueeze(1)  # [R, 1]
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
    "not finite": is_not_finite,
    "constant": is_constant,
    "ignores the direction": ignores_direction,
    "does not descend": does_not_descend,
}


def screen(rule: Rule) -> str | None:
    """Return the name of the first test that a rule fails, or None if it is worth training."""
    return next((name for name, fails in TESTS.items() if fails(rule)), None)


# --- command line ---------------------------------------------------------------------------------


def audit(folders: list[Path], unlike: list[Path] = (), good_share: float = 0.1) -> str:
    """Return a table of what the tests reject among trained rules, one a key, and of the best tenth.

    Args:
        unlike: runs whose rules are left out, by key: a proof needs rules that had no part in a choice.

    Raises:
        RunError: a folder is no run, or its rules were screened, so that the bad ones are missing.
    """
    known = {r["key"] for folder in unlike for r in results.read_lines(folder / "records.jsonl")}
    rewards: dict[str, tuple[float, str]] = {}
    for folder in folders:
        if results.read_config(folder).get("screen", True):
            raise results.RunError(f"{folder} was screened already; make a run with --no-screen")
        for record in results.read_lines(folder / "records.jsonl"):
            # NOS-Bench has parts that were chosen, one of them by these very tests.
            if record["key"] in known or record.get("part", "sample") != "sample":
                continue
            rewards.setdefault(record["key"], (record["reward"], record["rule"]))
    ranked = sorted(rewards.values(), reverse=True)
    verdicts = [screen(Rule.parse(rule)) for _, rule in ranked]
    best = round(good_share * len(ranked))
    counts, lost = Counter(verdicts), Counter(verdicts[:best])
    lines = [
        f"{len(ranked):,} distinct trained rules; the best {best:,} score {ranked[best - 1][0]:.4f}+"
    ]
    lines += [f"{'':24}{'rejected':>9}{'of the best':>13}"]
    lines += [f"{name:24}{counts[name]:9,}{lost[name]:13,}" for name in TESTS]
    rejected, false = len(ranked) - counts[None], best - lost[None]
    lines += [f"{'all':24}{rejected:9,}{false:13,}"]
    lines += [f"of the others {(rejected - false) / (len(ranked) - best):.1%} rejected"]
    if not false:  # the rate at which none of n would be lost with a probability of 5 %
        lines[-1] += f"; of the best at most {1 - 0.05 ** (1 / best):.1%} are lost, with 95 % confidence"
    first = next((i for i, verdict in enumerate(verdicts) if verdict), None)
    if first is not None:
        reward, rule = ranked[first]
        lines += [f"best rule rejected: {reward:.4f}, place {first + 1}, '{rule}' ({verdicts[first]})"]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="screen.py", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="runs made with --no-screen")
    parser.add_argument(
        "--unlike", nargs="+", type=Path, default=[], metavar="RUN", help="runs whose rules do not count"
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # thirty times faster on tensors so small
    try:
        print(audit(args.runs, args.unlike))
    except results.RunError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
