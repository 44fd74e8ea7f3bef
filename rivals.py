"""What the controller must beat: random search and regularized evolution, behind the same ask/tell.

Random search draws uniformly from all legal strings; an untrained controller does not quite begin so, as
it draws nearly uniformly token by token (see SearchSpace.sample). Regularized evolution (Real et al.
2019, algorithm 1) keeps the latest `population` rules, takes the best of a random `tournament` of them
and changes one token. Read next: guided.py, which is both.
"""

import random
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from config import setting

from dsl import Rule, SearchSpace
from sameness import Distinct, DistinctConfig


@dataclass(frozen=True)
class EvolutionConfig(DistinctConfig):
    """How evolution selects."""

    population: int = setting(50, "evolution: rules kept, the oldest leaves", "beyond the paper", low=1)
    tournament: int = setting(
        10, "evolution: rules drawn, of which the best is the parent", "beyond the paper", low=1
    )


class RandomSearch:
    """Draw every rule uniformly from the space, whatever was found before."""

    def __init__(
        self, space: SearchSpace, config: DistinctConfig, seed: int, identity: Callable[[Rule], Hashable]
    ):
        self.space, self.config, self.rng = space, config, random.Random(seed)
        self.distinct = Distinct(identity, config.replicates)

    def start(self, rules: list[Rule], rewards: list[float | None]) -> None:
        """Note known rules, so that they are not drawn again."""
        self.distinct.note(rules)

    def ask(self, n: int) -> list[Rule]:
        """Draw n rules."""
        drawn = [self.space.sample(self.rng) for _ in range(n * self.config.candidates)]
        return [drawn[place] for place in self.distinct.take(drawn, n)]

    def tell(self, rules: list[Rule], rewards: list[float | None]) -> dict:
        """Learn nothing."""
        return {}


class Evolution:
    """Mutate good rules; the oldest one dies, not the worst, so that a lucky score does not last."""

    def __init__(
        self,
        space: SearchSpace,
        config: EvolutionConfig,
        seed: int,
        identity: Callable[[Rule], Hashable],
    ):
        self.space, self.config, self.rng = space, config, random.Random(seed)
        self.distinct = Distinct(identity, config.replicates)
        self.population: deque[Rule] = deque(maxlen=config.population)
        self.least = config.population  # members before breeding begins

    def start(self, rules: list[Rule], rewards: list[float | None]) -> None:
        """Take known rules as the initial population, from which breeding begins at once."""
        # Waiting for a full population would fill it with random rules, and the known ones, being the
        # oldest, would be the first to leave.
        self.distinct.note(rules)
        self.tell(rules, rewards)
        self.least = 1

    def ask(self, n: int) -> list[Rule]:
        """Breed n rules; random ones until the population is full, unless known rules began it."""
        bred = [self._child() for _ in range(n * self.config.candidates)]
        return [bred[place] for place in self.distinct.take(bred, n)]

    def tell(self, rules: list[Rule], rewards: list[float | None]) -> dict:
        """Take the rules into the population."""
        self.distinct.score(rules, rewards)
        self.population.extend(rules)
        return {
            "population_mean": sum(map(self.distinct.reward, self.population)) / len(self.population)
        }

    def _child(self) -> Rule:
        if len(self.population) < self.least:
            return self.space.sample(self.rng)
        return self._mutate(self._parent())

    def _parent(self) -> Rule:
        drawn = [self.rng.choice(self.population) for _ in range(self.config.tournament)]
        return max(drawn, key=self.distinct.reward)

    def _mutate(self, parent: Rule) -> Rule:
        """Change one token to another one, such that the rule stays legal."""
        while True:
            tokens = list(parent.tokens)
            position = self.rng.randrange(len(tokens))
            tokens[position] = self.rng.choice(self.space.choices(position))
            child = Rule(tuple(tokens))
            if child != parent and self.space.contains(child):
                return child
