"""scratch.sh redoes what is published: its commands have the settings of the published records."""

import importlib
import os
import subprocess
from dataclasses import fields, make_dataclass
from importlib.util import find_spec
from pathlib import Path

from config import resolve

import pytest
from helpers import ROOT, Config

import results
import search
from child import completed
from loop import SearchConfig
from nosbench import families, study
from nosbench import search as table_search
from plots.runs import relevant
from studies import trials
from tasks.own import OwnTask, TaskConfig

PUBLISHED = ROOT / "runs" / "published"
# Made with flags that are gone.
GONE = {f"laptop-cifar10-random-s10-{flag}" for flag in ("race", "give-up")}
GONE |= {"strided-cifar10-random-s100-race"}
GONE |= {"tier-rescored", "protocol-rescored"}  # chose by key
SHARES = {*PUBLISHED.glob("study-tuning/reinforce-*-0.05-*.jsonl")}  # an elite of a twentieth
GUIDED = {*PUBLISHED.glob("study-guided/*.jsonl")}  # of nosbench.families, not of nosbench.study
GUIDED |= {*PUBLISHED.glob("study-guided-depth1-[ft]*/*.jsonl")}
GUIDED |= {*PUBLISHED.glob("study-guided-tuning-depth2/*.jsonl")}
# What searches, and all settings of one.
BOTH = table_search.TableScorer, SearchConfig
TableConfig = make_dataclass("TableConfig", (), bases=BOTH, frozen=True)
SCRIPTS = {"search": (search.SEARCH, Config), "nosbench.search": (table_search.SCRIPT, TableConfig)}
# Of a task of one's own; what its pilot measures is no setting of the command.
OwnConfig = make_dataclass("OwnConfig", (), bases=(OwnTask, SearchConfig), frozen=True)
MEASURED = {one.name for one in fields(TaskConfig) if not one.metadata["flag"]} | {
    "sweep_epochs",
    "rate_by",
}
# In python's place: notes its arguments and makes the folder, so that the next command finds it.
STAND_IN = """#!/bin/sh
printf '%s\\0' "$@" >>"$NOTES"
echo >>"$NOTES"
while [ "$1" != --out ]; do shift; done
mkdir -p "$2"
"""
# Chose their rules by key, where families are chosen today: what holds whom they chose.
BY_KEY = {f"compare-{name}-cifar10": "contestants" for name in ("protocol", "halfdecades", "confirm")}
BY_KEY |= {"longrun-strided-cifar10": "runners", "robustness-strided-cifar10": "field"}
BY_KEY |= {"rosenbrock-found-s0": "rules"}
OTHERS = "lion_pytorch", "schedulefree", "evo_optimizer"
FREE = {"data", "data_sha256", "precision"}  # which pictures and where, and what this processor has


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> list[tuple[str, str, list[str]]]:
    """Return (folder's name, module, arguments) of all commands."""
    folder = tmp_path_factory.mktemp("scratch")
    python, notes = folder / "bin" / "python", folder / "notes"
    python.parent.mkdir()
    python.write_text(STAND_IN)
    python.chmod(0o755)
    env = os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}", "NOTES": str(notes)}
    script = ["sh", ROOT / "reproduce" / "scratch.sh", folder / "out"]
    done = subprocess.run(script, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.rstrip("\0").split("\0") for line in notes.read_text().splitlines()]
    assert {line[0] for line in lines} == {"-m"}
    return [(Path(line[line.index("--out") + 1]).name, line[1], line[2:]) for line in lines]


def of(commands, start: str) -> list[tuple[str, str, list[str]]]:
    """Return the commands of a module, or of a room."""
    some = [command for command in commands if command[1].startswith(start)]
    assert some
    return some


def plain(config):
    """Return settings as JSON has them, without what is free, however deep."""
    if isinstance(config, dict):
        return {name: plain(value) for name, value in config.items() if name not in FREE}
    return [plain(value) for value in config] if isinstance(config, list | tuple) else config


def test_every_published_folder_has_its_commands_and_no_other(commands):
    folders = {path.parent.name for path in PUBLISHED.glob("*/*.json*")}
    assert {name for name, _, _ in commands} == folders - GONE
    grows = ("nosbench.study", "nosbench.families")
    once = [name for name, module, _ in commands if module not in grows]
    assert len(once) == len(set(once))


def test_searches_are_those_that_were_published(commands):
    for name, module, arguments in of(commands, ("search", "nosbench.search")):
        script, settings = SCRIPTS[module]
        own = "--task" in arguments
        if own:
            script, settings = search.choose_script(arguments), OwnConfig
        args = search.make_parser(script).parse_args(arguments)
        ours = vars(resolve(settings, args, script.presets[args.preset or "table"]))
        theirs = results.read_config(PUBLISHED / name)
        # Seeds and lengths, which `relevant` leaves out, and what the algorithm uses.
        ours, theirs = (completed(one) if "filters" in one else one for one in (ours, theirs))
        seeds = {"seed", "child_seed", "table_seed", "samples"} & theirs.keys()
        for part in (relevant, lambda c, seeds=seeds: {k: c[k] for k in seeds}):
            mine, published = plain(part(ours)), plain(part(theirs))
            same = mine.keys() - (MEASURED if own else set())
            assert mine.keys() == published.keys() and all(mine[k] == published[k] for k in same), name


@pytest.mark.slow
def test_studies_of_the_table_are_those_that_were_published(commands):
    lines = set()
    for folder, _, arguments in of(commands, "nosbench.study"):
        plan, settings = study.configure(study.make_parser().parse_args(arguments))
        for name, setting in settings.items():
            published = results.read_lines(PUBLISHED / folder / f"{name}.jsonl")
            for line, config in zip(published, plan.searches(setting), strict=True):
                assert (line["seed"], line["table_seed"]) == (config.seed, config.table_seed)
                ours = plain(vars(config)) | {"seed": 0, "table_seed": 0}
                theirs = line["config"] | {"seed": 0, "table_seed": 0}
                shared = ours.keys() & theirs.keys()  # neither those that came later nor those that went
                assert len(shared) > 15, name
                assert all(ours[key] == theirs[key] for key in shared), f"{folder}, {name}"
            lines.add(PUBLISHED / folder / f"{name}.jsonl")
    assert lines == {*PUBLISHED.glob("study*/*.jsonl")} - SHARES - GUIDED and len(SHARES) == 4


def test_studies_of_families_are_those_that_were_published(commands):
    seeds = {}
    for folder, _, arguments in of(commands, "nosbench.families"):
        plan, settings = families.configure(families.make_parser().parse_args(arguments))
        for name, config in settings.items():
            file = PUBLISHED / folder / f"{name}.jsonl"
            planned = range(plan.first_seed, plan.first_seed + plan.seeds)
            seeds.setdefault(file, set()).update(planned)
            for line in results.read_lines(file):
                ours = plain({**vars(plan), **vars(config), "seed": line["seed"]})
                assert {key: ours[key] for key in line["config"]} == line["config"], (file, line["seed"])
    assert {file: {line["seed"] for line in results.read_lines(file)} for file in seeds} == seeds
    assert seeds.keys() == GUIDED


@pytest.mark.slow
def test_trainings_are_planned_as_those_that_were_published(commands, monkeypatch):
    """Plans made of the published searches: same settings, seeds and rules, if these were chosen so."""
    monkeypatch.chdir(ROOT)  # plans name their sources as the command does
    for name, module, arguments in of(commands, "studies."):
        out = Path(arguments[arguments.index("--out") + 1]).parent
        arguments = [word.replace(str(out), "runs/published") for word in arguments]
        if name == "compare-others-cifar10" and not all(map(find_spec, OTHERS)):
            continue  # optimizers that are not installed cannot be planned with
        script = importlib.import_module(module)
        args = trials.make_parser(script).parse_args(arguments)
        plans = script.configure(args), trials.from_folder(script, PUBLISHED / name)
        ours, theirs = (plain(trials.to_dict(script, plan)) for plan in plans)
        chosen = {BY_KEY.get(name, "")}
        assert {**ours, **dict.fromkeys(chosen)} == {**theirs, **dict.fromkeys(chosen)}, name
