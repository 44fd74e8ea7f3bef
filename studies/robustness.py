"""Do found rules survive a change of the hyperparameters that they were searched with? Section 4.3.

    python -m studies.robustness RUN [RUN ...]             # of the three best families of these
    python -m studies.robustness RUN --rules powersign     # and others
    python -m studies.robustness --resume runs/...         # go on after Ctrl-C or a crash
    python -m studies.figures.robustness runs/...          # draw the figure again

Changed, one at a time, by factors of 2 and 10 up and down: the horizon of the moving averages, which is
1 / (1 - beta); delta, which is added to what is divided by; the batch size. Each time the rule is scored
as the search did, the sweep of the learning rate included, on seeds that no search used. SGD, Momentum,
RMSProp and Adam are treated alike. An epoch keeps its images, so larger batches mean fewer steps. Writes
a run folder: records.jsonl, summary.csv, summary.txt and the figure. Read next: trials.py.
"""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from config import ConfigError, as_program, resolve, setting

import numpy as np

import results
from child import ChildConfig
from dsl import Rule
from rules import HUMAN, is_class, named
from studies.searches import RUNS, Also, best_found, fresh_seeds, read_searches, with_people
from studies.searches import prepare as prepare  # trials.launch calls it
from studies.trials import Trials, launch
from training import ProtocolConfig, evaluate_rule

FIRST_SEED = 5_000  # far from those that searches and the other scripts use
FACTORS = (0.1, 0.5, 2, 10)
CHANGED = ("beta_horizon", "eps", "batch_size")
ARGUMENT = RUNS
FIGURE = "studies.figures.robustness"


@dataclass(frozen=True)
class Config(Also):
    top: int = setting(3, "best families of the searches, the best rule of each; 0: only --rules", low=0)
    seeds: int = setting(3, "fresh seeds", low=1, high=1_000)
    rules: tuple[str, ...] = setting((), "more rules, by name or string", words=True)


class Plan(NamedTuple):
    """All that determines the trainings."""

    config: Config
    child: ProtocolConfig
    seeds: list[int]
    field: list[tuple[str, str]]  # (name, rule), human optimizers last


def configure(args) -> Plan:
    """Return the plan.

    Raises:
        ValueError: no runs, some that do not compare, something that is no rule.
    """
    config = resolve(Config, args)
    child, used, records, _ = read_searches(args.runs)
    if isinstance(child, ChildConfig) and not 10 <= child.batch_size <= child.epoch_size // 10:
        raise ConfigError(
            f"{args.runs[0]} has batches of {child.batch_size}, which no factor of 10 fits"
        )
    if (child.beta_horizon, child.eps) != (1.0, 1e-8):
        raise ConfigError(f"{args.runs[0]} was searched with a changed --beta-horizon or --eps")
    found = best_found(records, config.top) if config.top else []
    best = [(record["infix"], Rule.parse(record["rule"])) for record in found]
    field = with_people([*best, *map(named, config.rules + config.also)])
    seeds = fresh_seeds(FIRST_SEED, config.seeds, used)
    return Plan(config, child, seeds, field)


def label(plan: Plan) -> tuple[str, int]:
    return f"top{plan.config.top}", plan.seeds[0]


def changed(child: ProtocolConfig, what: str | None, factor: float) -> ProtocolConfig:
    """Return a child of which one setting is multiplied by a factor; as it is if `what` is None."""
    if what is None:
        return child
    value = getattr(child, what) * factor
    return replace(child, **{what: round(value) if what == "batch_size" else value})


def can_change(child: ProtocolConfig, rule: str, what: str) -> bool:
    """Return whether a child has a setting, and a rule heeds it: other optimizers have their own."""
    return hasattr(child, what) and (what == "batch_size" or not is_class(rule))


def work(plan: Plan, trials: Trials) -> None:
    """Score everybody, first unchanged, then with each change."""
    variants = [(None, 1.0), *((what, factor) for what in CHANGED for factor in FACTORS)]
    jobs = [
        {"what": what, "factor": factor, "name": name, "rule": rule, "seed": seed}
        for what, factor in variants
        for name, rule in plan.field
        if what is None or can_change(plan.child, rule, what)
        for seed in plan.seeds
    ]
    trials.do(
        "changes",
        jobs,
        evaluate_rule,
        lambda job: (job["rule"], changed(plan.child, job["what"], job["factor"]), job["seed"]),
        asdict,
    )


def by_change(records: list[dict]) -> dict[tuple, dict[int, float]]:
    """Return accuracies by seed, 0 if diverged, of each (rule, what is changed, factor)."""
    scores: dict[tuple, dict[int, float]] = {}
    for record in records:
        key = record["rule"], record["what"], record["factor"]
        scores.setdefault(key, {})[record["seed"]] = results.worth(record)
    return scores


def summarize(plan: Plan, records: list[dict]) -> list[dict]:
    """Return a row a rule: its mean unchanged, and each change's difference, by seed, from that."""
    scores, rows = by_change(records), []
    for name, rule in plan.field:
        before = scores[rule, None, 1.0]
        row = {"name": name, "rule": rule, "human": name in HUMAN, "n": len(before)}
        row["unchanged"] = float(np.mean(list(before.values())))
        for what in CHANGED:
            for factor in FACTORS:
                after = scores.get((rule, what, factor), {})
                ahead = [after[seed] - before[seed] for seed in before if seed in after]
                row[f"{what} x {factor:g}"] = float(np.mean(ahead)) if ahead else None
        rows.append(row)
    return rows


def table(rows: list[dict]) -> str:
    """Return the rows as aligned text."""
    columns = [f"{what} x {factor:g}" for what in CHANGED for factor in FACTORS]
    lines = [" " * 9 + "".join(f"{what:^32}" for what in CHANGED)]
    lines.append(f"{'as it is':>9}" + "".join(f"{f'x {f:g}':>8}" for _ in CHANGED for f in FACTORS))
    for row in rows:
        name = row["name"].upper() if row["human"] else row["name"]
        cells = ["-" if row[column] is None else f"{row[column]:+.3f}" for column in columns]
        numbers = "".join(f"{cell:>8}" for cell in cells)
        lines.append(f"{row['unchanged']:>9.4f}{numbers}  {name}")
    return (
        "\n".join([*lines, f"Mean over {rows[0]['n']} seeds; changes are differences, by seed."]) + "\n"
    )


def report(plan: Plan, records: list[dict]) -> tuple[list[dict], str]:
    rows = summarize(plan, records)
    return rows, table(rows)


def then(plan: Plan, rows: list[dict], folder: Path) -> str:
    first = next((row["rule"] for row in rows if not is_class(row["rule"])), "adam")
    return f"python rules.py show '{first}' explains it"


def main(argv: list[str] | None = None) -> int:
    return launch(sys.modules[__name__], argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
