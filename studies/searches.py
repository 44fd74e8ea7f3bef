"""What finished searches hold, for scripts that train their best rules again.

Nothing to run here. Read next: compare.py, rescore.py, longrun.py and robustness.py.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from itertools import count, islice
from pathlib import Path

from config import ConfigError, from_dict, setting

import numpy as np

import results
from child import FORMER_CHILD, ChildConfig, completed, identify
from data import ANY
from dsl import Rule
from rules import ALSO, HUMAN, NAMED_RULES, OptimizerClass
from sameness import by_family
from studies.trials import Argument, kind_of
from tasks.own import TaskConfig
from training import ProtocolConfig

RUNS = Argument(
    "runs", {"nargs": "*", "type": Path, "metavar": "RUN", "help": "run folders of search.py"}
)


@dataclass(frozen=True)
class Also:
    """Who else comes along."""

    also: tuple[str, ...] = setting((), ALSO, words=True)


PEOPLE = {Rule.parse(NAMED_RULES[name].rule).key(): name for name in HUMAN}


def read_search(folder: Path) -> dict:
    """Return the config.json of a search.

    Raises:
        RunError: the folder is no run of search.py.
    """
    saved = results.read_config(folder)
    if "algorithm" not in saved:
        raise results.RunError(f"{folder} is a run of another script than search.py")
    return saved


def read_child(folder: Path) -> tuple[ProtocolConfig, int]:
    """Return the child that a search scored its rules with, and its seed.

    Raises:
        RunError: the folder is no run of search.py, or of one that trained nothing, or not as today.
    """
    saved = read_search(folder)
    if saved.get("table", "none") != "none":
        raise results.RunError(f"{folder} searched a table, so there is no network to train")
    kind = kind_of(saved)
    if lacking := {"task" if kind is TaskConfig else "dataset", "child_seed"} - saved.keys():
        raise results.RunError(f"{folder}: config.json lacks {', '.join(sorted(lacking))}")
    for name in FORMER_CHILD.keys() & saved.keys():
        if saved[name] != FORMER_CHILD[name]:
            what = f"scored with {name} {saved[name]}, which is gone; its scores do not compare"
            raise results.RunError(f"{folder} was {what}")
    saved = completed(saved) if kind is ChildConfig else saved
    names = {field.name for field in fields(kind)} & saved.keys()
    try:
        child = from_dict(kind, {name: saved[name] for name in names})
    except ConfigError as error:
        raise results.RunError(f"{folder}: config.json: {error}") from None
    return replace(child, screen=False), saved["child_seed"]  # these rules passed, or need not


def read_searches(folders: list[Path]) -> tuple[ProtocolConfig, list[int], list[dict], dict[str, float]]:
    """Return what runs share and hold: child, seeds, records, and mean rewards of human optimizers.

    Raises:
        RunError: a folder is no search; their children differ, so that rewards do not compare.
    """
    folders = list({folder.resolve(): folder for folder in folders}.values())
    children = [read_child(folder) for folder in folders]
    # Of the ConvNet's pictures some runs say which they are, and that is where they are looked for.
    told = [one for one, _ in children if getattr(one, "data_sha256", ANY) != ANY]
    pictures = (told or [children[0][0]])[0]
    own = isinstance(children[0][0], TaskConfig)
    here = {} if own else {"data": pictures.data, "data_sha256": pictures.data_sha256}
    first = replace(children[0][0], **here)
    for folder, (child, _) in zip(folders, children, strict=True):
        if type(child) is not type(first):
            raise results.RunError(f"{folders[0]} and {folder} train other things: they do not compare")
        any_will_do = getattr(child, "data_sha256", ANY) == ANY
        known = {name: x for name, x in here.items() if any_will_do or name == "data"}
        for name, value in asdict(replace(child, **known)).items():
            if value != getattr(first, name):
                what = f"differ in {name}, so their scores do not compare"
                raise results.RunError(f"{folders[0]} and {folder} {what}")
    records, rewards = [], {}
    for folder in folders:
        for record in results.read_records(folder):
            records.append({**record, "source": f"{folder}#{record['id']}"})
        for line in results.read_humans(folder):
            rewards.setdefault(line["name"], []).append(line["reward"])
    seeds = sorted({seed for _, seed in children} | {record["seed"] for record in records})
    return first, seeds, records, {name: float(np.mean(many)) for name, many in rewards.items()}


def best_found(records: list[dict], most: int) -> list[dict]:
    """Return the best rule of each of the best families that have no human optimizer, as records.

    Their `reward` is the family's, the mean of its trainings; `spread` and `rules` are the family's too.

    Raises:
        RunError: there is none that has trained to the end.
    """
    name = by_family()
    people = {name({"rule": NAMED_RULES[human].rule}) for human in HUMAN}
    families = results.best_families(records, name=name)
    families = [family for family in families if name(family.best) not in people]
    best = [
        {**one.best, "reward": one.reward, "spread": one.spread, "rules": one.num_rules}
        for one in families[:most]
    ]
    if not best:
        raise results.RunError("no rule has trained to the end in these runs, so there is none")
    return best


def fresh_seeds(first: int, number: int, used: list[int] | set[int]) -> list[int]:
    """Return seeds from `first` on that no search has used."""
    return list(islice((seed for seed in count(first) if seed not in used), number))


def with_people(rules: Iterable[tuple[str, Rule | OptimizerClass]]) -> list[tuple[str, str]]:
    """Return (name, rule) of rules, one a key, and of the human optimizers behind them."""
    field = {rule.key(): (name, str(rule)) for name, rule in rules if rule.key() not in PEOPLE}
    return [*field.values(), *((name, NAMED_RULES[name].rule) for name in HUMAN)]


def prepare(plan, new: bool):
    """Return the plan, whose child says where its pictures are, and which; none are made or got.

    Raises:
        DataError: they are not there, or others, or too few.
    """
    if isinstance(plan.child, ChildConfig):
        return plan._replace(child=identify(plan.child))
    plan.child.open()
    return plan
