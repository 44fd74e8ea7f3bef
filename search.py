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
Read next: results.py for what a run leaves behind, plots/ for its figures.
"""

import contextlib
import io
import math
import resource
import shlex
import signal
import sys
import textwrap
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from concurrent.futures import TimeoutError as NotDone
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch

import data
import results
from child import (
    ChildConfig,
    ChildResult,
    check_epoch,
    evaluate_rule,
    open_pictures,
    resolve_precision,
    start_worker,
)
from cluster import Cluster
from config import ConfigError, Parser, add_settings, from_dict, resolve, setting
from controller import Controller, ControllerConfig
from dsl import CONSTRAINTS, MAX_GROUPS, OPERANDS, SUBSETS, Rule, RuleError, SearchSpace
from nosbench import table
from nosbench.table import TIERS
from pool import WorkerPool, usable_cores
from results import Progress, interrupt_once, reopen
from rivals import Evolution, EvolutionConfig, RandomSearch
from rules import HUMAN, NAMED_RULES, find

# What a rule's failure is recorded as, by the name of its exception (KilledWorker is Dask's). Any other
# exception says that the workers cannot be reached, which is no rule's fault and ends the search.
FAILURES = {
    "TaskError": "error",
    "TimeLimit": "timeout",
    "WorkerDied": "crashed",
    "KilledWorker": "crashed",
}
ALGORITHMS = ("trpo", "ppo", "reinforce", "random", "evolution")
MAX_SEED = 2**63 - 1  # torch's generators take no larger one
MANY = 1_000_000  # more than anybody will wait for
RECENT = 100  # rules over which the progress line and the diagnostics look back


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


@dataclass(frozen=True)
class Config(ChildConfig, ProposerConfig):
    """All that determines a run's history; defaults are the paper's setting, as far as we know it."""

    table: str = setting(
        "none", "look scores up in this tier of NOS-Bench, train nothing", choices=("none", *TIERS)
    )
    start_from: tuple[str, ...] = setting(
        (),
        "rules scored before all others, by name or string; evolution breeds from them",
        words=True,
    )
    child_seed: int = setting(
        0, "of every child: weights, order of images, random operands", low=0, high=MAX_SEED
    )
    # UNSPECIFIED: the reward of a rule that diverged.
    failure_reward: float = setting(0.0, "reward of a rule that diverged or failed", low=-1, high=1)
    cpu_limit_s: float = setting(
        600.0, "CPU seconds that one rule may use; 0 is no limit", low=0, high=1e7
    )


LAPTOP = {
    "samples": 500,
    "lag": 1,
    "iterations": 1,
    "subset": "full",
    "constraints": ("operands-differ", "no-final-addition"),
    # What a study of the controller on NOS-Bench recommends (RESULTS.md), none of it the paper's.
    "max_kl": 0.1,
    "entropy_coeff": 0.07,
    "entropy_growth": 0.5,
    "candidates": 16,
    "elite_coeff": 0.3,
    "downsample": "stride",
    "filters": 16,
    "epoch_size": 1_000,
    "num_validation": 2_000,
}
# The controller as the paper has it, but for the step's size and the entropy.
PLAIN = {
    "candidates": 1,
    "elite_coeff": 0.0,
    "entropy_coeff": 0.02,
    "entropy_growth": 0.0,
    "max_kl": 0.03,
}
SMOKE = {
    **LAPTOP,
    **PLAIN,
    "samples": 40,
    "subset": "compact",
    "dataset": data.SAMPLE,
    "filters": 8,
    "num_validation": 1_000,
}
TABLE = {**LAPTOP, **PLAIN, "table": "micro", "samples": 10_000, "screen": False}
PRESETS = {"paper": {}, "laptop": LAPTOP, "smoke": SMOKE, "table": TABLE}
WORKERS = {"smoke": 2}  # other presets: all cores
# Settings of a training, so without effect where a table has the scores.
TRAINING = {field.name for field in fields(ChildConfig)} - {"screen"}


# --- one rule's way through the queue -------------------------------------------------------------


class Pending(NamedTuple):
    """A rule that was sampled and whose score is on its way."""

    id: int
    batch: int | None  # None for rules that the search starts from
    rule: Rule
    cached_from: int | None  # id of the earlier equal rule whose score this one shares
    outcome: Future


def describe(future: Future, failure_reward: float, wait_s: float | None = None) -> dict:
    """Return what a record says about a score: status, reward, numbers and times.

    Raises:
        NotDone: it is not there after `wait_s` seconds.
        RunError: the workers cannot be reached, so there will be no score.
    """
    failed = {"reward": failure_reward, "lr": None, "sweep": [], "curve": []}
    failed |= {"error": None, "start_s": None, "wall_s": None, "cpu_s": None, "worker": None}
    try:
        error = future.exception(wait_s)
    except CancelledError as cancelled:
        error = cancelled
    if error is not None:
        if (kind := type(error).__name__) not in FAILURES:
            raise results.RunError(f"the workers cannot go on: {kind} {error}".strip())
        return {"status": FAILURES[kind], **failed, "error": str(error).strip().splitlines()[-1]}
    result = future.result()
    if isinstance(result, dict):  # replayed from the records of an interrupted run
        return {name: result[name] for name in ("status", *failed)}
    if not isinstance(result, ChildResult):
        return {"status": "error", **failed, "error": f"the worker returned {result!r:.100}, no score"}
    measured = asdict(result)
    accuracy = measured.pop("accuracy")
    return {**failed, **measured, "reward": failure_reward if accuracy is None else accuracy}


def settled(value: dict) -> Future:
    """Return a future that is done already."""
    future: Future = Future()
    future.set_result(value)
    return future


# --- the search -----------------------------------------------------------------------------------


def search_loop(
    proposer: Controller | RandomSearch | Evolution,
    sizes: Iterable[int],
    lag: int,
    push: Callable[[list[Rule]], list],
    collect: Callable[[list], list[float]],
) -> Iterator[tuple[list, list[float], dict]]:
    """Sample, score and learn, batch by batch: batch k is sampled after update k - 1 - lag.

    Args:
        sizes: how many rules each batch has.
        lag: batches in flight beside the one whose scores are waited for; 0 is on-policy.
        push: begins to score a batch; what it returns stands for the batch from then on.
        collect: waits for a batch's scores; returns its rewards in order.
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


def evaluator(config: Config) -> Callable[[str], ChildResult]:
    """Return what scores a rule, to be called by a worker; it and its result travel as plain data."""
    if config.table != "none":
        return partial(
            table.evaluate_rule,
            config=table.TableConfig(config.table, config.screen),
            seed=config.child_seed,
        )
    return partial(evaluate_rule, config=child_config(config), seed=config.child_seed)


def child_config(config: Config) -> ChildConfig:
    """Return the part of the config that a worker needs."""
    return ChildConfig(**{field.name: getattr(config, field.name) for field in fields(ChildConfig)})


class Search:
    """The paper's loop on one run folder.

    What is in the records already is replayed instead of trained, so an interrupted search goes on
    to the same result.
    """

    def __init__(self, config: Config, executor: Executor, run: results.Run, progress: Progress):
        self.config, self.executor, self.run, self.progress = config, executor, run, progress
        self.evaluate = evaluator(config)
        self.space = make_space(config)
        # A table knows its distinct rules; elsewhere the fingerprint tells.
        known = config.table != "none"
        identity = table.Table.load(config.table).number if known else Rule.fingerprint
        self.proposer = make_proposer(config, self.space, identity)
        self.recorded = results.read_records(run.folder)
        self.num_updates = len(results.read_lines(run.folder / "updates.jsonl"))
        self.records: list[dict] = []
        self.ways: Counter[str] = Counter()  # what became of them, for the progress line
        self.asked = self.batches = 0
        self.scores: dict[str, tuple[int, Future]] = {}  # key -> id of its first rule, its score
        self.best = -math.inf
        self.start_s = self.table_s = time.monotonic()

    def run_to_end(self) -> None:
        """Score human optimizers and known rules, then sample, score and learn until all is done."""
        humans = self.push_humans()
        self.start()
        size, left = self.config.rules_per_batch, self.config.samples - self.asked
        sizes = [min(size, left - done) for done in range(0, left, size)]

        def collect(batch: list[Pending]) -> list[float]:
            self.collect_humans(humans)
            humans.clear()
            return [self.collect(pending) for pending in batch]

        loop = search_loop(self.proposer, sizes, self.config.lag, self.push_batch, collect)
        for update, (batch, rewards, diagnostics) in enumerate(loop):
            self.note_update(update, batch, rewards, diagnostics)
        self.write_hall_of_fame()

    def start(self) -> None:
        """Score the rules to start from; they are samples too, though no controller sampled them."""
        rules = [Rule.parse(text) for text in self.config.start_from]
        pending = [self.push(id, None, rule) for id, rule in enumerate(rules)]
        self.asked = len(rules)
        # Evolution's first children need the scores, so this waits; controllers and random search
        # learn nothing from rules that are not their own.
        rewards = [self.collect(one) for one in pending]
        if rules:
            self.proposer.start(rules, rewards)

    def push_batch(self, rules: list[Rule]) -> list[Pending]:
        """Push a batch to the workers' queue."""
        number, first = self.batches, self.asked
        self.batches, self.asked = number + 1, first + len(rules)
        return [self.push(first + i, number, rule) for i, rule in enumerate(rules)]

    def push(self, id: int, batch: int | None, rule: Rule) -> Pending:
        """Queue one rule for training, unless an equal one was sampled before."""
        if id < len(self.recorded) and self.recorded[id]["rule"] != str(rule):
            raise results.RunError(
                f"{self.run.folder}: record {id} is '{self.recorded[id]['rule']}', but replaying gives "
                f"'{rule}'; the code, torch or the processor has changed, so this run cannot go on"
            )
        key = rule.key()
        if key in self.scores:
            return Pending(id, batch, rule, *self.scores[key])
        if id < len(self.recorded):
            future = settled(self.recorded[id])
        else:
            future = self.executor.submit(self.evaluate, str(rule))
        self.scores[key] = (id, future)
        return Pending(id, batch, rule, None, future)

    def collect(self, pending: Pending) -> float:
        """Wait for a rule's score, write its record and return its reward."""
        while True:
            try:
                outcome = describe(pending.outcome, self.config.failure_reward, wait_s=1.0)
                break
            except NotDone:
                self.show_progress()
        if pending.cached_from is not None:
            outcome |= {"start_s": None, "wall_s": None, "cpu_s": None, "worker": None}
        rule = pending.rule
        record = {"id": pending.id, "batch": pending.batch, "rule": str(rule), "infix": rule.infix()}
        record |= {"key": rule.key(), "seed": self.config.child_seed}
        record |= {"status": outcome.pop("status"), "cached_from": pending.cached_from, **outcome}
        self.records.append(record)
        self.ways["duplicate" if pending.cached_from is not None else record["status"]] += 1
        self.best = max(self.best, record["reward"])
        if pending.id >= len(self.recorded):
            self.run.append("records.jsonl", record)
        self.show_progress()
        return record["reward"]

    def note_update(self, number: int, batch: list[Pending], rewards: list[float], more: dict) -> None:
        """Write one line of updates.jsonl, and the hall of fame if it is a second old."""
        if time.monotonic() - self.table_s > 1:
            self.write_hall_of_fame()
        if number < self.num_updates:
            return
        recent = self.records[-RECENT:]
        line = {
            "update": number,
            "samples": len(self.records),
            "reward_mean": sum(rewards) / len(rewards),
            "reward_max": max(rewards),
            "distinct_keys": len({record["key"] for record in recent}) / len(recent),
            "invalid": sum(not self.space.contains(pending.rule) for pending in batch) / len(batch),
        }
        self.run.append("updates.jsonl", {**line, **more})

    def write_hall_of_fame(self) -> None:
        write_hall_of_fame(self.run, self.records)
        self.table_s = time.monotonic()

    def push_humans(self) -> dict[str, Future]:
        """Queue SGD, Momentum, RMSProp and Adam, to be scored just like any rule."""
        done = {line["name"]: line for line in results.read_humans(self.run.folder)}
        return {
            name: settled(done[name])
            if name in done
            else self.executor.submit(self.evaluate, NAMED_RULES[name].rule)
            for name in HUMAN
        }

    def collect_humans(self, humans: dict[str, Future]) -> None:
        """Write humans.jsonl.

        Raises:
            RunError: the child fails on them, so something is wrong with the setting.
        """
        done = [line["name"] for line in results.read_humans(self.run.folder)]
        for name, future in humans.items():
            while not future.done():
                self.progress.update(f"scoring {', '.join(humans)} for comparison")
                time.sleep(0.05)
            if name not in done:
                line = {"name": name, "rule": NAMED_RULES[name].rule}
                line |= describe(future, self.config.failure_reward)
                if line["status"] in ("error", "crashed"):  # so would every rule after it
                    raise results.RunError(f"the child cannot even train with {name}: {line['error']}")
                self.run.append("humans.jsonl", line)

    def show_progress(self) -> None:
        """Show rules done, speed, reward, duplicates, failures and time left."""
        done, new = len(self.records), len(self.records) - len(self.recorded)
        if done < len(self.recorded):
            return self.progress.update(f"replaying {done}/{len(self.recorded)} recorded rules")
        if new == 0:
            return self.progress.update("waiting for the first rule")
        elapsed = time.monotonic() - self.start_s
        recent = [record["reward"] for record in self.records[-RECENT:]]
        ways = self.ways
        failed = sum(ways[name] for name in ("error", "timeout", "crashed"))
        left = timedelta(seconds=round(elapsed / new * (self.config.samples - done)))
        return self.progress.update(
            f"{done}/{self.config.samples} rules  {left} left  {3600 * new / elapsed:,.0f}/h  "
            f"mean {sum(recent) / len(recent):.3f}  best {self.best:.3f}  duplicates "
            f"{ways['duplicate']}  rejected {ways['rejected']}  diverged {ways['diverged']}"
            + (f"  failed {failed}" if failed else "")
        )


def write_hall_of_fame(run: results.Run, records: list[dict]) -> None:
    """Replace hall_of_fame.csv by the best distinct rules so far, with advice on learning rates."""
    humans = results.read_humans(run.folder)
    rows = []
    for rank, record in enumerate(results.best_distinct(records, 100), 1):
        advice = results.advise(record, humans)
        rates = {"lr_low": advice.low, "lr_high": advice.high, "lr_open": advice.open}
        rates["lr_to_adam"] = advice.to_adam
        what = {name: record[name] for name in ("id", "infix", "rule")}
        rows.append({"rank": rank, "reward": record["reward"], "lr": record["lr"], **rates, **what})
    run.write_table("hall_of_fame.csv", rows)


# --- command line ---------------------------------------------------------------------------------


def costs(folder: Path) -> str:
    """Return what became of the sampled rules, and what they cost."""
    records = results.read_lines(folder / "records.jsonl")
    ways = results.funnel(records)
    core_s = sum(record["cpu_s"] or 0.0 for record in records)
    distinct = sum(record["cached_from"] is None for record in records)
    per = {"sampled": len(records), "distinct": distinct, "trained": ways.get("trained to the end", 0)}
    shares = ", ".join(f"{core_s / n:.2f} a {name} rule" for name, n in per.items() if n)
    lines = [f"{n:7,}  {way}" for way, n in ways.items()]
    return "\n".join(lines + [f"core-seconds: {shares}"] * (core_s > 0))  # a table's scores cost none


def summary(folder: Path, most: int = 10) -> str:
    """Return the hall of fame beside the human optimizers as an aligned table."""
    records = results.read_lines(folder / "records.jsonl")
    rows = [
        (r["reward"], r["lr"], f"#{r['id']}", r["infix"]) for r in results.best_distinct(records, most)
    ]
    for line in results.read_humans(folder):
        rows.append((line["reward"], line["lr"], "human", line["name"].upper()))
    rows.sort(key=lambda row: -row[0])
    lines = [
        f"{reward:8.4f}  {'-' if lr is None else f'{lr:g}':>6}  {who:>6}  {what}"
        for reward, lr, who, what in rows
    ]
    return "\n".join([f"{'accuracy':>8}  {'lr':>6}  {'id':>6}  update", *lines])


def make_parser() -> Parser:
    parser = Parser(prog="search.py", description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, help="named settings (default: paper)")
    parser.add_argument("--workers", type=int, metavar="N", help="worker processes (default: all cores)")
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="workers of a Dask cluster instead: its scheduler's address"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder to make (default: runs/...)")
    parser.add_argument(
        "--resume", type=Path, metavar="DIR", help="go on with a run; takes only --workers, --cluster"
    )
    add_settings(parser, Config)
    return parser


def configure(args) -> Config:
    """Return the resolved config; what can be wrong with settings is found before anything is made.

    Raises:
        ValueError: what is wrong and what is allowed.
    """
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"--workers is {args.workers}; it must be at least 1")
    if args.workers is not None and args.cluster is not None:
        raise ConfigError("--workers counts local processes; they have no part in a --cluster")
    if args.resume is not None:
        given = {name for name, value in vars(args).items() if value is not None}
        given -= {"resume", "workers", "cluster"}
        if given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
            raise ConfigError(f"--resume takes only --workers and --cluster beside it, not {flags}")
        saved = results.read_config(args.resume)
        if lacking := [field.name for field in fields(Config) if field.name not in saved]:
            what = f"{args.resume} is of an earlier version: its config.json lacks {', '.join(lacking)}"
            raise results.RunError(f"{what}; defaults would change its history")
        asked = config = from_dict(Config, saved)
    else:
        asked = config = resolve(Config, args, PRESETS[args.preset or "paper"])
        if args.out is not None:
            results.check_new(args.out)
        if config.table == "none":
            dataset = data.choose(config.dataset, Path(config.data))
            config = replace(config, dataset=dataset, precision=resolve_precision(config.precision))
            check_epoch(config)
    space = make_space(config)
    if config.table != "none":
        if args.cluster is not None or args.workers is not None:
            raise ConfigError("--table needs no workers, so neither --workers nor --cluster")
        if given := sorted(TRAINING & vars(args).keys()):
            flag = f"--{given[0].replace('_', '-')}"
            raise ConfigError(f"{flag} has no effect on a --table, whose scores are there already")
        table.check(config.table, space, config.child_seed)
    config = replace(config, start_from=tuple(str(fit(text, space)) for text in config.start_from))
    if len(config.start_from) > config.samples:
        raise ConfigError(f"--start-from has {len(config.start_from)} rules, --samples {config.samples}")
    if asked.dataset != config.dataset == data.SAMPLE:
        print(
            "WARNING: CIFAR-10 is not on disk; the embedded Fashion-MNIST sample takes its place.\n"
            "         For the paper's data run first: python data.py cifar10",
            file=sys.stderr,
        )
    return config


def is_complete(folder: Path, config: Config) -> bool:
    """Return whether a run has all its records and was ended."""
    recorded = len(results.read_lines(folder / "records.jsonl"))
    return recorded >= config.samples and results.read_meta(folder).get("end") is not None


def open_run(args, config: Config) -> results.Run:
    """Return the run folder, made or reopened.

    Raises:
        results.RunError: it cannot be made, or another process writes to it.
    """
    environment = results.environment(threads=torch.get_num_threads())
    if args.resume is None:
        name = f"{args.preset or 'paper'}-{config.algorithm}"
        folder = args.out or results.default_folder("search", name, config.seed)
        return results.Run.create(folder, asdict(config), environment)
    return reopen(args.resume)


def prepare_worker(config: ChildConfig) -> None:
    """Make a process, perhaps on another machine, ready for `evaluate_rule`."""
    start_worker()
    data.prepare(config.dataset, Path(config.data))


def count_workers(args) -> int:
    """Return how many worker processes were asked for."""
    return args.workers or WORKERS.get(args.preset) or usable_cores()


def start_workers(args, config: Config) -> WorkerPool | Cluster | table.Here:
    """Return what scores the rules: processes of this machine, those of a Dask cluster, or this one.

    Raises:
        ValueError: there are too many, or the cluster cannot be reached.
    """
    if config.table != "none":
        return table.Here()
    if args.cluster is not None:
        initializer = partial(prepare_worker, child_config(config))
        return Cluster(args.cluster, initializer, config.cpu_limit_s)
    workers = count_workers(args)
    files, (soft, hard) = 100 + 3 * workers, resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and files > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
        except ValueError:
            raise ConfigError(f"{workers} workers need {files} open files; {hard} are allowed") from None
    # torch.optim imports torch._dynamo at its first use: a second, and 100 MB in every worker.
    preload = ("child", "torch._dynamo")
    return WorkerPool(workers, config.cpu_limit_s, initializer=start_worker, preload=preload)


def search_to_end(args, config: Config, executor: Executor, run: results.Run) -> int:
    """Run the search, say how it ended, and return the exit code."""
    resume = ["python", "search.py", "--resume", str(run.folder)]
    resume += ["--cluster", args.cluster] if args.cluster else []
    workers = f"cluster {args.cluster}" if args.cluster else f"{count_workers(args)} workers"
    if config.table != "none":
        workers = f"scores of NOS-Bench, {config.table} tier, seed {config.child_seed} of the table"
    progress = Progress(run.folder / "log.txt")
    try:
        search = Search(config, executor, run, progress)
        unused = TRAINING if config.table != "none" else ()
        settings = "  ".join(f"{name}={x}" for name, x in asdict(config).items() if name not in unused)
        progress.say(textwrap.fill(settings, 100))
        progress.say(f"{run.folder}: {workers}, {search.space.size():,} strings to choose from")
        search.run_to_end()
        if isinstance(search.proposer, Controller):
            weights = io.BytesIO()
            torch.save(search.proposer.policy.state_dict(), weights)
            run.replace("controller.pt", weights.getvalue())
        run.finish()
        from plots import learning_curve  # late: workers import this file too, and need no matplotlib

        picture, _ = learning_curve.draw([run.folder], run.folder / "learning_curve.png")
    except KeyboardInterrupt:
        progress.say(f"interrupted; what was finished is kept. Go on with: {shlex.join(resume)}")
        return 130
    except (results.RunError, OSError) as error:
        kept = "What was finished is kept"
        if "this run cannot go on" not in str(error):
            kept += f"; go on with: {shlex.join(resume)}"
        progress.say(f"search.py: error: {error}. {kept}")
        return 1
    print(f"\n{costs(run.folder)}\n\n{summary(run.folder)}\n")
    print(f"{run.folder} holds the run; its learning curve is {picture}")
    best = results.best_distinct(results.read_lines(run.folder / "records.jsonl"), 1)
    show = "rules.py show" if config.table == "none" else "nosbench.py show"
    print("\n".join(f"Next: python {show} '{record['rule']}' explains the best" for record in best))
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # sums on several threads round differently; the history must not
    with contextlib.ExitStack() as stack:
        try:
            config = configure(args)
            if args.resume is not None and is_complete(args.resume, config):
                print(f"{args.resume} is already complete, {config.samples} rules; nothing to do")
                return 0
            if config.table == "none":
                data.prepare(config.dataset, Path(config.data))
                open_pictures(child_config(config))
            executor = start_workers(args, config)
            stack.callback(executor.stop)
            run = stack.enter_context(open_run(args, config))
        except (ValueError, OSError) as error:
            parser.error(str(error))
        except KeyboardInterrupt:
            print("interrupted before the search began", file=sys.stderr)
            return 130
        return search_to_end(args, config, executor, run)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, interrupt_once)
    sys.exit(main())
