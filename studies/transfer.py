"""Do found rules work on other networks and tasks? The controller is not trained again, section 5.

    python -m studies.transfer wrn --rules "m 1 clip1e-3 id left" powersign    # a Wide ResNet
    python -m studies.transfer text --rules powersign --seeds 3                # a language model
    python -m studies.transfer fashion --rules powersign --confirm-seeds 20    # the best on more seeds
    python -m studies.transfer --resume runs/...                               # go on after Ctrl-C
    python -m studies.figures.transfer runs/...                                # draw the figure again

tasks.py has the tasks; a rule takes some 20 core-minutes on wrn, 2 on the others. SGD, Momentum,
RMSProp and Adam always come along, and all are treated alike. First seven learning rates train for one
epoch, a short one where there is much data. Then the best one and its neighbours, a decade up and
down, train for all epochs. Validation scores choose the rate, and for the columns "best" the epoch;
test scores stand beside them and choose nothing. With --confirm-seeds the best rules,
see confirming.py, train once more at these rates. A training that diverged is the worst there can be.
Writes a run folder: records.jsonl (a line a training), summary.csv, summary.txt and the figure. Read
next: trials.py.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from config import as_program, resolve, setting

import numpy as np

import data
import results
from child import resolve_precision
from data import ANY
from results import aligned, number
from rules import HUMAN, is_class, named
from studies import confirming, tasks
from studies.analysis import curves
from studies.searches import Also, with_people
from studies.trials import Argument, Trials, launch

ABOUT = "wrn, a Wide ResNet on CIFAR-10; fashion, the ConvNet on Fashion-MNIST; text, a language model"
ARGUMENT = Argument("task", {"nargs": "?", "choices": tasks.METRICS, "metavar": "TASK", "help": ABOUT})
FIGURE = "studies.figures.transfer"
EXPONENTS = range(-5, 2)  # of the sweep's learning rates
SCORE = "final_validation"  # by which rules and rates are chosen


@dataclass(frozen=True)
class Config(Also):
    rules: tuple[str, ...] = setting((), "rules to try, by name or string", words=True)
    # DEVIATION: the paper (recalled) trains its Wide ResNet for 300 epochs.
    epochs: int = setting(10, "epochs of a training", low=1)
    sweep_examples: int = setting(
        10_000, "images, or sequences, in the sweep's one epoch; all if there are fewer", low=100
    )
    seeds: int = setting(1, "seeds of the trainings; the sweep has the first", low=1)
    first_seed: int = setting(0, "the first of them", low=0, high=10**9)
    confirm_seeds: int = setting(
        0, "further seeds for the best found and named rule and people's optimizers", low=0, high=1_000
    )
    data: str = setting("data", "folder that holds the data sets")
    data_sha256: str = setting(ANY, "checksum of the pictures; auto is any", flag=False)


class Plan(NamedTuple):
    """All that determines the trainings."""

    task: str
    config: Config
    precision: str
    field: list[tuple[str, str]]  # (name, rule), human optimizers last
    text: str | None = None  # a hash of what the language model reads; it changes with Python


def configure(args) -> Plan:
    """Return the plan.

    Raises:
        ValueError: no task, or something that is no rule.
    """
    config = resolve(Config, args)
    confirming.check(config.confirm_seeds)
    text = tasks.text_hash() if args.task == "text" else None
    field = with_people(map(named, config.rules + config.also))
    return Plan(args.task, config, resolve_precision("auto"), field, text)


def label(plan: Plan) -> tuple[str, int]:
    return plan.task, plan.config.first_seed


def prepare(plan: Plan, new: bool) -> Plan:
    """Return the plan, which says where the task's data is, and which this is.

    Raises:
        ValueError: it is not there, or not what the plan was made for.
    """
    if plan.text not in (None, tasks.text_hash()):
        raise results.RunError("this Python's reference is another text; go on with the one that began")
    if dataset := tasks.DATASETS[plan.task]:
        root = Path(plan.config.data).absolute()
        if new:
            data.prepare(dataset, root)
        data.load(dataset, root, plan.config.data_sha256)
        known = {"data": str(root), "data_sha256": data.checksum(dataset, root)}
        plan = plan._replace(config=replace(plan.config, **known))
    tasks.make_task(plan.task, plan.config.data, plan.precision)
    return plan


# --- training -------------------------------------------------------------------------------------


def rank(plan: Plan, score: float | None) -> float:
    """Return a score such that higher is better, minus infinity if there is none."""
    higher = tasks.BEST[tasks.METRICS[plan.task]] is max
    return -np.inf if score is None else score if higher else -score


def rates_to_train(plan: Plan, sweep: list[dict]) -> list[float]:
    """Return the best rate of a rule's sweep and its neighbours, a decade below and above.

    Of equally good rates the smaller counts; they are powers of ten, some perhaps beyond the sweep's.
    """
    best = max(sweep, key=lambda record: (rank(plan, record["curve"][0]), -record["lr"]))
    exponent = round(np.log10(best["lr"]))
    return [10.0 ** (exponent + step) for step in (-1, 0, 1)]


def work(plan: Plan, trials: Trials) -> None:
    """Sweep the rates of all rules, then train them with the best ones."""
    config = plan.config

    def jobs(stage: str, rule: tuple[str, str], rates: list[float], seeds: range) -> list[dict]:
        name, text = rule
        job = {"stage": stage, "name": name, "rule": text}
        return [{**job, "lr": lr, "seed": seed} for seed in seeds for lr in rates]

    def do(stage: str, wanted: list[dict], epochs: int, examples: int) -> list[dict]:
        def arguments(job: dict) -> tuple:
            fixed = (plan.task, config.data, plan.precision)
            horizon = config.epochs  # in the sweep too
            return (*fixed, job["rule"], job["lr"], job["seed"], epochs, examples, horizon)

        return trials.do(stage, wanted, tasks.train, arguments, tasks.Outcome._asdict)

    first = range(config.first_seed, config.first_seed + 1)
    rates = [10.0**exponent for exponent in EXPONENTS]
    wanted = [job for rule in plan.field for job in jobs("sweep", rule, rates, first)]
    sweep = do("sweep", wanted, 1, config.sweep_examples)
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    wanted = []
    for rule in plan.field:
        chosen = rates_to_train(plan, [record for record in sweep if record["rule"] == rule[1]])
        wanted += jobs("train", rule, chosen, seeds)
    trained = do("train", wanted, config.epochs, 10**9)
    further = range(seeds.stop, seeds.stop + config.confirm_seeds)
    wanted = []
    for row in confirming.finalists(summarize(plan, trained), SCORE):
        wanted += jobs("confirm", (row["name"], row["rule"]), [row["final_lr"]], further)
    do("confirm", sorted(wanted, key=lambda job: job["seed"]), config.epochs, 10**9)


# --- what came out --------------------------------------------------------------------------------


def place_of_best(plan: Plan, curve: list[float | None]) -> int:
    """Return the epoch, from 0, with the best validation score, of equals the first."""
    return int(np.argmax([rank(plan, score) for score in curve]))


def summarize(plan: Plan, records: list[dict]) -> list[dict]:
    """Return a row a rule, best final validation score first, like the paper's table (recalled).

    Final: the rate whose mean validation score after the last epoch is best. Best: the rate whose mean
    over seeds of the best epoch's is; test scores are those of the same weights.
    """
    rows = []
    for name, rule in plan.field:
        mine: dict[float, list[dict]] = {}
        for record in records:
            if (record["stage"], record["rule"]) == ("train", rule):
                mine.setdefault(record["lr"], []).append(record)
        row = {"name": name, "rule": rule, "human": name in HUMAN, "n": plan.config.seeds}
        for column, epoch in (("final", lambda _: -1), ("best", lambda c: place_of_best(plan, c))):
            looked = {
                lr: [(r["curve"][epoch(r["curve"])], r["test"][epoch(r["curve"])]) for r in some]
                for lr, some in mine.items()
            }
            mean = {lr: np.mean([rank(plan, v) for v, _ in some]) for lr, some in looked.items()}
            lr = max(mean, key=lambda lr: (mean[lr], -lr))
            survived = np.isfinite(mean[lr])
            validation, test = np.array(looked[lr], dtype=float).T  # NaN where it diverged
            row[f"{column}_lr"] = lr
            row[f"{column}_validation"] = float(validation.mean()) if survived else None
            row[f"{column}_test"] = float(test.mean()) if survived else None
            spread = survived and len(test) > 1
            row[f"{column}_test_sd"] = float(test.std(ddof=1)) if spread else None
        rows.append(row)
    return sorted(rows, key=lambda row: -rank(plan, row["final_validation"]))


def table(plan: Plan, rows: list[dict]) -> str:
    """Return the rows as aligned text."""
    lines = [["final val.", "test", "sd", "rate", "best val.", "test", "sd", "rate", "update"]]
    for row in rows:
        cells = []
        for column in ("final", "best"):
            cells += [number(row[f"{column}_{name}"]) for name in ("validation", "test", "test_sd")]
            cells.append(f"{row[f'{column}_lr']:g}")
        lines.append([*cells, row["name"].upper() if row["human"] else row["name"]])
    config, metric = plan.config, tasks.METRICS[plan.task]
    better = "higher" if tasks.BEST[metric] is max else "lower"
    note = f"{plan.task}: {metric}, {better} is better; epochs: {config.epochs}, seeds: {config.seeds}. "
    note += "Final: after the last\nepoch; best: after each seed's best one; sd: of one training's test "
    return "\n".join([*aligned(lines), "", f"{note}score; -: diverged, or one seed."]) + "\n"


def report(plan: Plan, records: list[dict]) -> tuple[list[dict], str]:
    def ends(row: dict, measure: str) -> dict[int, float]:
        trained = curves(records, row["rule"], row["final_lr"], measure, "confirm")
        return {seed: curve[-1] for seed, curve in trained.items()}

    rows, text = summarize(plan, records), ""
    if any(record["stage"] == "confirm" for record in records):
        best, columns = confirming.finalists(rows, SCORE), {"final val.": "curve", "test": "test"}
        higher = tasks.BEST[tasks.METRICS[plan.task]] is max
        text = confirming.table(best, columns, "final_lr", ends, higher)
    return rows, table(plan, rows) + text


def then(plan: Plan, rows: list[dict], folder: Path) -> str:
    rules = [row for row in rows if not is_class(row["rule"])]  # which an optimizer's class is not
    best = next((row for row in rules if not row["human"]), rules[0])
    return f"python rules.py show '{best['rule']}' explains the best of --rules"


def main(argv: list[str] | None = None) -> int:
    return launch(sys.modules[__name__], argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
