"""Guided search: evolution proposes many mutations, and the controller says which of them to try.

Neural-guided search (Mundhenk et al. 2021, arXiv:2111.00053) in small. There a policy's samples begin
a genetic program, whose best finds train the policy. Here both have a part in each rule: parents are
evolution's, or of the best families so far, and of their many mutations the controller's LSTM, trained
on the best families, picks those to score: it need not write a good rule, only see what does harm.

Where too little is new, mutations reach farther, at last anywhere, so that no search gets stuck.
`--guide tokens` counts how often the best have each token instead, `--guide none` takes mutations as
they come, `--elite-parents 0` has evolution's parents alone.
Nothing to run here. Read next: pool.py, where rules are scored.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from config import setting
from controller import ELITE_SHARE, Batch, Policy, entropy, gradient_step, log_prob_of
from dsl import Rule, SearchSpace
from rivals import Evolution, EvolutionConfig

# Chosen on NOS-Bench: Adam's learning rate, its steps a batch, best rules a step, the entropy's weight.
LEARNING_RATE, STEPS, MINIBATCH, ENTROPY_COEFF = 4e-3, 2, 48, 0.05
ELITE_LEAST = 10  # families in the elite, if there are so many: fewer bind a search to what it met first
REACH = (1, 2, 4, 8)  # mutations from parent to child: more where fewer leave too little that is new


@dataclass(frozen=True)
class GuidedConfig(EvolutionConfig):
    """How a guided search picks what evolution proposes."""

    guide: str = setting(
        "lstm", "guided: what picks among mutations: an LSTM, counts of tokens, or nothing",
        "beyond the paper", choices=("lstm", "tokens", "none"),
    )  # fmt: skip
    guide_temperature: float = setting(
        0.3, "guided: divides log-probabilities; a small one is greedy", "beyond the paper", low=1e-3
    )
    elite_parents: float = setting(
        1.0, "guided: share of parents out of the best tenth of families; the others are evolution's",
        "beyond the paper", low=0, high=1,
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
        self.adam = torch.optim.Adam(self.policy.parameters(), lr=LEARNING_RATE)
        self.generator = torch.Generator().manual_seed(seed)
        self.first: dict[Hashable, Rule] = {}  # the first rule of each family that was scored
        self.elite: list[Rule] = []  # those of the best families

    def ask(self, n: int) -> list[Rule]:
        """Take new ones of many children; too few are made up for by farther ones, at last by known."""
        reaches = (*REACH, 0) if self.config.candidates > 1 else REACH[:1]
        rules: list[Rule] = []
        for reach in reaches:
            drawn = [rule for _ in range(n) for rule in self._brood(reach)]
            if len(self.population) >= self.least:
                drawn = self._rank(drawn)
            places = self.distinct.take(drawn, n - len(rules), fill=reach == reaches[-1])
            rules += [drawn[place] for place in places]
            if len(rules) == n:
                break
        return rules

    def tell(self, rules: list[Rule], rewards: list[float | None]) -> dict:
        """Take the rules into the population, and train the policy to write the best families."""
        report = super().tell(rules, rewards)
        for rule in rules:
            self.first.setdefault(self.distinct.identity(rule), rule)
        self.elite = [self.first[name] for name in self.distinct.best(ELITE_SHARE, ELITE_LEAST)]
        rows = Batch.of(self.elite, self.space)
        learns = self.config.guide == "lstm" and self.elite and len(self.population) >= self.least
        for _ in range(STEPS if learns else 0):
            some = rows[torch.randint(len(rows.tokens), (MINIBATCH,), generator=self.generator).tolist()]
            gradient_step(lambda some=some: self._objective(some), self.adam)
        return report

    def _objective(self, some: Batch) -> Tensor:
        """Return the mean log-probability + ENTROPY_COEFF * entropy, of priority queue training."""
        log_probs = self.policy.log_probs(some.tokens, some.masks)
        spread = entropy(log_probs, some.masks).sum(-1)
        return (log_prob_of(log_probs, some.tokens) + ENTROPY_COEFF * spread).mean()

    def _brood(self, reach: int) -> list[Rule]:
        """Return what so many mutations make of a parent, many times; random rules if there is none."""
        size = self.config.candidates
        if not reach or len(self.population) < self.least:
            return [self.space.sample(self.rng) for _ in range(size)]
        of_elite = self.elite and self.rng.random() < self.config.elite_parents
        brood = [self.rng.choice(self.elite) if of_elite else self._parent()] * size
        for _ in range(reach):
            brood = [self._mutate(rule) for rule in brood]
        return brood

    @torch.no_grad()
    def _rank(self, rules: list[Rule]) -> list[Rule]:
        """Order rules as drawn without replacement from a softmax of log-probability / temperature."""
        batch, log_prob = Batch.of(rules, self.space), torch.zeros(len(rules))
        if self.elite and self.config.guide == "lstm":
            log_prob = log_prob_of(self.policy.log_probs(batch.tokens, batch.masks), batch.tokens)
        elif self.elite and self.config.guide == "tokens":  # each position by itself
            elite = Batch.of(self.elite, self.space).tokens
            counts = nn.functional.one_hot(elite, batch.masks.shape[-1]).sum(0) + 0.5  # [T, V]
            shares = counts / counts.sum(-1, keepdim=True)
            log_prob = log_prob_of(shares.log().expand(batch.masks.shape), batch.tokens)
        gumbel = -(-torch.rand(len(rules), generator=self.generator).log()).log()
        order = (log_prob / self.config.guide_temperature + gumbel).argsort(descending=True)
        return [rules[place] for place in order.tolist()]
