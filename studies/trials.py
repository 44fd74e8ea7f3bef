"""A study: a list of trainings that can be resumed, and the command line around it.

A job is plain data, such as which rule with which seed. Its record is the job and what was measured,
written as soon as it is there. Jobs whose records are there already are not done again. So a study that
was interrupted or killed goes on to the same result, and loses only what was in flight.

A study is a module with the names of `Study`: its settings, the plan that it makes of them, the jobs,
a report of the records. The plan is kept in config.json and is all that --resume needs. Nothing to run
here. Read next: searches.py, then compare.py.
"""

import contextlib
import importlib
import shlex
import sys
import time
import typing
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from dataclasses import asdict, fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from config import ConfigError, Parser, add_settings, draw_or_warn, from_dict

import torch

import results
from child import FORMER_CHILD, ChildConfig, completed
from pool import TaskError, WorkerDied, WorkerPool, usable_cores
from results import Progress, Say, reopen
from rules import OptimizerClass, is_class
from tasks.own import TaskConfig, digest
from training import ProtocolConfig, start_worker


class Trials:
    """The records of a run folder, and the workers that make more of them."""

    def __init__(
        self,
        executor: Executor,
        run: results.Run,
        progress: Progress,
        scale: results.Scale | None = None,
    ):
        self.scale = {"scale": list(scale)} if scale not in (None, results.Scale()) else {}
        self.executor, self.run, self.progress = executor, run, progress
        self.recorded = {record["id"]: record for record in read_trials(run.folder)}
        self.records: list[dict] = []  # of the jobs done or found done, in order

    def do(
        self, what: str, jobs: list[dict], task: Callable[..., Any], arguments: Callable[[dict], tuple],
        measured: Callable[[Any], dict],
    ) -> list[dict]:  # fmt: skip
        """Do jobs, several at once; return their records, in this order.

        Args:
            what: names the jobs in the progress line.
            jobs: each with at least `rule` and `seed`.
            task: what a worker calls, with the `arguments` of a job.
            measured: makes what it returns part of a record.
        Raises:
            RunError: the records are of other jobs, or a worker failed.
        """
        first, futures, done = len(self.records), {}, {}
        for id, job in enumerate(jobs, first):
            if (record := self.recorded.get(id)) is None:
                futures[self.executor.submit(task, *arguments(job))] = id, job
                continue
            if any(record.get(name) != value for name, value in job.items()):
                other = f"record {id} is not '{job['rule']}' with seed {job['seed']}"
                raise results.ReplayError(f"{self.run.folder}: {other}; this run cannot go on")
            done[id] = record
        start_s, known, waiting = time.monotonic(), len(done), set(futures)
        while waiting:
            new, count = len(done) - known, len(jobs)
            left = (time.monotonic() - start_s) / new * (count - len(done)) if new else None
            ahead = "" if left is None else f"  {timedelta(seconds=round(left))} left"
            self.progress.update(f"{what}: {len(done)}/{count} trainings{ahead}")
            finished, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in sorted(finished, key=lambda one: one.exception() is not None):
                id, job = futures[future]
                try:  # failures come last: what ended beside one is kept
                    outcome = measured(future.result())
                except (TaskError, WorkerDied) as error:
                    failed = f"'{job['rule']}' with seed {job['seed']} failed: {error.reason}"
                    if is_class(str(job["rule"])):  # which would fail again
                        raise results.ReplayError(f"{failed}; mend it and begin anew") from None
                    raise results.RunError(failed) from None
                done[id] = {"id": id, **job, **outcome, **self.scale}
                self.run.append("records.jsonl", done[id])
        self.records += [done[id] for id in sorted(done)]
        return self.records[first:]


def read_trials(folder: Path) -> list[dict]:
    """Return the records of a run folder in the order of their ids, not that of their ends."""
    return sorted(results.read_lines(folder / "records.jsonl"), key=lambda record: record["id"])


# --- the command line -----------------------------------------------------------------------------


class Argument(NamedTuple):
    """What a study works on: its positional argument, as argparse has it."""

    name: str
    how: dict
    required: bool = True


class Study(Protocol):
    """What a study is: a module of this folder with these names. P is its Plan."""

    __file__: str
    __doc__: str
    ARGUMENT: Argument
    FIGURE: str | None  # a module with a `draw`, which draws the run folder
    Config: type  # a dataclass of settings, each a flag
    Plan: type  # a NamedTuple of dataclasses, NamedTuples and plain data

    def configure(self, args: Namespace) -> Any: ...  # -> P; raises ValueError before anything is made
    def label(self, plan: Any) -> tuple[str, int]: ...  # name and seed of the default run folder
    def prepare(self, plan: Any, new: bool) -> Any: ...  # opens its data; returns it, knowing these
    def work(self, plan: Any, trials: Trials) -> None: ...  # does all jobs
    def report(self, plan: Any, records: list[dict]) -> tuple[list[dict], str]: ...  # rows, text
    def then(self, plan: Any, rows: list[dict], folder: Path) -> str: ...  # what to do next


def stem(study: Study) -> str:
    """Return a study's short name, such as "compare"; `__name__` may be "__main__"."""
    return Path(study.__file__).stem


def command(study: Study) -> str:
    return f"python -m studies.{stem(study)}"


def to_dict(study: Study, plan: Any) -> dict:
    """Return a plan as config.json has it, with the study's name."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(one) for one in value]
        return asdict(value) if is_dataclass(value) else getattr(value, "_asdict", lambda: value)()

    values = {name: plain(value) for name, value in plan._asdict().items()}
    files = {"files": files} if (files := optimizer_files(values)) else {}
    return {"script": f"studies.{stem(study)}", **values, **files}


def optimizer_files(values: Any) -> dict[str, str]:
    """Return a hash of each file that optimizers of a plan come from, by its path."""
    if isinstance(values, str):
        place = OptimizerClass.parse(values).place if is_class(values) else ""
        return {place: digest(place)} if place.endswith(".py") and Path(place).is_absolute() else {}
    some = values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
    return {path: hash for one in some for path, hash in optimizer_files(one).items()}


def from_folder(study: Study, folder: Path) -> Any:
    """Return the plan of a run folder.

    Raises:
        RunError: it is none, or of another study, or of an older version and cannot go on as it began.
    """
    saved = read_config(folder, stem(study))
    if "config" in saved:
        saved["config"] = BEFORE.get(stem(study), {}) | saved["config"]
    ended = results.read_meta(folder).get("end") is not None

    def back(hint: Any, value: Any) -> Any:
        hint = kind_of(value) if hint is ProtocolConfig else hint
        if is_dataclass(hint):  # older folders have other settings, which a report does without
            names = {field.name for field in fields(hint)}
            value = completed(value) if hint is ChildConfig else value
            others = value.keys() - names
            gone = [x for x in others if x not in FORMER_CHILD or value[x] != FORMER_CHILD[x]]
            own = issubclass(hint, ProtocolConfig)
            lacking = names - value.keys() - {"data_sha256"} if own else ()
            if not ended and (wrong := sorted([*gone, *lacking])):
                what = "is unfinished and has settings of another version"
                raise results.RunError(f"{folder} {what}: {', '.join(wrong)}")
            return from_dict(hint, {name: value[name] for name in names & value.keys()})
        [one] = typing.get_args(hint) if typing.get_origin(hint) is list else (None,)
        return [one(**element) for element in value] if hasattr(one, "_fields") else value

    hints = typing.get_type_hints(study.Plan)
    if lacking := hints.keys() - saved.keys():
        raise results.RunError(f"{folder}: config.json lacks {', '.join(sorted(lacking))}")
    return study.Plan(**{name: back(hint, saved[name]) for name, hint in hints.items()})


def kind_of(saved: dict) -> type[ProtocolConfig]:
    """Return the class of a child's settings: of the ConvNet, or of a task of one's own."""
    return TaskConfig if "task" in saved else ChildConfig


FORMERLY = {"valley": "rosenbrock"}  # names of studies in older run folders
# What they did before it was a setting.
BEFORE = {"valley": {"library": "torch"}, "longrun": {"seeds": 1}}


def study_of(folder: Path) -> str | None:
    """Return the short name of the study that made a run folder, None if none did."""
    script = results.read_config(folder).get("script")  # "studies.compare", formerly "compare.py"
    return script and script.removeprefix("studies.").removesuffix(".py")


def read_config(folder: Path, name: str) -> dict:
    """Return the config.json of a study's run folder.

    Raises:
        RunError: it is none, or of another study.
    """
    if study_of(folder) not in (name, FORMERLY.get(name, name)):
        raise results.RunError(f"{folder} is no run of studies.{name}")
    saved = results.read_config(folder)
    if name == "longrun" and "seed" in saved:  # as it was with one
        saved["seeds"] = [saved["seed"]]
    return saved


def plan_of(study: Study, args: Namespace) -> Any:
    """Return the plan that the flags ask for, or that of --resume.

    Raises:
        ValueError: what is wrong and what is allowed.
    """
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"--workers is {args.workers}; it must be at least 1")
    given = {name for name, value in vars(args).items() if value not in (None, [])}
    if args.resume is not None:
        if given - {"resume", "workers"}:
            raise ConfigError("--resume takes only --workers beside it; the rest is in the folder")
        return from_folder(study, args.resume)
    name, how, required = study.ARGUMENT
    if required and name not in given:
        raise ConfigError(f"no {how['metavar']} given ({how['help']}); or --resume a run folder")
    if args.out is not None:
        results.check_new(args.out)
    return study.configure(args)


def open_run(study: Study, args: Namespace, plan: Any, say: Say) -> results.Run:
    if args.resume is not None:
        for path, before in results.read_config(args.resume).get("files", {}).items():
            if digest(path) != before:
                what = f"{path} is not what it was when {args.resume} began"
                raise results.RunError(f"{what}; bring the old one back or begin anew")
        return reopen(args.resume, say)
    folder = args.out or results.default_folders(stem(study), *study.label(plan))
    environment = results.environment(torch.get_num_threads())
    return results.Run.create(folder, to_dict(study, plan), environment)


def make_parser(study: Study) -> Parser:
    parser = Parser(prog=command(study), description=study.__doc__)
    parser.add_argument(study.ARGUMENT.name, **study.ARGUMENT.how)
    parser.add_argument("--workers", type=int, metavar="N", help="worker processes (default: all cores)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder to make (default: runs/...)")
    parser.add_argument(
        "--resume", type=Path, metavar="DIR", help="go on with a run folder; takes only --workers"
    )
    add_settings(parser, study.Config)
    return parser


def launch(study: Study, argv: list[str] | None) -> int:
    """Run a study and return its exit code; a finished run is reported again, from its records."""
    parser = make_parser(study)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    progress = Progress()
    with contextlib.ExitStack() as stack:
        try:
            plan = plan_of(study, args)
            if args.resume is not None and results.read_meta(args.resume).get("end") is not None:
                _, text = study.report(plan, read_trials(args.resume))
                print(f"{args.resume} is already complete:\n\n{text}")
                return 0
            plan = study.prepare(plan, new=args.resume is None)
            # torch.optim imports torch._dynamo at its first use: a second, and 100 MB in every worker.
            preload = ("child", "torch._dynamo")
            executor = WorkerPool(
                args.workers or usable_cores(), initializer=start_worker, preload=preload
            )
            stack.callback(executor.stop)
            run = stack.enter_context(open_run(study, args, plan, progress.say))
        except (ValueError, OSError) as error:
            parser.error(str(error).split("\n")[0])  # without the caret under a rule's token
        except KeyboardInterrupt:
            print("interrupted before anything was made", file=sys.stderr)
            return 130
        scale = getattr(getattr(plan, "child", None), "scale", None)
        progress.begin_log(run.folder / "log.txt")
        return _to_end(plan, Trials(executor, run, progress, scale), study)


def _to_end(plan: Any, trials: Trials, study: Study) -> int:
    run = trials.run
    resume = f"{command(study)} --resume {shlex.quote(str(run.folder))}"
    try:
        study.work(plan, trials)
        rows, text = study.report(plan, trials.records)
        run.write_table("summary.csv", rows)
        run.replace("summary.txt", text)
        run.finish()
    except KeyboardInterrupt:
        trials.progress.say(f"interrupted; what was finished is kept. Go on with: {resume}")
        return 130
    except (results.RunError, OSError) as error:
        of_use = not isinstance(error, results.ReplayError)
        kept = f"What was finished is kept{f'; go on with: {resume}' * of_use}"
        trials.progress.say(f"{command(study)}: error: {error}. {kept}")
        return 1
    tell = trials.progress.result
    tell(f"\n{text}\n{run.folder} holds the trainings, and this text in summary.txt.")
    if study.FIGURE is not None:
        again = f"python -m {study.FIGURE} {shlex.quote(str(run.folder))}"
        if pictures := draw_or_warn(lambda: draw(study, run.folder), again, trials.progress.say):
            tell(f"The figure is {pictures[0]}.")
    tell(f"Next: {study.then(plan, rows, run.folder)}")
    return 0


def draw(study: Study, folder: Path) -> list[Path]:
    """Draw a study's figure into its run folder; return the files."""
    figure = importlib.import_module(study.FIGURE)  # late: workers import the study too
    return figure.draw([folder], folder / f"{study.FIGURE.split('.')[-1]}.png")
