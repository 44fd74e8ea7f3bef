"""Search NOS-Bench: the loop of search.py with a table in the child's place, so it takes seconds.

    python -m nosbench.search                            # 10,000 rules of depth 1
    python -m nosbench.search --algorithm random
    python -m nosbench.search --resume runs/...          # go on after Ctrl-C or a crash

A run folder is that of search.py, so the same figures draw it. Read next: study.py, many searches.
"""

import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import search
from child import ChildResult
from config import setting
from dsl import Rule, SearchSpace
from nosbench.table import NO_RATE, NONE, TIER, Table, check
from results import interrupt_once
from screen import screen


@dataclass(frozen=True)
class TableScorer:
    """A table that scores the rules of a search; search.Scorer says what each method is for."""

    table: str = setting(TIER, "tier of NOS-Bench that has the scores", "table", choices=(TIER,))
    table_seed: int = setting(0, "the first whose scores are the rewards", "table", low=0)
    screen: bool = setting(False, "reject rules that cheap tests show to be hopeless", "table")

    def __str__(self) -> str:
        return f"NOS-Bench, {self.table} tier, seed {self.table_seed} of the table"

    @property
    def score_seed(self) -> int:
        return self.table_seed

    @property
    def num_seeds(self) -> int:
        return Table.load(self.table).num_seeds - self.table_seed

    def resolve(self, space: SearchSpace) -> "TableScorer":
        check(self.table, space, self.table_seed)
        return self

    def prepare(self) -> None:
        Table.load(self.table)

    def evaluate(self, rule: str, seed: int) -> ChildResult:
        table, start_s = Table.load(self.table), time.time()
        number, rates = table.number(rule), table.header["protocol"]["rates"]
        failed_test = screen(Rule.parse(rule)) if self.screen else None
        correct, rate = (int(x[number, seed]) for x in (table.correct, table.rate))
        share = lambda n: None if n == NONE else n / table.header["protocol"]["validation"]  # noqa: E731
        sweep = list(zip(rates, map(share, table.sweep[number, seed].tolist()), strict=True))
        accuracy = None if failed_test else share(correct)
        return ChildResult(
            status="rejected" if failed_test else "diverged" if accuracy is None else "ok",
            error=failed_test,
            accuracy=accuracy,
            lr=None if accuracy is None else rates[rate],
            sweep=[] if failed_test else sweep,
            curve=[] if failed_test or rate == NO_RATE else [sweep[rate][1], accuracy],
            start_s=start_s,
            wall_s=time.time() - start_s,
            cpu_s=0.0,
            worker="table",
        )

    def identity(self) -> Callable[[Rule], int]:
        return Table.load(self.table).family_of


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
    "python -m nosbench.show",
    Here(),
)


def main(argv: list[str] | None = None) -> int:
    return search.main(argv, SCRIPT)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, interrupt_once)
    sys.exit(main())
