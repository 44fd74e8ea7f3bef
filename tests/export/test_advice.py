"""Learning-rate advice, against sweeps whose answer is plain to see."""

import json
import re

import numpy as np
import pytest
from helpers import ROOT

import results
from dsl import Rule
from export import advice
from export.advice import Advice, Sweeps, advise
from rules import find

RATES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
ADAM = {"name": "adam", "rule": "adam 1 id id mul", "status": "ok", "lr": 1e-3}
ADAM["sweep"] = [[rate, y] for rate, y in zip(RATES, (0.5, 0.4, 0.1, 0.1, None), strict=True)]


def record(scores: list[float | None], lr: float, rule="m 1 id id mul", **more) -> dict:
    line = {"rule": rule, "key": Rule.parse(rule).key(), "status": "ok", "lr": lr}
    return line | {"sweep": [[r, y] for r, y in zip(RATES, scores, strict=True)]} | more


RANGES = [  # accuracies, the best rate, the lowest and the highest that are good
    ((0.1, 0.2, 0.5, 0.3, None), 0.1, 0.1, 0.1),
    ((0.1, 0.49, 0.5, 0.485, None), 0.1, 0.01, 1.0),
    ((0.1, 0.2, 0.2575, 0.2375, 0.2), 0.1, 0.1, 1.0),  # two points exactly: 0.2575 - 0.2375
    ((0.5, 0.3, 0.5, 0.5, None), 1e-3, 1e-3, 1e-3),  # good ones beyond a bad one do not count
    ((0.1, 0.1, 0.49, None, 0.5), 10.0, 10.0, 10.0),  # nor beyond one that diverged
    ((0.5, 0.5, 0.5, 0.5, None), 1e-3, 1e-3, 1.0),  # diverging at one rate is what sets it apart
]


@pytest.mark.parametrize("scores, lr, low, high", RANGES)
def test_range_is_the_rates_around_the_best_within_two_points(scores, lr, low, high):
    found = advise(record(list(scores), lr), [ADAM])
    assert found == Advice(lr, low, high, (1e-3, 10.0), adam_lr=1e-3)
    assert found.to_adam == pytest.approx(lr / 1e-3)


FLAT = [((0.5, 0.5, 0.5, 0.5, 0.5), 1e-3), ((0.5, 0.505, 0.51, 0.519, 0.515), 1.0)]
FLAT += [((0.1, 0.09, None, 0.119, 0.06), 1.0), ((None, None, 0.1, None, None), 0.1)]  # hardly learned


@pytest.mark.parametrize("scores, lr", FLAT)
def test_a_flat_sweep_tells_no_rate(scores, lr):
    found = advise(record(list(scores), lr), [ADAM])
    assert found == Advice(None, None, None, (1e-3, 10.0), adam_lr=1e-3)
    assert str(found) == advice.NO_RATE and found.rates() == ("none", "-")
    assert found.to_adam is None and found.open == ""


LOW = "<=0.001"


@pytest.mark.parametrize(
    ("scores", "lr", "text", "cells", "side"),
    [
        ((0.1, 0.2, 0.3, 0.49, 0.5), 10.0, "largest tried", (">=10 (1..>=10)", ">=100x"), "above"),
        ((0.5, 0.2, 0.3, 0.2, 0.1), 1e-3, "smallest", (f"{LOW} ({LOW}..{LOW})", "<=0.01x"), "below"),
        ((0.1, 0.2, 0.5, 0.49, 0.49), 0.1, "2 decades", ("0.1 (0.1..>=10)", "1x"), "above"),
        ((0.481, 0.49, 0.505, 0.49, 0.49), 0.1, "10 or more", ("0.1 (0.01..>=10)", "1x"), "above"),
        ((0.1, 0.2, 0.5, 0.3, None), 0.1, "no other rate", ("0.1 (0.1..0.1)", "1x"), ""),
    ],
)
def test_a_rate_at_an_edge_of_the_sweep_is_marked(scores, lr, text, cells, side):
    line, adam = record(list(scores), lr), ADAM | {"lr": 0.1}
    found = advise(line, [adam])
    assert (found.rates(), found.open) == (cells, side) and text in str(found)
    assert advise(line | {"sweep": line["sweep"][::-1]}, [adam]) == found  # in any order


def test_without_an_adam_that_learned_there_is_no_ratio_and_it_says_so():
    flat = ADAM | {"sweep": [[rate, 0.1] for rate in RATES]}
    for humans in ([], [ADAM | {"status": "diverged", "lr": None}], [ADAM | {"name": "sgd"}], [flat]):
        found = advise(record([0.1, 0.2, 0.5, 0.3, None], 0.1), humans)
        assert found.to_adam is None and "Adam's best is not known" in str(found)
    assert advise(record([None] * 5, None) | {"status": "diverged"}, [ADAM]) is None


CHILD = {"dataset": "cifar10", "downsample": "stride", "filters": 16, "epoch_size": 1000}
CHILD |= {"batch_size": 100, "num_validation": 2000, "precision": "float32", "child_seed": 0}
SGD, MOMENTUM = Rule.parse("g 1 id id mul"), Rule.parse("m 1 id id mul")


def make_run(folder, records, humans=(ADAM,), **settings):
    with results.Run.create(folder, {"algorithm": "trpo", **CHILD, **settings}, {}) as run:
        for line in humans:
            run.append("humans.jsonl", line)
        for line in records:
            run.append("records.jsonl", line)


def test_equal_rules_are_found_however_they_are_spelled(tmp_path):
    make_run(tmp_path / "a", [record([0.1, 0.49, 0.5, 0.3, None], 0.1)])
    make_run(tmp_path / "b", [record([None] * 5, None, status="diverged")])
    results.Run.create(tmp_path / "script", {"rules": []}, {}).close()
    (tmp_path / "script" / "records.jsonl").write_text('{"of": "another script"}\n')
    sweeps = Sweeps([tmp_path, tmp_path / "a", tmp_path / "missing"], [SGD, MOMENTUM])
    [found] = sweeps.of(Rule.parse("m g id neg left"))
    assert (found.advice.lr, found.where) == (0.1, "cifar10, strided, 1,000 images an epoch")
    assert sweeps.of(SGD) == [] and sweeps.skipped == []
    assert advice.example_lr([]) == (1e-3, f"# {advice.NO_SWEEP}")
    make_run(tmp_path / "flat", [record([0.1] * 5, 1e-3, "g 1 id id mul")])
    assert advice.example_lr(Sweeps([tmp_path], [SGD]).of(SGD)) == (1e-3, f"# {advice.NO_RATE}")


def test_different_children_are_told_apart_and_the_longest_epoch_comes_first(tmp_path):
    smoke, real = record([0.1, 0.49, 0.5, 0.3, None], 0.1), record([0.1, 0.2, 0.3, 0.5, None], 1.0)
    for k, seed in enumerate((0, 1, 2, 2)):  # the last is the third again, and has each record twice
        make_run(tmp_path / f"smoke{k}", [smoke] * (1 + k // 3), child_seed=seed, seed=k)
    make_run(tmp_path / "wide", [smoke], filters=32)
    make_run(tmp_path / "real", [real], epoch_size=10_000, downsample="pool")
    found = Sweeps([tmp_path], [MOMENTUM]).of(MOMENTUM)
    told = [(one.advice.lr, one.epoch_size, one.seeds) for one in found]
    assert told == [(1.0, 10_000, 1), (0.1, 1000, 3), (0.1, 1000, 1)]
    assert "[cifar10, pooled, 10,000 images an epoch; 1 seed]" in str(found[0])
    assert str(found[1]).endswith("an epoch; 3 seeds]")
    assert advice.example_lr(found) == (1.0, "")


def test_raced_sweeps_changed_averages_and_tables_advise_nobody(tmp_path):
    make_run(tmp_path / "raced", [record([0.1, 0.49, 0.5, 0.3, None], 0.1)], race=True)
    for name, changed in (("averages", {"beta_horizon": 2.0}), ("delta", {"eps": 1e-4})):
        make_run(tmp_path / name, [record([0.1, 0.49, 0.5, 0.3, None], 0.1)], **changed)
    make_run(tmp_path / "table", [record([0.1, 0.49, 0.5, 0.3, None], 0.1)], table="micro")
    assert Sweeps([tmp_path], [MOMENTUM]).of(MOMENTUM) == []


DAMAGES = [
    ("config.json", b"{"),
    ("config.json", b'{"algorithm": "trpo"}'),
    ("config.json", json.dumps({**CHILD, "algorithm": 1, "epoch_size": "many"}).encode()),
    ("records.jsonl", b'\xff "m"\n{}\n'),
    ("records.jsonl", b'{"key": "m"}\n'),
    ("records.jsonl", b'{"key": "m", "status": "ok", "sweep": 1}\n'),
    ("humans.jsonl", b'{"rule": "not a rule"}\n'),
    ("meta.json", None),
]


@pytest.mark.parametrize("file, content", DAMAGES)
def test_a_damaged_or_foreign_folder_is_skipped_and_named_in_one_line(file, content, tmp_path):
    for name in ("bad", "good"):
        make_run(tmp_path / name, [record([0.1, 0.49, 0.5, 0.3, None], 0.1)])
    if content is None:
        (tmp_path / "bad" / file).unlink()
    else:
        (tmp_path / "bad" / file).write_bytes(content)
    sweeps = Sweeps([tmp_path], [MOMENTUM])
    [found] = sweeps.of(MOMENTUM)
    assert found.seeds == 1
    [reason] = sweeps.skipped
    assert reason.startswith(f"{tmp_path / 'bad'} is skipped: ") and "\n" not in reason


def test_readme_and_the_example_take_the_rate_of_the_best_mean_of_the_most_seeds():
    """Against the lines of the comparison in half decades, averaged here."""
    text = (ROOT / "runs/published/compare-halfdecades-cifar10/records.jsonl").read_text()
    for name in ("powersign", "powersign-adam"):
        lines = [line for line in map(json.loads, text.splitlines()) if line["name"] == name]
        means = np.array([[y or 0.1 for _, y in line["sweep"]] for line in lines]).mean(0)
        best = float(f"{lines[0]['sweep'][means.argmax()][0]:.2g}")
        found = Sweeps([ROOT / "runs"], [find(name)]).of(find(name))
        assert advice.example_lr(found) == (best, "") and found[0].seeds >= len(lines) == 20
        assert found[0].advice.adam_lr == 0.0032
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r'"powersign", model.parameters\(\), lr=(\S+)\)', readme) == ["0.032"]
