"""Study: search algorithms on NOS-Bench, many seeds of each, without training anything.

    python -m nosbench.study random-new reinforce-new                 # 30 seeds each, 2,000 rules
    python -m nosbench.study random-new --iterations 2 --seeds 8      # deeper: no table, measured
    python -m nosbench.study trpo-new --max-kl 0.3 --name larger --table-seeds 0      # try something
    python -m nosbench.figures.study runs/study                         # the figure

A setting names the search algorithm and its parameters; flags change it. With "-paper" the controller
is the paper's, alone it takes larger steps, with "-wide" its entropy weighs more; with "-new" known
families are passed over and controllers have an elite; with "-long" the weight of their entropy grows
as new ones become rare. Families are counted, since near-copies are one rule spelled anew (sameness.py).
A seed of the study is one search, whose rewards are a table seed's scores. Its line in
runs/study/NAME.jsonl tells how it stood after 100, 200, 500, ... rules; lines that are there already are
not computed again.

Which of them is best must be chosen on other seeds than those it is reported on: the settings below
were chosen on table seed 0 (controller seeds 0 and up), and table seeds 1 and 2 report (controller
seeds 100 and up). A table seed is one draw of the evaluation noise, and a search finds the rules that
this noise flatters.
Read next: oracle.py for the scores, standings.py for the table.
"""

import json
import math
import os
import sys
from collections import Counter
from copy import deepcopy
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import mean

from config import ConfigError, Parser, add_settings, as_program, resolve, setting

import numpy as np
import torch

from controller import ControllerConfig
from loop import BATCH, ProposerConfig, make_proposer, make_space, search_loop
from nosbench.oracle import Lookup, Measured, make_oracle
from nosbench.table import check, family_means
from pool import WorkerPool, usable_cores
from results import Progress, RunError, read_lines
from rivals import GuidedConfig

# Sampled rules, or families; batches end there.
CHECKPOINTS = (100, 200, 500, 1_000, 2_000, 5_000, 10_000)
PROBES = 1_000  # rules drawn to estimate the entropy over families
IDENTITY = "family"  # by what rules are told apart; lines that say nothing of it are by class

SPACE = {
    "iterations": 1,
    "subset": "full",
    "constraints": ("operands-differ", "no-final-addition"),
    "samples": 2_000,
    "lag": 0,
    "max_kl": 0.01,  # TRPO's where a setting says nothing else, larger than the paper preset's
}
# All that is called new passes over known families, with as many candidates; controllers have an elite,
# and in those called long, tuned for 10,000 rules instead of 2,000, the entropy's weight grows.
NEW = {"candidates": 16}
ELITE = NEW | {"entropy_coeff": 0.1, "elite_coeff": 0.3}
LONG = ELITE | {"entropy_growth": 0.5}
# Chosen as reproduce/families.md tells. Of evolutions 100-25 is the best at depth 2, 200-25 at depth 1.
GUIDED = {"algorithm": "guided", **NEW, "population": 100, "tournament": 25, "elite_parents": 0.8}
SETTINGS = {
    "random": {"algorithm": "random"},
    "random-new": {"algorithm": "random", **NEW},
    "evolution": {"algorithm": "evolution"},
    "evolution-new": {"algorithm": "evolution", **NEW},
    "evolution-200": {"algorithm": "evolution", **NEW, "population": 200, "tournament": 50},
    "evolution-100-25": GUIDED | {"algorithm": "evolution"},  # guided search's evolution alone
    "evolution-200-25": {"algorithm": "evolution", **NEW, "population": 200, "tournament": 25},
    "evolution-long": {"algorithm": "evolution", **NEW, "population": 800, "tournament": 50},
    "guided": GUIDED,
    "guided-lstm": GUIDED | {"guide": "lstm"},
    "guided-tokens": GUIDED | {"guide": "tokens"},  # counts in the LSTM's place
    "guided-none": GUIDED | {"guide": "none"},
    "reinforce-paper": {"algorithm": "reinforce"},
    "reinforce": {"algorithm": "reinforce", "controller_lr": 1e-3, "entropy_coeff": 0.02},
    "reinforce-wide": {"algorithm": "reinforce", "controller_lr": 1e-3, "entropy_coeff": 0.1},
    "reinforce-new": {"algorithm": "reinforce", "controller_lr": 4e-3, **ELITE, "entropy_coeff": 0.15},
    "reinforce-long": {"algorithm": "reinforce", "controller_lr": 4e-3, **LONG},
    "ppo-paper": {"algorithm": "ppo"},
    "ppo": {"algorithm": "ppo", "controller_lr": 3e-4, "entropy_coeff": 0.02},
    "ppo-wide": {"algorithm": "ppo", "controller_lr": 3e-4, "entropy_coeff": 0.1},
    "ppo-new": {"algorithm": "ppo", "controller_lr": 1e-3, **ELITE},
    "ppo-long": {"algorithm": "ppo", "controller_lr": 1e-3, **LONG, "entropy_coeff": 0.07},
    "trpo-paper": {"algorithm": "trpo"},
    "trpo": {"algorithm": "trpo", "max_kl": 0.03, "entropy_coeff": 0.02},
    "trpo-wide": {"algorithm": "trpo", "max_kl": 0.03, "entropy_coeff": 0.1},
    "trpo-new": {"algorithm": "trpo", "max_kl": 0.1, **ELITE, "entropy_coeff": 0.15},
    "trpo-long": {"algorithm": "trpo", "max_kl": 0.1, **LONG, "entropy_coeff": 0.07},
}

# What a flag cannot change without making it another setting. How often the best are trained is no
# matter of what proposes.
PARAMETERS = {field.name for config in (GuidedConfig, ControllerConfig) for field in fields(config)}
PARAMETERS -= {"replicates"}


@dataclass(frozen=True)
class Config(ProposerConfig):
    """One search of a setting."""

    table_seed: int = setting(0, "whose scores are the rewards", low=0)


@dataclass(frozen=True)
class Plan:
    """Which searches a study has of each setting."""

    seeds: int = setting(30, "searches of a setting", low=1)
    first_seed: int = setting(100, "of the controllers; lower ones are for choosing", low=0)
    table_seeds: tuple[int, ...] = setting((1, 2), "taken in turn; 0 is for choosing", low=0, least=1)
    workers: int = setting(usable_cores(), "processes", low=1)

    def search(self, setting: Config, seed: int) -> Config:
        """Return the search of a setting that has this seed."""
        return replace(setting, seed=seed, table_seed=self.table_seeds[seed % len(self.table_seeds)])

    def searches(self, setting: Config) -> list[Config]:
        first = self.first_seed
        return [self.search(setting, seed) for seed in range(first, first + self.seeds)]


# --- one search -----------------------------------------------------------------------------------


def search(config: Config) -> dict:
    """Search, asking an oracle for the rewards; return how the search stood at the checkpoints.

    Returns:
        Lists, an element a checkpoint. By number of sampled rules: mean reward of the latest fifth
        (`latest`); the mean reward of the best family so far (`best`), what that one and the ten best
        score on the other seeds (`best_fresh`, `top10_fresh`); top families seen, by the search's own
        seed and by the others' mean (`found`, `found_fresh`); families seen (`distinct`), their number
        in the last hundred rules as a share (`distinct_100`); entropy in nats over families of what it
        draws (`entropy`, saturates at 7). By number of families: `found_by_distinct`, None where it
        has not seen so many. A family's scores are means over its distinct rules that were seen.
    """
    oracle = make_oracle(config, config.table_seed)
    proposer = make_proposer(config, make_space(config), identity=oracle.identity)
    number = lambda rules: [oracle.number(rule) for rule in rules]  # noqa: E731
    first: dict[int, int] = {}  # the first rule of each family, whose score the others share

    def rewards(numbers: list[int]) -> list[float | None]:
        of = zip(oracle.families(numbers).tolist(), numbers, strict=True)
        scores = oracle.rewards([first.setdefault(family, number) for family, number in of]).tolist()
        return [None if math.isnan(score) else score for score in scores]

    marks = [mark for mark in CHECKPOINTS if mark < config.samples] + [config.samples]
    sizes = [min(BATCH, config.samples - asked) for asked in range(0, config.samples, BATCH)]
    numbers: list[int] = []  # of the rules that were sampled
    earned: list[float] = []  # their rewards
    line: dict[str, list] = {"checkpoints": []}
    for batch, told, _ in search_loop(proposer, sizes, config.lag, number, rewards):
        numbers += batch
        earned += [0.0 if reward is None else reward for reward in told]
        if len(numbers) in marks:
            line["checkpoints"].append(len(numbers))
            latest = {"latest": mean(earned[-(len(earned) // 5) :])}
            now = latest | standing(numbers, oracle) | {"entropy": entropy(proposer, oracle)}
            for name, value in now.items():
                line.setdefault(name, []).append(value)
    distinct = list(dict.fromkeys(numbers))
    first = np.unique(met(distinct, oracle), return_index=True)[1]  # the place of each family
    line["found_by_distinct"] = [
        oracle.found(distinct[: first[n - 1] + 1])[0] if n <= len(first) else None for n in marks
    ]
    return line


def met(numbers: list[int], oracle: Lookup | Measured) -> np.ndarray:
    """Return the family of each rule, numbered in the order in which they are met, int [n]."""
    order: dict[int, int] = {}
    return np.array([order.setdefault(one, len(order)) for one in oracle.families(numbers).tolist()])


def standing(numbers: list[int], oracle: Lookup | Measured) -> dict:
    """Return what a search has reached, `numbers` being the distinct rule of each sample so far."""
    distinct = list(dict.fromkeys(numbers))
    family = met(distinct, oracle)
    rewards = family_means(family, np.nan_to_num(oracle.rewards(distinct)))
    fresh = family_means(family, oracle.fresh(distinct))
    best = np.argsort(-rewards, kind="stable")
    found, found_fresh = oracle.found(distinct)
    return {
        "best": float(rewards[best[0]]),
        "best_fresh": float(fresh[best[0]]),
        "top10_fresh": float(fresh[best[:10]].mean()),
        "found": found,
        "found_fresh": found_fresh,
        "distinct": len(rewards),
        "distinct_100": len(np.unique(oracle.families(numbers[-100:]))) / 100,
    }


def entropy(proposer, oracle: Lookup | Measured) -> float:
    """Return the entropy over families, in nats, of what a proposer would draw now.

    Estimated from PROBES draws, nothing passed over, with the correction of Miller and Madow (1955),
    so never above ln(PROBES) + 1/2 = 7.4: uniform draws have 7.0 here, though their entropy is 9.5.
    """
    owner = getattr(oracle.identity, "__self__", None)  # the table, which need not be copied
    # Draws of the copy leave no trace, nor do the families that they found.
    probe, identity = deepcopy((proposer, oracle.identity), {id(owner): owner})
    probe.config = replace(probe.config, candidates=1)
    counts = Counter(identity(rule) for rule in probe.ask(PROBES))
    shares = np.array(list(counts.values())) / PROBES
    return float(-(shares * np.log(shares)).sum() + (len(counts) - 1) / (2 * PROBES))


# --- many searches --------------------------------------------------------------------------------


def one_thread() -> None:
    torch.set_num_threads(1)


def study(name: str, config: Config, plan: Plan, file: Path, pool: WorkerPool) -> None:
    """Compute the lines of a setting that are not there yet.

    Raises:
        RunError: the file holds another setting or other seeds.
    """
    done, usual = set(), json.loads(json.dumps(asdict(Config())))
    for line in read_lines(file):
        ours = json.loads(json.dumps(asdict(plan.search(config, line["seed"]))))
        theirs = usual | line["config"]  # older lines lack settings that came later
        apart = [name for name in ours if ours[name] != theirs.get(name)]
        if apart := apart + ["identity"] * (line.get("identity") != IDENTITY):
            raise RunError(f"{file} holds another {', '.join(apart)}; give this one a --name of its own")
        done.add(line["seed"])
    if file.exists():
        os.truncate(file, file.read_bytes().rfind(b"\n") + 1)  # a torn last line
    todo = [one for one in plan.searches(config) if one.seed not in done]
    futures = [pool.submit(search, one) for one in todo]
    progress = Progress()
    for number, (one, future) in enumerate(zip(todo, futures, strict=True), 1):
        line = {"name": name, "seed": one.seed, "table_seed": one.table_seed, "identity": IDENTITY}
        line |= future.result()
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line | {"config": asdict(one)}) + "\n")
        progress.update(f"{name}: {number} of {len(todo)} searches")


def parser_of_settings(name: str, description: str, plan: type) -> Parser:
    """Return the parser of nosbench/study.py or families.py: settings, their changes and a plan."""
    parser = Parser(prog=f"python -m nosbench.{name}", description=description)
    flag, out = parser.add_argument, Path("runs") / name
    flag("settings", nargs="+", choices=SETTINGS, metavar="SETTING", help=", ".join(SETTINGS))
    flag("--name", help="of a setting changed by flags (default: the setting's)")
    flag("--out", type=Path, default=out, metavar="DIR", help="folder of the lines")
    add_settings(parser, plan)
    add_settings(parser, ProposerConfig, SPACE, without=("algorithm", "seed"))
    return parser


def settings_of(args, kind: type) -> dict:
    """Return configs of that kind by the names of their files.

    Raises:
        ConfigError: a changed setting has no name of its own, or several have one name.
    """
    if args.name and len(args.settings) > 1:
        raise ConfigError("--name is for one setting")
    if (changed := sorted(PARAMETERS & vars(args).keys())) and not args.name:
        flag = f"--{changed[0].replace('_', '-')}"
        raise ConfigError(f"{flag} makes another setting of {args.settings[0]}; give it a --name")
    return {args.name or name: resolve(kind, args, SPACE | SETTINGS[name]) for name in args.settings}


def make_parser() -> Parser:
    return parser_of_settings("study", __doc__, Plan)


def configure(args) -> tuple[Plan, dict[str, Config]]:
    """Return the plan that the flags ask for, and the settings by name.

    Raises:
        ValueError: what is wrong and what is allowed.
    """
    plan, configs = resolve(Plan, args), settings_of(args, Config)
    for config in configs.values():
        if max(config.replicates, config.rotate) > 1:
            raise ConfigError("--replicates and --rotate must be 1: a study scores a rule with one seed")
        if config.samples < CHECKPOINTS[0]:
            raise ConfigError(f"--samples is {config.samples}; it must be at least {CHECKPOINTS[0]}")
        shallow = make_space(replace(config, iterations=1))  # what the bars of deeper spaces come from
        for seed in plan.table_seeds:
            check("micro", shallow, seed)
    return plan, configs


def main(argv: list[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    # Here, since workers import this file too and need no scipy; early, or a lack would show at the end.
    from nosbench import standings

    try:
        plan, configs = configure(args)
        args.out.mkdir(parents=True, exist_ok=True)
        pool = WorkerPool(plan.workers, initializer=one_thread, preload=("nosbench.oracle",))
        try:
            for name, config in configs.items():
                study(name, config, plan, args.out / f"{name}.jsonl", pool)
        finally:
            pool.stop()  # on Ctrl-C too, without doing what is still queued
        print(standings.table(standings.read([args.out / f"{name}.jsonl" for name in configs])))
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{error.filename or args.out}: {error.strerror}")
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    print(f"{args.out} holds the searches. Next: python -m nosbench.figures.study {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(as_program(main))
