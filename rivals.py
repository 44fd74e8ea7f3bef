"""Other proposers of rules, behind the controller's ask/tell: what it must beat, and a guided search.

Random search draws uniformly from all legal strings; an untrained controller does not quite begin so, as
it draws nearly uniformly token by token (see SearchSpace.sample). Regularized evolution (Real et al.
2019, algorithm 1) keeps the latest `population` rules, takes the best of a random `tournament` of them
and changes one token.

Guided search, beyond the paper, is evolution of which a guide picks what is tried, after neural-guided
search (Mundhenk et al. 2021, arXiv:2111.00053). Parents are of the best families so far, the elite; of
their many mutations a guide picks those to score, and evolution adds some of its own:

    --guide behaviour   scores of rules whose updates are nearly the same (sameness.Forecast)
            lstm        the controller's LSTM, trained on the best: it need not write, only see harm
            tokens      how often the best have each token; `none` takes mutations as they come

Only new families are candidates. Where near ones are known, mutations reach farther, at last anywhere:
so the guide always has new ones to pick from, and no search gets stuck.
Nothing to run here; reproduce/families.md compares the guides. Read next: pool.py.
"""

import random
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property

from config import setting

import torch
from torch import Tensor, nn

from controller import ELITE_SHARE, Batch, Policy, entropy, gradient_step, log_prob_of
from dsl import Rule, SearchSpace
from sameness import WIDTH, Distinct, DistinctConfig, Forecast

# --- random search and evolution --------------------------------------------------------------------


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
        self.distinct = Distinct(identity)

    def start(self, rules: list[Rule], rewards: list[float | None]) -> None:
        """Note known rules, so that they are not drawn again."""
        self.distinct.note(rules)

    def ask(self, n: int) -> list[Rule]:
        """Draw n rules, of which one may be of the best so far, to make sure of it."""
        rules = self.distinct.again(self.config.replicates)
        n -= len(rules)
        drawn = [self.space.sample(self.rng) for _ in range(n * self.config.candidates)]
        return rules + [drawn[place] for place in self.distinct.take(drawn, n)]

    def tell(self, rules: list[Rule], rewards: list[float | None]) -> dict:
        """Learn nothing."""
        self.distinct.score(rules, rewards)
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
        self.distinct = Distinct(identity)
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
        """Breed n rules; random ones until the population is full, unless known rules began it.

        One may be of the best so far, to make sure of it.
        """
        rules = self.distinct.again(self.config.replicates)
        n -= len(rules)
        bred = [self._child() for _ in range(n * self.config.candidates)]
        return rules + [bred[place] for place in self.distinct.take(bred, n)]

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


# --- guided search ----------------------------------------------------------------------------------

# Chosen on NOS-Bench: Adam's learning rate, its steps a batch, best rules a step, the entropy's weight.
LEARNING_RATE, STEPS, MINIBATCH, ENTROPY_COEFF = 4e-3, 2, 48, 0.05
UNIT = 0.02  # of forecasts, as they are divided by the temperature: one training's deviation over seeds
REACHES = (1, 2, 0)  # mutations from one parent; 0 is a rule from anywhere
ELITE_LEAST = 10  # families in the elite, if there are so many: fewer bind a search to what it met first


@dataclass(frozen=True)
class GuidedConfig(EvolutionConfig):
    """How a guided search picks what evolution proposes."""

    guide: str = setting(
        "behaviour", "guided, with --candidates above 1: what picks among mutations", "beyond the paper",
        choices=("behaviour", "lstm", "tokens", "none"),
    )  # fmt: skip
    guide_temperature: float = setting(
        0.3, "guided: a small one takes what the guide likes best", "beyond the paper", low=1e-3
    )
    guide_width: float = setting(
        WIDTH, "guided: squared distance at which behaviour tells less", "beyond the paper", low=1e-3
    )
    elite_parents: float = setting(
        1.0, "guided: share of rules that have parents of the elite and are picked by the guide; the "
        "others are evolution's own", "beyond the paper", low=0, high=1,
    )  # fmt: skip


class Guided(Evolution):
    """Evolution with parents that never grow old, and children that a guide picks out of many."""

    def __init__(
        self, space: SearchSpace, config: GuidedConfig, seed: int, identity: Callable[[Rule], Hashable]
    ):
        super().__init__(space, config, seed, identity)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = Policy(space)
        self.generator, self.forecast = torch.Generator().manual_seed(seed), Forecast(config.guide_width)
        self.elite: list[Rule] = []  # the first rules of the best families

    @cached_property
    def adam(self) -> torch.optim.Adam:
        """As in Controller: made when it is needed."""
        return torch.optim.Adam(self.policy.parameters(), lr=LEARNING_RATE)

    def ask(self, n: int) -> list[Rule]:
        """Pick n rules out of so many new ones for each; where near ones are known, of farther ones."""
        choosy, breeding = self.config.candidates > 1, len(self.population) >= self.least
        rules = self.distinct.again(self.config.replicates)
        # Unguided ones find what nothing known foretells.
        own = sum(self.rng.random() >= self.config.elite_parents for _ in range(n - len(rules)))
        bred = [self._child() for _ in range(own * self.config.candidates)]
        rules += [bred[place] for place in self.distinct.take(bred, own, fill=not choosy)]
        n -= len(rules)
        new: dict[Hashable, Rule] = {}  # one of each family
        for reach in REACHES if choosy else REACHES[:1]:
            drawn = [rule for _ in range(n) for rule in self._brood(reach)]
            new |= self.distinct.new(drawn)
            if len(new) >= n * self.config.candidates:
                break
        if choosy:
            drawn = [*new.values(), *drawn[:n]]  # known ones, in case there are no others
        drawn = self._rank(drawn) if breeding and drawn else drawn
        return rules + [drawn[place] for place in self.distinct.take(drawn, n)]

    def tell(self, rules: list[Rule], rewards: list[float | None]) -> dict:
        """Take the rules into the population, and teach the guide."""
        report = super().tell(rules, rewards)
        for rule in rules:
            name = self.distinct.identity(rule)
            self.forecast.note(name, self.distinct.first[name], self.distinct.reward(rule))
        best = self.distinct.best(ELITE_SHARE, ELITE_LEAST)
        self.elite = [self.distinct.first[name] for name in best]
        if self.config.guide == "lstm" and self.elite and len(self.population) >= self.least:
            rows = Batch.of(self.elite, self.space)
            for _ in range(STEPS):
                some = torch.randint(len(self.elite), (MINIBATCH,), generator=self.generator).tolist()
                gradient_step(lambda some=rows[some]: self._objective(some), self.adam)
        return report

    def _objective(self, some: Batch) -> Tensor:
        """Return the mean log-probability + ENTROPY_COEFF * entropy, of priority queue training."""
        log_probs = self.policy.log_probs(some.tokens, some.masks)
        spread = entropy(log_probs, some.masks).sum(-1)
        return (log_prob_of(log_probs, some.tokens) + ENTROPY_COEFF * spread).mean()

    def _brood(self, reach: int) -> list[Rule]:
        """Return many children, each so many mutations from one parent; random rules if reach is 0."""
        if not reach or len(self.population) < self.least:
            return [self.space.sample(self.rng) for _ in range(self.config.candidates)]
        parent = self.rng.choice(self.elite) if self.elite else self._parent()
        brood = [parent] * self.config.candidates
        for _ in range(reach):
            brood = [self._mutate(rule) for rule in brood]
        return brood

    @torch.no_grad()
    def _rank(self, rules: list[Rule]) -> list[Rule]:
        """Order rules as drawn without replacement from a softmax of what the guide says of them."""
        logits = torch.zeros(len(rules))
        if self.config.guide == "behaviour":
            logits = torch.from_numpy(self.forecast(rules) / UNIT)
        elif self.elite and self.config.guide != "none":
            batch = Batch.of(rules, self.space)
            log_probs = self.policy.log_probs(batch.tokens, batch.masks)  # [B, T, V]
            if self.config.guide == "tokens":  # each position by itself
                elite = Batch.of(self.elite, self.space).tokens
                counts = nn.functional.one_hot(elite, log_probs.shape[-1]).sum(0) + 0.5  # [T, V]
                log_probs = (counts / counts.sum(-1, keepdim=True)).log().expand(log_probs.shape)
            logits = log_prob_of(log_probs, batch.tokens)
        gumbel = -(-torch.rand(len(rules), generator=self.generator).log()).log()
        order = (logits / self.config.guide_temperature + gumbel).argsort(descending=True)
        return [rules[place] for place in order.tolist()]
