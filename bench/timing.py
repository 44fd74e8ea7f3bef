"""Timing side by side: machines drift, so what is compared takes turns, many times.

Nothing to run here. Read next: child.py beside this file.
"""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from results import aligned


def timed(fn: Callable, *args, clock: Callable[[], float] = time.perf_counter) -> tuple[float, object]:
    """Return how many seconds a call takes by a clock, and its value."""
    start = clock()
    value = fn(*args)
    return clock() - start, value


def turns(fns: dict[str, Callable[[], object]], rounds: int) -> Iterator[tuple[str, float]]:
    """Call several functions in turn; yield name and seconds, rounded to microseconds.

    The first round does not count; those of one round are neighbours in time.
    """
    for number in range(rounds + 1):
        for name, fn in fns.items():
            seconds, _ = timed(fn)
            if number:
                yield name, round(seconds, 6)


def take_turns(fns: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Call several functions in turn; return the seconds of each, round by round."""
    times: dict[str, list[float]] = {name: [] for name in fns}
    for name, seconds in turns(fns, rounds):
        times[name].append(seconds)
    return times


def spread(values: Sequence[float], scale: float = 1.0, digits: int = 1) -> str:
    """Return `median [low-high]` of scale * values: 10th and 90th percentile, or the ends of a few."""
    ends = (10, 50, 90) if len(values) >= 10 else (0, 50, 100)
    low, median, high = (f"{x:.{digits}f}" for x in np.percentile(scale * np.array(values), ends))
    return f"{median} [{low}-{high}]"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return figures below their heads, a line between them."""
    head, *lines = aligned([head, *rows], figures=True)
    return "\n".join([head, "-" * len(head), *lines])
