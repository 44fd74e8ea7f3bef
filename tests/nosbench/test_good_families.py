"""Tests of nosbench/families.py: what a search is told by, against measurements made here."""

import json

import numpy as np
import pytest

from dsl import Rule
from loop import ProposerConfig
from nosbench import families, micro
from nosbench.families import Plan, search
from nosbench.study import SETTINGS, SPACE

pytestmark = pytest.mark.slow
SMALL = SPACE | SETTINGS["evolution-new"] | {"iterations": 2, "samples": 40, "population": 10}


def told(seeds, plan, **settings):
    configs = [ProposerConfig(**SMALL | settings | {"seed": seed}) for seed in seeds]
    return [(trial, trial.told(plan)) for trial in search("small", configs, plan)]


def test_scores_are_of_the_child_seeds_in_turn_and_fresh_ones_of_others():
    plan = Plan(child_seed=20, fresh=2, sample=3)
    [(trial, line)] = told([0], plan, rotate=3)
    for number, (_, seed) in enumerate(trial.first.values()):
        assert seed == 20 + number // 5 % 3  # all new, so in the order of the batches
    rule, seed = max(trial.first.values(), key=lambda one: trial.rewards([one[0]])[0] or 0)
    [correct] = micro.measure([str(rule)], seed).correct
    assert trial.rewards([rule]) == [correct / micro.NUM_VALIDATION]
    assert line["rules"][0] == str(rule) and line["repeats"] == 0
    afresh = [micro.measure(line["rules"], seed).correct / micro.NUM_VALIDATION for seed in (1020, 1021)]
    assert line["fresh"][:10] == pytest.approx(np.mean(afresh, axis=0))


def test_a_search_is_the_same_alone_and_beside_others_and_what_is_there_stays(tmp_path, capsys):
    given = "evolution-new --iterations 1 --samples 50 --fresh 1 --sample 3 "
    given += "--seeds {} --together {} --out"
    lines = {}
    for seeds, together in ((1, 2), (2, 2)):
        folder = tmp_path / "one"
        assert families.main([*given.format(seeds, together).split(), str(folder)]) == 0
        lines[seeds] = (folder / "evolution-new.jsonl").read_text("utf-8")
    assert lines[2].startswith(lines[1]) and "| evolution-new | 2 |" in capsys.readouterr().out
    assert families.main([*given.format(2, 2).split(), str(tmp_path / "two")]) == 0
    beside = (tmp_path / "two" / "evolution-new.jsonl").read_text("utf-8")
    assert list(map(json.loads, beside.splitlines())) == list(map(json.loads, lines[2].splitlines()))


def test_replicates_are_measured_with_further_seeds_and_then_no_more():
    [(trial, line)] = told([1], Plan(child_seed=0, fresh=1, sample=1), replicates=2, candidates=1)
    assert max(map(len, trial.scores.values())) == 2
    assert trial.repeats + sum(map(len, trial.scores.values())) == 40
    rule, first = trial.first[trial.identity(Rule.parse(line["rules"][0]))]
    trial.proposer.ask = lambda n: [rule] * n  # of a family that one may have been measured of
    scores = trial.scores[trial.identity(rule)] = [0.5]
    assert [(one, seed) for one, seed, _ in trial.ask(3, 7)] == [(rule, first + 1)]
    assert scores == [0.5, None] and trial.repeats >= 2
