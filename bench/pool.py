"""What the number of workers costs and brings, with the child of `--preset smoke`.

    python -m bench.pool

Read next: controller.py beside this file.
"""

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config import as_program

import numpy as np

import data
from bench.launch import launch
from bench.timing import spread, table, timed, turns
from child import CHILDREN, ChildConfig, resolve_precision
from pool import WorkerPool, usable_cores
from search import PRELOAD
from training import evaluate_rule, start_worker


@dataclass(frozen=True)
class Config:
    """There is nothing to set."""


def work(child: ChildConfig) -> int:
    """Score a rule, as a worker does, and return the worker's process."""
    evaluate_rule("g m id id left", child, seed=0)
    return os.getpid()


def memory_mb(pid: int) -> float:
    """Return the memory that a process shares with no other (unique set size); NaN off Linux."""
    path = Path(f"/proc/{pid}/smaps_rollup")
    lines = path.read_text().splitlines() if path.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1e3 or math.nan


def measure(config: Config, rounds: int = 4, num_tasks: int = 40) -> Iterator[dict]:
    """Measure what the number of workers costs and brings: start-up, speed, memory."""
    data.prepare(data.SAMPLE, data.HERE)
    precision = resolve_precision("auto")
    child = ChildConfig(data=str(data.HERE), precision=precision, **CHILDREN["smoke"])
    setup = {"initializer": start_worker, "preload": PRELOAD}
    with WorkerPool(1, **setup) as pool:
        server_s, _ = timed(pool.submit(os.getpid).result)
    yield {"part": "server", "start_s": server_s, "cores": usable_cores()} | {"precision": precision}
    pools, pids, rounds_of = {}, {}, {}
    with contextlib.ExitStack() as stack:
        for workers in (1, 2, 4, 16, 100):

            def begin(workers: int = workers) -> None:
                pools[workers] = stack.enter_context(WorkerPool(workers, **setup))
                list(pools[workers].map(time.sleep, [1e-3] * workers))

            def work_all(workers: int = workers) -> None:
                pids.setdefault(workers, set()).update(pools[workers].map(work, [child] * num_tasks))

            yield {"part": "start", "workers": workers, "start_s": timed(begin)[0]}
            rounds_of[workers] = work_all
        for workers, seconds in turns(rounds_of, rounds):
            yield {"part": "turn", "workers": workers, "tasks": num_tasks, "turn_s": seconds}
        for workers in pools:
            own = [memory_mb(pid) for pid in pids[workers]]
            yield {"part": "memory", "workers": workers, "memory_mb": own}


def show(records: list[dict]) -> str:
    """Return the table: start-up, speed and memory by the number of workers."""
    parts: dict[str, list[dict]] = {}
    for record in records:
        parts.setdefault(record["part"], []).append(record)
    times: dict[int, list[float]] = {}
    for turn in parts.get("turn", []):
        times.setdefault(turn["workers"], []).append(turn["turn_s"] / turn["tasks"])
    memory = {record["workers"]: record["memory_mb"] for record in parts.get("memory", [])}
    rows = []
    for start in parts.get("start", []):
        workers = start["workers"]
        mine, two = np.array(times.get(workers, [])), np.array(times.get(2, []))
        both = min(len(mine), len(two))
        cells = [f"{start['start_s']:.1f}", spread(1 / mine, digits=2) if len(mine) else "-"]
        cells += [spread(two[:both] / mine[:both], digits=2) if both else "-"]
        own = [mb for mb in memory.get(workers, []) if mb is not None]
        rows.append([f"{workers} workers", *cells, f"{np.mean(own):.0f}" if own else "-"])
    server = parts["server"][0]
    text = f"{server['cores']} usable cores; once for all, {server['start_s']:.1f} s for the server "
    text += "that forks the workers\n\n"
    return text + table(["", "start-up, s", "tasks a second", "of 2 workers'", "own MB each"], rows)


def main(argv: list[str] | None = None) -> int:
    return launch("pool", __doc__, Config, measure, show, argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
