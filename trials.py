"""Trainings in a fixed order on a run folder: what compare.py, rescore.py and transfer.py share.

A job is plain data, such as which rule with which seed. Its record is the job and what was measured.
Jobs whose records are there already are not done again, so a script that was interrupted or killed goes
on to the same result, having lost only what was in flight. Nothing to run here. Read next: compare.py.
"""

import contextlib
import shlex
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as NotDone
from datetime import timedelta
from pathlib import Path
from typing import Any

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
        self.recorded = results.read_lines(run.folder / "records.jsonl")
        self.records: list[dict] = []

    def do(
        self, what: str, jobs: list[dict], task: Callable[..., Any], arguments: Callable[[dict], tuple],
        measured: Callable[[Any], dict],
    ) -> list[dict]:  # fmt: skip
        """Do jobs, several at once; write and return their records, in this order.

        Args:
            what: names the jobs in the progress line.
            jobs: each with at least `rule` and `seed`.
            task: what a worker calls, with the `arguments` of a job.
            measured: makes what it returns part of a record.
        Raises:
            RunError: the records are of other jobs, or a worker failed.
        """
        done = self.recorded[len(self.records) :][: len(jobs)]
        for job, record in zip(jobs, done, strict=False):
            if any(record.get(name) != value for name, value in job.items()):
                what = f"record {record['id']} is not '{job['rule']}' with seed {job['seed']}"
                raise results.RunError(f"{self.run.folder}: {what}; this run cannot go on")
        first, new = len(self.records), jobs[len(done) :]
        self.records += done
        futures = [self.executor.submit(task, *arguments(job)) for job in new]
        start_s = time.monotonic()
        for count, (job, future) in enumerate(zip(new, futures, strict=True)):
            left = (time.monotonic() - start_s) / count * (len(new) - count) if count else None
            line = f"{what}: {len(done) + count}/{len(jobs)} trainings"
            line += "" if left is None else f"  {timedelta(seconds=round(left))} left"
            try:
                outcome = measured(self._wait(future, f"{line}  {job['rule']}"))
            except (TaskError, WorkerDied) as error:
                reason = str(error).strip().splitlines()[-1]
                raise results.RunError(
                    f"'{job['rule']}' with seed {job['seed']} failed: {reason}"
                ) from None
            self.records.append({"id": len(self.records), **job, **outcome})
            self.run.append("records.jsonl", self.records[-1])
        return self.records[first:]

    def _wait(self, future: Future, line: str) -> Any:
        while True:
            self.progress.update(line)
            with contextlib.suppress(NotDone):
                return future.result(1.0)


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


def launch(
    parser: Parser,
    args: Namespace,
    configure: Callable[[Namespace], Any],
    open_run: Callable[[Namespace, Any], results.Run],
    prepare: Callable[[Any], None],
    work: Callable[[Any, Trials], str],
) -> int:
    """Run such a script and return its exit code.

    Args:
        configure: args -> plan; raises ValueError before anything is made.
        open_run: makes the run folder, or reopens the one of --resume.
        prepare: makes sure that the plan's data is there.
        work: does it all, writes summary.txt and returns what to say at the end.
    """
    torch.set_num_threads(1)
    with contextlib.ExitStack() as stack:
        try:
            check_flags(args)
            plan = configure(args)
            if args.resume is not None and results.read_meta(args.resume).get("end") is not None:
                print(f"{args.resume} is already complete; its summary.txt says:\n")
                print((args.resume / "summary.txt").read_text("utf-8"))
                return 0
            prepare(plan)
            # torch.optim imports torch._dynamo at its first use: a second, and 100 MB in every worker.
            preload = ("child", "torch._dynamo")
            executor = WorkerPool(
                args.workers or usable_cores(), initializer=start_worker, preload=preload
            )
            stack.callback(executor.stop)
            run = stack.enter_context(open_run(args, plan))
        except (ValueError, OSError) as error:
            parser.error(str(error))
        except KeyboardInterrupt:
            print("interrupted before anything was made", file=sys.stderr)
            return 130
        return _to_end(parser.prog, plan, Trials(executor, run, Progress(run.folder / "log.txt")), work)


def _to_end(script: str, plan: Any, trials: Trials, work: Callable[[Any, Trials], str]) -> int:
    resume = shlex.join(["python", script, "--resume", str(trials.run.folder)])
    try:
        text = work(plan, trials)
        trials.run.finish()
    except KeyboardInterrupt:
        trials.progress.say(f"interrupted; what was finished is kept. Go on with: {resume}")
        return 130
    except (results.RunError, OSError) as error:
        kept = "What was finished is kept"
        kept += "" if "this run cannot go on" in str(error) else f"; go on with: {resume}"
        trials.progress.say(f"{script}: error: {error}. {kept}")
        return 1
    print(text)
    return 0


def interrupt_once(signum, frame):
    """End cleanly on Ctrl-C; a second one must not break into that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
