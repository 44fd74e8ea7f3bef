"""Which learning rate to use: read off the sweeps that searches have recorded, never guessed.

A search trains every rule for one epoch at each of several rates and goes on with the best. Its
records thus say which rate won, between which rates a rule is almost as good, and how that compares
with Adam on the same child: an advice that carries over to a network whose rate for Adam is known.
Rates are a decade apart, so the best one between them may be threefold more or less.
Read next: results.py for the records, rules.py and plots/report.py for where the advice is shown.
"""

import math
from pathlib import Path
from typing import NamedTuple

import results
from dsl import Rule

NEAR = 0.02  # accuracy below the best within which a rate counts as good
CHANCE = 0.1  # accuracy of guessing: every data set has ten classes
NO_SWEEP = "no sweep recorded: try 1e-5 to 10"
NO_RATE = "the sweep tells no rate: the rule learned at none, or at all alike"
# What a child is, beside its seed and its rates: sweeps of different ones are different measurements.
CHILD = ("epoch_size", "dataset", "downsample", "filters", "batch_size", "num_validation", "precision")


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
        return "both" if below and above else "below" * below + "above" * above

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
        span = math.log10(self.high / self.low)
        good = f"good from {low} to {high}, {span:g} decade{'s' * (span != 1)}"
        text = f"lr {lr.format(self.lr)}, {good if span else 'no other rate as good'}"
        if self.adam_lr is None:
            return f"{text}; Adam's best is not known beside it"
        times = self._form(self.lr, f"{less} times", f"{more} times", "{:g} times").format(self.to_adam)
        times = "the same" if self.to_adam == 1 else f"so this is {times} Adam's"
        return f"{text}; Adam's best is {self.adam_lr:g}, {times}"

    def _form(self, rate: float, lowest: str, highest: str, within: str = "{:g}") -> str:
        """Return the form of text for a rate: beyond the edges of the sweep nothing is known."""
        return {self.tried[0]: lowest, self.tried[1]: highest}.get(rate, within)


class Found(NamedTuple):
    """An advice, on which child it was measured and with how many of the child's seeds."""

    advice: Advice
    where: str
    epoch_size: int  # images an epoch
    seeds: int

    def __str__(self) -> str:
        return f"{self.advice} [{self.where}; {self.seeds} seed{'s' * (self.seeds > 1)}]"


def advise(record: dict, humans: list[dict]) -> Advice | None:
    """Return what the sweep of a record says; None if the rule did not train to the end.

    Args:
        record: a line of records.jsonl or baselines.jsonl.
        humans: the lines of baselines.jsonl of the same run, Adam's among them.
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
    good = [y is not None and scores[best] - y <= NEAR + 1e-9 for y in scores]
    low = high = best
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(rates) - 1 and good[high + 1]:
        high += 1
    return Advice(record["lr"], rates[low], rates[high], tried, adam_lr)


def tells_a_rate(record: dict) -> bool:
    """Return whether the best accuracy of a sweep is clearly above chance and above the worst."""
    # A rate at which the rule diverged is as good as guessing.
    scores = [CHANCE if y is None else y for _, y in record["sweep"]]
    return max(scores) - max(min(scores), CHANCE) > NEAR + 1e-9


class Sweeps:
    """The sweeps of all searches below some folders, to be asked by rule.

    Args:
        roots: run folders, or folders that hold them at any depth; missing ones hold none.
    Attributes:
        skipped: what is wrong with folders that could not be read, a line each.
    """

    def __init__(self, roots: list[Path]):
        # key -> advice, name and settings of the child -> the child's seeds
        self._found: dict[str, dict[tuple[Advice, str, tuple], set[int]]] = {}
        self.skipped: list[str] = []
        folders = {path.parent for root in roots for path in root.rglob("records.jsonl")}
        for folder in sorted(folders):
            try:
                self._read(folder)
            # A folder may be of any origin, and must not keep the others from being read.
            except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
                reason = f"{folder} is skipped: {type(error).__name__}: {error}"
                self.skipped.append(reason.splitlines()[0])

    def _read(self, folder: Path) -> None:
        config = results.read_config(folder)
        if "algorithm" not in config:
            return  # a run of another script
        if config.get("race"):
            return  # sweeps without the rates that were left behind tell no range
        if config.get("table", "none") != "none":
            return  # its networks are none that anybody trains
        if (config.get("beta_horizon", 1.0), config.get("eps", 1e-8)) != (1.0, 1e-8):
            return  # with other averages a rule may want another rate
        child = place(config), tuple(config[name] for name in CHILD)
        for key, advice in advice_of(folder).items():
            seeds = self._found.setdefault(key, {}).setdefault((advice, *child), set())
            seeds.add(config["child_seed"])

    def of(self, rule: Rule) -> list[Found]:
        """Return what the sweeps say of a rule, those of the longest epochs and most seeds first."""
        found = [
            Found(advice, where, settings[0], len(seeds))
            for (advice, where, settings), seeds in self._found.get(rule.key(), {}).items()
        ]
        return sorted(found, key=lambda one: (-one.epoch_size, -one.seeds, str(one)))


def place(config: dict) -> str:
    """Return what a run's child is, shortly."""
    shrinks = {"pool": "pooled", "stride": "strided"}.get(config["downsample"], config["downsample"])
    return f"{config['dataset']}, {shrinks}, {config['epoch_size']:,} images an epoch"


def advice_of(folder: Path) -> dict[str, Advice]:
    """Return what a run's sweeps say, by the rules' keys."""
    humans = results.read_lines(folder / "baselines.jsonl")
    records = results.read_lines(folder / "records.jsonl")
    lines = {record["key"]: record for record in records}  # equal keys have equal sweeps
    lines |= {Rule.parse(line["rule"]).key(): line for line in humans}
    return {key: advice for key, line in lines.items() if (advice := advise(line, humans))}


def example_lr(found: list[Found]) -> tuple[float, str]:
    """Return the rate to write into an example, and what to remark if no sweep tells it."""
    for one in found:
        if one.advice.lr is not None:
            return one.advice.lr, ""
    return 1e-3, f"# {NO_RATE if found else NO_SWEEP}"
