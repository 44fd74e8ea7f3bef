"""Run folders: what a script was asked to do and what came out, as text that outlives the program.

A folder appears whole, with its config, and is never overwritten. Records are appended and flushed
line by line, so killing a run loses at most the work in flight; whole files are replaced in one
step. One process at a time may write to a folder.

    config.json         the settings that determine the history
    meta.json           command, versions, processor, start, end
    records.jsonl       a line a finished rule, in the order of their ids
    updates.jsonl       a line a controller update
    humans.jsonl        a line a human optimizer, scored by the same child
    hall_of_fame.csv    the best families of rules so far
    log.txt             what the terminal showed

In a record `accuracy` is what this training measured. `reward` is what the proposer was told: the mean
so far over the trainings of its family. `family` is the id of the family's first rule, see sameness.py.
`cached_from` is the id of the rule of its family whose training stands for this one's, with the rates of
that one; null if it was trained itself. In `sweep` a rate has null if it diverged or was stopped as it
fell behind.

In a controller update, the first two are its number and how many rules are scored:

    update, samples
    reward_mean, reward_max     of the batch; a rule that failed has 0
    families                    families a rule among the last 100; low if the controller repeats itself
                                (older runs: distinct_keys)
    invalid                     share of illegal rules; it stays 0
    baseline                    moving average of rewards; a rule above it becomes more likely
    entropy, entropy_coeff      how undecided the controller is at each token, in nats; its weight
    kl                          mean Kullback-Leibler divergence from the controller before
    surrogate_gain              by how much the update raised what it maximises, on its own batch
    line_search_steps, accepted TRPO: step lengths that were tried, and whether one was taken
    population_mean             evolution, guided: mean reward of the rules that it breeds from

Read next: config.py, for what config.json holds.
"""

import contextlib
import csv
import fcntl
import gc
import io
import json
import math
import os
import platform
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple, TextIO

from config import GONE

import numpy

LOG_EVERY_S = 10.0
TOGETHER = 1000  # lines that are read as one text
CHANCE = 0.1  # accuracy of guessing: every data set has ten classes
LEARNS = 1.5 * CHANCE  # an accuracy up to it is guessing, or hardly better
# UNSPECIFIED: the reward of a rule that diverged. It is that of every rule without a score.
FAILURE_REWARD = 0.0
NEAR = 0.02  # accuracy below the best within which a learning rate counts as good
NO_RATE = "the sweep tells no rate: the rule learned at none, or at all alike"
DUPLICATE, REJECTED = "duplicate of an earlier one", "rejected"  # ways that a rule may go
TRAINED = "trained to the end"
FORMAT = 1  # of the folder; a reader refuses others instead of guessing
RUNS = Path("runs")
SAME = ("processor", "capability", "torch", "numpy", "python", "commit")  # what scores may depend on
FIELDS = set("id batch rule infix key seed status cached_from reward lr sweep curve error".split())
FIELDS |= set("start_s wall_s cpu_s worker".split())  # of a record; these differ from run to run


Say = Callable[[str], None]  # shows lines; Progress keeps them in a log too


class Scale(NamedTuple):
    """What a score means. A record without a `scale` has this one, that of accuracies."""

    failure: float = FAILURE_REWARD  # what a training counts that failed
    chance: float = CHANCE  # the score of what has learned nothing
    near: float = NEAR  # a difference up to it is small


class RunError(ValueError):
    """A run folder cannot be created, read or written."""


class ReplayError(RunError):
    """What a run folder holds is not what its settings give, or fails again: to resume is of no use."""


# --- reading --------------------------------------------------------------------------------------


def iterate_lines(path: Path, about: re.Pattern[bytes] | None = None) -> Iterator[dict]:
    """Yield the rows of a .jsonl file, of a finished run or one in progress, without a torn last line.

    Args:
        about: skips the lines in which this is not found, twenty times as fast.
    Raises:
        RunError: a line before the last is no JSON object.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        whole = (line for line in file if line.endswith(b"\n"))  # the last may still be written
        numbered = enumerate(whole, 1)
        wanted = ((n, line) for n, line in numbered if about is None or about.search(line))
        while some := list(islice(wanted, TOGETHER)):
            yield from _read_some(path, some)


def read_lines(path: Path, about: re.Pattern[bytes] | None = None) -> list[dict]:
    """Return what `iterate_lines` yields, with the same arguments."""
    with uncollected():
        return list(iterate_lines(path, about))


def count_lines(path: Path) -> int:
    """Return how many whole lines a file has, 0 if there is none."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(line.endswith(b"\n") for line in file)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Turn garbage collection off meanwhile: it would go through all records again and again."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _read_some(path: Path, lines: list[tuple[int, bytes]]) -> list[dict]:
    """Read numbered lines as one text, so that rows share the names of their fields: half the memory."""
    with contextlib.suppress(ValueError, RecursionError):
        rows = json.loads(b"[%s]" % b",".join(line for _, line in lines))
        if len(rows) == len(lines) and all(isinstance(row, dict) for row in rows):
            return rows
    return [_read_line(path, number, line) for number, line in lines]


def _read_line(path: Path, number: int, line: bytes) -> dict:
    with contextlib.suppress(ValueError, RecursionError):
        row = json.loads(line)
        if isinstance(row, dict):
            return row
    raise RunError(f"{path}: line {number} is damaged")


def iterate_records(folder: Path) -> Iterator[dict]:
    """Yield the records of a run, one for every id from 0 on.

    Raises:
        RunError: a line is damaged, one between others is missing, or a record lacks a field.
    """
    for number, record in enumerate(iterate_lines(folder / "records.jsonl")):
        whole = record.keys() >= FIELDS and isinstance(record["reward"], int | float)
        if record.get("id") != number or not whole:
            raise RunError(f"{folder / 'records.jsonl'}: line {number + 1} is not record {number}")
        # Where each string was trained once, the reward is the accuracy, and that alone was written.
        record.setdefault("accuracy", record["reward"] if record["status"] == "ok" else None)
        yield record


def read_records(folder: Path, keep: Sequence[str] | None = None) -> list[dict]:
    """Return the records of a run.

    Args:
        keep: the fields to cut them to, each in all records; None leaves them whole.
    Raises:
        RunError: as `iterate_records` does.
    """
    records = iterate_records(folder)
    if keep is not None:
        records = ({name: record[name] for name in keep} for record in records)
    with uncollected():
        return list(records)


def read_meta(folder: Path) -> dict:
    """Read a run's meta.json.

    Raises:
        RunError: the folder is no run, or one of another format.
    """
    meta = _read_json(folder, "meta.json")
    if meta.get("format") != FORMAT:
        raise RunError(f"{folder} has format {meta.get('format')}; this version reads {FORMAT}")
    return meta


def read_config(folder: Path) -> dict:
    """Read a run's config as a plain dict.

    Raises:
        RunError: the folder is no run, or one of another format.
    """
    read_meta(folder)
    return _read_json(folder, "config.json")


def _read_json(folder: Path, name: str) -> dict:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        value = json.loads((folder / name).read_text("utf-8"))
        if isinstance(value, dict):
            return value
    raise RunError(f"{folder} is not a run folder: no readable {name}")


def read_humans(folder: Path) -> list[dict]:
    """Read the scores of the human optimizers, a line each; older runs call it baselines.jsonl."""
    return read_lines(folder / "humans.jsonl") or read_lines(folder / "baselines.jsonl")


def scale_of(record: dict) -> Scale:
    """Return what the scores of a record mean, which one of a task of one's own tells."""
    return Scale(*record.get("scale", ()))


def worth(record: dict, measure: str = "accuracy") -> float:
    """Return what a training counts: its accuracy, or if it failed what its scale says."""
    return scale_of(record).failure if record[measure] is None else record[measure]


def guessing(record: dict) -> float:
    """Return the score up to which a rule only guesses, or does hardly better."""
    scale = scale_of(record)
    return LEARNS if scale == Scale() else scale.chance + scale.near


def score_label(settings: dict, way: str = "up") -> str:
    """Return what an axis calls the scores of a run or study, by its settings or those of its child."""
    name = (settings.get("child") or settings).get("score_name")
    return f"{name}, {way} is better" if name else "validation accuracy"


class Family(NamedTuple):
    """Rules that are one for a search, by their trainings, of which at least one reached its end."""

    trainings: list[dict]  # records, in order

    @property
    def reward(self) -> float:
        """The mean accuracy, of which a training that failed has what its scale says."""
        return statistics.fmean(self._accuracies)

    @property
    def spread(self) -> float | None:
        """The accuracies' standard deviation, None of a single one."""
        return statistics.stdev(self._accuracies) if len(self.trainings) > 1 else None

    @property
    def best(self) -> dict:
        """The training with the highest accuracy, of equals the first."""
        return max(self.trainings, key=lambda r: -math.inf if r["accuracy"] is None else r["accuracy"])

    @property
    def num_rules(self) -> int:
        """How many rules it has by key, so one more than the first has near-copies."""
        return len({record["key"] for record in self.trainings})

    @property
    def seeds(self) -> list[int]:
        return sorted({record["seed"] for record in self.trainings})

    @property
    def _accuracies(self) -> list[float]:
        return list(map(worth, self.trainings))


def best_families(
    records: list[dict],
    most: int | None = None,
    name: Callable[[dict], Hashable] = lambda record: record["family"],
) -> list[Family]:
    """Return the families of which a rule trained to the end, best mean first, of equals the older.

    One training that several searches made, the same rule with the same seed, counts once.

    Args:
        name: tells which records are of one family; by default what a search of families wrote.
    """
    trainings: dict[Hashable, list[dict]] = {}
    seen = set()
    for record in records:
        training = record["key"], record["seed"], record["accuracy"]
        if record["cached_from"] is None and training not in seen:
            seen.add(training)
            trainings.setdefault(name(record), []).append(record)
    families = [Family(some) for some in trainings.values() if any(r["status"] == "ok" for r in some)]
    return sorted(families, key=lambda family: -family.reward)[:most]


def way(record: dict) -> str:
    """Return which way a rule went, in words."""
    if record["cached_from"] is not None:
        return DUPLICATE
    if record["status"] == "rejected":
        return f"{REJECTED}: {record['error']}"
    return {"ok": TRAINED}.get(record["status"], record["status"])


def funnel(ways: Counter[str]) -> dict[str, int]:
    """Return how many rules went which way: "sampled" first, then the ways, the most common first.

    All but "sampled" add up to it.
    """
    return {"sampled": ways.total(), **dict(ways.most_common())}


# --- writing --------------------------------------------------------------------------------------


def default_folders(script: str, name: str, seed: int) -> Iterator[Path]:
    """Yield runs/<date>-<script>-<name>-s<seed> and what to try if another job has just made that."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{script}-{name}-s{seed}"
    yield RUNS / stem
    yield from (RUNS / f"{stem}-{number}" for number in count(2))


def check_new(folder: Path) -> None:
    """Raise RunError if there is something in the place of a new run folder."""
    if folder.exists() or folder.is_symlink():
        raise RunError(f"{folder} exists already; nothing was changed, choose another --out")


def environment(threads: int) -> dict:
    """Return what a result may depend on beside the config: versions, processor, threads, command."""
    import torch  # late: who reads and draws what there is needs none, a second and half a gigabyte

    return {
        "command": shlex.join(["python", *sys.orig_argv[1:]]),  # also what stood behind -m
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": platform.platform(),
        "processor": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": threads,
    }


def _commit() -> str | None:
    """Return the commit of this folder's own repository, None if it has none."""
    here = Path(__file__).resolve().parent
    # Neither that of a repository around it nor one that the environment names, as git does in hooks.
    outside = {name: x for name, x in os.environ.items() if not name.startswith("GIT_")}
    outside["GIT_CEILING_DIRECTORIES"] = str(here.parent)
    git = ["git", "-C", str(here), "describe", "--always", "--dirty"]
    with contextlib.suppress(OSError):  # no git here; outside a checkout it prints nothing
        return subprocess.run(git, capture_output=True, text=True, env=outside).stdout.strip() or None
    return None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _json(value) -> str:
    """Encode as one line of JSON; non-finite numbers become null, since JSON has none."""

    def finite(x):
        if isinstance(x, float) and not math.isfinite(x):
            return None
        if isinstance(x, dict):
            return {k: finite(v) for k, v in x.items()}
        return [finite(v) for v in x] if isinstance(x, list | tuple) else x

    with contextlib.suppress(ValueError):  # most often all are finite, and need no copy
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    return json.dumps(finite(value), allow_nan=False, ensure_ascii=False)


class Run:
    """A run folder open for writing, locked against other writers until it is closed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._files: dict[str, io.FileIO] = {}
        self._lock = (folder / "lock").open("a")  # not inherited by workers
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            used = isinstance(error, BlockingIOError)
            reason = "is in use by another process" if used else f"cannot be locked: {error.strerror}"
            raise RunError(f"{folder} {reason}") from None

    @staticmethod
    def create(place: Path | Iterator[Path], config: dict, meta: dict) -> "Run":
        """Make a run folder: beside its place, with its config, then renamed into it.

        Args:
            place: of the folder, or several of which the first that is free will do.
        Raises:
            RunError: the folder exists or cannot be made.
        """
        if not isinstance(place, Path):
            for folder in place:  # another job may take it at any moment
                try:
                    return Run.create(folder, config, meta)
                except RunError:
                    if not folder.exists():
                        raise
        folder = place
        check_new(folder)
        start = {"format": FORMAT, "start": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "end": None}
        texts = {
            "config.json": json.dumps(config, indent=1) + "\n",
            "meta.json": json.dumps({**start, **meta}, indent=1) + "\n",
        }
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            # Its name is drawn, as containers may share a machine's name and a process's number.
            beside = tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent)
            with beside, contextlib.ExitStack() as undo:
                partial = Path(beside.name) / folder.name
                partial.mkdir()
                for name, text in texts.items():
                    (partial / name).write_text(text, "utf-8")
                run = Run(partial)
                undo.callback(run.close)
                partial.rename(folder)
                undo.pop_all()
        except OSError as error:
            raise RunError(f"cannot create {folder}: {error.strerror}") from None
        run.folder = folder
        return run

    @staticmethod
    def reopen(folder: Path) -> "Run":
        """Open an existing run to go on with it; torn last lines are cut off.

        Raises:
            RunError: no run, or one that another process is writing.
        """
        read_config(folder)
        try:
            run = Run(folder)
            for path in folder.glob("*.jsonl"):
                whole = path.read_bytes().rfind(b"\n") + 1
                os.truncate(path, whole)
        except OSError as error:
            raise RunError(f"cannot write to {folder}: {error.strerror}") from None
        return run

    def append(self, name: str, row: dict) -> None:
        """Append one line to a .jsonl file and flush it."""
        if name not in self._files:
            # Unbuffered, so that a line that a full disk refused is not tried again on closing.
            self._files[name] = (self.folder / name).open("ab", buffering=0)
        line = (_json(row) + "\n").encode()
        while line:
            line = line[self._files[name].write(line) :]

    def replace(self, name: str, content: str | bytes) -> None:
        """Replace a whole file in one step, so that a reader never sees half of it."""
        partial = self.folder / f".{name}.partial"
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(partial, self.folder / name)

    def write_table(self, name: str, rows: list[dict]) -> None:
        """Replace a .csv file by these rows."""
        text = io.StringIO()
        if rows:
            writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        self.replace(name, text.getvalue())

    def finish(self) -> None:
        """Write the end time into meta.json: the run is complete."""
        meta = json.loads((self.folder / "meta.json").read_text("utf-8"))
        meta["end"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self.replace("meta.json", json.dumps(meta, indent=1) + "\n")

    def close(self) -> None:
        """Close the files and let go of the lock."""
        for file in self._files.values():
            file.close()
        self._lock.close()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def reopen(folder: Path, say: Say) -> Run:
    """Reopen a run folder; warn if the scores to come may differ from those that are there.

    Args:
        say: shows the warning.
    Raises:
        RunError: it is none, or another process writes to it.
    """
    import torch

    run, before = Run.reopen(folder), read_meta(folder)
    now = environment(torch.get_num_threads())
    if changed := [name for name in SAME if before.get(name) != now[name]]:
        what = ", ".join(changed)
        say(f"WARNING: another {what} than at the start: scores may differ")
    return run


# --- which learning rate to use -------------------------------------------------------------------


class Advice(NamedTuple):
    """What one sweep says about learning rates; lr, low and high are None if it tells none."""

    lr: float | None  # the best
    low: float | None  # the rates from low to high are all within NEAR of it
    high: float | None
    tried: tuple[float, float]  # lowest and highest rate of the sweep
    adam_lr: float | None  # the best for Adam on the same child, if it was scored and tells one

    @property
    def to_adam(self) -> float | None:
        """How many times Adam's best rate this one is, to six digits."""
        known = self.lr is not None and self.adam_lr is not None
        return float(f"{self.lr / self.adam_lr:.6g}") if known else None

    @property
    def open(self) -> str:
        """On which side of low and high nothing was tried: below, above, both or neither ("")."""
        below, above = self.low == self.tried[0], self.high == self.tried[1]
        return "both" if below and above else "below" if below else "above" if above else ""

    def rates(self) -> tuple[str, str]:
        """Return the best rate with its range, and the ratio to Adam's, as cells of a table.

        A rate at an edge of the sweep has >= or <= before it, since what lies beyond was not tried.
        """
        if self.lr is None:
            return "none", "-"
        lr, low, high = (self._form(rate, "<={:g}", ">={:g}").format(rate) for rate in self[:3])
        times = self._form(self.lr, "<={:g}x", ">={:g}x", "{:g}x")
        return f"{lr} ({low}..{high})", "-" if self.to_adam is None else times.format(self.to_adam)

    def __str__(self) -> str:
        if self.lr is None:
            return NO_RATE
        less, more = "{:g} or less", "{:g} or more"
        low, high = (self._form(rate, less, more).format(rate) for rate in (self.low, self.high))
        lr = self._form(self.lr, f"{less} (the smallest tried)", f"{more} (the largest tried)")
        span = round(2 * math.log10(self.high / self.low)) / 2  # rates are half decades apart, or whole
        good = f"good from {low} to {high}, {span:g} decade{'s' * (span != 1)}"
        text = f"lr {lr.format(self.lr)}, {good if span else 'no other rate that ended is as good'}"
        if self.adam_lr is None:
            return f"{text}; Adam's best is not known beside it"
        times = self._form(self.lr, f"{less} times", f"{more} times", "{:g} times").format(self.to_adam)
        times = "the same" if self.to_adam == 1 else f"so this is {times} Adam's"
        return f"{text}; Adam's best is {self.adam_lr:g}, {times}"

    def _form(self, rate: float, lowest: str, highest: str, within: str = "{:g}") -> str:
        """Return the form of text for a rate: beyond the edges of the sweep nothing is known."""
        return {self.tried[0]: lowest, self.tried[1]: highest}.get(rate, within)


def advise(record: dict, humans: list[dict]) -> Advice | None:
    """Return what the sweep of a record says; None if the rule did not train to the end.

    Args:
        record: a line of records.jsonl or humans.jsonl.
        humans: the lines of humans.jsonl of the same run, Adam's among them.
    """
    if record["status"] != "ok":
        return None
    rates, scores = zip(*sorted((float(rate), y) for rate, y in record["sweep"]), strict=True)
    tried = rates[0], rates[-1]
    adam = [line for line in humans if line["name"] == "adam" and line["status"] == "ok"]
    adam_lr = adam[0]["lr"] if adam and tells_a_rate(adam[0]) else None
    if not tells_a_rate(record):
        return Advice(None, None, None, tried, adam_lr)
    best = rates.index(record["lr"])
    # 1e-9: an accuracy of exactly 2 points less must count, however the difference rounds.
    near = scale_of(record).near + 1e-9
    good = [y is not None and scores[best] - y <= near for y in scores]
    low = high = best
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(rates) - 1 and good[high + 1]:
        high += 1
    return Advice(record["lr"], rates[low], rates[high], tried, adam_lr)


def tells_a_rate(record: dict) -> bool:
    """Return whether the best accuracy of a sweep is clearly above chance and above the worst."""
    # A rate at which the rule diverged, or fell behind, counts as guessing.
    _, chance, near = scale_of(record)
    scores = [chance if y is None else y for _, y in record["sweep"]]
    return max(scores) - max(min(scores), chance) > near + 1e-9


# --- what people see ------------------------------------------------------------------------------


def number(value: float | None) -> str:
    """Return four decimals, or a dash for what there is not."""
    return "-" if value is None else f"{value:.4f}"


def aligned(rows: Sequence[Sequence[str]], figures: bool = False) -> list[str]:
    """Return a line a row, all columns to the left, or all but the first to the right for figures."""
    left, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pad = str.rjust if figures else str.ljust
    lines = ["  ".join([name.ljust(left), *map(pad, cells, others)]) for name, *cells in rows]
    return [line.rstrip() for line in lines]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


class Progress:
    """Show what is going on, first in a log file, which outlives the terminal, then on standard error.

    Args:
        log: file that gets every line, or None.
        stream: where people look, standard error if None; a terminal gets one line, rewritten.
    """

    def __init__(self, log: Path | None = None, stream: TextIO | None = None):
        self.log, self.stream = log, stream or sys.stderr or io.StringIO()  # Python's own may be None
        self.early: list[str] = []  # what was said before there was a log
        self.terminal = self.stream.isatty()
        self.last_s, self.width = time.monotonic(), 0

    def begin_log(self, log: Path) -> None:
        """Give a log file what was said so far, and all that comes."""
        self.log, early, self.early = log, self.early, []
        for text in early:
            self._write(text, None)

    @property
    def due(self) -> bool:
        """Whether `update` would show anything now."""
        return self.terminal or time.monotonic() - self.last_s > LOG_EVERY_S

    def update(self, line: str) -> None:
        """Show the current state; a log gets it at most every LOG_EVERY_S seconds."""
        if self.terminal:
            # Cut to the terminal's width: what wraps cannot be rewritten.
            shown = line[: shutil.get_terminal_size().columns - 1]
            self._show("\r" + shown.ljust(self.width), self.stream)
            self.width = len(shown)
        if time.monotonic() - self.last_s > LOG_EVERY_S:
            self.last_s = time.monotonic()
            self._write(line, None if self.terminal else self.stream)

    def say(self, text: str = "") -> None:
        """Print lines that stay."""
        self._write(text, self._cleared())

    def result(self, text: str) -> None:
        """Print what came out, on standard output and in the log."""
        self._cleared()
        self._write(text, sys.stdout)

    def _cleared(self) -> TextIO:
        """Return the stream, on a new line."""
        if self.terminal and self.width:
            self._show("\r" + " " * self.width + "\r", self.stream)
            self.width = 0
        return self.stream

    def _write(self, text: str, stream: TextIO | None) -> None:
        if self.log is None:
            self.early.append(text)
        else:
            # A full disk is for those to report whose lines cannot be done without.
            with (
                contextlib.suppress(OSError),
                self.log.open("a", encoding="utf-8", errors="backslashreplace") as file,
            ):
                file.write(text + "\n")
        if stream is not None:
            self._show(text.encode(errors="backslashreplace").decode() + "\n", stream)

    @staticmethod
    def _show(text: str, stream: TextIO) -> None:
        """Write to a stream if it can be; if somebody is there, Python says at its end what was not."""
        try:
            stream.write(text)
            stream.flush()
        except OSError as error:
            if error.errno in GONE:
                with contextlib.suppress(OSError), open(os.devnull, "w") as nowhere:
                    os.dup2(nowhere.fileno(), stream.fileno())
