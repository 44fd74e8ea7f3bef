"""Of rates that a sweep would stop early, which would have won, and what is lost without them?

    python -m studies.pruning RUN ...             # rules of searches that learn, five core-seconds each
    python -m studies.pruning --resume runs/...   # go on after Ctrl-C or a crash

Each rule's sweep is trained again, every rate for a whole epoch, and its losses are kept. From them the
report tells which rates would have been stopped. Writes a run folder: records.jsonl (a line a rule),
summary.csv, summary.txt. Read next: training.py, whose `fall_behind` this is about.
"""

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from config import as_program, resolve, setting

import results
from child import ChildConfig
from results import aligned
from sameness import by_family
from studies.searches import RUNS, read_searches
from studies.searches import prepare as prepare  # trials.launch calls it
from studies.trials import Trials, launch
from training import LEAST_STEPS, LOOKS, RECENT, ProtocolConfig, fall_behind, sweep_rates

ARGUMENT = RUNS
FIGURE = None
BEST_SHARE = 0.2  # of the rules, told apart from all


@dataclass(frozen=True)
class Config:
    learns: float = setting(0.15, "accuracy after an epoch that a rule must reach at some rate", low=0)


class Plan(NamedTuple):
    """All that determines what is trained; the rules are kept, since runs may grow."""

    config: Config
    child: ChildConfig
    rules: list[tuple[str, int]]  # and the child seed of each


def configure(args) -> Plan:
    """Return the plan.

    Raises:
        ValueError: no runs, or some that do not compare, or nothing in them to look at.
    """
    config = resolve(Config, args)
    child, _, records, _ = read_searches(args.runs)
    if child.steps < LEAST_STEPS:
        raise results.RunError(f"{args.runs[0]}: epochs have {child.steps} steps, so nothing is pruned")
    rules: dict[str, tuple[str, int]] = {}
    for record in records:
        reached = [score for _, score in record["sweep"] if score is not None]
        if record["cached_from"] is None and reached and max(reached) >= config.learns:
            rules.setdefault(record["key"], (record["rule"], record["seed"]))
    if not rules:
        raise results.RunError(f"{args.runs[0]}: no rule has learned")
    return Plan(config, replace(child, prune=False), list(rules.values()))


def label(plan: Plan) -> tuple[str, int]:
    return "sweeps", len(plan.rules)


def sweep(rule: str, child: ProtocolConfig, seed: int) -> list[dict]:
    """Return of each rate its score after the sweep, its first loss, and the means of RECENT steps each.

    What diverges has no losses from there on; one that is no number is None.
    """
    told = lambda loss: round(loss, 4) if math.isfinite(loss) else None  # noqa: E731
    rates = []
    for training in sweep_rates(rule, child, seed):
        losses = [float(loss) for loss in training.losses]
        means = [mean(losses[n : n + RECENT]) for n in range(0, len(losses) - RECENT + 1, RECENT)]
        first, score = told(max(losses[:1], default=0.0)), training.curve[-1]
        rates.append({"lr": training.lr, "score": score, "first": first, "losses": [*map(told, means)]})
    return rates


def work(plan: Plan, trials: Trials) -> None:
    jobs = [{"rule": rule, "seed": seed} for rule, seed in plan.rules]
    arguments = lambda job: (job["rule"], plan.child, job["seed"])  # noqa: E731
    trials.do("sweeping", jobs, sweep, arguments, lambda rates: {"rates": rates})


def report(plan: Plan, records: list[dict]) -> tuple[list[dict], str]:
    rows = [row_of(record["rates"]) | {"rule": record["rule"]} for record in records]
    ranked = sorted(rows, key=lambda row: -row["best"])
    best = ranked[: max(1, round(BEST_SHARE * len(ranked)))]
    total = lambda some, name: sum(row[name] for row in some)  # noqa: E731
    name, families = by_family(), {}
    for row in rows:
        families.setdefault(name(row), row)  # near-copies are hardly more than one rule
    columns = {"all": rows, "a family once": [*families.values()], "best fifth": best}
    lines = [["", *columns]]
    measures = {
        "rules": lambda some: f"{len(some)}",
        "rates that go on, mean": lambda some: f"{mean(row['left'] for row in some):.2f}",
        "share of all steps": lambda some: f"{total(some, 'steps') / total(some, 'all_steps'):.2f}",
        "a worse rate wins": lambda some: f"{sum(row['lost'] > 0 for row in some)}",
        "by 0.01 or more": lambda some: f"{sum(row['lost'] >= 0.01 for row in some)}",
        "accuracy lost, mean": lambda some: f"{mean(row['lost'] for row in some):.5f}",
        "at most": lambda some: f"{max(row['lost'] for row in some):.4f}",
    }
    lines += [[what, *map(of, columns.values())] for what, of in measures.items()]
    return rows, "\n".join(aligned(lines)) + "\n"


def row_of(rates: list[dict]) -> dict:
    """Return how many rates go on, the steps of the sweep, and the accuracy after it that is lost."""
    first = max(rate["first"] for rate in rates)  # the same of all that did a step
    all_steps = [RECENT * len(rate["losses"]) for rate in rates]
    steps, going = [*all_steps], [*range(len(rates))]
    for look in LOOKS:
        at = slice(look // RECENT - 1, look // RECENT)
        losses = [next(iter(rates[k]["losses"][at]), None) for k in going]
        stopped = fall_behind(first, [math.inf if loss is None else loss for loss in losses])
        for k, stop in zip([*going], stopped, strict=True):
            if stop:
                steps[k] = min(steps[k], look)
                going.remove(k)
    scores = [rate["score"] or 0.0 for rate in rates]
    row = {"best": max(scores), "left": len(going), "steps": sum(steps), "all_steps": sum(all_steps)}
    return row | {"lost": max(scores) - max((scores[k] for k in going), default=0.0)}


def then(plan: Plan, rows: list[dict], folder: Path) -> str:
    return "python search.py --no-prune    # a search without it"


def main(argv: list[str] | None = None) -> int:
    return launch(sys.modules[__name__], argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
