"""What proposes rules: the search space and the algorithm that a configuration names.

    make_proposer(config, make_space(config)).ask(5) -> rules      .tell(rules, rewards) -> diagnostics

Nothing to run here; search.py and study.py drive it. Read next: pool.py, then search.py.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from baselines import Evolution, EvolutionConfig, RandomSearch
from config import ConfigError, setting
from controller import Controller, ControllerConfig
from dsl import CONSTRAINTS, MAX_GROUPS, OPERANDS, SUBSETS, Rule, RuleError, SearchSpace
from rules import find

ALGORITHMS = ("trpo", "ppo", "reinforce", "random", "evolution")
MAX_SEED = 2**63 - 1  # torch's generators take no larger one
MANY = 1_000_000  # more than anybody will wait for


@dataclass(frozen=True)
class ProposerConfig(EvolutionConfig, ControllerConfig):
    """What rules are proposed, given their rewards; defaults are the paper's, as far as we know them."""

    algorithm: str = setting("trpo", "what proposes rules", choices=ALGORITHMS)
    samples: int = setting(10_000, "rules to sample", low=1, high=MANY)
    rules_per_batch: int = setting(5, "rules in one batch of the controller", low=1)
    # UNSPECIFIED: how stale the controller's batches were; 20 is about what 100 workers make.
    lag: int = setting(
        20, "updates between sampling a batch and learning from it, beyond one", low=0, high=MANY
    )
    iterations: int = setting(2, "groups of five tokens in a rule", low=1, high=MAX_GROUPS)
    subset: str = setting("compact", "operands and functions to choose from", choices=SUBSETS)
    constraints: tuple[str, ...] = setting(tuple(CONSTRAINTS), "rules of legality", choices=CONSTRAINTS)
    seed: int = setting(0, "of the controller: which rules are sampled", low=0, high=MAX_SEED)


def make_space(config: ProposerConfig) -> SearchSpace:
    """Return the search space of a config."""
    chosen = [CONSTRAINTS[name] for name in config.constraints]
    return SearchSpace(config.iterations, **SUBSETS[config.subset], constraints=chosen)


def make_proposer(
    config: ProposerConfig,
    space: SearchSpace,
    identity: Callable[[Rule], Hashable] = Rule.fingerprint,
) -> Controller | RandomSearch | Evolution:
    """Return what proposes rules; `identity` tells which rules are one, to pass over those known."""
    if config.algorithm == "random":
        return RandomSearch(space, config, config.seed, identity)
    if config.algorithm == "evolution":
        return Evolution(space, config, config.seed, identity)
    return Controller(space, config.algorithm, config, config.seed, identity)


def fit(text: str, space: SearchSpace) -> Rule:
    """Return a rule to start from as a string of the space; a shorter one is padded, not changed.

    Raises:
        ConfigError: it is no rule, or none of this space.
    """
    try:
        rule = find(text)
    except RuleError as error:
        raise ConfigError(f"--start-from: {str(error).splitlines()[0]}") from None
    missing = space.iterations - len(rule.groups)
    fillers = [token for token in space.choices(0) if token in OPERANDS]
    for filler in fillers if missing > 0 else fillers[:1]:
        # `left` of the last result and anything is the last result.
        groups = [" ".join(group) for group in rule.groups]
        groups += [f"r{len(rule.groups) + k} {filler} id id left" for k in range(missing)]
        padded = Rule.parse(" | ".join(groups))
        if space.contains(padded):
            return padded
    flags = "--iterations, --subset and --constraints"
    raise ConfigError(f"--start-from: '{text}' is not in this search space; {flags} define it")
