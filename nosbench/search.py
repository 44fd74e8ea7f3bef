"""Search NOS-Bench: search.py with a table in the child's place, so it takes seconds.

    python -m nosbench.search                            # 10,000 rules of depth 1
    python -m nosbench.search --algorithm random
    python -m nosbench.search --table none --iterations 2    # deeper: its child is trained, 40 ms a rule
    python -m nosbench.search --resume runs/...          # go on after Ctrl-C or a crash

A run folder is that of search.py, so the same figures draw it. Read next: study.py, many searches.
"""

import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import lru_cache

from config import MAX_SEED, as_program, setting

import search
from dsl import Rule, SearchSpace
from nosbench import micro
from nosbench.table import NO_RATE, NONE, TIER, Table, check
from results import Say, Scale
from sameness import Families
from screen import screen
from training import ChildResult

NO_TABLE = "none"


@dataclass(frozen=True)
class TableScorer:
    """What scores a search's rules: a table, or for deeper ones the child that the table tells of.

    loop.Scorer says what each method is for.
    """

    table: str = setting(
        TIER, "tier of NOS-Bench that has the scores; none trains the micro tier's child instead",
        "table", choices=(TIER, NO_TABLE),
    )  # fmt: skip
    table_seed: int = setting(0, "the first whose scores are the rewards", "table", low=0)
    screen: bool = setting(False, "reject rules that cheap tests show to be hopeless", "table")

    score_name, scale = "accuracy", Scale()

    def __str__(self) -> str:
        if self.table == NO_TABLE:
            return f"NOS-Bench's micro child, seed {self.table_seed}"
        return f"NOS-Bench, {self.table} tier, seed {self.table_seed} of the table"

    @property
    def score_seed(self) -> int:
        return self.table_seed

    @property
    def num_seeds(self) -> int:
        there = MAX_SEED + 1 if self.table == NO_TABLE else Table.load(self.table).num_seeds
        return there - self.table_seed

    def resolve(self, space: SearchSpace, say: Say) -> "TableScorer":
        if self.table != NO_TABLE:
            check(self.table, space, self.table_seed)
        return self

    def fetch(self, say: Say) -> "TableScorer":
        return self  # the table ships with the project

    def prepare(self) -> None:
        if self.table != NO_TABLE:
            Table.load(self.table)

    def evaluate(self, rule: str, seed: int) -> ChildResult:
        start_s, start_cpu_s = time.time(), time.process_time()
        failed_test = screen(Rule.parse(rule)) if self.screen else None
        said = {"status": "rejected", "accuracy": None, "lr": None, "sweep": [], "curve": []}
        if failed_test is None:
            said = self._score(rule, seed)
        return ChildResult(
            **said,
            error=failed_test,
            start_s=start_s,
            wall_s=time.time() - start_s,
            cpu_s=time.process_time() - start_cpu_s if self.table == NO_TABLE else 0.0,
            worker="table",
        )

    def _score(self, rule: str, seed: int) -> dict:
        """Return what the table or the child says of a rule, by the names of a ChildResult."""
        if self.table == NO_TABLE:
            protocol = micro.PROTOCOL
            correct, _, rate, sweep = (counts[0] for counts in micro.measure([rule], seed))
        else:
            table = Table.load(self.table)
            # Of one group, and legal. `Rule.parse` would keep it, but a search asks for each only once.
            protocol, number = table.header["protocol"], table.number(Rule(tuple(rule.split())))
            correct, rate, sweep = (x[number, seed] for x in (table.correct, table.rate, table.sweep))
        share = lambda n: None if n == NONE else int(n) / protocol["validation"]  # noqa: E731
        sweep, accuracy = list(zip(protocol["rates"], map(share, sweep), strict=True)), share(correct)
        return {
            "status": "diverged" if accuracy is None else "ok",
            "accuracy": accuracy,
            "lr": None if accuracy is None else protocol["rates"][rate],
            "sweep": sweep,
            "curve": [] if rate == NO_RATE else [sweep[rate][1], accuracy],
        }

    def identity(self) -> Callable[[Rule], int]:
        if self.table == NO_TABLE:
            return Families()
        # A search asks four times for each rule, soon after another.
        return lru_cache(maxsize=10_000)(Table.load(self.table).family_of)


class Here(Executor):
    """In the place of workers: does at once, in this process, what is submitted."""

    def submit(self, fn: Callable, /, *args, **kwargs) -> Future:
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # it is for whoever asks for the result
            future.set_exception(error)
        return future

    def stop(self) -> None:
        """Nothing is under way."""


SCRIPT = search.Script(
    "python -m nosbench.search",
    __doc__,
    TableScorer,
    {"table": search.SHORT | search.PLAIN | {"samples": 10_000}},
    Here(),
)


def main(argv: list[str] | None = None) -> int:
    return search.main(argv, SCRIPT)


if __name__ == "__main__":
    sys.exit(as_program(main))
