"""Which learning rate to use: read off the sweeps that searches have recorded, never guessed.

A search trains every rule for one epoch at each of several rates and goes on with the best. Its
records thus say which rate won, between which rates a rule is almost as good, and how that compares
with Adam on the same child: an advice that carries over to a network whose rate for Adam is known.
Read next: results.py for the records, rules.py and plots/report.py for where the advice is shown.
"""

import math
from pathlib import Path
from typing import NamedTuple

import results
from dsl import Rule

NEAR = 0.02  # accuracy below the best within which a rate counts as good


class Advice(NamedTuple):
    """What one sweep says about learning rates."""

    lr: float  # the best
    low: float  # the rates from low to high are all within NEAR of it
    high: float
    adam_lr: float | None  # the best for Adam on the same child, if it was scored

    @property
    def to_adam(self) -> float | None:
        """How many times Adam's best rate this one is, to six digits."""
        return None if self.adam_lr is None else float(f"{self.lr / self.adam_lr:.6g}")

    def rates(self) -> tuple[str, str]:
        """Return the best rate with its range, and the ratio to Adam's, as cells of a table."""
        times = "-" if self.to_adam is None else f"{self.to_adam:g}x"
        return f"{self.lr:g} ({self.low:g}-{self.high:g})", times

    def __str__(self) -> str:
        span = math.log10(self.high / self.low)
        good = f"good from {self.low:g} to {self.high:g}, {span:g} decade{'s' * (span != 1)}"
        text = f"lr {self.lr:g}, {good if span else 'no other rate as good'}"
        if self.adam_lr is None:
            return f"{text}; Adam was not scored beside it"
        times = "the same" if self.to_adam == 1 else f"so this is {self.to_adam:g} times Adam's"
        return f"{text}; Adam's best is {self.adam_lr:g}, {times}"


class Found(NamedTuple):
    """An advice, on what it was measured and how many runs agree on it."""

    advice: Advice
    dataset: str
    runs: int

    def __str__(self) -> str:
        return f"{self.advice} [{self.dataset}, {self.runs} run{'s' * (self.runs > 1)}]"


def advise(record: dict, humans: list[dict]) -> Advice | None:
    """Return what the sweep of a record says; None if the rule did not train to the end.

    Args:
        record: a line of records.jsonl or baselines.jsonl.
        humans: the lines of baselines.jsonl of the same run, Adam's among them.
    """
    if record["status"] != "ok":
        return None
    rates, scores = zip(*sorted(record["sweep"]), strict=True)
    best = rates.index(record["lr"])
    # 1e-9: an accuracy of exactly 2 points less must count, however the difference rounds.
    good = [y is not None and scores[best] - y <= NEAR + 1e-9 for y in scores]
    low = high = best
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(rates) - 1 and good[high + 1]:
        high += 1
    adam = [line["lr"] for line in humans if line["name"] == "adam" and line["status"] == "ok"]
    return Advice(record["lr"], rates[low], rates[high], adam[0] if adam else None)


class Sweeps:
    """The sweeps of all searches below some folders, to be asked by rule.

    Args:
        roots: run folders, or folders that hold them at any depth; missing ones hold none.
    Raises:
        RunError: a run is damaged or of another format.
    """

    def __init__(self, roots: list[Path]):
        self._found: dict[str, dict[tuple[Advice, str], int]] = {}  # key -> advice -> runs
        folders = {path.parent for root in roots for path in root.rglob("records.jsonl")}
        for folder in sorted(folders):
            config = results.read_config(folder)
            if "algorithm" in config:  # else it is a run of another script
                self._read(folder, config["dataset"])

    def _read(self, folder: Path, dataset: str) -> None:
        humans = results.read_lines(folder / "baselines.jsonl")
        records = results.read_lines(folder / "records.jsonl")
        lines = {record["key"]: record for record in records}  # equal keys have equal sweeps
        lines |= {Rule.parse(line["rule"]).key(): line for line in humans}
        for key, line in lines.items():
            if advice := advise(line, humans):
                counts = self._found.setdefault(key, {})
                counts[advice, dataset] = counts.get((advice, dataset), 0) + 1

    def of(self, rule: Rule) -> list[Found]:
        """Return what the sweeps say of a rule, that of the most runs first; empty if none has it."""
        counts = self._found.get(rule.key(), {})
        found = [Found(advice, dataset, runs) for (advice, dataset), runs in counts.items()]
        return sorted(found, key=lambda one: (-one.runs, one.dataset, one.advice.lr))
