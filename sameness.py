"""When two strings are one rule, and how a search passes over rules that it has scored.

Many strings mean one rule. `Rule.key` is equal where the update is equal bit for bit, so that a score
may be reused. `fingerprint` is equal where rules behave alike within a relative tolerance: good for
counting rules and for not trying one twice. A proposer that draws more candidates than it needs, and
takes the new ones (`Distinct`), tries something new each time; not in the paper, and off in its
preset.

Nothing to run here. Read next: controller.py and rivals.py, which ask `Distinct` what to take.
"""

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from config import setting
from dsl import BETAS, EPS, OPERANDS, ParameterStep, Rule, apply_rule

DECAY = 0.95  # of the moving average, a call

# --- by fingerprint -------------------------------------------------------------------------------


def fingerprint(rule: Rule) -> str:
    """Return a hash that rules share which behave alike within a relative tolerance of 1e-5.

    The update is computed in float64 on warm moving averages, at gradient scales 1 to 1e-6, and
    rounded to five significant digits, never absolutely. Rounding has edges: of 1,500 pairs of rules
    that differ by 1e-8 relatively, 4.3 % were parted. A score is reused by `Rule.key` only.
    """
    generator = torch.Generator().manual_seed(0)
    update = apply_rule(rule, probe(), generator=generator)
    digits = " ".join(f"{x:.4e}" for x in update.tolist()).replace("-0.0000e+00", "0.0000e+00")
    return hashlib.blake2b(digits.encode(), digest_size=8).hexdigest()


@lru_cache(maxsize=1)
def probe() -> dict[str, Tensor]:
    """Return every operand, float64 [96], after 20 steps of noisy gradients at four scales."""
    generator = torch.Generator().manual_seed(2)
    scale = torch.tensor([1.0, 1e-2, 1e-4, 1e-6], dtype=torch.float64).repeat_interleave(24)
    w, mean = torch.randn(2, 96, generator=generator, dtype=torch.float64)
    w *= torch.tensor([1.0, 1e-1, 1e-2, 1e-3], dtype=torch.float64).repeat(24)  # some pass each clip
    state: dict = {}
    group = {"betas": BETAS, "eps": EPS, "total_steps": 100}
    for _ in range(20):
        noise = torch.randn(96, generator=generator, dtype=torch.float64)
        # Noise beyond the mean, so that g and m often differ in sign.
        step = ParameterStep(w, scale * (mean + 2 * noise), state, group, generator)
        values = {token: operand.value(step) for token, operand in OPERANDS.items()}
    return values


# --- passing over known rules ---------------------------------------------------------------------


@dataclass(frozen=True)
class DistinctConfig:
    """How hard a proposer looks for something new."""

    # DEVIATION: the paper scores whatever is sampled; 1 does so too.
    candidates: int = setting(
        1, "rules drawn for each one that is scored; those that behave like a scored one are passed over"
        " while others are left; 1 takes whatever is drawn", "beyond the paper", low=1, high=1000
    )  # fmt: skip


class Distinct:
    """Remembers what was taken, and takes what behaves differently.

    Args:
        identity: tells by a name whether two rules are the same rule.
    """

    def __init__(self, identity: Callable[[Rule], Hashable] = fingerprint):
        self.identity = identity
        # Of the candidates that take looked at, up to the last it took, those new: a moving average.
        self.new_share = 1.0
        self._taken: set[Hashable] = set()

    def note(self, rules: list[Rule]) -> None:
        """Remember rules that were not drawn."""
        self._taken.update(map(self.identity, rules))

    def take(self, candidates: list[Rule], n: int) -> list[int]:
        """Return the places of n candidates, the first new ones, then repeats if those are too few."""
        new, repeats = [], []
        for place, rule in enumerate(candidates):
            if len(new) == n:
                break
            name = self.identity(rule)
            (repeats if name in self._taken else new).append(place)
            self._taken.add(name)
        looked_at = len(new) + len(repeats)
        self.new_share = DECAY * self.new_share + (1 - DECAY) * len(new) / max(1, looked_at)
        return sorted(new + repeats[: n - len(new)])
