"""Trainings on a run folder, and the command line around them: what the scripts after a search share.

A job is plain data, such as which rule with which seed. Its record is the job and what was measured,
written as soon as it is there. Jobs whose records are there already are not done again, so a script
that was interrupted or killed goes on to the same result, having lost only what was in flight.

A script gives `launch` four functions: its plan, the jobs, a report of the records and what to do next.
Nothing to run here. Read next: searches.py, then compare.py.
"""

import contextlib
import importlib
import shlex
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch

import results
from child import start_worker
from config import ConfigError, Parser
from pool import TaskError, WorkerDied, WorkerPool, usable_cores
from progress import Progress


class Trials:
    """The records of a run folder, and the workers that make more of them."""

    def __init__(self, executor: Executor, run: results.Run, progress: Progress):
        self.executor, self.run, self.progress = executor, run, progress
        self.recorded = {record["id"]: record for record in read_trials(run.folder)}
        self.records: list[dict] = []

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
                raise results.RunError(f"{self.run.folder}: {other}; this run cannot go on")
            done[id] = record
        start_s, known, waiting = time.monotonic(), len(done), set(futures)
        while waiting:
            new, count = len(done) - known, len(jobs)
            left = (time.monotonic() - start_s) / new * (count - len(done)) if new else None
            ahead = "" if left is None else f"  {timedelta(seconds=round(left))} left"
            self.progress.update(f"{what}: {len(done)}/{count} trainings{ahead}")
            finished, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in finished:
                id, job = futures[future]
                try:
                    outcome = measured(future.result())
                except (TaskError, WorkerDied) as error:
                    reason = str(error).strip().splitlines()[-1]
                    failed = f"'{job['rule']}' with seed {job['seed']} failed: {reason}"
                    raise results.RunError(failed) from None
                done[id] = {"id": id, **job, **outcome}
                self.run.append("records.jsonl", done[id])
        self.records += [done[id] for id in sorted(done)]
        return self.records[first:]


def read_trials(folder: Path) -> list[dict]:
    """Return the records of a run folder in the order of their ids, not that of their ends."""
    return sorted(results.read_lines(folder / "records.jsonl"), key=lambda record: record["id"])


# --- the command line of such a script ------------------------------------------------------------


def add_flags(parser: Parser) -> None:
    """Add --workers, --out and --resume."""
    parser.add_argument("--workers", type=int, metavar="N", help="worker processes (default: all cores)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder to make (default: runs/...)")
    parser.add_argument(
        "--resume", type=Path, metavar="DIR", help="go on with a run folder; takes only --workers"
    )


def check_flags(args: Namespace) -> None:
    """Check these flags.

    Raises:
        ValueError: what is wrong and what is allowed.
    """
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"--workers is {args.workers}; it must be at least 1")
    given = {name for name, value in vars(args).items() if value not in (None, [])}
    if args.resume is not None and given - {"resume", "workers"}:
        raise ConfigError("--resume takes only --workers beside it; the rest is in the folder")
    if args.out is not None:
        results.check_new(args.out)


def reopen(folder: Path) -> results.Run:
    """Reopen a run folder; warn if the scores to come may differ from those that are there.

    Raises:
        RunError: it is none, or another process writes to it.
    """
    run, before = results.Run.reopen(folder), results.read_meta(folder)
    now = results.environment(torch.get_num_threads())
    same = ("processor", "capability", "torch", "python")
    if changed := [name for name in same if before.get(name) != now[name]]:
        what = ", ".join(changed)
        print(f"WARNING: another {what} than at the start: scores may differ", file=sys.stderr)
    return run


class Script(NamedTuple):
    """What one script adds to `launch`; P is its plan, of any type."""

    configure: Callable[[Namespace], Any]  # -> P; raises ValueError before anything is made
    create: Callable[[Path | None, Any], results.Run]  # (--out, P) -> the run folder
    prepare: Callable[[Any], None]  # makes sure that the plan's data is there
    work: Callable[[Any, Trials], None]  # does all jobs
    report: Callable[[Any, list[dict]], tuple[list[dict], str]]  # (P, records) -> rows, text
    then: Callable[[Any, list[dict], Path], str]  # what to do next
    figure: str | None = None  # its file in plots/


def launch(parser: Parser, args: Namespace, script: Script) -> int:
    """Run such a script and return its exit code; a finished run is reported again, from its records."""
    torch.set_num_threads(1)
    with contextlib.ExitStack() as stack:
        try:
            check_flags(args)
            plan = script.configure(args)
            if args.resume is not None and results.read_meta(args.resume).get("end") is not None:
                rows, text = script.report(plan, read_trials(args.resume))
                print(f"{args.resume} is already complete:\n\n{text}")
                return 0
            script.prepare(plan)
            # torch.optim imports torch._dynamo at its first use: a second, and 100 MB in every worker.
            preload = ("child", "torch._dynamo")
            executor = WorkerPool(
                args.workers or usable_cores(), initializer=start_worker, preload=preload
            )
            stack.callback(executor.stop)
            run = reopen(args.resume) if args.resume else script.create(args.out, plan)
            stack.enter_context(run)
        except (ValueError, OSError) as error:
            parser.error(str(error).split("\n")[0])  # without the caret under a rule's token
        except KeyboardInterrupt:
            print("interrupted before anything was made", file=sys.stderr)
            return 130
        trials = Trials(executor, run, Progress(run.folder / "log.txt"))
        return _to_end(parser.prog, plan, trials, script)


def _to_end(name: str, plan: Any, trials: Trials, script: Script) -> int:
    run, resume = trials.run, shlex.join(["python", name, "--resume", str(trials.run.folder)])
    try:
        script.work(plan, trials)
        rows, text = script.report(plan, trials.records)
        run.write_table("summary.csv", rows)
        run.replace("summary.txt", text)
        drawn = ""
        if script.figure is not None:  # imported late: workers import the script too
            figure = importlib.import_module(f"plots.{script.figure}")
            drawn = (
                f"; its figure is {figure.draw([run.folder], run.folder / f'{script.figure}.png')[0]}"
            )
        run.finish()
    except KeyboardInterrupt:
        trials.progress.say(f"interrupted; what was finished is kept. Go on with: {resume}")
        return 130
    except (results.RunError, OSError) as error:
        kept = "What was finished is kept"
        kept += "" if "this run cannot go on" in str(error) else f"; go on with: {resume}"
        trials.progress.say(f"{name}: error: {error}. {kept}")
        return 1
    print(f"\n{text}\n{run.folder} holds the trainings, and this text in summary.txt{drawn}")
    print(f"Next: {script.then(plan, rows, run.folder)}")
    return 0


def interrupt_once(signum, frame):
    """End cleanly on Ctrl-C; a second one must not break into that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
