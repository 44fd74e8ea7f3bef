"""Timings: how long the parts of a search take, measured side by side in one run.

    python bench.py controller           # one benchmark
    python bench.py all                  # all of them

Machines drift, so what is compared takes turns: first one, then the other, many times, and a ratio is
taken of neighbours. Every figure is a median with the 10th and 90th percentile. Nothing is written;
RESULTS.md says what was measured on which machine.
"""

import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from child import ChildConfig, evaluate_rule, resolve_precision, start_worker
from config import Parser
from controller import Controller, ControllerConfig
from data import SAMPLE, prepare
from dsl import CONSTRAINTS, SearchSpace
from pool import WorkerPool, usable_cores
from results import environment


def timed(fn: Callable[[], object]) -> float:
    """Return how many seconds a call takes."""
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start


def take_turns(fns: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Time several functions in turn, after one round that does not count.

    Returns:
        Name -> seconds, float64 [rounds]; entries of one round are neighbours in time.
    """
    times: dict[str, list[float]] = {name: [] for name in fns}
    for number in range(rounds + 1):
        for name, fn in fns.items():
            seconds = timed(fn)
            if number:
                times[name].append(seconds)
    return {name: np.array(values) for name, values in times.items()}


def spread(values: np.ndarray, scale: float = 1.0, digits: int = 1) -> str:
    """Return `median [10th-90th percentile]` of scale * values."""
    low, median, high = (f"{x:.{digits}f}" for x in np.percentile(scale * values, (10, 50, 90)))
    return f"{median} [{low}-{high}]"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return aligned text, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])])
        for cells in (head, *rows)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


# --- the controller -------------------------------------------------------------------------------


def bench_controller(rounds: int = 30) -> None:
    """Print what one batch costs the parent: sampling 5 rules and learning from them."""
    rows = []
    for depth in (1, 2, 3):
        space = SearchSpace(depth, constraints=tuple(CONSTRAINTS.values()))
        steps = {}
        for algorithm in ("trpo", "ppo", "reinforce"):
            controller = Controller(space, algorithm, ControllerConfig(), seed=0)

            def step(controller: Controller = controller) -> None:
                controller.tell(controller.ask(5), [0.1, 0.2, 0.3, 0.4, 0.5])

            steps[algorithm] = step
        times = take_turns(steps, rounds)
        rows.append([f"depth {depth}", *(spread(times[name], 1e3) for name in steps)])
    print(f"One batch of 5 rules, sampling and update, ms, median [10-90 %] of {rounds}\n")
    print(table(["", "TRPO", "PPO", "REINFORCE"], rows))
    print()
    simulate_workers()


def simulate_workers(workers: int = 128, rule_s: float = 20.0, lag: int = 51, batches: int = 76) -> None:
    """Print how well one controller feeds many workers, whose rules are tasks that only sleep."""
    space = SearchSpace(2, constraints=tuple(CONSTRAINTS.values()))
    controller = Controller(space, "trpo", ControllerConfig(), seed=0)
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
    rate, most = 5 * batches / wall_s, workers / rule_s
    print(
        f"{workers} workers that sleep {rule_s:.0f} s a rule: {rate:.2f} of {most:.2f} rules a second,"
    )
    print(f"{rate / most:.0%}; the parent is busy {cpu_s / wall_s:.0%} of the time")


# --- the workers ----------------------------------------------------------------------------------


def work(config: ChildConfig) -> int:
    """Score a rule, as a worker does, and return the worker's process."""
    evaluate_rule("g m id id left", config, seed=0)
    return os.getpid()


def memory_mb(pid: int) -> float:
    """Return the memory of a process, what it shares divided among the sharers; NaN off Linux."""
    path = Path(f"/proc/{pid}/smaps_rollup")
    lines = path.read_text().splitlines() if path.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e3 or math.nan


def bench_pool(rounds: int = 3, num_tasks: int = 100) -> None:
    """Print what the number of workers costs and brings, with half the child of `--preset smoke`."""
    prepare(SAMPLE, Path("data"))
    precision = resolve_precision("auto")
    config = ChildConfig(SAMPLE, downsample="stride", filters=8, epoch_size=500, num_validation=500)
    config = replace(config, precision=precision)
    setup = {"initializer": start_worker, "preload": ("child", "torch._dynamo")}
    with WorkerPool(1, **setup) as pool:
        server_s = timed(pool.submit(os.getpid).result)
    pools, start_s, pids, turns = {}, {}, {}, {}
    for workers in (1, 2, 4, 16, 100):

        def begin(workers: int = workers) -> None:
            pools[workers] = WorkerPool(workers, **setup)
            list(pools[workers].map(time.sleep, [1e-3] * workers))

        def turn(workers: int = workers) -> None:
            pids.setdefault(workers, set()).update(pools[workers].map(work, [config] * num_tasks))

        start_s[workers], turns[workers] = timed(begin), turn
    times = take_turns(turns, rounds)
    rows = []
    for workers in pools:
        memory = np.array([memory_mb(pid) for pid in pids[workers]])
        speed = spread(num_tasks / times[workers], digits=2)
        ratio = spread(times[2] / times[workers], digits=2)
        rows.append(
            [f"{workers} workers", f"{start_s[workers]:.1f}", speed, ratio, f"{memory.mean():.0f}"]
        )
    for pool in pools.values():
        pool.stop()
    print(
        f"{usable_cores()} usable cores, {num_tasks} tasks a turn, median [10-90 %] of {rounds} turns;"
    )
    print(f"once for all, {server_s:.1f} s for the server that forks the workers\n")
    print(table(["", "start-up, s", "tasks a second", "of 2 workers'", "MB a worker"], rows))


BENCHES = {"controller": bench_controller, "pool": bench_pool}


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="bench.py", description=__doc__)
    parser.add_argument("name", choices=(*BENCHES, "all"), help="what to time")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # as in search.py and its workers
    facts = environment(threads=1)
    print(f"{facts['processor']}, {facts['cores']} cores, torch {facts['torch']}, one thread\n")
    for name in BENCHES if args.name == "all" else [args.name]:
        BENCHES[name]()
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
