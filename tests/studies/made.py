"""Studies without trainings: the jobs are a study's own, the accuracies are made up from the job."""

import random
import shutil
from pathlib import Path

from made_runs import rewrite_config, rewrite_records

import results
from studies.trials import make_parser, to_dict
from training import ChildResult


class MadeTrials:
    """Trials that do a job by asking a function for the outcome instead of a worker."""

    def __init__(self, study, plan, outcome=lambda task, *job: made_result(*job)):
        self.outcome, self.records, self.arguments = outcome, [], []
        study.work(plan, self)

    def do(self, what, jobs, task, arguments, measured) -> list[dict]:
        first = len(self.records)
        for id, job in enumerate(jobs, first):
            self.arguments.append((task, *arguments(job)))
            outcome = measured(self.outcome(task, *arguments(job)))
            self.records.append({"id": id, **job, **outcome})
        return self.records[first:]


def made_up(*job) -> float:
    """Return an accuracy that is another one for each job, the same for the same."""
    return round(random.Random(str(job)).uniform(0.2, 0.6), 4)


def made_result(rule: str, child, seed: int) -> ChildResult:
    accuracy = made_up(rule, child, seed)
    sweep = [(10.0**exponent, accuracy) for exponent in child.lr_exponents]
    return ChildResult("ok", None, accuracy, 0.1, sweep, [accuracy], 0.0, 1.0, 1.0, "w")


def plan_of(study, *flags):
    """Return the plan that a study makes of flags."""
    return study.configure(make_parser(study).parse_args(list(map(str, flags))))


def changed_copy(folder: Path, to: Path, records: list[dict] | None = None, **config) -> Path:
    """Copy a run folder, with other settings or other records."""
    shutil.copytree(folder, to)
    if records is not None:
        rewrite_records(to, records)
    return rewrite_config(to, config)


def write_run(study, plan, records: list[dict], to: Path) -> Path:
    """Write the run folder of a study, a finished one if it has records."""
    with results.Run.create(to, to_dict(study, plan), {}) as run:
        for record in records:
            run.append("records.jsonl", record)
        if records:
            run.finish()
    return to
