"""Which learning rate to use: read off the sweeps that searches have recorded, never guessed.

A search trains every rule for one epoch at each of several rates and goes on with the best. Its
records thus say which rate won, between which rates a rule is almost as good, and how that compares
with Adam on the same child: an advice that carries over to a network whose rate for Adam is known.
Rates are a decade apart, so the best one between them may be threefold more or less. A comparison
(studies/compare.py) sweeps some rules with many seeds, also in half decades; its mean sweep counts.
Read next: results.py, where one sweep is judged; card.py and plots/report.py show the advice.
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

import results
from dsl import Rule
from results import CHANCE, NO_RATE, Advice, advise

NO_SWEEP = "no sweep recorded: try 1e-5 to 10"
ADAM = Rule.parse("adam 1 id id mul").key()
# What a child is, beside its seed and its rates: sweeps of different ones are different measurements.
CHILD = ("epoch_size", "dataset", "downsample", "filters", "batch_size", "num_validation", "precision")


class Found(NamedTuple):
    """An advice, on which child it was measured and with how many of the child's seeds."""

    advice: Advice
    where: str
    epoch_size: int  # images an epoch
    seeds: int

    def __str__(self) -> str:
        return f"{self.advice} [{self.where}; {self.seeds} seed{'s' * (self.seeds > 1)}]"


class Sweeps:
    """The sweeps of some rules in all searches below some folders, to be asked by rule.

    Args:
        roots: run folders, or folders that hold them at any depth; missing ones hold none.
        rules: those to be asked for; records of others are not looked at.
    Attributes:
        skipped: what is wrong with folders that could not be read, a line each.
    """

    def __init__(self, roots: list[Path], rules: list[Rule]):
        self._keys = {rule.key() for rule in rules}
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
        if config.get("script") == "compare.py":
            self._read_comparison(folder, config["child"])
        if "algorithm" not in config:
            return  # a run of another script
        if config.get("race"):
            return  # sweeps without the rates that were left behind tell no range
        if config.get("table", "none") != "none" or "table_seed" in config:
            return  # NOS-Bench's networks are none that anybody trains
        if (config.get("beta_horizon", 1.0), config.get("eps", 1e-8)) != (1.0, 1e-8):
            return  # with other averages a rule may want another rate
        for key, advice in advice_of(folder, self._keys).items():
            self._add(key, advice, config, {config["child_seed"]})

    def _read_comparison(self, folder: Path, child: dict) -> None:
        # The rates that were swept -> key -> seed -> sweep
        swept: dict[tuple, dict[str, dict[int, dict]]] = {}
        for record in results.read_lines(folder / "records.jsonl"):
            sweep = {float(f"{rate:.2g}"): y for rate, y in record["sweep"]}
            keys = swept.setdefault(tuple(sorted(sweep)), {})
            keys.setdefault(Rule.parse(record["rule"]).key(), {})[record["seed"]] = sweep
        for keys in swept.values():
            adam = [{"name": "adam", **mean_sweep(keys[ADAM])}] if ADAM in keys else []
            for key in self._keys & keys.keys():
                self._add(key, advise(mean_sweep(keys[key]), adam), child, {*keys[key]})

    def _add(self, key: str, advice: Advice, config: dict, seeds: set[int]) -> None:
        settings = {"epoch_size": 0} | config if "task" in config else config  # pictures come first
        child = place(config), tuple(settings.get(name) for name in CHILD)
        self._found.setdefault(key, {}).setdefault((advice, *child), set()).update(seeds)

    def of(self, rule: Rule) -> list[Found]:
        """Return what the sweeps say of a rule, those of the longest epochs and most seeds first."""
        found = [
            Found(advice, where, settings[0], len(seeds))
            for (advice, where, settings), seeds in self._found.get(rule.key(), {}).items()
        ]
        return sorted(found, key=lambda one: (-one.epoch_size, -one.seeds, str(one)))


def mean_sweep(sweeps: dict[int, dict[float, float | None]]) -> dict:
    """Return the mean of the sweeps of several seeds, as a record; a run that diverged was by chance."""
    rates = next(iter(sweeps.values()))
    scores = [
        [CHANCE if sweep[rate] is None else sweep[rate] for sweep in sweeps.values()] for rate in rates
    ]
    means = {rate: sum(ys) / len(ys) for rate, ys in zip(rates, scores, strict=True)}
    return {"status": "ok", "lr": max(means, key=means.get), "sweep": [*means.items()]}


def place(config: dict) -> str:
    """Return what a run's child is, shortly."""
    if "task" in config:
        return f"{Path(config['task']).name}, {config['epochs']} epochs"
    shrinks = {"pool": "pooled", "stride": "strided"}.get(config["downsample"], config["downsample"])
    return f"{config['dataset']}, {shrinks}, {config['epoch_size']:,} images an epoch"


def advice_of(folder: Path, keys: set[str]) -> dict[str, Advice]:
    """Return what a run's sweeps say of the rules with these keys, by key."""
    humans = results.read_humans(folder)
    # Of thousands of records few are asked for, and parsing all of them would take most of a second.
    about = re.compile("|".join(re.escape(json.dumps(key)) for key in keys).encode())
    records = results.read_lines(folder / "records.jsonl", about)
    lines = {record["key"]: record for record in records}  # equal keys have equal sweeps
    lines |= {Rule.parse(line["rule"]).key(): line for line in humans}
    return {key: said for key in keys & lines.keys() if (said := advise(lines[key], humans))}


def example_lr(found: list[Found]) -> tuple[float, str]:
    """Return the rate to write into an example, and what to remark if no sweep tells it."""
    for one in found:
        if one.advice.lr is not None:
            return one.advice.lr, ""
    return 1e-3, f"# {NO_RATE if found else NO_SWEEP}"
