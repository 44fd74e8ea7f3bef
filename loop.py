"""The paper's loop: rules are sampled, scored and learned from, batch by batch, on one run folder.

Bello et al., ICML 2017, section 3.3 and Figure 4. First what proposes rules, then what scores them,
then the search.

Batches of 5 rules go through the workers' queue. Batch k is sampled after update k - 1 - lag, so
`lag + 1` batches are in flight; update k waits for all of batch k. The history thus depends on
(config, seed, lag) alone, not on how many workers there are or which of them is faster.
Nothing to run here. Read next: search.py, the command around it.
"""

import contextlib
import io
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from concurrent.futures import TimeoutError as NotDone
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import NamedTuple, Protocol

from config import MAX_SEED, setting

import torch

import results
from controller import Controller, ControllerConfig
from dsl import CONSTRAINTS, MAX_GROUPS, SUBSETS, Rule, SearchSpace
from pool import TaskError, WorkerDied
from results import Progress, Run, Say
from rivals import Evolution, Guided, GuidedConfig, RandomSearch
from rules import HUMAN, NAMED_RULES
from training import ChildResult

ALGORITHMS = ("trpo", "ppo", "reinforce", "random", "evolution", "guided")
BATCH = 5  # rules that the controller learns from at once, the paper's number
MANY = 1_000_000  # more than anybody will wait for
RECENT = 100  # rules over which the progress line and the diagnostics look back


# --- what proposes rules --------------------------------------------------------------------------


class Proposer(Protocol):
    """What writes rules and learns from their rewards: a controller, or one of its rivals."""

    def ask(self, n: int) -> list[Rule]: ...  # writes n rules
    def tell(self, rules: list[Rule], rewards: list[float | None]) -> dict: ...  # of an earlier `ask`
    def start(self, rules: list[Rule], rewards: list[float | None]) -> None: ...  # given by --start-from


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
) -> Proposer:
    """Return what proposes rules; `identity` tells which are one for a search, for example a family."""
    if config.algorithm == "random":
        return RandomSearch(space, config, config.seed, identity)
    if config.algorithm == "evolution":
        return Evolution(space, config, config.seed, identity)
    if config.algorithm == "guided":
        return Guided(space, config, config.seed, identity)
    return Controller(space, config.algorithm, config, config.seed, identity)


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
        prepare: what its worker was prepared with; again after a failure, which may be the data's.
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
    proposer: Proposer,
    sizes: Iterable[int],
    lag: int,
    push: Callable[[list[Rule]], list],
    collect: Callable[[list], list[float | None]],
) -> Iterator[tuple[list, list[float | None], dict]]:
    """Sample, score and learn, batch by batch: batch k is sampled after update k - 1 - lag.

    With a lag of 1: ask 0, ask 1, tell 0, ask 2, tell 1, ask 3, tell 2, and so on.

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

    A search that is resumed runs again from its first rule. What is in the records already is replayed
    instead of trained, so it goes on to the same result.
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
        self.write_policy()
        self.show_progress()

    def push(self, rules: list[Rule]) -> list[Pending]:
        """Queue rules to be scored, but none that is like those that were scored often enough."""
        first, self.asked = self.asked, self.asked + len(rules)
        pending = [self.push_rule(id, rule) for id, rule in enumerate(rules, first)]
        if first == 0:  # not before them, so that a first record soon shows whether all is well
            self.push_humans()
        return pending

    def push_humans(self) -> None:
        """Queue the human optimizers whose scores are not there yet."""
        scored = {line["name"] for line in results.read_humans(self.run.folder)}
        for name in (name for name in HUMAN if name not in scored):
            rule, seed = NAMED_RULES[name].rule, self.scorer.score_seed
            self.humans[name] = self.executor.submit(self.scorer.evaluate, rule, seed)

    def push_rule(self, id: int, rule: Rule) -> Pending:
        """Queue a rule's training, or take one of its family.

        Raises:
            ReplayError: the records are of another history.
        """
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
        # A family's first training has the seed whose turn it is, each further one the next seed.
        batch = self.batch_number(id) or 0
        first = trainings[0].seed if trainings else self.scorer.score_seed + batch % self.config.rotate
        seed = first + len(trainings)
        outcome = recorded or self.executor.submit(self.scorer.evaluate, str(rule), seed)
        trainings.append(Pending(id, rule, family, None, seed, outcome, recorded))
        return trainings[-1]

    def batch_number(self, id: int) -> int | None:
        """Return the number of a rule's batch, None for the known rules that were scored first."""
        sampled = id - len(self.config.start_from)
        return None if sampled < 0 else sampled // BATCH

    def collect(self, batch: list[Pending]) -> list[float | None]:
        """Wait for the scores of a batch, write its records and return its rewards."""
        return [self.collect_score(pending) for pending in batch]

    def collect_score(self, pending: Pending) -> float | None:
        """Wait for a score, write its record and return the reward, None if it failed."""
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
        record = {
            "id": id,
            "batch": self.batch_number(id),
            "rule": names["rule"],
            "infix": names["infix"],
            "key": names["key"],
            "family": self.families[pending.family],
            "seed": pending.seed,
            "status": outcome.pop("status"),
            "cached_from": pending.cached_from,
            "reward": scale.failure if reward is None else reward,
            **outcome,
            **self.told_scale(),
        }
        if pending.recorded is None:
            # Where the human optimizers fail as well it is no rule's fault, and must not be recorded.
            self.note_humans(wait=record["status"] in ("error", "crashed"))
            self.run.append("records.jsonl", record)
        if pending.cached_from is None:  # scores come in the order of pushes; the record stands for both
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

    def write_policy(self) -> None:
        """Write controller.pt, the weights of the controller, if there is one."""
        if isinstance(self.proposer, Controller):
            weights = io.BytesIO()
            torch.save(self.proposer.policy.state_dict(), weights)
            self.run.replace("controller.pt", weights.getvalue())

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
