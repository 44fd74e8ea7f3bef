"""Races from many starts of the Rosenbrock valley, of all that searches have found.

rosenbrock.py is the paper's comparison; this is what it leaves open: whether found rules are better, and
from elsewhere too. From each start the best of all rates counts, and the mean rank over starts orders.

    python -m studies.valley RUN [RUN ...] --starts 10     # halls of fame of searches, ten starts
    python -m studies.valley --rules addsign powersign     # rules by name or string, one start
    python -m studies.valley --starts 21 --around 1e-9     # how far do its neighbours end from it?
    python -m studies.valley --resume runs/...             # go on after Ctrl-C or a crash
    python -m plots.rosenbrock runs/...                    # draw the figure again

Writes a run folder: records.jsonl (a line an optimizer and rate, then the paths of the best runs),
summary.csv and summary.txt (the order), log.txt and the figure. Read next: trials.py, which does them.
"""

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from config import as_program, resolve, setting

import numpy as np

import results
from dsl import Rule
from results import aligned
from rosenbrock import ADAM_EPS, ADAPTIVE, COMMON, FOUR, PICKED, RULES, START, STEPS, descend
from rules import is_class, make_optimizer, named, rule_or_class
from studies.searches import RUNS, best_found, read_search
from studies.trials import Trials, launch

THRESHOLDS = ("1e-2", "1e-4", "1e-6", "1e-8")  # a record says when f first fell below each
HALL_OF_FAME = 100  # most rules of a search
DRAWN = 6  # best rules whose paths are kept, or the figure is full
SHOWN = 12  # best rules in the printed tables; summary.csv has all
TUNED = "Adam, tuned eps"
HUMAN = ("SGD", "Momentum", "RMSProp", "Adam", TUNED)
ARGUMENT = RUNS._replace(required=False)
FIGURE = "plots.rosenbrock"


@dataclass(frozen=True)
class Config:
    iterations: int = setting(STEPS, "steps of a run (paper, recalled)", low=1, high=10**5)
    rates: tuple[float, ...] = setting(FOUR, "learning rates", low=1e-12, high=1e6, least=1)
    start_x: float = setting(START[0], "x of the start", low=-100, high=100)
    start_y: float = setting(START[1], "y of the start", low=-100, high=100)
    starts: int = setting(1, "starts; all but the first are drawn", low=1, high=100)
    around: float = setting(
        0.0, "how far around the first the others are drawn; 0: from the plane", low=0, high=1
    )
    library: str = setting("tensorflow", "whose RMSProp and Adam", choices=tuple(ADAPTIVE))
    adam_eps: tuple[float, ...] = setting(
        ADAM_EPS, "values of eps that Adam is tuned over", low=0, high=1, least=1
    )
    momentum: float = setting(0.9, "decay of Momentum", low=0, high=1)
    rules: tuple[str, ...] = setting(
        (), f"rules to race, names or strings (default, without a RUN: {' '.join(RULES)})", words=True
    )
    seed: int = setting(0, "of random rules, the same in every run", low=0, high=2**63 - 1)


class Plan(NamedTuple):
    """All that determines the runs."""

    config: Config
    rules: list[tuple[str, str]]  # (name, rule)


def configure(args) -> Plan:
    """Return the plan.

    Raises:
        ValueError: something that is no rule, a folder that is no search.
    """
    config = resolve(Config, args)
    found = [rule for folder in args.runs for rule in found_rules(folder)]
    rules = distinct_by_key([*config.rules, *found] or RULES)
    return Plan(config, [(name, str(rule)) for name, rule in rules.items()])


def found_rules(folder: Path) -> list[str]:
    """Return the rules of a search's hall of fame that are not SGD, Momentum, RMSProp or Adam.

    Raises:
        RunError: it is no search, or none of its rules has trained to the end.
    """
    read_search(folder)
    return [record["rule"] for record in best_found(results.read_records(folder), HALL_OF_FAME)]


def distinct_by_key(texts: Iterable[str]) -> dict[str, Rule]:
    """Return rules by what to call them; of those with one `key()`, the first; raise as `named` does."""
    rules: dict[str, tuple[str, Rule]] = {}
    for name, rule in map(named, texts):
        name += " (rule)" * (name in map(str.lower, HUMAN))
        rules.setdefault(rule.key(), (name, rule))
    return dict(rules.values())


def prepare(plan: Plan, new: bool) -> Plan:
    return plan  # there is no data to prepare


def label(plan: Plan) -> tuple[str, int]:
    return "valley", plan.config.seed


# --- one run --------------------------------------------------------------------------------------


def run_from(starts: list[tuple[float, float]], job: dict, config: Config) -> np.ndarray:
    """Return the paths of one optimizer at one rate, float64 [N, S, 3]."""
    if job["rule"]:
        more = {"seed": job["seed"], "total_steps": config.iterations}
        make = partial(make_optimizer, job["rule"], lr=job["lr"], **more)
    else:
        more = {"momentum": config.momentum} if job["name"] == "Momentum" else {}
        more |= {} if job["eps"] is None else {"eps": job["eps"]}
        human = COMMON | ADAPTIVE[config.library]
        make = partial(human["Adam" if job["name"] == TUNED else job["name"]], lr=job["lr"], **more)
    return descend(make, starts, config.iterations)


def race(starts: list[tuple[float, float]], job: dict, config: Config) -> list[dict]:
    """Return what a record says of each start."""
    paths = run_from(starts, job, config)
    return [measure(paths[:, number]) for number in range(len(starts))]


def follow(starts: list[tuple[float, float]], job: dict, config: Config) -> dict[str, list]:
    """Return the way from the first start, for the figure; the others are run too, or a rule that draws
    random numbers would draw others."""
    return thin(run_from(starts, job, config)[:, 0])


def measure(path: np.ndarray) -> dict:
    """Return what a record says about a path [N, 3]: where it ended and how soon it was close; a
    path that diverges ends with its first value that is not finite."""
    lost = ~np.isfinite(path[:, 2])
    path = path[: lost.argmax() + 1] if lost.any() else path
    x, y, value = path[-1].tolist()
    below = {text: path[:, 2] < float(text) for text in THRESHOLDS}
    return {
        "status": "ok" if math.isfinite(value) else "diverged",
        "steps": len(path) - 1,
        "final_value": value,
        "lowest_value": float(np.nanmin(path[:, 2])),
        "distance": math.hypot(x - 1, y - 1),
        "steps_below": {text: int(hit.argmax()) if hit.any() else None for text, hit in below.items()},
    }


def best(records: list[dict]) -> dict | None:
    """Return the record with the lowest final value, the smaller rate if tied; None if all diverged."""
    finite = [record for record in records if record["status"] == "ok"]
    return min(finite, key=lambda record: (record["final_value"], record["lr"]), default=None)


def thin(path: np.ndarray) -> dict[str, list]:
    """Return a path's first 200 points and some 600 later ones as columns."""
    last = len(path) - 1
    spread = (np.arange(min(200, last) + 1), np.geomspace(1, last, 200), np.linspace(0, last, 401))
    kept = np.unique(np.concatenate(spread).round().astype(int))
    x, y, value = path[kept].T.tolist()
    return {"iteration": kept.tolist(), "x": x, "y": y, "value": value}


# --- all runs -------------------------------------------------------------------------------------


def work(plan: Plan, trials: Trials) -> None:
    """Run everybody at every rate from all starts; then follow the best over all from the first."""
    config, starts = plan.config, starting_points(plan.config)
    field = [(name, None, None) for name in HUMAN if name != TUNED]
    field += [(TUNED, None, eps) for eps in config.adam_eps]
    field += [(name, rule, None) for name, rule in plan.rules]
    jobs = [
        {"name": name, "rule": rule, "eps": eps, "lr": lr, "seed": config.seed}
        for name, rule, eps in field
        for lr in config.rates
    ]
    trials.do("races", jobs, race, lambda job: (starts, job, config), lambda runs: {"starts": runs})
    runs = runs_of(trials.records)
    first = by_name([run for run in runs if run["start"] == 0])
    winners = {name: winner for name, some in first.items() if (winner := best(some))}
    places = [row["name"] for row in order(runs) if row["name"] in winners]
    rules = [name for name in places if winners[name]["rule"]]
    winners = [run for name, run in winners.items() if name not in rules[DRAWN:]]
    jobs = [{name: winner[name] for name in jobs[0]} for winner in winners]
    trials.do("paths", jobs, follow, lambda job: (starts, job, config), lambda path: {"path": path})


def runs_of(records: list[dict]) -> list[dict]:
    """Return a dict a run: what its record says, the start's number and what came out from there."""
    return [
        {**record, "start": number, **run}
        for record in records
        for number, run in enumerate(record.get("starts", ()))
    ]


def starting_points(config: Config) -> list[tuple[float, float]]:
    """Return the starts: the configured one, then uniform draws from [-2, 2] x [-1, 3], or around it."""
    first, rng = (config.start_x, config.start_y), np.random.default_rng(config.seed)
    low, high = (-2, -1), (2, 3)
    if config.around:
        low, high = (np.add(first, side * config.around) for side in (-1, 1))
    return [first, *map(tuple, rng.uniform(low, high, size=(config.starts - 1, 2)).tolist())]


def order(records: list[dict]) -> list[dict]:
    """Return a row an optimizer, best mean rank first: from each start its best run counts.

    Equal values share the mean of their ranks; those that diverged at every rate come last. `wins` are
    the starts from which none is better, `solved` those from which its final value is below 1e-4.
    """
    names, values = list(by_name(records)), []  # values: [starts, optimizers]
    for start in sorted({record["start"] for record in records}):
        groups = by_name([record for record in records if record["start"] == start])
        winners = [best(runs) for runs in groups.values()]
        values.append([math.inf if winner is None else winner["final_value"] for winner in winners])
    final = np.array(values)
    below = (final[:, None, :] < final[:, :, None]).sum(2)  # how many are better
    equal = (final[:, None, :] == final[:, :, None]).sum(2)
    ranks = below + (equal + 1) / 2
    rows = [
        {
            "name": name,
            "mean_rank": float(ranks[:, i].mean()),
            "wins": int((below[:, i] == 0).sum()),
            "solved": int((final[:, i] < 1e-4).sum()),
            "median_value": float(np.median(final[:, i])),
        }
        for i, name in enumerate(names)
    ]
    return sorted(rows, key=lambda row: row["mean_rank"])


def order_table(rows: list[dict], starts: int) -> str:
    """Return the order as text: what people made and the best rules."""
    head = f"{'place':>5}{'mean rank':>11}{'wins':>6}{'solved':>8}{'median f':>10}"
    lines = [f"{head}  optimizer, of {len(rows)}"]
    shown = [row["name"] for row in rows if row["name"] not in HUMAN][:SHOWN]
    for place, row in enumerate(rows, 1):
        if row["name"] in (*HUMAN, *shown):
            numbers = f"{place:>5}{row['mean_rank']:>11.1f}{row['wins']:>6}{row['solved']:>8}"
            lines.append(f"{numbers}{row['median_value']:>10.1e}  {row['name']}")
    return "\n".join([f"Order over {starts} starts; solved: f below 1e-4 at the end.", "", *lines])


def by_name(records: list[dict]) -> dict[str, list[dict]]:
    """Group records by the optimizer's name, in order."""
    names = dict.fromkeys(record["name"] for record in records)
    return {name: [record for record in records if record["name"] == name] for name in names}


def table(config: Config, records: list[dict]) -> str:
    """Return the final values as text: a row an optimizer, best first, * at the run that counts, of
    rules the best ones."""

    def row(name: str, runs: list[dict]) -> tuple[float, list[str]]:
        winner, cells = best(runs), []
        for lr in config.rates:
            cell = best([record for record in runs if record["lr"] == lr])
            mark = "*" if cell and cell is winner else " "
            cells.append(f"{cell['final_value']:.1e}{mark}" if cell else "diverged ")
        if winner is None:
            return math.inf, [name, *cells, "-", "-"]
        below = winner["steps_below"]["1e-4"]
        cells += [f"{winner['lowest_value']:.1e}", "-" if below is None else f"{below:,}"]
        return winner["final_value"], [name, *cells]

    groups = by_name(records)
    rows = [cells for _, cells in sorted(row(*item) for item in groups.items())]
    found = [cells for cells in rows if cells[0] not in HUMAN]
    rows = [cells for cells in rows if cells not in found[SHOWN:]]
    for eps in config.adam_eps:
        rows.append(row(f"Adam, eps {eps:g}", [r for r in groups[TUNED] if r["eps"] == eps])[1])
    head = ["optimizer", *(f"{lr:g} " for lr in config.rates), "lowest f", "f < 1e-4"]
    lines = aligned([head, *rows], figures=True)
    for place in (1, len(rows) - len(config.adam_eps) + 2):
        lines.insert(place, "-" * len(lines[0]))
    more = f" Of {len(found)} rules the best {SHOWN}." if len(found) > SHOWN else ""
    steps, start = f"{config.iterations:,} steps", f"({config.start_x:g}, {config.start_y:g})"
    return f"""f after {steps} from {start}, by learning rate; * is the run that counts,
by which rows are ordered, with the lowest f on its way and its first step with f < 1e-4.{more}

""" + "\n".join(lines)


def report(plan: Plan, records: list[dict]) -> tuple[list[dict], str]:
    config, runs = plan.config, runs_of(records)
    rows = order(runs)
    parts = [table(config, [run for run in runs if run["start"] == 0])]
    parts += [order_table(rows, config.starts)] if config.starts > 1 else []
    parts += [PICKED] if [name for name, _ in plan.rules] == RULES else []
    if any((rule := rule_or_class(text)).draws or "noise" in str(rule) for _, text in plan.rules):
        parts.append(f"Rules with drop or noise are random; here with seed {config.seed}.")
    return rows, "\n\n".join(parts) + "\n"


def then(plan: Plan, rows: list[dict], folder: Path) -> str:
    first = next((rule for _, rule in plan.rules if not is_class(rule)), RULES[0])
    return f"python rules.py show '{first}' explains the first rule"


def main(argv: list[str] | None = None) -> int:
    return launch(sys.modules[__name__], argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
