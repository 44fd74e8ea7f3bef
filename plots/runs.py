"""Reading runs of search.py and grouping their seeds, for figures, tables and studies alike.

Runs whose settings differ in the seeds alone are one group: a line with a band instead of many
lines. Finished runs and runs in progress are read alike; a line that is still being written is left
out. Nothing here draws, so matplotlib is not needed. Neither is torch, a second and half a gigabyte,
but for older runs, tasks of one's own and the families of several runs. Read next: learning_curve.py.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from config import ConfigError, from_dict

import numpy as np

import results
from data import ANY, NAMES
from plots import names

CONTROLLERS = ("trpo", "ppo", "reinforce")
LONGEST = 45  # characters of a label that tell groups apart; if they need more, it has a number

# What each setting is in the paper preset, by the class that declares it, to be had without torch.
SETTINGS = json.loads(Path(__file__).with_name("settings.json").read_text("utf-8"))
# Settings of earlier versions that are constants now, with the value that they all have today.
FORMER_SCORER = {"table": "none"} | SETTINGS.pop("FORMER_CHILD")
TRPO = {"cg_iters": 5, "cg_damping": 0.1, "backtrack_iters": 10, "backtrack_coeff": 0.8}
PPO = {"ppo_clip": 0.2, "ppo_epochs": 4}
FORMER_CONTROLLER = {**TRPO, **PPO, "baseline_decay": 0.95, "elite_share": 0.1}
FORMER = {**FORMER_SCORER, **FORMER_CONTROLLER, "rules_per_batch": 5, "failure_reward": 0.0}
# What a setting is in the paper preset, and in a run that is older or newer than the setting.
PAPER = {name: value for declared in SETTINGS.values() for name, value in declared.items()} | FORMER

CONVNET = SETTINGS["ProtocolConfig"].keys() | SETTINGS["ChildConfig"].keys()
CHILD = CONVNET | FORMER_SCORER.keys()
LEARNING = SETTINGS["ControllerConfig"].keys() | FORMER_CONTROLLER.keys()
BREEDING, GUIDING = SETTINGS["EvolutionConfig"].keys(), SETTINGS["GuidedConfig"].keys()
UNUSED = {
    "trpo": BREEDING | GUIDING | PPO.keys() | {"controller_lr"},
    "ppo": BREEDING | GUIDING | TRPO.keys() | {"max_kl"},
    "reinforce": BREEDING | GUIDING | TRPO.keys() | PPO.keys() | {"max_kl"},
    "evolution": LEARNING | GUIDING,
    "guided": LEARNING,
    "random": LEARNING | BREEDING | GUIDING | {"lag", "rules_per_batch"},
}
# Settings by which runs of one group may differ: which seed, how long, where the pictures lie.
SEEDS = {"seed", "child_seed", "table_seed", "samples", "data", "data_sha256"}
NEEDED = {"algorithm", "dataset", "downsample", "iterations", "subset", "constraints", "samples"}
NEEDED |= {"seed", "child_seed"}
DATA = {"dataset", "data", "data_sha256", "precision"}  # no part of what the paper preset is
# What a figure says elsewhere than in its small print.
TOLD = {"algorithm", "table", "iterations", "subset", "constraints", "downsample", "samples"}


class Run(NamedTuple):
    """What a run folder holds so far."""

    folder: Path
    config: dict
    records: list[dict]
    humans: list[dict]
    updates: list[dict]


class Group(NamedTuple):
    """Runs that differ in their seeds alone."""

    label: str  # the algorithm, and what sets the group apart from others of the algorithm
    settings: str  # what does if it is too long for the label
    color: str
    runs: list[Run]

    @property
    def records(self) -> list[dict]:
        return [record for run in self.runs for record in run.records]

    @property
    def algorithm(self) -> str:
        return self.runs[0].config["algorithm"]

    @property
    def name(self) -> str:
        return names.ALGORITHM_NAMES[self.algorithm]

    def band(self, series: Callable[[Run], np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return lowest, mean and highest value of a series over the runs, as far as all of them go."""
        values = [series(run) for run in self.runs]
        shortest = min(map(len, values))
        stacked = np.array([value[:shortest] for value in values], dtype=float)
        return stacked.min(0), stacked.mean(0), stacked.max(0)


# --- reading --------------------------------------------------------------------------------------


def read(folder: Path, keep: Sequence[str] | None = None) -> Run:
    """Read a run folder of search.py.

    Args:
        keep: fields of the records, if not all are needed: a few take a fraction of the memory.
    Raises:
        RunError: it is none, or has no records yet, or its settings mean nothing here.
    """
    config = results.read_config(folder)
    if "algorithm" not in config:
        raise results.RunError(f"{folder} is a run of another script than search.py")
    if "table_seed" in config:  # it trained no child, so one setting of it is like another
        config = {**PAPER, "child_seed": config["table_seed"], **config}
    own = "task" in config
    if own:  # a task of one's own, which has none of the ConvNet's settings
        config = {**PAPER, **config}
    if lacking := NEEDED - config.keys():
        raise results.RunError(f"{folder}: config.json lacks {', '.join(sorted(lacking))}")
    if config["algorithm"] not in list(names.ALGORITHM):
        raise results.RunError(f"{folder}: unknown algorithm {config['algorithm']!r} in config.json")
    if own or not is_plain(config):
        config = checked(folder, config)
    records = results.read_records(folder, keep)
    if not records:
        raise results.RunError(f"{folder} has no records yet")
    updates = results.read_lines(folder / "updates.jsonl")
    return Run(folder, config, records, results.read_humans(folder), updates)


def is_plain(config: dict) -> bool:
    """Return whether the settings are those of a ConvNet of this version and plainly mean something.

    If not, `checked` says what is wrong, if anything is, and needs torch.
    """
    mine = {name: config[name] for name in CONVNET & config.keys() - {"screen"}}
    alike = "prune" in mine and all(type(value) is type(PAPER[name]) for name, value in mine.items())
    numbers = (x for x in mine.values() if not isinstance(x, bool))
    sized = alike and all(x > 0 if isinstance(x, int | float) else x for x in numbers)
    known = sized and mine["dataset"] in ("auto", *NAMES) and mine["downsample"] in names.CHILDREN
    return known and mine["precision"] in ("auto", "float32", "bfloat16")


def checked(folder: Path, config: dict) -> dict:
    """Return the settings as today's version has them; raise RunError if one means nothing."""
    from child import ChildConfig, completed
    from tasks.own import TaskConfig

    kind = TaskConfig if "task" in config else ChildConfig
    config = config if kind is TaskConfig else completed(config)
    try:
        from_dict(kind, {x.name: config[x.name] for x in fields(kind) if x.name in config})
    except ConfigError as error:
        raise results.RunError(f"{folder}: config.json: {error}") from None
    return config


def read_all(folders: list[Path], keep: Sequence[str] | None = None) -> list[Run]:
    """Read runs, each once; arguments and errors are those of `read`."""
    return [read(folder, keep) for folder in {folder.resolve(): folder for folder in folders}.values()]


def setting_of(run: Run, name: str):
    """Return a setting of a run; if its config lacks it, what it was or is in all such runs."""
    return run.config.get(name, PAPER.get(name))


def relevant(config: dict) -> dict:
    """Return the settings that make a run's history, lacking ones too, without its seeds and length."""
    unused = SEEDS | UNUSED[config["algorithm"]]
    return {name: value for name, value in {**PAPER, **config}.items() if name not in unused}


def departures(config: dict) -> dict[str, tuple]:
    """Return what of a run's history is not as in the paper preset: name -> (value, the preset's).

    Pictures and precision are left out, and for scores of a table the child, which trained nothing.
    """
    trained = config.get("table", "none") == "none"
    known = PAPER.keys() - DATA - (set() if trained else CHILD - {"table"})
    mine = {**relevant(config), "samples": config["samples"]}
    return {n: (x, PAPER[n]) for n, x in mine.items() if n in known and x != PAPER[n]}


# --- grouping -------------------------------------------------------------------------------------


def read_groups(folders: list[Path], keep: Sequence[str] | None = None) -> list[Group]:
    """Read runs and group them, controllers first and random search last; `keep` as in `read`.

    Raises:
        RunError: a folder is no run or empty; their scores cannot be compared; a seed comes twice.
    """
    runs = read_all(folders, keep)
    grouped: dict[str, list[Run]] = {}
    pictures = {setting_of(run, "data_sha256"): run.folder for run in runs}
    pictures.pop(ANY, None)  # older runs do not say it
    if len(pictures) > 1:
        apart = " and ".join(str(folder) for folder in list(pictures.values())[:2])
        raise results.RunError(f"{apart} have other pictures, so their scores do not compare")
    for run in runs:
        for name in sorted(CHILD - SEEDS - {"precision"} | {"version", "sweep_epochs", "rate_by"}):
            if setting_of(run, name) != setting_of(runs[0], name):
                raise results.RunError(
                    f"{runs[0].folder} and {run.folder} differ in {name}, so their scores do not compare"
                )
        same = grouped.setdefault(str(sorted(relevant(run.config).items())), [])
        for other in same:
            if all(run.config[name] == other.config[name] for name in ("seed", "child_seed")):
                raise results.RunError(f"{other.folder} and {run.folder} are the same search, same seed")
        same.append(run)

    order = list(names.ALGORITHM)
    ranked = sorted(grouped.values(), key=lambda same: order.index(same[0].config["algorithm"]))
    labels = label_all([relevant(same[0].config) for same in ranked])
    groups, spare = [], [*names.SPARE, *names.SPARE]
    for same, (label, settings) in zip(ranked, labels, strict=True):
        algorithm = same[0].config["algorithm"]
        again = any(group.algorithm == algorithm for group in groups)
        color = spare.pop(0) if again else names.ALGORITHM[algorithm]
        groups.append(Group(label, settings, color, same))
    return groups


def label_all(settings: list[dict]) -> list[tuple[str, str]]:
    """Return of each group its label, and what sets it apart if that is too much for a label.

    Args:
        settings: of each group, as `relevant` returns them.
    """
    least = min(mine["candidates"] for mine in settings)
    labels, long = [], []
    for mine in settings:
        rivals = [other for other in settings if other["algorithm"] == mine["algorithm"]]
        label = names.ALGORITHM_NAMES[mine["algorithm"]]
        apart = {n: x for n, x in mine.items() if any(rival[n] != x for rival in rivals)}
        apart.pop("candidates", None)
        told = ", ".join(f"{names.SETTINGS.get(n, n.replace('_', ' '))} {x}" for n, x in apart.items())
        short = len(told) <= LONGEST
        label += f", {told}" if told and short else ""
        repeats = mine["candidates"] == least or mine["replicates"] > 1
        label += "" if repeats else ", no repeats"
        labels.append(label)
        long.append("" if short else told)
    numbers = [labels[: place + 1].count(label) for place, label in enumerate(labels)]
    return [
        (label if labels.count(label) == 1 else f"{label} {number}", settings)
        for label, number, settings in zip(labels, numbers, long, strict=True)
    ]


def all_runs(groups: list[Group]) -> list[Run]:
    return [run for group in groups for run in group.runs]


def family_of(records: list[dict]) -> Callable[[dict], int]:
    """Return what tells the family of a record of one run: what the search wrote, if it did."""
    if all("family" in record for record in records):
        return itemgetter("family")
    from sameness import by_family

    return by_family()


def ranked(groups: list[Group]) -> list[results.Family]:
    """Return the families of all runs, best mean first; a single run has told its own."""
    records = [record for group in groups for record in group.records]
    if len(all_runs(groups)) == 1:
        return results.best_families(records, name=family_of(records))
    from sameness import by_family

    return results.best_families(records, name=by_family())


def humans(groups: list[Group]) -> list[dict]:
    """Return the human optimizers' records, of the first run that has scored the most of them."""
    return max((run.humans for run in all_runs(groups)), key=len)


# --- in words -------------------------------------------------------------------------------------


def score(runs: list[Run]) -> str:
    """Return what the scores of some runs are."""
    return results.score_label(runs[0].config)


def plural(number: int, word: str) -> str:
    """Return a count for people, such as `1 rule` or `1,500 rules`."""
    return f"{number:,} {word}{'s' * (number != 1)}"


def title(runs: list[Run]) -> str:
    """Return what was run on what, for example `CIFAR-10, strided ConvNet: TRPO controller`."""
    config = runs[0].config
    searches = [names.SEARCHES[run.config["algorithm"]] for run in runs]
    *rest, last = dict.fromkeys(searches)
    searched = f"{' and '.join(rest)} against {last}" if rest else last
    if (tier := config.get("table", "none")) != "none":
        return f"NOS-Bench, {tier} tier: {searched}"
    if "task" in config:
        return f"{Path(config['task']).name}: {searched}"
    dataset = names.DATASETS.get(config["dataset"], config["dataset"])
    return f"{dataset}, {names.CHILDREN[config['downsample']]}: {searched}"


def notes(groups: list[Group]) -> str:
    """Return small print: what sets groups apart, how they differ from the paper preset, what is
    not finished."""
    text = "".join(f"{group.label}: {group.settings}. " for group in groups if group.settings)
    runs, ours = all_runs(groups), {}
    searched = runs[0].config
    constraints = ", ".join(searched["constraints"]) or "none"
    text += f"Depth {searched['iterations']}, tokens: {searched['subset']}, constraints: {constraints}. "
    for group in groups:
        apart = [departures(run.config) for run in group.runs]
        text += "" if any(apart) else f"{group.label}: the paper preset. "
        for name, (value, preset) in (item for run in apart for item in run.items()):
            if name not in TOLD:
                flag = name.replace("_", "-")
                on = isinstance(value, bool) and f"--{flag if value else f'no-{flag}'}"
                having = ours.setdefault(on or f"--{flag} {value} (there {preset})", {})
                having[group.label] = None
    of = {tuple(having): [f for f in ours if ours[f] == having] for having in ours.values()}
    told = [
        ", ".join(flags) + (f" in {' and '.join(having)}" if len(having) < len(groups) else "")
        for having, flags in of.items()
    ]
    text += f"Flags other than in the paper preset: {'; '.join(told)}. " if told else ""
    going = sum(len(run.records) < run.config["samples"] for run in runs)
    return text + (f"{going} of {plural(len(runs), 'run')} not finished." if going else "")
