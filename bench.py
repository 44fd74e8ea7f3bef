"""Timings: how long the parts of a search take, measured side by side in one run.

    python bench.py controller           # one benchmark
    python bench.py rule                 # exported rules beside torch's optimizers
    python bench.py all                  # all of them

Machines drift, so what is compared takes turns: first one, then the other, many times, and a ratio is
taken of neighbours. Every figure is a median with the 10th and 90th percentile. Nothing is written;
RESULTS.md says what was measured on which machine.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from config import Parser
from controller import Controller, ControllerConfig
from dsl import CONSTRAINTS, SearchSpace
from export import export
from results import environment
from rules import find


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


# --- exported rules -------------------------------------------------------------------------------

# A convolutional network's shapes: many small tensors, and a few that hold nearly all parameters.
SMALL = [(64, 64, 3, 3), (128, 32, 3, 3), (96, 256)] + [(64,)] * 20
LARGE = [(512, 512, 3, 3)] * 3 + [(256, 512, 3, 3), (256, 256, 3, 3), (1000, 1024)] + [(512,)] * 40


def bench_rule() -> None:
    """Print what a step of exported rules costs beside torch's optimizers."""
    for shapes, rounds in ((SMALL, 500), (LARGE, 30)):
        steps, generator = {}, torch.Generator().manual_seed(0)
        weights = [torch.randn(shape, generator=generator) for shape in shapes]

        def add(name: str, make: Callable, weights: list = weights, steps: dict = steps) -> None:
            params = [w.clone().requires_grad_() for w in weights]
            for p, w in zip(params, weights, strict=True):
                p.grad = 0.1 * w
            steps[name] = make(params).step

        for name in ("adam", "rmsprop", "powersign"):
            scope: dict = {"__name__": name}
            exec(export(find(name), "Exported", []), scope)  # as importing the written file would
            add(f"exported {name}", lambda params, cls=scope["Exported"]: cls(params, lr=1e-3))
        for cls in (torch.optim.Adam, torch.optim.RMSprop):
            for how in ("foreach", "fused"):
                if how == "foreach" or cls is torch.optim.Adam:  # torch has no fused RMSprop
                    add(f"torch {cls.__name__} {how}", lambda ps, c=cls, h=how: c(ps, 1e-3, **{h: True}))
        # Adam without momentum is RMSProp as a rule has it, with bias correction.
        no_momentum = {"betas": (0.0, 0.999), "foreach": True}
        add("torch Adam foreach, beta1 0", lambda ps, kw=no_momentum: torch.optim.Adam(ps, 1e-3, **kw))

        times = take_turns(steps, rounds)
        base = times["torch Adam foreach"]
        rows = [[name, spread(t, 1e3, 2), spread(t / base, 1, 2)] for name, t in times.items()]
        number = sum(w.numel() for w in weights)
        print(f"{number / 1e6:.1f} million parameters, {len(weights)} tensors; {rounds} rounds\n")
        print(table(["", "ms a step", "of foreach Adam"], rows) + "\n")


BENCHES = {"controller": bench_controller, "rule": bench_rule}


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
