"""Neural Optimizer Search: the controller writes rules, the workers score them, it learns from that.

Bello et al., ICML 2017, section 3.3 and Figure 4.

    python search.py --preset laptop              # minutes on two cores
    python search.py --workers 100                # the paper's setting
    python search.py --algorithm random           # what the controller must beat
    python search.py --cluster tcp://HOST:8786    # workers on other machines, see cluster.py
    python search.py --algorithm evolution --start-from adam powersign      # go on from known rules
    python search.py --resume runs/...            # go on after Ctrl-C or a crash

Batches of 5 rules go through the workers' queue. Batch k is sampled after update k - 1 - lag, so
`lag + 1` batches are in flight; update k waits for all of batch k. The history thus depends on
(config, seed, lag) alone, not on how many workers there are or which of them is faster.
Read next: rosenbrock.py, where rules are seen at work.
"""

import contextlib
import gc
import io
import json
import math
import shlex
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from concurrent.futures import TimeoutError as NotDone
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

from config import (
    MAX_SEED,
    ConfigError,
    Parser,
    add_settings,
    as_program,
    draw_or_warn,
    from_dict,
    resolve,
    setting,
)

import torch

import results
from child import CHILDREN, Child
from cluster import Cluster
from controller import Controller, ControllerConfig
from data import ANY, MissingError
from dsl import (
    CONSTRAINTS,
    MAX_GROUPS,
    OPERANDS,
    SUBSETS,
    Rule,
    RuleError,
    RuleOptimizer,
    SearchSpace,
)
from pool import TaskError, WorkerDied, WorkerPool, usable_cores
from results import Progress, Run, Say, reopen
from rivals import Evolution, Guided, GuidedConfig, RandomSearch
from rules import HUMAN, NAMED_RULES, find, make_optimizer
from training import ChildResult

ALGORITHMS = ("trpo", "ppo", "reinforce", "random", "evolution", "guided")
BATCH = 5  # rules that the controller learns from at once, the paper's number
MANY = 1_000_000  # more than anybody will wait for
PRELOAD = ("search", "numpy.random")  # what all workers share in memory
RECENT = 100  # rules over which the progress line and the diagnostics look back


# --- what proposes rules --------------------------------------------------------------------------


@dataclass(frozen=True)
class ProposerConfig(GuidedConfig, ControllerConfig):
    """What rules are proposed, given their rewards; defaults are the paper's, as far as we know them."""

    algorithm: str = setting("trpo", "what proposes rules", "controller", choices=ALGORITHMS)
    samples: int = setting(10_000, "rules to sample", "controller", low=1, high=MANY)
    # UNSPECIFIED: how stale the controller's batches were; 20 is about what 100 workers make.
    lag: int = setting(
        20, "updates that a batch is written ahead of; 0 is on-policy", "controller", low=0, high=MANY
    )
    iterations: int = setting(2, "groups of five tokens in a rule", "controller", low=1, high=MAX_GROUPS)
    subset: str = setting(
        "compact", "operands and functions to choose from", "controller", choices=SUBSETS
    )
    constraints: tuple[str, ...] = setting(
        ("operands-differ", "no-final-addition", "reuse-computed"), "rules of legality", "controller",
        choices=CONSTRAINTS,
    )  # fmt: skip
    seed: int = setting(0, "which rules are sampled", "controller", low=0, high=MAX_SEED)
    # DEVIATION: the paper says nothing of child seeds; 1 gives all rules the same one.
    rotate: int = setting(
        1, "child seeds taken in turn, batch by batch, so that the search follows no single one's luck",
        "beyond the paper", low=1, high=1000,
    )  # fmt: skip


@dataclass(frozen=True)
class SearchConfig(ProposerConfig):
    """All that determines a run's history beside what scores its rules."""

    start_from: tuple[str, ...] = setting(
        (), "rules scored first, by name or string; evolution breeds from them", "beyond the paper",
        words=True,
    )  # fmt: skip


def make_space(config: ProposerConfig) -> SearchSpace:
    """Return the search space of a config."""
    chosen = [CONSTRAINTS[name] for name in config.constraints]
    return SearchSpace(config.iterations, **SUBSETS[config.subset], constraints=chosen)


def make_proposer(
    config: ProposerConfig,
    space: SearchSpace,
    identity: Callable[[Rule], Hashable],
) -> Controller | RandomSearch | Evolution:
    """Return what proposes rules; `identity` tells which are one for a search, for example a family."""
    if config.algorithm == "random":
        return RandomSearch(space, config, config.seed, identity)
    if config.algorithm == "evolution":
        return Evolution(space, config, config.seed, identity)
    if config.algorithm == "guided":
        return Guided(space, config, config.seed, identity)
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


# A search of minutes, among the rules of one group.
SHORT = {"samples": 500, "lag": 1, "iterations": 1, "subset": "full"}
SHORT |= {"constraints": ("operands-differ", "no-final-addition")}
# A controller that a study on NOS-Bench recommends, and one that is the paper's but for two values.
TUNED = {
    "candidates": 16,
    "elite_coeff": 0.3,
    "entropy_growth": 0.5,
    "entropy_coeff": 0.07,
    "max_kl": 0.1,
}
PLAIN = {"entropy_coeff": 0.02, "max_kl": 0.03}
PRESETS = {
    "paper": CHILDREN["paper"],
    "laptop": SHORT | TUNED | CHILDREN["laptop"],
    "protocol": SHORT | PLAIN | CHILDREN["protocol"] | {"samples": 1_000},
    "smoke": SHORT | PLAIN | CHILDREN["smoke"] | {"samples": 40, "subset": "compact"},
}
# On a task of one's own: scores without a range, so their ranks teach the controller.
OWN = {
    "paper": {},
    "laptop": SHORT | TUNED,
    "smoke": SHORT | PLAIN | {"samples": 40, "subset": "compact"},
}
OWN_PRESETS = {name: preset | {"ranks": True} for name, preset in OWN.items()}
WORKERS = {"smoke": 2}  # other presets: all cores
PLACES = {"data", "task"}  # what may have been moved when a run is resumed
# What earlier versions did, whose folders do not say it; a guided search they had not.
UNSAID = {"replicates": 1, "rotate": 1, "ranks": False, "data_sha256": ANY}
UNSAID |= {name: getattr(GuidedConfig, name) for name in GuidedConfig.__annotations__}


# --- what scores them -----------------------------------------------------------------------------


class Scorer(Protocol):
    """What gives rules their scores: a frozen dataclass, whose fields are settings and flags of a run.

    The paper's is child.Child; nosbench/search.py puts a table in its place. What is wrong with settings
    or data is a ValueError of `resolve` or `prepare`.
    """

    score_seed: int  # the first
    num_seeds: int  # that there are from there on
    score_name: str  # of what is called accuracy in records; higher is better
    scale: results.Scale  # what it means
    cpu_limit_s: float  # that one score may use; 0 is no limit

    def resolve(self, space: SearchSpace, say: Say) -> "Scorer": ...  # fits, has nothing left "auto"
    def fetch(self, say: Say) -> "Scorer": ...  # once a run, which keeps what is returned: gets its data
    def prepare(self) -> None: ...  # called in the parent and in each worker, before it scores
    def evaluate(self, rule: str, seed: int) -> ChildResult: ...  # in a worker, as pickled
    def identity(self) -> Callable[[Rule], Hashable]: ...  # a new one for each search, see sameness.py
    def __str__(self) -> str: ...  # in a few words, for the log


class Script(NamedTuple):
    """A command that searches."""

    command: str
    doc: str
    scorer: type[Scorer]
    presets: dict[str, dict]  # settings by name; the first one is taken if none is asked for
    executor: Executor | None = None  # if it is no worker processes and no cluster that score


SEARCH = Script("python search.py", __doc__, Child, PRESETS)


def choose_script(argv: list[str] | None) -> Script:
    """Return the search of a task of one's own, if one is asked for or resumed, or else the paper's."""
    first = Parser(add_help=False)
    first.add_argument("--task", default=None)
    first.add_argument("--resume", type=Path, default=None)
    args, _ = first.parse_known_args(argv)
    own = args.task is not None
    if args.resume is not None:
        with contextlib.suppress(results.RunError):  # main says what is wrong with the folder
            own = own or "task" in results.read_config(args.resume)
    if not own:
        return SEARCH
    from tasks.own import OwnTask  # late: a search of the paper's needs no tasks

    return SEARCH._replace(scorer=OwnTask, presets=OWN_PRESETS)


class Pending(NamedTuple):
    """A rule that was sampled, and its training: on its way, or known from the records."""

    id: int
    rule: Rule
    family: Hashable  # whose rules share their reward
    cached_from: int | None  # id of the earlier rule whose training stands for this one's
    seed: int
    outcome: Future | dict
    recorded: dict | None = None  # what the records say of it, if it is replayed


TIMES = {"start_s": None, "wall_s": None, "cpu_s": None, "worker": None}
UNSCORED = {"accuracy": None, "lr": None, "sweep": [], "curve": [], "error": None, **TIMES}


def describe(outcome: Future | dict, prepare: Callable[[], object], wait_s: float | None = None) -> dict:
    """Return what a record says about a training: status, accuracy, numbers and times.

    Args:
        prepare: what its worker was prepared with, to see whether a failure is the rule's own.
    Raises:
        NotDone: it is not there after `wait_s` seconds.
        RunError: the workers cannot be reached, or their data has changed, so there will be no score.
    """
    if isinstance(outcome, dict):  # replayed from the records of an interrupted run
        return {name: outcome[name] for name in ("status", *UNSCORED)}
    try:
        error = outcome.exception(wait_s)
    except CancelledError as cancelled:
        error = cancelled
    if isinstance(error, TaskError | WorkerDied):
        try:
            prepare()
        except ValueError as changed:
            raise results.RunError(str(changed)) from None
        return {"status": error.status, **UNSCORED, "error": error.reason}
    if error is not None:  # no rule's fault
        raise results.RunError(f"the workers cannot go on: {str(error) or type(error).__name__}")
    result = outcome.result()
    if not isinstance(result, ChildResult):
        return {"status": "error", **UNSCORED, "error": f"the worker returned {result!r:.100}, no score"}
    return UNSCORED | vars(result)


def mean_reward(accuracies: list[float | None], failure: float) -> float | None:
    """Return the mean of some trainings' accuracies, those that failed counting `failure`.

    None if all failed.
    """
    if set(accuracies) == {None}:
        return None
    return sum(failure if x is None else x for x in accuracies) / len(accuracies)


# --- the search -----------------------------------------------------------------------------------


def search_loop(
    proposer: Controller | RandomSearch | Evolution,
    sizes: Iterable[int],
    lag: int,
    push: Callable[[list[Rule]], list],
    collect: Callable[[list], list[float | None]],
) -> Iterator[tuple[list, list[float | None], dict]]:
    """Sample, score and learn, batch by batch: batch k is sampled after update k - 1 - lag.

    Args:
        sizes: how many rules each batch has.
        lag: batches in flight beside the one whose scores are waited for; 0 is on-policy.
        push: begins to score a batch; what it returns stands for the batch from then on.
        collect: waits for a batch's scores; returns its rewards in order, None for what failed.
    Yields:
        After each update: the batch as `push` returned it, its rewards, the update's diagnostics.
    """
    waiting, in_flight = iter(sizes), deque()
    while True:
        for size in islice(waiting, lag + 1 - len(in_flight)):
            rules = proposer.ask(size)
            in_flight.append((rules, push(rules)))
        if not in_flight:
            return
        rules, batch = in_flight.popleft()
        rewards = collect(batch)
        yield batch, rewards, proposer.tell(rules, rewards)


class Tally:
    """What became of all records, and those of them that are needed later.

    These are few where a search says the same rules again and again, as a controller does; one that
    passes over known rules keeps nearly all.
    """

    def __init__(self, records: Iterable[dict] = ()):
        self.ways: Counter[str] = Counter()
        self.best = -math.inf
        self.recent: deque[dict] = deque(maxlen=RECENT)
        self.trained: list[dict] = []  # those of rules that were trained themselves
        for record in records:
            self.note(record)

    def note(self, record: dict) -> None:
        """Count the record that comes next."""
        self.ways[results.way(record)] += 1
        self.best = max(self.best, record["reward"])
        self.recent.append(record)
        if record["cached_from"] is None:
            self.trained.append(record)

    @property
    def rejected(self) -> int:
        """How many rules were rejected, for whatever reason."""
        return sum(n for way, n in self.ways.items() if way.startswith(results.REJECTED))


class Search:
    """The paper's loop on one run folder.

    What is in the records already is replayed instead of trained, so an interrupted search goes on
    to the same result.
    """

    def __init__(
        self, config: SearchConfig, scorer: Scorer, executor: Executor, run: Run, progress: Progress
    ):
        self.config, self.scorer, self.executor = config, scorer, executor
        self.run, self.progress = run, progress
        self.space = make_space(config)
        self.identity = scorer.identity()
        self.proposer = make_proposer(config, self.space, self.identity)
        self.num_recorded, self.num_updates = (
            results.count_lines(run.folder / f"{name}.jsonl") for name in ("records", "updates")
        )
        # As many as there were: what this search appends is not read again.
        self.recorded = islice(results.iterate_records(run.folder), self.num_recorded)
        self.tally, self.asked = Tally(), 0
        self.families: dict[Hashable, int] = {}  # name -> id of the first rule
        self.trainings: dict[Hashable, list[Pending]] = {}  # by family
        self.accuracies: dict[Hashable, list[float | None]] = {}  # of those trainings that are done
        self.humans: dict[str, Future] = {}  # those whose scores are not written yet
        self.start_s = time.monotonic()
        self.table_due_s = self.start_s + 1

    def run_to_end(self) -> None:
        """Score known rules and human optimizers, then sample, score and learn until all is done."""
        if known := [Rule.parse(text) for text in self.config.start_from]:
            # They are samples too, though no controller sampled them. Evolution's first children need
            # the scores, so this waits; the others learn nothing from rules that are not their own.
            self.proposer.start(known, self.collect(self.push(known)))
        left = self.config.samples - len(known)
        sizes = [min(BATCH, left - done) for done in range(0, left, BATCH)]
        loop = search_loop(self.proposer, sizes, self.config.lag, self.push, self.collect)
        for update, (batch, _, diagnostics) in enumerate(loop):
            self.note_update(update, batch, diagnostics)
        self.note_humans(wait=True)
        self.write_hall_of_fame()
        self.show_progress()

    def push(self, rules: list[Rule]) -> list[Pending]:
        """Queue rules to be scored, but none that is like those that were scored often enough."""
        first, self.asked = self.asked, self.asked + len(rules)
        pending = [self._push(id, rule) for id, rule in enumerate(rules, first)]
        if first == 0:  # behind a few rules, whose records soon show whether all is well
            scored = {line["name"] for line in results.read_humans(self.run.folder)}
            for name in (name for name in HUMAN if name not in scored):
                rule = NAMED_RULES[name].rule
                evaluate, seed = self.scorer.evaluate, self.scorer.score_seed
                self.humans[name] = self.executor.submit(evaluate, rule, seed)
        return pending

    def _push(self, id: int, rule: Rule) -> Pending:
        recorded = next(self.recorded, None)
        if recorded and recorded["rule"] != str(rule):
            raise results.ReplayError(
                f"{self.run.folder}: record {id} is '{recorded['rule']}', but replaying gives '{rule}'; "
                "the code, torch or the processor has changed, so this run cannot go on"
            )
        family = self.identity(rule)
        self.families.setdefault(family, id)
        trainings = self.trainings.setdefault(family, [])
        cached_from = trainings[0].id if len(trainings) == self.config.replicates else None
        if recorded and recorded["cached_from"] != cached_from:
            raise results.ReplayError(
                f"{self.run.folder}: record {id} and replaying differ in whose training it shares; "
                "another version made it, so this run cannot go on"
            )
        if cached_from is not None:
            shared = trainings[0]
            return shared._replace(id=id, rule=rule, cached_from=cached_from, recorded=recorded)
        batch = self.batch(id) or 0
        first = trainings[0].seed if trainings else self.scorer.score_seed + batch % self.config.rotate
        seed = first + len(trainings)
        outcome = recorded or self.executor.submit(self.scorer.evaluate, str(rule), seed)
        trainings.append(Pending(id, rule, family, None, seed, outcome, recorded))
        return trainings[-1]

    def batch(self, id: int) -> int | None:
        """Return the number of a rule's batch, None for the known rules that were scored first."""
        sampled = id - len(self.config.start_from)
        return None if sampled < 0 else sampled // BATCH

    def collect(self, batch: list[Pending]) -> list[float | None]:
        """Wait for the scores of a batch, write its records and return its rewards."""
        return [self._collect(pending) for pending in batch]

    def _collect(self, pending: Pending) -> float | None:
        while True:
            self.note_humans()
            self.show_progress()
            with contextlib.suppress(NotDone):
                outcome = describe(pending.outcome, self.scorer.prepare, wait_s=1.0)
                break
        id, rule, done = pending.id, pending.rule, self.accuracies.setdefault(pending.family, [])
        if pending.cached_from is None:
            done.append(outcome["accuracy"])
        else:
            outcome |= TIMES
        scale = self.scorer.scale
        reward = mean_reward(done, scale.failure)
        # To tell a rule's formula and key takes most of a replay, so those that were written stay.
        names = pending.recorded or {"rule": str(rule), "infix": rule.infix(), "key": rule.key()}
        record = {"id": id, "batch": self.batch(id), "rule": names["rule"], "infix": names["infix"]}
        record |= {"key": names["key"], "family": self.families[pending.family], "seed": pending.seed}
        record |= {"status": outcome.pop("status"), "cached_from": pending.cached_from}
        record |= {"reward": scale.failure if reward is None else reward, **outcome}
        record |= self.told_scale()
        if pending.recorded is None:
            # Where the human optimizers fail as well it is no rule's fault, and must not be recorded.
            self.note_humans(wait=record["status"] in ("error", "crashed"))
            self.run.append("records.jsonl", record)
        if pending.cached_from is None:  # what came with the score is not kept twice
            done_with = pending._replace(outcome=record, recorded=None)
            self.trainings[pending.family][len(done) - 1] = done_with
        self.tally.note(record)
        return None if reward is None else reward - scale.failure  # for proposers a failure is 0

    def told_scale(self) -> dict:
        """Return what a record says of the scale of its score: nothing if it is that of accuracies."""
        scale = self.scorer.scale
        return {} if scale == results.Scale() else {"scale": list(scale)}

    def note_humans(self, wait: bool = False) -> None:
        """Write the lines of humans.jsonl whose scores are there, or all, in their order.

        Raises:
            RunError: the child fails on them, so something is wrong with the setting.
        """
        for name, future in list(self.humans.items()):
            while wait and not future.done():
                self.show_progress()
                time.sleep(0.05)
            if not future.done():
                return
            line = {"name": name, "rule": NAMED_RULES[name].rule}
            line |= describe(future, self.scorer.prepare) | self.told_scale()
            line["reward"] = results.worth(line)
            if line["status"] in ("error", "crashed"):  # so would every rule after it
                raise results.RunError(f"the child cannot even train with {name}: {line['error']}")
            self.run.append("humans.jsonl", line)
            del self.humans[name]

    def note_update(self, number: int, batch: list[Pending], more: dict) -> None:
        """Write one line of updates.jsonl, and the hall of fame if that is due."""
        if time.monotonic() > self.table_due_s:
            self.write_hall_of_fame()
        if number < self.num_updates:
            return
        recent = self.tally.recent
        rewards = [record["reward"] for record in list(recent)[-len(batch) :]]
        line = {
            "update": number,
            "samples": self.tally.ways.total(),
            "reward_mean": sum(rewards) / len(rewards),
            "reward_max": max(rewards),
            "families": len({record["family"] for record in recent}) / len(recent),
            "invalid": sum(not self.space.contains(pending.rule) for pending in batch) / len(batch),
        }
        self.run.append("updates.jsonl", {**line, **more})

    def write_hall_of_fame(self) -> None:
        """Replace hall_of_fame.csv by the best families so far, with advice on rates."""
        start_s, humans, rows = time.monotonic(), results.read_humans(self.run.folder), []
        for rank, family in enumerate(results.best_families(self.tally.trained, 100), 1):
            best, advice = family.best, results.advise(family.best, humans)
            row = {"rank": rank, "reward": family.reward, "spread": family.spread}
            row |= {"trainings": len(family.trainings), "rules": family.num_rules}
            row |= {"seeds": " ".join(map(str, family.seeds)), "lr": best["lr"]}
            row |= {"lr_low": advice.low, "lr_high": advice.high, "lr_open": advice.open}
            row["lr_to_adam"] = advice.to_adam
            rows.append(row | {name: best[name] for name in ("id", "infix", "rule")})
        self.run.write_table("hall_of_fame.csv", rows)
        end_s = time.monotonic()  # of many records it takes longer, and is due the later
        self.table_due_s = end_s + max(1.0, 20 * (end_s - start_s))

    def show_progress(self) -> None:
        """Show rules done, speed, reward, duplicates, failures and time left."""
        if not self.progress.due:
            return
        tally, known = self.tally, self.num_recorded
        done, ways = tally.ways.total(), tally.ways
        if done < known:
            self.progress.update(f"replaying {done}/{known} recorded rules")
            return
        elapsed, line = time.monotonic() - self.start_s, f"{done}/{self.config.samples} rules  "
        if self.humans:
            ready = len(HUMAN) - sum(not future.done() for future in self.humans.values())
            line += f"human optimizers: {ready} of {len(HUMAN)} scored"
            if ready and done == known:
                left = timedelta(seconds=round(elapsed / ready * (len(HUMAN) - ready)))
                line += f", about {left} left"
            line += "  "
        if done > known:
            speed = (done - known) / elapsed
            left = timedelta(seconds=round((self.config.samples - done) / speed))
            recent = [record["reward"] for record in tally.recent]
            line += f"{left} left  {3600 * speed:,.0f}/h  mean {sum(recent) / len(recent):.3f}  "
            line += f"best {tally.best:.3f}  duplicates {ways[results.DUPLICATE]}  "
            line += f"rejected {tally.rejected}  "
            failed = sum(ways[name] for name in ("error", "timeout", "crashed"))
            line += f"diverged {ways['diverged']}" + (f"  failed {failed}" if failed else "")
        self.progress.update(line.rstrip())


# --- command line ---------------------------------------------------------------------------------


def changes(preset: str, config: SearchConfig, scorer: Scorer, script: Script) -> str:
    """Return a preset's name, and the settings that differ from it; not those that it leaves "auto"."""
    usual = asdict(SearchConfig()) | asdict(script.scorer()) | script.presets[preset]
    told, flags = [], [field for one in (config, scorer) for field in fields(one)]
    for name in (field.name for field in flags if field.metadata["flag"]):
        value = getattr(config, name) if hasattr(config, name) else getattr(scorer, name)
        where = str(Path(str(usual[name])).absolute())  # a place is absolute by now
        if value not in (usual[name], where) and usual[name] != "auto":
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            told.append(f"{name.replace('_', '-')}={shown}")
    return f"preset {preset}" + (f", but {', '.join(told)}" if told else "")


def idle(config: SearchConfig) -> Iterator[str]:
    """Yield what an evolution or a guided search is asked for in vain."""
    breeds = config.algorithm in ("evolution", "guided")
    if breeds and config.samples <= config.population and not config.start_from:
        yield (
            f"all rules will be random: --population is {config.population}, and as many are drawn first"
        )
    if config.algorithm == "guided" and config.candidates == 1:
        yield "the guide will have nothing to pick from: --candidates is 1"


def costs(tally: Tally) -> str:
    """Return what became of the sampled rules, and what they cost."""
    core_s = sum(record["cpu_s"] or 0.0 for record in tally.trained)
    per = {"sampled rule": tally.ways.total(), "family": len({r["family"] for r in tally.trained})}
    per["training to the end"] = tally.ways[results.TRAINED]
    shares = ", ".join(f"{core_s / n:.2f} a {name}" for name, n in per.items() if n)
    lines = [f"{n:7,}  {way}" for way, n in results.funnel(tally.ways).items()]
    return "\n".join(lines + [f"core-seconds: {shares}"] * (core_s > 0))  # a table's scores cost none


def summary(families: list[results.Family], humans: list[dict], score_name: str = "accuracy") -> str:
    """Return the best families beside the human optimizers as an aligned table.

    A family is told by the mean and spread over its trainings, and by its best rule.
    """
    rate = lambda lr: "-" if lr is None else f"{lr:g}"  # noqa: E731
    rows = []
    for family in families:
        best, spread = family.best, "-" if family.spread is None else f"{family.spread:.4f}"
        counts = (str(len(family.trainings)), str(family.num_rules))
        rows.append((family.reward, spread, *counts, rate(best["lr"]), f"#{best['id']}", best["infix"]))
    for line in humans:
        name = line["name"].upper()
        rows.append((line["reward"], "-", "1", "1", rate(line["lr"]), "human", name))
    rows.sort(key=lambda row: -row[0])
    head = (score_name, "spread", "trainings", "rules", "lr", "id", "update")
    return "\n".join(results.aligned([head, *((f"{row[0]:.4f}", *row[1:]) for row in rows)]))


def make_parser(script: Script = SEARCH) -> Parser:
    parser = Parser(prog=script.command, description=script.doc)
    add_settings(parser, script.scorer)
    parser.section("controller")  # before what is beyond it
    add_settings(parser, SearchConfig)
    flag = parser.section("running").add_argument
    if script is SEARCH:
        task_help = "a task of your own, see tasks/; its flags: --task FILE --help"
        flag("--task", metavar="FILE", help=task_help)
    if script.executor is None:
        first = next(iter(script.presets))
        flag("--preset", choices=script.presets, help=f"named settings (default: {first})")
        flag("--workers", type=int, metavar="N", help="worker processes (default: all cores)")
        flag("--cluster", metavar="ADDRESS", help="workers of a Dask cluster instead: its scheduler")
    flag("--out", type=Path, metavar="DIR", help="run folder to make (default: runs/...)")
    beside = "--workers, --cluster, and --data or --task if that was moved"
    flag("--resume", type=Path, metavar="DIR", help=f"go on with a run; takes only {beside}")
    parser.set_defaults(**dict.fromkeys(("preset", "workers", "cluster"), None))
    return parser


def configure(args, script: Script = SEARCH, say: Say = print) -> tuple[SearchConfig, Scorer]:
    """Return the resolved settings; what can be wrong with them is found before anything is made.

    Raises:
        ValueError: what is wrong and what is allowed.
    """
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"--workers is {args.workers}; it must be at least 1")
    if args.workers is not None and args.cluster is not None:
        raise ConfigError("--workers counts local processes; they have no part in a --cluster")
    if args.resume is not None:
        given = {name for name, value in vars(args).items() if value is not None}
        if wrong := sorted(given - {"resume", "workers", "cluster", *PLACES}):
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
            taken = "--workers, --cluster, and --data or --task if that was moved"
            raise ConfigError(f"--resume takes only {taken}, not {flags}")
        config, scorer = read_settings(args.resume, script)
        moved = {name: str(Path(getattr(args, name)).absolute()) for name in given & PLACES}
        return config, replace(scorer, **moved)
    args.preset = args.preset or next(iter(script.presets))
    preset = script.presets[args.preset]
    config, scorer = (
        resolve(cls, args, {name: x for name, x in preset.items() if name in cls.__dataclass_fields__})
        for cls in (SearchConfig, script.scorer)
    )
    if args.out is not None:
        results.check_new(args.out)
    space = make_space(config)
    config = replace(config, start_from=tuple(str(fit(text, space)) for text in config.start_from))
    if len(config.start_from) > config.samples:
        raise ConfigError(f"--start-from has {len(config.start_from)} rules, --samples {config.samples}")
    scorer = scorer.resolve(space, say)
    if (seeds := config.rotate + config.replicates - 1) > scorer.num_seeds:
        raise ConfigError(f"--rotate and --replicates need {seeds} seeds; there are {scorer.num_seeds}")
    return config, scorer


def read_settings(folder: Path, script: Script) -> tuple[SearchConfig, Scorer]:
    """Return the settings of a run folder.

    Raises:
        RunError: it is none, or of another script or version, whose settings are not these.
    """
    classes = SearchConfig, script.scorer
    names = [[field.name for field in fields(cls)] for cls in classes]
    unsaid = {name: value for name, value in UNSAID.items() if name in sum(names, [])}
    saved = unsaid | results.read_config(folder)
    if apart := sorted(saved.keys() ^ set(sum(names, []))):
        what = f"{folder} is of another version or script, so {script.command} cannot go on with it"
        more = f" and {len(apart) - 3} more" if len(apart) > 3 else ""
        raise results.RunError(f"{what}: they differ in the settings {', '.join(apart[:3])}{more}")
    return tuple(
        from_dict(cls, {name: saved[name] for name in some})
        for cls, some in zip(classes, names, strict=True)
    )


def is_complete(folder: Path, config: SearchConfig) -> bool:
    """Return whether a run has all its records and was ended.

    Raises:
        RunError: a line of records.jsonl or updates.jsonl is damaged.
    """
    recorded = sum(1 for _ in results.iterate_records(folder))
    for _ in results.iterate_lines(folder / "updates.jsonl"):
        pass
    return recorded >= config.samples and results.read_meta(folder).get("end") is not None


def open_run(args, config: SearchConfig, scorer: Scorer, say: Say) -> Run:
    """Return the run folder, made or reopened; one whose pictures were moved keeps their new place.

    Raises:
        results.RunError: it cannot be made, or another process writes to it.
    """
    if args.resume is not None:
        if getattr(scorer, "data_sha256", None) == ANY:
            unknown = (
                f"that it does not say which pictures it had; it goes on with those in {scorer.data}"
            )
            say(f"WARNING: {args.resume} is so old {unknown}")
        run, saved = reopen(args.resume, say), results.read_config(args.resume)
        moved = {name: getattr(scorer, name) for name in PLACES & saved.keys()}
        for name in (name for name, place in moved.items() if place != saved[name]):
            say(f"{args.resume}: --{name} is {moved[name]} from now on")
            run.replace("config.json", json.dumps(saved | moved, indent=1) + "\n")
        return run
    name = f"{args.preset}-{config.algorithm}"
    folder = args.out or results.default_folders("search", name, config.seed)
    environment = results.environment(threads=torch.get_num_threads())
    return Run.create(folder, asdict(config) | asdict(scorer), environment)


def count_workers(args) -> int:
    """Return how many worker processes were asked for."""
    return args.workers or WORKERS.get(args.preset) or usable_cores()


def start_workers(args, scorer: Scorer, say: Say) -> WorkerPool | Cluster:
    """Return what scores the rules: processes of this machine, or those of a Dask cluster.

    Args:
        say: shows a line about the latter.

    Raises:
        ValueError: there are too many, or the cluster cannot be reached.
    """
    if args.cluster is not None:
        return Cluster(args.cluster, scorer.prepare, scorer.cpu_limit_s, say)
    # torch.optim imports torch._dynamo at its first use: a second, and 100 MB in every worker. The
    # paper's child needs none of it, a task of one's own may.
    preload = PRELOAD if isinstance(scorer, Child) else (*PRELOAD, "torch._dynamo")
    return WorkerPool(
        count_workers(args), scorer.cpu_limit_s, initializer=scorer.prepare, preload=preload
    )


class Opened(NamedTuple):
    """What a search is made of, which is not made yet: so nobody but `search_to_end` holds it."""

    config: SearchConfig
    scorer: Scorer
    executor: Executor
    run: Run
    progress: Progress


def search_to_end(opened: Opened, script: Script, args) -> int:
    """Run a search, say how it ended, and return the exit code."""
    config, scorer, _, run, progress = opened
    folder, say = run.folder, progress.say
    number, space = count_workers(args), make_space(config).size()
    local = "this process" if script.executor else f"{number} worker{'s' * (number > 1)}"
    if args.resume is None:
        say(changes(args.preset, config, scorer, script))
        for vain in idle(config):
            say(vain)
    say(f"{folder}: {scorer}; {args.cluster or local}; {space:,} strings to choose from")
    resume = f"{script.command} --resume {shlex.quote(str(folder))}"
    for flag, value in (("--workers", args.workers), ("--cluster", args.cluster)):
        resume += f" {flag} {value}" if value else ""
    try:
        search = Search(*opened)
        search.run_to_end()
        if isinstance(search.proposer, Controller):
            weights = io.BytesIO()
            torch.save(search.proposer.policy.state_dict(), weights)
            run.replace("controller.pt", weights.getvalue())
        run.finish()
    except KeyboardInterrupt:
        say(f"interrupted; what was finished is kept. Go on with: {resume}")
        return 130
    except (results.RunError, OSError) as error:
        further = "" if isinstance(error, results.ReplayError) else f"; go on with: {resume}"
        say(f"{script.command}: error: {error}. What was finished is kept{further}")
        return 1
    tell, last = progress.result, following(folder, search.tally)
    tell(found(folder, search.tally, scorer.score_name))
    del search  # the figure of a long one needs its memory
    gc.collect()  # the search and what it is made of refer to each other
    if pictures := draw_or_warn(lambda: draw(folder), drawing(folder), say):
        tell(f"{pictures[0].name} in it is its learning curve")
    tell(last)
    return 0


def found(folder: Path, tally: Tally, score_name: str) -> str:
    """Return what a complete run cost and found, as text."""
    table = summary(results.best_families(tally.trained, 10), results.read_humans(folder), score_name)
    what = "A line is a family, rules that no training can tell apart: mean and spread of its trainings."
    where = f"{folder} holds the run, hall_of_fame.csv in it all families"
    return f"\n{costs(tally)}\n\n{table}\n\n{what}\n{where}"


def following(folder: Path, tally: Tally) -> str:
    """Return what to do next with a complete run."""
    for family in results.best_families(tally.trained, 1):
        show = f"python rules.py show '{family.best['rule']}' --runs {shlex.quote(str(folder))}"
        return f"Next: {show} explains #{family.best['id']}, of the best family it found"
    return "Next: another search; in this one no rule trained to the end"


def draw(folder: Path) -> list[Path]:
    """Draw the learning curve of a run into its folder; return the files."""
    from plots import learning_curve  # late: a worker imports this file too, and needs no matplotlib

    with results.uncollected():
        return learning_curve.draw([folder], folder / "learning_curve.png")


def drawing(folder: Path) -> str:
    """Return the command that draws the learning curve of a run again."""
    return f"python -m plots.learning_curve {shlex.quote(str(folder))}"


def open_search(args, script: Script, stack: contextlib.ExitStack) -> Opened | None:
    """Return what makes the search that the settings ask for; None if it is complete already.

    Raises:
        ValueError, OSError: what is wrong; nothing was made.
    """
    torch.set_num_threads(1)  # sums on several threads round differently; the history must not
    progress = Progress()
    config, scorer = configure(args, script, progress.say)
    if args.resume is not None and is_complete(args.resume, config):
        if any(getattr(args, name, None) for name in PLACES):  # where studies look for what it had
            scorer.prepare()
            open_run(args, config, scorer, progress.say).close()
        tally, tell = Tally(results.iterate_records(args.resume)), progress.result
        tell(f"{args.resume} is already complete, {tally.ways.total()} rules; nothing was trained")
        tell(found(args.resume, tally, scorer.score_name))
        tell(f"{drawing(args.resume)} draws its learning curve again")
        tell(following(args.resume, tally))
        return None
    scorer = scorer if args.resume else scorer.fetch(progress.say)
    scorer.prepare()
    executor = script.executor or start_workers(args, scorer, progress.say)
    stack.callback(executor.stop)
    run = stack.enter_context(open_run(args, config, scorer, progress.say))
    progress.begin_log(run.folder / "log.txt")
    return Opened(config, scorer, executor, run, progress)


def main(argv: list[str] | None = None, script: Script | None = None) -> int:
    script = script or choose_script(argv)
    parser = make_parser(script)
    args = parser.parse_args(argv)
    with contextlib.ExitStack() as stack:
        try:
            mine = open_search(args, script, stack)
        except MissingError as error:  # a search that is resumed, of pictures that were moved
            again = f"{script.command} --resume {shlex.quote(str(args.resume))} --data DIR"
            parser.error(f"{error}, or {again}")
        except (ValueError, OSError) as error:
            parser.error(str(error))
        except KeyboardInterrupt:
            print("interrupted before the search began", file=sys.stderr)
            return 130
        return 0 if mine is None else search_to_end(mine, script, args)


# --- from Python ----------------------------------------------------------------------------------


class Found(NamedTuple):
    """What a search has found, also one that was interrupted; shown as a line, not as all it holds."""

    folder: Path
    records: list[dict]
    humans: list[dict]
    families: list[results.Family]  # best first

    def __repr__(self) -> str:
        best = f", best {self.families[0].reward:.4f} {self.best.infix()}" if self.families else ""
        return f"<{self.folder}: {len(self.records)} rules, {len(self.families)} families{best}>"

    @property
    def best(self) -> Rule:
        """The best rule of the best family."""
        return Rule.parse(self.families[0].best["rule"])

    def make_optimizer(self, params, lr: float | None = None, **kw) -> RuleOptimizer:
        """Return an optimizer with the best rule, at the rate that was best for it if none is given."""
        return make_optimizer(self.best, params, lr or self.families[0].best["lr"], **kw)


def search(**settings) -> Found:
    """Search as the command line does; settings have the names of its flags, such as start_from.

    Raises:
        ValueError, OSError: what is wrong with them; nothing was made.
    """
    script = choose_script(
        [f"--{name}={settings[name]}" for name in ("task", "resume") if name in settings]
    )
    args = make_parser(script).parse_args([])
    known = {f.name for cls in (SearchConfig, script.scorer) for f in fields(cls) if f.metadata["flag"]}
    if unknown := sorted(settings.keys() - known - {"preset", "workers", "cluster", "out", "resume"}):
        raise ConfigError(f"unknown settings: {', '.join(unknown)}")
    if settings.get("preset") not in (None, *script.presets):
        known = ", ".join(script.presets)
        raise ConfigError(f"preset is {settings['preset']!r}; it must be one of {known}")
    for name, value in settings.items():
        setattr(args, name, Path(value) if name in ("out", "resume") else value)
    with contextlib.ExitStack() as stack:
        if (mine := open_search(args, script, stack)) is not None:
            search_to_end(mine, script, args)
    folder = args.resume if mine is None else mine.run.folder
    records = results.read_records(folder)
    return Found(folder, records, results.read_humans(folder), results.best_families(records))


if __name__ == "__main__":
    sys.exit(as_program(main))
