"""Whom a study asks for scores: the table where there is one, else the micro child itself.

Both number the distinct rules, tell their rewards by one seed, their mean by the other seeds and their
families, and count the top families among those that a search has found: at depth 1 the best hundredth
of the space's families, by the mean over their classes. Deeper spaces are too large for a table, so
there a top family is one that would have been among those of depth 1, by the mean over what was found.
Nothing to run here; study.py asks. Read next: study.py.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from dsl import Rule
from loop import ProposerConfig, make_space
from nosbench import micro
from nosbench.table import NONE, Table, family_means
from sameness import Families

TOP = 0.01  # share of the space's families that are top families


@lru_cache(maxsize=1)
def legal_rules(subset: str, constraints: tuple[str, ...]) -> np.ndarray:
    """Return the numbers of the classes in a space of depth 1, int64, ascending."""
    space = make_space(ProposerConfig(iterations=1, subset=subset, constraints=constraints))
    return np.unique([Table.load("micro").number(rule) for rule in space])


def top_families(config: ProposerConfig, scores: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the best TOP of the families of a space of depth 1, and the least mean among them.

    Args:
        scores: of all classes, float [C]; a family's mean is over its classes in the space.
    """
    numbers = legal_rules(config.subset, config.constraints)
    families = Table.load("micro").family[numbers]
    means, there = family_means(families, scores[numbers]), np.unique(families)
    top = there[np.argsort(-means[there], kind="stable")[: round(TOP * len(there))]]
    return top, float(means[top[-1]])


class Lookup:
    """Scores from the table, for rules of depth 1; a distinct rule is a class.

    Args:
        seed: of the table, whose scores are the rewards; the others' mean is the fresh score.
    """

    def __init__(self, config: ProposerConfig, seed: int):
        table = Table.load("micro")
        self.number, self.identity = table.number, table.family_of
        self._families, self._diverged = table.family, table.correct[:, seed] == NONE
        self._own, self._fresh = table.accuracy[:, seed], np.delete(table.accuracy, seed, 1).mean(1)
        self._top, self.bar = top_families(config, self._own)
        self._top_fresh, self.bar_fresh = top_families(config, self._fresh)

    def rewards(self, numbers: list[int]) -> np.ndarray:
        """Return the rewards of rules, float [n]; NaN if diverged."""
        return np.where(self._diverged[numbers], np.nan, self._own[numbers])

    def fresh(self, numbers: list[int]) -> np.ndarray:
        """Return what the rules score on the other seeds, float [n]; a diverged run counts as 0."""
        return self._fresh[numbers]

    def families(self, numbers: list[int]) -> np.ndarray:
        """Return the families of rules, int [n]."""
        return self._families[numbers]

    def found(self, numbers: list[int]) -> tuple[int, int]:
        """Count the top families of some rules: by the search's seed, and by the others."""
        found = np.unique(self.families(numbers))
        return tuple(int(np.isin(found, top).sum()) for top in (self._top, self._top_fresh))


class Measured:
    """Scores measured when they are asked for, each rule once; one fingerprint is one distinct rule.

    So as in the table, the first spelling that was numbered is measured for all that act alike.
    """

    def __init__(self, config: ProposerConfig, seed: int):
        self.seed, self.others = seed, [s for s in range(Table.load("micro").num_seeds) if s != seed]
        self.identity: Callable[[Rule], int] = Families()
        self._numbers: dict[str, int] = {}  # by fingerprint
        self._rules: list[Rule] = []
        self._scores: dict[tuple[int, int], float] = {}  # (seed, number) -> accuracy, NaN if diverged
        shallow = Lookup(replace(config, iterations=1), seed)
        self.bar, self.bar_fresh = shallow.bar, shallow.bar_fresh

    def number(self, rule: Rule) -> int:
        """Return the number of a distinct rule, the next one if it is new."""
        number = self._numbers.setdefault(rule.fingerprint(), len(self._rules))
        if number == len(self._rules):
            self._rules.append(rule)
        return number

    def _measured(self, seed: int, numbers: list[int]) -> np.ndarray:
        new = [number for number in dict.fromkeys(numbers) if (seed, number) not in self._scores]
        if new:
            correct = micro.measure([str(self._rules[number]) for number in new], seed).correct
            scores = np.where(correct == NONE, np.nan, correct) / micro.NUM_VALIDATION
            self._scores |= {(seed, n): x for n, x in zip(new, scores.tolist(), strict=True)}
        return np.array([self._scores[seed, number] for number in numbers])

    def rewards(self, numbers: list[int]) -> np.ndarray:
        return self._measured(self.seed, numbers)

    def fresh(self, numbers: list[int]) -> np.ndarray:
        return np.mean([np.nan_to_num(self._measured(seed, numbers)) for seed in self.others], axis=0)

    def families(self, numbers: list[int]) -> np.ndarray:
        return np.array([self.identity(self._rules[number]) for number in numbers])

    def found(self, numbers: list[int]) -> tuple[int, int]:
        _, family = np.unique(self.families(numbers), return_inverse=True)
        own = family_means(family, np.nan_to_num(self.rewards(numbers)))
        fresh = family_means(family, self.fresh(numbers))
        return int((own >= self.bar).sum()), int((fresh >= self.bar_fresh).sum())


def make_oracle(config: ProposerConfig, seed: int) -> Lookup | Measured:
    """Return whom to ask about the rules of a config's space."""
    return (Lookup if config.iterations == 1 else Measured)(config, seed)
