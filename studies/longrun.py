"""Which of the rules that look best after 5 epochs last for 300? The paper's filter, section 5.

    python -m studies.longrun RUN [RUN ...]                # of the 24 best families of these searches
    python -m studies.longrun RUN --top 12 --epochs 100
    python -m studies.longrun --resume runs/...            # go on after Ctrl-C or a crash
    python -m studies.figures.longrun runs/...             # draw the figure again

A family is rules that no training can tell apart; its best one runs. All train for a thirtieth of the
epochs, the better half of them for a tenth, half of those for a third, and half of those to the end:
successive halving (Jamieson and Talwalkar 2016). SGD, Momentum, RMSProp and Adam all go to the end,
and so does what --also names. With --confirm-seeds the best rules, see confirming.py, train once
more. The mean validation accuracy over seeds alone decides, and what diverged is the worst. Everybody's
learning rate is the one that the sweep of the search chose; that of --also is swept anew. The seeds are
some that no search used. A training begins anew at each stage, with the same numbers, so a killed run
loses little. Writes a run folder: records.jsonl, summary.csv, summary.txt and the figure. Read next:
trials.py.
"""

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from config import as_program, resolve, setting

import numpy as np

import results
from dsl import Rule
from results import aligned, number
from rules import HUMAN, NAMED_RULES, named
from studies import confirming
from studies.analysis import by_seed
from studies.searches import RUNS, Also, best_found, fresh_seeds, read_searches
from studies.searches import prepare as prepare  # trials.launch calls it
from studies.trials import Trials, launch
from training import ProtocolConfig, best_rate, train_curve

FIRST_SEED = 4_000  # far from those that searches and the other scripts use
# UNSPECIFIED: when and how aggressively the paper stops rules that show less promise.
STAGES = (30, 10, 3, 1)  # each stage's share of the epochs is one over this; half go on to the next
ARGUMENT = RUNS
FIGURE = "studies.figures.longrun"


@dataclass(frozen=True)
class Config(Also):
    top: int = setting(24, "best families to begin with, the best rule of each", low=1)
    epochs: int = setting(300, "epochs of the last stage", low=1)
    seeds: int = setting(3, "fresh seeds of each training", low=1, high=1_000)
    confirm_seeds: int = setting(
        0, "further seeds for the best found and named rule and people's optimizers", low=0, high=1_000
    )


class Runner(NamedTuple):
    """A rule in the race."""

    kind: str  # found, named (by --also) or human
    name: str
    rule: str
    lr: float | None  # None until its own sweep, before the first stage


class Plan(NamedTuple):
    """All that determines the trainings."""

    config: Config
    child: ProtocolConfig  # whose epochs are the last stage's: the horizon of a rule's decays
    seeds: list[int]  # of the race, then those that confirm
    runners: list[Runner]


def configure(args) -> Plan:
    """Return the plan.

    Raises:
        ValueError: no runs, or some that do not compare.
    """
    config = resolve(Config, args)
    confirming.check(config.confirm_seeds)
    child, used, records, _ = read_searches(args.runs)
    found = [
        Runner("found", record["infix"], record["rule"], record["lr"])
        for record in best_found(records, config.top)
    ]
    rates: dict[str, float | None] = {}
    for folder in args.runs:  # should sweeps with other seeds differ, the first run's count
        for line in results.read_humans(folder):
            rates.setdefault(line["name"], line["lr"])
    if any(rates.get(name) is None for name in HUMAN):
        raise results.RunError(f"{args.runs[0]}: not every human optimizer has trained to the end")
    humans = [Runner("human", name, NAMED_RULES[name].rule, rates[name]) for name in HUMAN]
    seeds = fresh_seeds(FIRST_SEED, config.seeds + config.confirm_seeds, used)
    racing = {Rule.parse(one.rule).key() for one in found + humans}
    also = [
        Runner("named", name, str(rule), None)
        for name, rule in map(named, config.also)
        if rule.key() not in racing
    ]
    return Plan(config, replace(child, epochs=config.epochs), seeds, found + also + humans)


def label(plan: Plan) -> tuple[str, int]:
    return f"{plan.config.epochs}-epochs", plan.seeds[0]


def stage_epochs(epochs: int) -> list[int]:
    """Return how many epochs each stage has, ascending, none twice: 10, 30, 100, 300 of 300."""
    return sorted({max(1, epochs // share) for share in STAGES})


def final_score(records: list[dict]) -> float:
    """Return the mean validation accuracy after a rule's last epoch; minus infinity if one diverged."""
    ends = [record["curve"][-1] for record in records]
    return -math.inf if None in ends else float(np.mean(ends))


def work(plan: Plan, trials: Trials) -> None:
    """Train the found rules stage by stage, each time the better half, and others in the last alone."""
    found = [runner for runner in plan.runners if runner.kind == "found"]
    others = [runner for runner in plan.runners if runner.kind != "found"]
    unknown = [runner for runner in others if runner.lr is None]
    jobs = [{"epochs": 0, **runner._asdict(), "seed": plan.seeds[0]} for runner in unknown]
    swept = trials.do(
        "rates", jobs, best_rate, lambda job: (job["rule"], plan.child, job["seed"]),
        lambda outcome: {"swept_lr": outcome[0], "curve": [], "sweep": outcome[1]},
    )  # fmt: skip
    rates = {record["rule"]: record["swept_lr"] for record in swept}
    others = [one._replace(lr=rates.get(one.rule, one.lr)) for one in others]
    others = [one for one in others if one.lr is not None]  # it diverged at every rate

    def train(what: str, jobs: list[dict]) -> list[dict]:
        arguments = lambda job: (job["rule"], job["lr"], plan.child, job["seed"], job["epochs"])  # noqa: E731
        measured = lambda outcome: dict(zip(("curve", "losses", "cpu_s"), outcome, strict=True))  # noqa: E731
        return trials.do(what, jobs, train_curve, arguments, measured)

    stages = stage_epochs(plan.config.epochs)
    for epochs in stages:
        runners = [*found, *others] if epochs == stages[-1] else found
        jobs = [
            {"epochs": epochs, **runner._asdict(), "seed": seed}
            for runner in runners
            for seed in plan.seeds[: plan.config.seeds]
        ]
        records = train(f"{epochs} epochs", jobs)
        of_rule = longest(records)
        found = sorted(found, key=lambda runner: -final_score(of_rule[runner.rule]))
        found = found[: math.ceil(len(found) / 2)]
    names = ("epochs", *Runner._fields)
    best = [{name: row[name] for name in names} for row in finalists(summarize(plan, trials.records))]
    further = plan.seeds[plan.config.seeds :]
    train("confirm", [{**one, "confirm": True, "seed": seed} for seed in further for one in best])


def finalists(rows: list[dict]) -> list[dict]:
    """Return the rows of the best rules that went to the end, and of the human optimizers."""
    return confirming.finalists([row for row in rows if row["epochs"] == rows[0]["epochs"]], "final")


def longest(records: list[dict]) -> dict[str, list[dict]]:
    """Return of each rule its longest trainings in the race that as many seeds have as any."""
    stages: dict[str, dict[int, list[dict]]] = {}
    for record in (record for record in records if record["epochs"] and not record.get("confirm")):
        stages.setdefault(record["rule"], {}).setdefault(record["epochs"], []).append(record)
    return {
        rule: by_epochs[max(by_epochs, key=lambda epochs: (len(by_epochs[epochs]), epochs))]  # noqa: B023
        for rule, by_epochs in stages.items()
    }


def mean_curve(records: list[dict], what: str = "curve") -> np.ndarray:
    """Return the mean of a rule's trainings after each epoch; NaN where one of them diverged."""
    return np.array([record[what] for record in records], dtype=float).mean(0)


def summarize(plan: Plan, records: list[dict]) -> list[dict]:
    """Return a row for each rule, longest training first, then best final validation accuracy.

    All are means over seeds, `best` and `after_N` too; `deviation` is that of `final` from seed to seed.
    """
    first = stage_epochs(plan.config.epochs)[0]
    rows = []
    for some in longest(records).values():
        one, ends = some[0], [record["curve"][-1] for record in some]
        row = {name: one[name] for name in ("kind", "name", "rule", "lr", "epochs")}
        final = final_score(some)
        row["final"] = final if math.isfinite(final) else None
        row["deviation"] = float(np.std(ends, ddof=1)) if len(ends) > 1 and None not in ends else None
        tops = [max((x for x in record["curve"] if x is not None), default=None) for record in some]
        row["best"] = None if None in tops else float(np.mean(tops))
        early = mean_curve(some)[first - 1]
        rows.append({**row, f"after_{first}": float(early) if np.isfinite(early) else None})
    worst = lambda score: math.inf if score is None else -score  # noqa: E731
    return sorted(rows, key=lambda row: (-row["epochs"], worst(row["final"])))


def table(rows: list[dict]) -> str:
    """Return the rows as aligned text."""
    early = next(name for name in rows[0] if name.startswith("after_"))
    epochs = early.removeprefix("after_")
    columns = {"final": "final", "sd": "deviation", "best": "best", f"at {epochs}": early}
    if all(row["deviation"] is None for row in rows):  # one seed
        del columns["sd"]
    lines = [["epochs", *columns, "rate", "update"]]
    for row in rows:
        numbers = [number(row[name]) for name in columns.values()]
        name = row["name"].upper() if row["kind"] == "human" else row["name"]
        lines.append([str(row["epochs"]), *numbers, f"{row['lr']:g}", name])
    return "\n".join(aligned(lines)) + "\n"


def report(plan: Plan, records: list[dict]) -> tuple[list[dict], str]:
    def ends(row: dict, measure: str) -> dict[int, float]:
        return by_seed(confirm, measure, rule=row["rule"])

    rows, number_of = summarize(plan, records), plan.config.seeds
    confirm = [record | {"final": record["curve"][-1]} for record in records if record.get("confirm")]
    many = f"\nMeans over {number_of} seeds; sd is the standard deviation of one training.\n"
    text = table(rows) + many * (number_of > 1)
    if confirm:
        text += confirming.table(finalists(rows), {"final": "final"}, "lr", ends)
    return rows, text


def then(plan: Plan, rows: list[dict], folder: Path) -> str:
    best = next(row for row in rows if row["kind"] == "found")
    return f"python -m studies.transfer wrn --rules '{best['rule']}' tries the best on another network"


def main(argv: list[str] | None = None) -> int:
    return launch(sys.modules[__name__], argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
