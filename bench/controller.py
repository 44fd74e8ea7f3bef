"""What a batch costs the parent, and how many workers one controller keeps busy.

    python -m bench.controller

Read next: rule.py beside this file.
"""

import sys
import time
from collections import deque
from collections.abc import Iterator

from config import as_program

from bench.launch import Config, launch
from bench.timing import spread, table, take_turns
from controller import Controller, ControllerConfig
from dsl import CONSTRAINTS, Rule, SearchSpace
from pool import WorkerPool


def measure(config: Config, rounds: int = 30) -> Iterator[dict]:
    """Measure what one batch costs the parent: sampling 5 rules and learning from them."""
    for depth in (1, 2, 3):
        space = SearchSpace(depth, constraints=tuple(CONSTRAINTS.values()))
        steps = {}
        for algorithm in ("trpo", "ppo", "reinforce"):
            controller = Controller(space, algorithm, ControllerConfig(), 0, Rule.fingerprint)

            def step(controller: Controller = controller) -> None:
                controller.tell(controller.ask(5), [0.1, 0.2, 0.3, 0.4, 0.5])

            steps[algorithm] = step
        yield {"part": "batch", "depth": depth, "times": take_turns(steps, rounds)}
    yield {"part": "feeding", **feed_sleepers()}


def feed_sleepers(workers: int = 128, rule_s: float = 20.0, lag: int = 51, batches: int = 76) -> dict:
    """Return how well one controller feeds many workers, whose rules are tasks that only sleep."""
    space = SearchSpace(2, constraints=tuple(CONSTRAINTS.values()))
    controller = Controller(space, "trpo", ControllerConfig(), 0, Rule.fingerprint)
    preload = ("child",)  # or each of them would import torch for itself: 230 MB, though it only sleeps
    with WorkerPool(workers, preload=preload, at_once=workers) as pool:
        for future in [pool.submit(time.sleep, 1) for _ in range(workers)]:  # until all have started
            future.result()
        start_s, start_cpu_s, in_flight = time.perf_counter(), time.process_time(), deque()
        for batch in range(batches + lag + 1):
            if batch < batches:
                rules = controller.ask(5)
                in_flight.append((rules, [pool.submit(time.sleep, rule_s) for _ in rules]))
            if batch > lag:
                rules, futures = in_flight.popleft()
                for future in futures:
                    future.result()
                controller.tell(rules, [0.1, 0.2, 0.3, 0.4, 0.5])
        wall_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    rate = 5 * batches / wall_s
    return {
        "workers": workers,
        "rule_s": rule_s,
        "rate": rate,
        "most": workers / rule_s,
        "busy": cpu_s / wall_s,
    }


def show(records: list[dict]) -> str:
    """Return the tables: what a batch costs, and how busy the parent and its workers are."""
    batches = [record for record in records if record["part"] == "batch"]
    rows = [[f"depth {r['depth']}", *(spread(t, 1e3) for t in r["times"].values())] for r in batches]
    text = "One batch of 5 rules, sampling and update, ms\n\n"
    text += table(["", *map(str.upper, batches[0]["times"])], rows) if batches else ""
    for r in (record for record in records if record["part"] == "feeding"):
        text += (
            f"\n\n{r['workers']} workers that sleep {r['rule_s']:.0f} s a rule, once: {r['rate']:.2f} "
        )
        text += f"of {r['most']:.2f} rules a second,\n{r['rate'] / r['most']:.0%}; the parent is busy "
        text += f"{r['busy']:.0%} of the time"
    return text


def main(argv: list[str] | None = None) -> int:
    return launch("controller", __doc__, Config, measure, show, argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
