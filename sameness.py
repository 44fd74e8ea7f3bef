"""Passing over rules that behave like one already scored: the same for every search algorithm.

Many strings mean one rule, so a search that likes a rule soon spends its samples on the rule's other
spellings. A proposer that draws more candidates than it needs, and takes the new ones, tries
something new each time; not in the paper, and off in its preset.

Nothing to run here. Read next: controller.py and baselines.py, which ask it what to take.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from config import setting
from dsl import Rule

DECAY = 0.95  # of the moving average, a call


@dataclass(frozen=True)
class DistinctConfig:
    """How hard a proposer looks for something new."""

    # DEVIATION: the paper scores whatever is sampled; 1 does so too.
    candidates: int = setting(
        1, "rules drawn for each one that is scored; those that behave like a scored one are passed over"
        " while others are left; 1 takes whatever is drawn", low=1, high=1000
    )  # fmt: skip


class Distinct:
    """Remembers what was taken, and takes what behaves differently.

    Args:
        identity: tells by a name whether two rules are the same rule.
    """

    def __init__(self, identity: Callable[[Rule], Hashable] = Rule.fingerprint):
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
