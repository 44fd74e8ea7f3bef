"""Timings: how long the parts of a search take, measured side by side in one run.

    python bench.py controller                           # one benchmark
    python bench.py child --dataset cifar10              # the cost of a rule; hours at full scale
    python bench.py child --epoch-size 1000 --num-validation 500     # a tenth of the protocol
    python bench.py rule                                 # exported rules beside torch's optimizers
    python bench.py all                                  # all of them
    python bench.py show FOLDER                          # the tables of a run folder again

Machines drift, so what is compared takes turns: first one, then the other, many times. A figure with
brackets is a median with the 10th and 90th percentile, of fewer than ten values with the lowest and
highest. Writes a run folder: records.jsonl, a line a measurement with its times, and the tables as
summary.txt. A run that was interrupted can be shown but not gone on with: what is compared shall share
its conditions. Read next: textbook.py.
"""

import contextlib
import ctypes
import math
import os
import random
import sys
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import data
import results
from child import (
    ChildConfig,
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
from rules import NAMED_RULES, find
from textbook import textbook

# Larger blocks go back to the system when they are freed, in bytes.
MEMORY = {"kept": 10**9, "returned": 4 * 2**20}


@dataclass(frozen=True)
class Config(ChildConfig):
    """The child that is timed, how often, and what becomes of freed memory."""

    seeds: int = setting(3, "child: seeds of every rule", low=1)
    depth1: int = setting(50, "child: random rules of one group", low=0)
    depth2: int = setting(20, "child: random rules of two groups", low=0)
    memory: str = setting("kept", "what the C library does with freed memory", choices=tuple(MEMORY))


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


def set_memory(how: str) -> None:
    """Tell glibc to keep freed memory or to return large blocks to the system; elsewhere do nothing.

    Left alone it does the one or the other, depending on what the process did before, and each new page
    costs time: most for whoever works on the largest blocks. A comparison must not hang on that.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        for parameter in (-3, -1):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            if not libc.mallopt(parameter, MEMORY[how]):
                libc.mallopt(parameter, 32 * 2**20)  # the most that older versions allow


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return aligned text, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])])
        for cells in (head, *rows)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


# --- the controller -------------------------------------------------------------------------------


def measure_controller(config: Config, rounds: int = 30) -> Iterator[dict]:
    """Measure what one batch costs the parent: sampling 5 rules and learning from them."""
    for depth in (1, 2, 3):
        space = SearchSpace(depth, constraints=tuple(CONSTRAINTS.values()))
        steps = {}
        for algorithm in ("trpo", "ppo", "reinforce"):
            controller = Controller(space, algorithm, ControllerConfig(), seed=0)

            def step(controller: Controller = controller) -> None:
                controller.tell(controller.ask(5), [0.1, 0.2, 0.3, 0.4, 0.5])

            steps[algorithm] = step
        yield {"part": "batch", "depth": depth, "times": take_turns(steps, rounds)}
    yield {"part": "feeding", **feed_sleepers()}


def feed_sleepers(workers: int = 128, rule_s: float = 20.0, lag: int = 51, batches: int = 76) -> dict:
    """Return how well one controller feeds many workers, whose rules are tasks that only sleep."""
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
    rate = 5 * batches / wall_s
    return {
        "workers": workers,
        "rule_s": rule_s,
        "rate": rate,
        "most": workers / rule_s,
        "busy": cpu_s / wall_s,
    }


def show_controller(records: list[dict]) -> str:
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


# --- one rule -------------------------------------------------------------------------------------


def measure_child(config: Config) -> Iterator[dict]:
    """Measure where a step's time goes, then what a score costs the textbook loop and ours."""
    for precision in ("float32", "bfloat16"):
        yield {"part": "step", "precision": precision} | measure_step(
            replace(config, precision=precision)
        )
    child = ChildConfig(**{name: getattr(config, name) for name in ChildConfig.__dataclass_fields__})
    rng = random.Random(0)
    samples = {"Adam": [NAMED_RULES["adam"].rule], "Momentum": [NAMED_RULES["momentum"].rule]}
    for depth, number in ((1, config.depth1), (2, config.depth2)):
        constraints = tuple(CONSTRAINTS.values())
        space = SearchSpace(depth, **SUBSETS["full"], constraints=constraints)
        samples[f"random, depth {depth}"] = [str(space.sample(rng)) for _ in range(number)]
    open_pictures(child)
    textbook(samples["Adam"][0], replace(child, epochs=1, lr_exponents=(-3,)), 0)  # a round not counted
    for name, rules in samples.items():
        for rule in rules:
            for seed in range(config.seeds):
                plain_s, plain = timed(textbook, rule, child, seed, clock=time.process_time)
                ours_s, ours = timed(evaluate_rule, rule, child, seed, clock=time.process_time)
                what = {"part": "score", "sample": name, "rule": rule, "seed": seed}
                times = {"textbook_s": plain_s, "ours_s": ours_s}
                yield what | times | {"status": ours.status, "textbook": plain, "ours": ours.accuracy}


def show_child(records: list[dict]) -> str:
    """Return the tables: what a score costs, the textbook loop beside ours, and a step's parts."""
    by_sample: dict[str, list[dict]] = {}
    for record in records:
        if record["part"] == "score":
            by_sample.setdefault(record["sample"], []).append(record)
    rows = []
    for name, some in by_sample.items():
        plain_s, ours_s = (np.array([r[who] for r in some]) for who in ("textbook_s", "ours_s"))
        trained = np.array([record["status"] == "ok" for record in some])
        rules = len({record["rule"] for record in some})
        rows.append([name, f"{rules}, {len(some)}", spread(plain_s), spread(ours_s, digits=2)])
        rows[-1] += [f"{plain_s.sum() / ours_s.sum():.1f}", str(trained.sum())]
        rows[-1] += [spread((plain_s / ours_s)[trained], digits=2) if trained.any() else "-"]
        rows[-1] += compare(some)
    head = ["", "rules, runs", "textbook, s", "ours, s", "all/all", "trained", "each/each"]
    text = (
        "Scoring a rule: CPU seconds of the textbook loop and of ours, all over all. Of those that\n"
        "ours trained to the end each over each; of the rules of which all seeds did, so many, the\n"
        "textbook's accuracy and what ours has more, seeds averaged (± standard error over rules, of\n"
        "a single one over seeds). The textbook's best of what ours rejected\n\n"
    )
    text += table([*head, "so many", "textbook", "ours more", "best rejected"], rows)
    steps = [record for record in records if record["part"] == "step"]
    return f"{text}\n\n{show_steps(steps)}" if steps else text


def compare(scores: list[dict]) -> list[str]:
    """Return how many rules both trained with all seeds, the textbook's accuracy of them, how much more
    ours has, and the textbook's best of those that ours rejected."""
    rejected = [s["textbook"] for s in scores if s["status"] == "rejected" and s["textbook"] is not None]
    best = f"{max(rejected):.3f}" if rejected else "-"
    rules: dict[str, list[tuple]] = {}
    for score in scores:
        rules.setdefault(score["rule"], []).append((score["textbook"], score["ours"]))
    both = [np.array(pairs) for pairs in rules.values() if not any(None in pair for pair in pairs)]
    if not both:
        return ["0", "-", "-", best]
    means = np.array([pairs.mean(0) for pairs in both]) if len(both) > 1 else both[0]
    more = means[:, 1] - means[:, 0]
    error = f" ± {more.std(ddof=1) / len(more) ** 0.5:.4f}" if len(more) > 1 else ""
    return [str(len(both)), f"{means[:, 0].mean():.3f}", f"{more.mean():+.4f}{error}", best]


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


def measure_step(child: ChildConfig, rounds: int = 60) -> dict:
    """Return the times of a step's parts, of the same arithmetic alone, and of other rules' steps."""
    training = Training("adam 1 id id mul", 1e-3, child, seed=0)
    parts = step_parts(training)
    with FlopCounterMode(display=False) as counter:
        for part in ("data", "forward", "backward"):
            parts[part]()
    square = torch.randn(1024, 1024).to(getattr(torch, child.precision))
    times = take_turns(parts | {"product": lambda: square @ square}, rounds)
    space, rng, rules = SearchSpace(3, constraints=tuple(CONSTRAINTS.values())), random.Random(0), []
    for rule in (space.sample(rng) for _ in range(100)):
        weights = training.weights.detach().clone().requires_grad_()  # some rules spoil them
        weights.grad = training.weights.grad.clone()
        optimizer = RuleOptimizer([weights], rule, lr=1e-9)
        rules.append(float(np.median([timed(optimizer.step)[0] for _ in range(5)])))
    products = counter.get_total_flops() / (2 * 1024**3)
    return {"products": products, "times": times, "rules": rules}


def show_steps(records: list[dict]) -> str:
    """Return a training step's share of the arithmetic limit, its parts, and what rules add."""
    rows = []
    for record in records:
        times = {name: np.array(values) for name, values in record["times"].items()}
        limit = record["products"] * np.median(times.pop("product"))
        step = sum(times.values())
        shares = [f"{np.median(value) / np.median(step):.0%}" for value in times.values()]
        rules = np.array(record["rules"]) / np.median(step)
        extreme = f"{np.median(rules):.1%} [{rules.min():.1%}-{rules.max():.1%}]"
        rows.append(
            [record["precision"], spread(step, 1e3), f"{limit / np.median(step):.0%}", *shares, extreme]
        )
    text = (
        "A training step, ms; the share of it that arithmetic alone would take at the speed of a\n"
        "product of two 1,024 x 1,024 matrices beside it; its parts with Adam; 100 random rules of\n"
        "depth 3, median [all]\n\n"
    )
    return text + table(["", "step", "limit", "data", "forward", "backward", "Adam", "depth 3"], rows)


# --- the workers ----------------------------------------------------------------------------------


def work(config: ChildConfig) -> int:
    """Score a rule, as a worker does, and return the worker's process."""
    evaluate_rule("g m id id left", config, seed=0)
    return os.getpid()


def memory_mb(pid: int) -> float:
    """Return the memory that a process shares with no other (unique set size); NaN off Linux."""
    path = Path(f"/proc/{pid}/smaps_rollup")
    lines = path.read_text().splitlines() if path.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1e3 or math.nan


def measure_pool(config: Config, rounds: int = 4, num_tasks: int = 40) -> Iterator[dict]:
    """Measure what the number of workers costs and brings, with the child of `--preset smoke`."""
    data.prepare(data.SAMPLE, Path(config.data))
    small = {"downsample": "stride", "filters": 8, "epoch_size": 1_000, "num_validation": 1_000}
    child = ChildConfig(data.SAMPLE, config.data, precision=config.precision, **small)
    setup = {"initializer": start_worker, "preload": ("child", "torch._dynamo")}
    with WorkerPool(1, **setup) as pool:
        server_s, _ = timed(pool.submit(os.getpid).result)
    yield {"part": "server", "start_s": server_s, "cores": usable_cores()}
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


def show_pool(records: list[dict]) -> str:
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


# --- exported rules -------------------------------------------------------------------------------

# A convolutional network's shapes: many small tensors, and a few that hold nearly all parameters.
SMALL = [(64, 64, 3, 3), (128, 32, 3, 3), (96, 256)] + [(64,)] * 20
LARGE = [(512, 512, 3, 3)] * 3 + [(256, 512, 3, 3), (256, 256, 3, 3), (1000, 1024)] + [(512,)] * 40


def measure_rule(config: Config) -> Iterator[dict]:
    """Measure what a step of exported rules costs beside torch's optimizers."""
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

        sizes = {"parameters": sum(w.numel() for w in weights), "tensors": len(weights)}
        yield {"part": "rule", **sizes, "times": take_turns(steps, rounds)}


def show_rule(records: list[dict]) -> str:
    """Return a table for each set of tensors: a step's time, and its ratio to foreach Adam's."""
    tables = []
    for record in records:
        times = {name: np.array(values) for name, values in record["times"].items()}
        base = times["torch Adam foreach"]
        rows = [[name, spread(t, 1e3, 2), spread(t / base, 1, 2)] for name, t in times.items()]
        text = f"{record['parameters'] / 1e6:.1f} million parameters, {record['tensors']} tensors; "
        text += f"{len(base)} rounds\n\n"
        tables.append(text + table(["", "ms a step", "of foreach Adam"], rows))
    return "\n\n".join(tables)


class Benchmark(NamedTuple):
    """What is measured, record by record, the tables that say it, and the settings that matter."""

    measure: Callable[[Config], Iterator[dict]]
    show: Callable[[list[dict]], str]
    settings: tuple[str, ...]


BENCHMARKS = {
    "controller": Benchmark(measure_controller, show_controller, ("memory",)),
    "child": Benchmark(measure_child, show_child, tuple(Config.__dataclass_fields__)),
    "rule": Benchmark(measure_rule, show_rule, ("memory",)),
    "pool": Benchmark(measure_pool, show_pool, ("data", "precision")),
}


def report(folder: Path) -> str:
    """Return the tables of a run folder, with what they depend on.

    Raises:
        RunError: it is none of this script, or holds nothing yet.
    """
    meta, config = results.read_meta(folder), results.read_config(folder)
    records = results.read_lines(folder / "records.jsonl")
    by_name: dict[str, list[dict]] = {}
    for record in records:
        by_name.setdefault(record.get("benchmark"), []).append(record)
    if not by_name or by_name.keys() - BENCHMARKS.keys():
        raise results.RunError(f"{folder} holds no measurements of bench.py")
    facts = f"{meta['processor']}, {meta['cores']} cores, torch {meta['torch']}, threads: "
    facts += f"{meta['threads']}"
    if any("memory" in BENCHMARKS[name].settings for name in by_name):
        facts += f", freed memory is {config['memory']}"
    facts += "" if meta["end"] else f"; INTERRUPTED after {len(records)} measurements"
    try:
        texts = [BENCHMARKS[name].show(mine) for name, mine in by_name.items()]
    except (KeyError, TypeError) as error:
        raise results.RunError(f"{folder}: a record is damaged ({error!r})") from None
    if "child" in by_name:
        child = f"{config['downsample']} child, epochs of {config['epoch_size']:,} images, "
        facts += f"\n{child}{config['num_validation']:,} for validation"
    return "\n\n".join([facts, *texts]) + "\n"


def make_parser() -> Parser:
    parser = Parser(prog="bench.py", description=__doc__)
    names = (*BENCHMARKS, "all", "show")
    parser.add_argument("name", nargs="?", default="all", choices=names, help=", ".join(names))
    parser.add_argument("folder", nargs="?", type=Path, help="for show: a run folder of bench.py")
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder to make (default: runs/...)")
    add_settings(parser, Config)
    return parser


def configure(args: Namespace) -> dict:
    """Return the settings that the benchmarks look at.

    Raises:
        ValueError: one is wrong, or given in vain.
    """
    names = list(BENCHMARKS) if args.name == "all" else [args.name]
    looked_at = {setting for name in names for setting in BENCHMARKS[name].settings}
    if vain := sorted(vars(args).keys() & Config.__dataclass_fields__.keys() - looked_at):
        raise ConfigError(f"{args.name} does not look at --{vain[0].replace('_', '-')}")
    config = resolve(Config, args)
    config = replace(config, precision=resolve_precision(config.precision))
    if "dataset" in looked_at:
        config = replace(config, dataset=data.choose(config.dataset, Path(config.data)))
        data.prepare(config.dataset, Path(config.data))
        open_pictures(config)
    return {name: value for name, value in asdict(config).items() if name in looked_at}


def main(argv: list[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    alone = args.out is None and not vars(args).keys() & Config.__dataclass_fields__.keys()
    if (args.name == "show") != (args.folder is not None) or (args.folder and not alone):
        parser.error("show takes a run folder and nothing else; nothing else takes one")
    try:
        if args.folder:
            print(report(args.folder), end="")
            return 0
        settings = configure(args)
        folder = args.out or results.default_folder("bench", args.name, 0)
        run = results.Run.create(folder, settings, results.environment(threads=1))
    except ValueError as error:  # of settings, data or folders
        parser.error(str(error))
    start_worker()  # one thread, as in search.py's workers
    progress, config = Progress(), Config(**settings)
    set_memory(config.memory)
    with run:
        try:
            for name in BENCHMARKS if args.name == "all" else [args.name]:
                progress.update(f"{name}: 0 measurements")
                for number, record in enumerate(BENCHMARKS[name].measure(config), 1):
                    run.append("records.jsonl", {"benchmark": name, **record})
                    progress.update(f"{name}: {number} measurements")
        except KeyboardInterrupt:
            progress.say(f"interrupted; what was measured, if anything: python bench.py show {folder}")
            return 130
        run.finish()
        text = report(folder)
        run.replace("summary.txt", text)
    progress.say()
    print(text)
    print(f"Wrote {folder}. Next: python bench.py show {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
