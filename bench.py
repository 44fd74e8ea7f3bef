"""Timings: how long the parts of a search take, measured side by side in one run.

    python bench.py controller                           # one benchmark
    python bench.py child --dataset cifar10              # the cost of a rule; hours at full scale
    python bench.py child --epoch-size 1000 --num-validation 500     # a tenth of the protocol
    python bench.py rule                                 # exported rules beside torch's optimizers
    python bench.py all                                  # all of them

Machines drift, so what is compared takes turns: first one, then the other, many times, and a ratio is
taken of neighbours. Every figure is a median with the 10th and 90th percentile. Nothing is written;
RESULTS.md says what was measured on which machine.
"""

import contextlib
import ctypes
import math
import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

import data
from child import (
    ChildConfig,
    ChildResult,
    ConvNet,
    Training,
    evaluate_rule,
    open_pictures,
    resolve_precision,
    start_worker,
)
from config import ConfigError, Parser, add_settings, resolve, setting
from controller import Controller, ControllerConfig
from dsl import CONSTRAINTS, SUBSETS, RuleOptimizer, SearchSpace
from export import export
from pool import WorkerPool, usable_cores
from progress import Progress
from results import environment
from rules import NAMED_RULES, find


@dataclass(frozen=True)
class Config(ChildConfig):
    """The child that is timed, and how often."""

    seeds: int = setting(3, "child: seeds of every rule", low=1)
    depth1: int = setting(50, "child: random rules of one group", low=0)
    depth2: int = setting(20, "child: random rules of two groups", low=0)


def timed(fn: Callable, *args, clock: Callable[[], float] = time.perf_counter) -> tuple[float, object]:
    """Return how many seconds a call takes by a clock, and its value."""
    start = clock()
    value = fn(*args)
    return clock() - start, value


def take_turns(fns: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Time several functions in turn, after one round that does not count.

    Returns:
        Name -> seconds, float64 [rounds]; entries of one round are neighbours in time.
    """
    times: dict[str, list[float]] = {name: [] for name in fns}
    for number in range(rounds + 1):
        for name, fn in fns.items():
            seconds, _ = timed(fn)
            if number:
                times[name].append(seconds)
    return {name: np.array(values) for name, values in times.items()}


def spread(values: np.ndarray, scale: float = 1.0, digits: int = 1) -> str:
    """Return `median [10th-90th percentile]` of scale * values."""
    low, median, high = (f"{x:.{digits}f}" for x in np.percentile(scale * values, (10, 50, 90)))
    return f"{median} [{low}-{high}]"


def keep_memory() -> None:
    """Tell glibc to keep freed memory, so that neither side of a comparison waits for new pages.

    By default it returns large blocks to the system at once, which slows the textbook loop most: its
    maps are twice as large. An honest baseline must not suffer from that.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc, most = ctypes.CDLL("libc.so.6"), 32 * 2**20  # glibc allows no more
        libc.mallopt(-3, most)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, most)  # M_TRIM_THRESHOLD


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return aligned text, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])])
        for cells in (head, *rows)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


# --- the controller -------------------------------------------------------------------------------


def bench_controller(config: Config, rounds: int = 30) -> None:
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


# --- one rule -------------------------------------------------------------------------------------


class TextbookNet(ConvNet):
    """The same network as one would write it down: pictures and maps in torch's default layout."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.pool(self.conv1(x))))
        x = F.relu(self.norm2(self.pool(self.conv2(x))))
        return self.head(x.flatten(1))


def textbook(rule: str, config: ChildConfig, seed: int) -> float | None:
    """Score a rule as one would write it down: twelve epochs in float32, parameter by parameter.

    Returns:
        The accuracy, or None if the weights are not finite in the end, as `evaluate_rule` does.
    """
    pictures = open_pictures(config)
    training, validation = (
        TensorDataset(images.contiguous(), labels)
        for images, labels in map(pictures.batch, (pictures.training, pictures.validation))
    )

    def train(lr: float, epochs: int) -> float | None:
        torch.manual_seed(seed)
        net = TextbookNet(data.IMAGE_SHAPE[config.dataset], config.filters, config.downsample)
        optimizer = RuleOptimizer(net.parameters(), rule, lr)
        for _ in range(epochs):
            net.train()
            for images, labels in DataLoader(training, config.batch_size, shuffle=True):
                optimizer.zero_grad()
                F.cross_entropy(net(images), labels).backward()
                optimizer.step()
        if not all(p.isfinite().all() for p in net.parameters()):
            return None
        net.eval()
        with torch.no_grad():
            right = [net(x).argmax(1) == y for x, y in DataLoader(validation, config.batch_size)]
        return torch.cat(right).float().mean().item()

    sweep = {10.0**exponent: train(10.0**exponent, 1) for exponent in sorted(config.lr_exponents)}
    return train(max(sweep, key=lambda lr: sweep[lr] or 0.0), config.epochs)


def bench_child(config: Config) -> None:
    """Print what a score costs, the textbook loop beside ours, and where a step's time goes."""
    keep_memory()
    bench_steps(config)
    child = ChildConfig(**{name: getattr(config, name) for name in ChildConfig.__dataclass_fields__})
    rng, progress = random.Random(0), Progress()
    samples = {"Adam": [NAMED_RULES["adam"].rule], "Momentum": [NAMED_RULES["momentum"].rule]}
    for depth, number in ((1, config.depth1), (2, config.depth2)):
        constraints = tuple(CONSTRAINTS.values())
        space = SearchSpace(depth, **SUBSETS["full"], constraints=constraints)
        samples[f"random, depth {depth}"] = [str(space.sample(rng)) for _ in range(number)]
    open_pictures(child)
    textbook(samples["Adam"][0], replace(child, epochs=1, lr_exponents=(-3,)), 0)  # a round not counted
    rows = []
    for name, rules in samples.items():
        plain, ours = [], []
        tasks = [(rule, seed) for rule in rules for seed in range(config.seeds)]
        for number, (rule, seed) in enumerate(tasks, 1):
            progress.update(f"{name}: {number} of {len(tasks)}")
            plain.append(timed(textbook, rule, child, seed, clock=time.process_time))
            ours.append(timed(evaluate_rule, rule, child, seed, clock=time.process_time))
        if not tasks:
            continue
        plain_s, ours_s = (np.array([seconds for seconds, _ in pairs]) for pairs in (plain, ours))
        trained = np.array([result.status == "ok" for _, result in ours])
        rows.append([name, f"{len(rules)} x {config.seeds}", spread(plain_s), spread(ours_s, digits=2)])
        rows[-1] += [f"{plain_s.sum() / ours_s.sum():.1f}", spread(plain_s / ours_s), str(trained.sum())]
        rows[-1] += [spread((plain_s / ours_s)[trained], digits=2) if trained.any() else "-"]
        rows[-1] += compare([score for _, score in plain], [result for _, result in ours], config.seeds)
    progress.say(
        f"\nScoring a rule, {child.downsample} child, epochs of {child.epoch_size:,} images, "
        f"{child.num_validation:,} for validation: CPU seconds of\nthe textbook loop and of ours, all "
        "over all and each over each, also of those that ours trained to\nthe end; of these the "
        "textbook's accuracy and what ours has more (± standard error over rules, seeds\naveraged); the "
        "textbook's best of what ours rejected\n"
    )
    head = ["", "rules", "textbook, s", "ours, s", "all/all", "each/each", "trained", "each/each"]
    print(table([*head, "textbook", "ours more", "best rejected"], rows))


def compare(plain: list[float | None], ours: list[ChildResult], seeds: int) -> list[str]:
    """Return the textbook's accuracy where both trained, how much more ours has, the best rejected.

    Args:
        plain, ours: scores, the seeds of a rule next to each other.
    """
    rejected = [a for a, b in zip(plain, ours, strict=True) if b.status == "rejected" and a is not None]
    best = f"{max(rejected):.3f}" if rejected else "-"
    pairs = [(a, b.accuracy) for a, b in zip(plain, ours, strict=True)]
    rules = [pairs[i : i + seeds] for i in range(0, len(pairs), seeds)]
    means = [np.mean(rule, axis=0) for rule in rules if not any(None in pair for pair in rule)]
    if not means:
        return ["-", "-", best]
    accuracy, more = np.mean(means, axis=0)[0], np.diff(means, axis=1)[:, 0]
    error = more.std(ddof=1) / len(more) ** 0.5 if len(more) > 1 else math.nan
    return [f"{accuracy:.3f}", f"{more.mean():+.4f} ± {error:.4f}", best]


def step_parts(training: Training) -> dict[str, Callable]:
    """Return the parts of one training step, to be called in this order."""
    batch = training.pictures.training[: training.config.batch_size]
    state: dict = {}

    def read() -> None:
        state["images"], state["labels"] = training.pictures.batch(batch)

    def forward() -> None:
        training.weights.grad.zero_()
        state["loss"] = F.cross_entropy(training.forward(state["images"]), state["labels"])

    def backward() -> None:
        state["loss"].backward()

    return {"data": read, "forward": forward, "backward": backward, "rule": training.optimizer.step}


def bench_steps(config: Config, rounds: int = 60) -> None:
    """Print a training step's share of the arithmetic limit, its parts, and what rules add."""
    space, rng, rows = SearchSpace(3, constraints=tuple(CONSTRAINTS.values())), random.Random(0), []
    for downsample in ("pool", "stride"):
        for precision in ("float32", "bfloat16"):
            child = replace(config, downsample=downsample, precision=precision)
            training = Training("adam 1 id id mul", 1e-3, child, seed=0)
            parts = step_parts(training)
            with FlopCounterMode(display=False) as counter:
                for part in ("data", "forward", "backward"):
                    parts[part]()
            square = torch.randn(1024, 1024).to(getattr(torch, precision))
            parts["limit"] = lambda square=square: square @ square
            times = take_turns(parts, rounds)
            limit = counter.get_total_flops() / (2 * 1024**3 / np.median(times.pop("limit")))
            step = sum(times.values())
            rules = []
            for rule in (space.sample(rng) for _ in range(100)):
                weights = training.weights.detach().clone().requires_grad_()  # some rules spoil them
                weights.grad = training.weights.grad.clone()
                optimizer = RuleOptimizer([weights], rule, lr=1e-9)
                rules.append(np.median([timed(optimizer.step)[0] for _ in range(5)]) / np.median(step))
            shares = [f"{np.median(value) / np.median(step):.0%}" for value in times.values()]
            share = f"{limit / np.median(step):.0%}"
            extreme = f"{np.median(rules):.1%} [{min(rules):.1%}-{max(rules):.1%}]"
            rows.append([f"{downsample} {precision}", spread(step, 1e3), share, *shares, extreme])
    print(
        "A training step, ms; the share of it that arithmetic alone would take at the speed of a matrix"
    )
    print("product measured beside it; its parts with Adam; 100 random rules of depth 3, median [all]\n")
    head = ["", "step", "limit", "data", "forward", "backward", "Adam", "depth 3"]
    print(table(head, rows))


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


def bench_pool(config: Config, rounds: int = 3, num_tasks: int = 100) -> None:
    """Print what the number of workers costs and brings, with the child of `--preset smoke`."""
    data.prepare(data.SAMPLE, Path(config.data))
    small = {"downsample": "stride", "filters": 8, "epoch_size": 1_000, "num_validation": 1_000}
    child = ChildConfig(data.SAMPLE, config.data, precision=config.precision, **small)
    setup = {"initializer": start_worker, "preload": ("child", "torch._dynamo")}
    with WorkerPool(1, **setup) as pool:
        server_s, _ = timed(pool.submit(os.getpid).result)
    pools, start_s, pids, turns = {}, {}, {}, {}
    for workers in (1, 2, 4, 16, 100):

        def begin(workers: int = workers) -> None:
            pools[workers] = WorkerPool(workers, **setup)
            list(pools[workers].map(time.sleep, [1e-3] * workers))

        def turn(workers: int = workers) -> None:
            pids.setdefault(workers, set()).update(pools[workers].map(work, [child] * num_tasks))

        (start_s[workers], _), turns[workers] = timed(begin), turn
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


# --- exported rules -------------------------------------------------------------------------------

# A convolutional network's shapes: many small tensors, and a few that hold nearly all parameters.
SMALL = [(64, 64, 3, 3), (128, 32, 3, 3), (96, 256)] + [(64,)] * 20
LARGE = [(512, 512, 3, 3)] * 3 + [(256, 512, 3, 3), (256, 256, 3, 3), (1000, 1024)] + [(512,)] * 40


def bench_rule(config: Config) -> None:
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


BENCHES = {
    "controller": bench_controller,
    "child": bench_child,
    "rule": bench_rule,
    "pool": bench_pool,
}


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="bench.py", description=__doc__)
    parser.add_argument("name", nargs="?", default="all", choices=(*BENCHES, "all"), help="what to time")
    add_settings(parser, Config)
    args = parser.parse_args(argv)
    start_worker()  # one thread, as in search.py's workers
    try:
        config = resolve(Config, args)
        dataset = data.choose(config.dataset, Path(config.data))
        config = replace(config, dataset=dataset, precision=resolve_precision(config.precision))
        data.prepare(config.dataset, Path(config.data))
        open_pictures(config)
    except (ConfigError, data.DataError) as error:
        parser.error(str(error))
    facts = environment(threads=1)
    print(f"{facts['processor']}, {facts['cores']} cores, torch {facts['torch']}, one thread\n")
    for name in BENCHES if args.name == "all" else [args.name]:
        BENCHES[name](config)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
