"""What the protocol adds to a task of one's own: an epoch of it beside a loop that one would write.

    python -m bench.own

The loop has torch's Adam; ours has Adam as a rule, and torch's Adam as another optimizer's class, whose
steps are the very same ones. Times are taken in turns. Read next: tasks/charlm.py, one of the tasks.
"""

import sys
import time
from collections.abc import Callable, Iterator

from config import as_program

import numpy as np
import torch

from bench.launch import Config as Memory
from bench.launch import launch
from bench.timing import spread, table, timed
from rules import NAMED_RULES
from tasks.own import HERE, TaskConfig, open_task
from training import Task, Training

NAMES, ROUNDS, LR = ("charlm", "imports", "oscillator"), 30, 1e-3
OURS = {"ours, Adam as a rule": NAMED_RULES["adam"].rule, "ours, torch's Adam": "torch.optim.Adam"}


def by_hand(task: Task) -> Callable[[], None]:
    """Return an epoch of training and a score, as one would write it down."""
    torch.manual_seed(0)
    net, epoch = task.model(), 0
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)

    def train() -> None:
        nonlocal epoch
        net.train()
        for batch in task.batches(net, 0, epoch):
            optimizer.zero_grad()
            task.loss(net, batch).backward()
            optimizer.step()
        net.eval()
        task.score(net)
        epoch += 1

    return train


def measure(config: Memory) -> Iterator[dict]:
    """Measure an epoch of each task that ships, by hand and by the protocol."""
    for name in NAMES:
        task, _ = open_task(str(HERE / "tasks" / f"{name}.py"))
        steps = sum(1 for _ in task.batches(task.model(), 0, 0))
        own = TaskConfig(task=str(HERE / "tasks" / f"{name}.py"), epochs=task.epochs, steps=steps)
        ways = {"by hand": by_hand(task)}
        ways |= {who: Training(rule, LR, own, seed=0).epoch for who, rule in OURS.items()}
        times: dict[str, list[float]] = {who: [] for who in ways}
        for _ in range(ROUNDS + 1):  # CPU seconds, since a busy machine counts them still
            for who, epoch in ways.items():
                times[who].append(timed(epoch, clock=time.process_time)[0])
        times = {who: values[1:] for who, values in times.items()}  # the first round does not count
        yield {"part": "own", "task": name, "steps": steps, "times": times}


def show(records: list[dict]) -> str:
    """Return a table: an epoch's time, and its ratio to that of the loop written by hand."""
    rows = []
    for record in records:
        times = {who: np.array(values) for who, values in record["times"].items()}
        for who, values in times.items():
            ratio = spread(values / times["by hand"], digits=3)
            rows.append([f"{record['task']}, {who}", spread(values, 1e3), ratio])
    text = f"An epoch and a score; {ROUNDS} rounds, each way in turn.\n\n"
    return text + table(["", "CPU ms", "of the loop by hand"], rows)


def main(argv: list[str] | None = None) -> int:
    return launch("own", __doc__, Memory, measure, show, argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
