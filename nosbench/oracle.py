"""Whom a study asks for scores: the table where there is one, else the micro child itself.

Both number the distinct rules, tell their rewards by one seed and their mean by the other seeds, and
say which are top rules: at depth 1 the best hundredth of the space's distinct rules. Deeper spaces are
too large for a table, so there a top rule is one that would have been among those of depth 1.
Nothing to run here; study.py asks. Read next: study.py.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from dsl import Rule
from nosbench import micro
from nosbench.table import NONE, Table
from search import ProposerConfig, make_space

TOP = 0.01  # share of the space's distinct rules that count as top rules


@lru_cache(maxsize=1)
def legal_rules(subset: str, constraints: tuple[str, ...]) -> np.ndarray:
    """Return the numbers of the distinct rules in a space of depth 1, int64, ascending."""
    space = make_space(ProposerConfig(iterations=1, subset=subset, constraints=constraints))
    return np.unique([Table.load("micro").number(rule) for rule in space])


def top_rules(config: ProposerConfig, scores: np.ndarray) -> np.ndarray:
    """Return the numbers of the best TOP of a space's distinct rules, by scores, float [classes]."""
    numbers = legal_rules(config.subset, config.constraints)
    return numbers[np.argsort(-scores[numbers], kind="stable")[: round(TOP * len(numbers))]]


class Lookup:
    """Scores from the table, for rules of depth 1.

    Args:
        seed: of the table, whose scores are the rewards; the others' mean is the fresh score.
    """

    def __init__(self, config: ProposerConfig, seed: int):
        table = Table.load("micro")
        self.number = self.identity = table.number
        self._rewards, self._fresh = table.accuracy[:, seed], np.delete(table.accuracy, seed, 1).mean(1)
        self._top, self._top_fresh = top_rules(config, self._rewards), top_rules(config, self._fresh)

    def rewards(self, numbers: list[int]) -> np.ndarray:
        """Return the rewards of rules, float [n]."""
        return self._rewards[numbers]

    def fresh(self, numbers: list[int]) -> np.ndarray:
        """Return what the rules score on the other seeds, float [n]."""
        return self._fresh[numbers]

    def found(self, numbers: list[int]) -> tuple[int, int]:
        """Count the top rules among distinct ones: by the search's seed, and by the others."""
        return tuple(int(np.isin(numbers, top).sum()) for top in (self._top, self._top_fresh))


class Measured:
    """Scores measured when they are asked for, each rule once; one fingerprint is one rule.

    So as in the table, the first spelling that was numbered is measured for all that act alike.
    """

    identity = staticmethod(Rule.fingerprint)  # tells rules apart without numbering them

    def __init__(self, config: ProposerConfig, seed: int):
        self.seed, self.others = seed, [s for s in range(Table.load("micro").num_seeds) if s != seed]
        self._numbers: dict[str, int] = {}
        self._rules: list[str] = []
        self._scores: dict[tuple[int, int], float] = {}  # (seed, number) -> accuracy, 0 if diverged
        shallow = Lookup(replace(config, iterations=1), seed)
        self._bar = shallow.rewards(shallow._top).min()
        self._bar_fresh = shallow.fresh(shallow._top_fresh).min()

    def number(self, rule: Rule) -> int:
        name = self.identity(rule)
        if name not in self._numbers:
            self._numbers[name] = len(self._rules)
            self._rules.append(str(rule))
        return self._numbers[name]

    def _measured(self, seed: int, numbers: list[int]) -> np.ndarray:
        new = [number for number in dict.fromkeys(numbers) if (seed, number) not in self._scores]
        if new:
            correct = micro.measure([self._rules[number] for number in new], seed).correct
            scores = np.where(correct == NONE, 0, correct) / micro.NUM_VALIDATION
            self._scores |= {(seed, n): x for n, x in zip(new, scores.tolist(), strict=True)}
        return np.array([self._scores[seed, number] for number in numbers])

    def rewards(self, numbers: list[int]) -> np.ndarray:
        return self._measured(self.seed, numbers)

    def fresh(self, numbers: list[int]) -> np.ndarray:
        return np.mean([self._measured(seed, numbers) for seed in self.others], axis=0)

    def found(self, numbers: list[int]) -> tuple[int, int]:
        own, fresh = self.rewards(numbers) >= self._bar, self.fresh(numbers) >= self._bar_fresh
        return int(own.sum()), int(fresh.sum())


def make_oracle(config: ProposerConfig, seed: int) -> Lookup | Measured:
    """Return whom to ask about the rules of a config's space."""
    return (Lookup if config.iterations == 1 else Measured)(config, seed)
