"""What the figures of a search share: reading runs, grouping their seeds, and the command line.

Runs whose settings differ in the seeds alone are one group: a line with a band instead of many
lines. Finished runs and runs in progress are read alike; a line that is still being written is left
out. Read next: learning_curve.py.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

import results
from child import ChildConfig
from config import ConfigError, Parser, from_dict
from controller import ControllerConfig
from plots import style
from rivals import EvolutionConfig
from sameness import DistinctConfig
from search import ProposerConfig

CONTROLLERS = ("trpo", "ppo", "reinforce")
NAMES = {"trpo": "TRPO", "ppo": "PPO", "reinforce": "REINFORCE"}
TITLES = {name: f"{NAMES[name]} controller" for name in CONTROLLERS} | {"random": "random search"}
DATASETS = {
    "cifar10": "CIFAR-10",
    "fashion-mnist": "Fashion-MNIST",
    "fashion-mnist-sample": "Fashion-MNIST sample",
}
CHILDREN = {"pool": "pooled ConvNet", "stride": "strided ConvNet"}

CHILD, LEARNING, BREEDING, SHARED = (
    {field.name for field in fields(cls)}
    for cls in (ChildConfig, ControllerConfig, EvolutionConfig, DistinctConfig)
)
BATCHES = {"lag", "rules_per_batch"}
# Settings by which runs of one group may differ: which seed, how long, where the pictures lie.
SEEDS = {"seed", "child_seed", "samples", "data"}
NEEDED = {"algorithm", "dataset", "downsample", "iterations", "subset", "constraints", "samples"}
NEEDED |= {"seed", "child_seed"}
TITLED = {"dataset", "downsample", "data", "precision"}  # in the title, or of no consequence


class Run(NamedTuple):
    """What a run folder holds so far."""

    folder: Path
    config: dict
    records: list[dict]
    humans: list[dict]
    updates: list[dict]


class Group(NamedTuple):
    """Runs that differ in their seeds alone."""

    label: str  # short; `settings` says what sets it apart from the other groups, if anything
    settings: str
    color: str
    runs: list[Run]

    @property
    def records(self) -> list[dict]:
        return [record for run in self.runs for record in run.records]

    @property
    def algorithm(self) -> str:
        return self.runs[0].config["algorithm"]

    def band(self, series: Callable[[Run], np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return lowest, mean and highest value of a series over the runs, as far as all of them go."""
        values = [series(run) for run in self.runs]
        shortest = min(map(len, values))
        stacked = np.array([value[:shortest] for value in values], dtype=float)
        return stacked.min(0), stacked.mean(0), stacked.max(0)

    def draw(self, axes: Axes, series: Callable[[Run], np.ndarray], name: str, first=1, **look):
        """Draw a series' mean, and its band if there are several runs.

        Args:
            name: what artists are called, after the group; the band's has " band" behind it.
            first: x of the first value.
        Returns:
            Where the mean ends, (x, y); NaN if nowhere.
        """
        low, mean, high = self.band(series)
        x, look = np.arange(first, first + len(mean)), {"color": self.color, "lw": 1.8} | look
        if len(self.runs) > 1:
            step, gid = (
                look.get("drawstyle", "").removeprefix("steps-") or None,
                f"{self.label} {name} band",
            )
            axes.fill_between(x, low, high, color=look["color"], alpha=0.2, lw=0, step=step, gid=gid)
        axes.plot(x, mean, gid=f"{self.label} {name}", **look)
        return (x[-1], mean[-1]) if len(mean) else (np.nan, np.nan)


def read(folder: Path) -> Run:
    """Read a run folder of search.py.

    Raises:
        RunError: it is none, or has no records yet, or its settings mean nothing here.
    """
    config = results.read_config(folder)
    if "algorithm" not in config:
        raise results.RunError(f"{folder} is a run of another script than search.py")
    if lacking := NEEDED - config.keys():
        raise results.RunError(f"{folder}: config.json lacks {', '.join(sorted(lacking))}")
    if config["algorithm"] not in list(style.ALGORITHM):
        raise results.RunError(f"{folder}: unknown algorithm {config['algorithm']!r} in config.json")
    try:
        from_dict(ChildConfig, {name: config[name] for name in CHILD & config.keys()})
    except ConfigError as error:
        raise results.RunError(f"{folder}: config.json: {error}") from None
    records = results.read_lines(folder / "records.jsonl")
    if not records:
        raise results.RunError(f"{folder} has no records yet")
    updates = results.read_lines(folder / "updates.jsonl")
    return Run(folder, config, records, results.read_humans(folder), updates)


def read_all(folders: list[Path]) -> list[Run]:
    """Read runs, each once; raise RunError as `read` does."""
    return [read(folder) for folder in {folder.resolve(): folder for folder in folders}.values()]


def setting_of(run: Run, name: str):
    """Return a setting of a run's child, its default if the run is older than the setting."""
    default = {field.name: field.default for field in fields(ChildConfig)}.get(name, "none")
    return run.config.get(name, list(default) if isinstance(default, tuple) else default)


def relevant(config: dict) -> dict:
    """Return the settings that make a run's history, its seeds and its length left out."""
    algorithm, unused = config["algorithm"], set(SEEDS)
    unused |= LEARNING - SHARED if algorithm not in CONTROLLERS else set()
    unused |= BREEDING - SHARED if algorithm != "evolution" else set()
    # Runs made before there was such a setting are like those that start from nothing.
    unused |= {"start_from"} if not config.get("start_from") else set()
    unused |= {"lag", "rules_per_batch"} if algorithm == "random" else set()
    return {name: value for name, value in config.items() if name not in unused}


def read_groups(folders: list[Path]) -> list[Group]:
    """Read runs and group them, controllers first and random search last.

    Raises:
        RunError: a folder is no run or empty; their scores cannot be compared; a seed comes twice.
    """
    runs = read_all(folders)
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        for name in (CHILD | {"table"}) - SEEDS - {"precision"}:
            if setting_of(run, name) != setting_of(runs[0], name):
                raise results.RunError(
                    f"{runs[0].folder} and {run.folder} differ in {name}, so their scores do not compare"
                )
        same = grouped.setdefault(str(sorted(relevant(run.config).items())), [])
        for other in same:
            if all(run.config[name] == other.config[name] for name in ("seed", "child_seed")):
                raise results.RunError(f"{other.folder} and {run.folder} are the same search, same seed")
        same.append(run)

    order = list(style.ALGORITHM)
    ranked = sorted(grouped.values(), key=lambda same: order.index(same[0].config["algorithm"]))
    settings = [relevant(same[0].config) for same in ranked]
    groups, labels, spare = [], [], [*style.SPARE, *style.SPARE]
    for same, mine in zip(ranked, settings, strict=True):
        algorithm = mine.pop("algorithm")
        number = sum(group.algorithm == algorithm for group in groups) + 1
        least = min(other.get("candidates", 1) for other in settings)
        label = NAMES.get(algorithm, algorithm)
        rivals = sum(other[0].config["algorithm"] == algorithm for other in ranked)
        label += ", paper preset" if rivals > 1 and papers(same[0].config) else ""
        label += ", no repeats" if mine.get("candidates", 1) > least else ""
        labels.append(label)
        if labels.count(label) > 1:  # what sets it apart from the first of this name, if one thing does
            first = settings[labels.index(label)]
            changes = [f", {name} {value}" for name, value in mine.items() if value != first.get(name)]
            label += changes[0] if len(changes) == 1 else f" {labels.count(label)}"
        apart = [
            f"{name} {value}"
            for name, value in mine.items()
            if any(other.get(name, value) != value for other in settings)
        ]
        color = style.ALGORITHM[algorithm] if number == 1 else spare.pop(0)
        groups.append(Group(label, ", ".join(apart), color, same))
    return groups


def all_runs(groups: list[Group]) -> list[Run]:
    return [run for group in groups for run in group.runs]


def humans(groups: list[Group]) -> list[dict]:
    """Return the human optimizers' records, of the first run that has scored the most of them."""
    return max((run.humans for run in all_runs(groups)), key=len)


def title(runs: list[Run]) -> str:
    """Return what was run on what, for example `CIFAR-10, strided ConvNet: TRPO controller`."""
    config = runs[0].config
    names = [TITLES.get(run.config["algorithm"], run.config["algorithm"]) for run in runs]
    *rest, last = dict.fromkeys(names)
    searched = f"{' and '.join(rest)} against {last}" if rest else last
    if (tier := config.get("table", "none")) != "none":
        return f"NOS-Bench, {tier} tier: {searched}"
    dataset = DATASETS.get(config["dataset"], config["dataset"])
    return f"{dataset}, {CHILDREN[config['downsample']]}: {searched}"


def departures(config: dict, names: set[str]) -> dict[str, tuple]:
    """Return which of some settings are not the paper preset's: name -> (value, the preset's).

    Those that the run's algorithm does not use are left out.
    """
    apart = {}
    for field in (*fields(ProposerConfig), *fields(ChildConfig)):
        users = set(field.metadata["help"].partition(":")[0].split(", "))  # "ppo, reinforce: ..."
        used = not users <= set(CONTROLLERS) or config["algorithm"] in users
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        if field.name in names and used and config.get(field.name, default) != default:
            apart[field.name] = (config[field.name], default)
    return apart


def papers(config: dict) -> bool:
    """Return whether a controller learns as in the paper preset, whatever its batches."""
    return config["algorithm"] in CONTROLLERS and not departures(config, LEARNING)


def notes(groups: list[Group]) -> str:
    """Return small print: what sets groups apart, how they differ from the paper preset, what is
    not finished."""
    text = "".join(f"{group.label}: {group.settings}. " for group in groups if group.settings)
    runs, ours = all_runs(groups), {}
    searched = runs[0].config
    constraints = ", ".join(searched["constraints"]) or "none"
    text += f"Depth {searched['iterations']}, tokens: {searched['subset']}, constraints: {constraints}. "
    for config in (run.config for run in runs):
        algorithm = config["algorithm"]
        names = {"random": SHARED, "evolution": BREEDING | BATCHES}.get(algorithm, LEARNING | BATCHES)
        # A table's scores have nothing to do with the settings of a child.
        names = names | (CHILD - TITLED if config.get("table", "none") == "none" else set())
        for name, (value, default) in departures(config, names).items():
            ours[f"{name} {value} (there {default})"] = None
    for algorithm in dict.fromkeys(run.config["algorithm"] for run in runs if papers(run.config)):
        several = sum(group.algorithm == algorithm for group in groups) > 1
        which = "One" if several else "The"
        text += f"{which} {NAMES[algorithm]} controller learns as in the paper preset. "
    text += f"Other than in the paper preset: {', '.join(ours)}. " if ours else ""
    going = sum(len(run.records) < run.config["samples"] for run in runs)
    return text + (f"{going} of {plural(len(runs), 'run')} not finished." if going else "")


def plural(number: int, word: str) -> str:
    """Return a count for people, such as `1 rule` or `1,500 rules`."""
    return f"{number:,} {word}{'s' * (number != 1)}"


def command(
    name: str,
    doc: str,
    draw: Callable[[list[Path], Path], list[Path]],
    argv: list[str] | None,
    file: str = "picture, an SVG goes beside it",
    suffix: str = ".png",
    what: str = "run folders of search.py",
    nargs: str | int = "+",
) -> int:
    """Run a figure's command line: `python -m plots.NAME RUN [RUN ...] [-o FILE]`."""
    parser = Parser(prog=f"python -m plots.{name}", description=doc)
    parser.add_argument("runs", nargs=nargs, type=Path, metavar="RUN", help=what)
    file_help = f"{file} (default: {name}{suffix} in the first RUN, or beside it if it is a file)"
    parser.add_argument("-o", type=Path, metavar="FILE", dest="file", help=file_help)
    args = parser.parse_args(argv)
    first = args.runs[0]
    folder = first.parent if first.is_file() else first
    try:
        paths = draw(args.runs, args.file or folder / f"{name}{suffix}")
    except results.RunError as error:
        parser.error(str(error))
    except BrokenPipeError:  # `... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own last flush
        return 128 + signal.SIGPIPE
    except OSError as error:
        parser.error(f"cannot write {error.filename}: {error.strerror}")
    print(f"Wrote {' and '.join(map(str, paths))}")
    return 0
