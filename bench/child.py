"""What a rule's score costs the textbook loop and ours, and where a training step's time goes.

    python -m bench.child --dataset cifar10                          # hours at full scale
    python -m bench.child --epoch-size 1000 --num-validation 500     # a tenth of the protocol

Times are taken in turns, first one, then the other, since machines drift. Read next: textbook.py, the
loop that ours is measured against.
"""

import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from config import as_program, setting

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

import data
from bench.launch import Config as Memory
from bench.launch import launch
from bench.textbook import textbook
from bench.timing import spread, table, take_turns, timed
from child import ChildConfig, open_pictures, resolve_precision
from dsl import CONSTRAINTS, SUBSETS, SearchSpace
from rules import NAMED_RULES
from training import Descent, Training, evaluate_rule


@dataclass(frozen=True)
class Config(ChildConfig, Memory):
    """The child that is timed, and how often."""

    seeds: int = setting(3, "seeds of every rule", low=1)
    depth1: int = setting(50, "random rules of one group", low=0)
    depth2: int = setting(20, "random rules of two groups", low=0)


def prepare(config: Config) -> Config:
    """Return the config with the data set and the precision that "auto" stands for, the former ready."""
    root = Path(config.data)
    config = replace(config, dataset=data.choose(config.dataset, root))
    data.prepare(config.dataset, root)
    open_pictures(config)
    return replace(config, precision=resolve_precision(config.precision))


def measure(config: Config) -> Iterator[dict]:
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


def show(records: list[dict]) -> str:
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
    batch = training.task.train_indices[: training.config.batch_size]
    state: dict = {}

    def read() -> None:
        state["images"], state["labels"] = training.task.batch(batch)

    def forward() -> None:
        training.weights.vector.grad.zero_()
        state["loss"] = F.cross_entropy(
            training.task.logits(training.net, state["images"]), state["labels"]
        )

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
        weights = training.weights.vector.detach().clone().requires_grad_()  # some rules spoil them
        weights.grad = training.weights.vector.grad.clone()
        optimizer = Descent(weights, str(rule), lr=1e-9, seed=0, total_steps=1)
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


def main(argv: list[str] | None = None) -> int:
    return launch("child", __doc__, Config, measure, show, argv, prepare)


if __name__ == "__main__":
    sys.exit(as_program(main))
