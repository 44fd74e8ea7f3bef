"""Tests of studies/pruning.py: what pruning would have stopped and lost, counted by hand."""

import re

import pytest
from helpers import DATA, refusal, tiny_search

import data
from child import Child
from studies import pruning
from training import evaluate_rule


def rate(score, at_20, first=2.4, steps=100):
    """A rate whose losses stand at one value in steps 16 to 20, elsewhere at another."""
    losses = [9.0, 9.0, 9.0, at_20, *[0.1] * 16][: steps // 5]
    return {"lr": 0.1, "score": score, "first": first, "losses": losses}


def test_what_is_stopped_and_lost_is_counted():
    keeps = [
        rate(0.5, 1.8),
        rate(0.4, 2.09),
        rate(0.3, 2.11),
        rate(None, None, steps=15),
        rate(0.1, None),
    ]
    loses = [rate(0.2, 1.5), rate(0.25, 1.9)]
    records = [("g 1 id id left", keeps), ("m 1 id id left", loses), ("g 1e-1w id exp left", keeps)]
    records = [{"rule": rule, "rates": rates} for rule, rates in records]
    rows, text = pruning.report(None, records)
    assert [(row["left"], row["steps"], row["all_steps"]) for row in rows] == [
        (2, 100 + 100 + 20 + 15 + 20, 415),
        (1, 100 + 20, 200),
        (2, 100 + 100 + 20 + 15 + 20, 415),
    ]
    assert [row["lost"] for row in rows] == [0, pytest.approx(0.05), 0]
    said = {re.split("  +", line)[0]: re.split("  +", line)[1:] for line in text.splitlines()}
    assert said["rules"] == ["3", "2", "1"] and said["rates that go on, mean"] == [
        "1.67",
        "1.50",
        "2.00",
    ]
    assert said["share of all steps"] == [f"{630 / 1030:.2f}", f"{375 / 615:.2f}", f"{255 / 415:.2f}"]
    assert said["a worse rate wins"] == said["by 0.01 or more"] == ["1", "1", "0"]
    assert said["accuracy lost, mean"] == ["0.01667", "0.02500", "0.00000"]
    assert said["at most"] == ["0.0500", "0.0500", "0.0000"]
    nothing = [rate(0.1, 2.2), rate(0.3, 2.35), rate(0.2, 7.0)]  # nobody has learned yet
    assert pruning.row_of(nothing)["left"] == 3


def test_sweeps_are_those_of_the_search_and_short_epochs_are_refused(tmp_path, capsys):
    data.prepare(data.SAMPLE, DATA)
    run = tiny_search(tmp_path / "run")
    capsys.readouterr()
    said = refusal(pruning.main, [str(run), "--out", str(tmp_path / "out")], capsys)
    assert "epochs have 2 steps, so nothing is pruned" in said and not (tmp_path / "out").exists()
    small = {"dataset": data.SAMPLE, "data": str(DATA), "downsample": "stride", "filters": 2}
    child = Child(
        **small, epoch_size=66, batch_size=6, num_validation=50, precision="float32", prune=False
    )
    rates = pruning.sweep("g g id id left", child, 5)
    assert evaluate_rule("g g id id left", child, 5).sweep == [(r["lr"], r["score"]) for r in rates]
    assert all(len(r["losses"]) == 2 for r in rates) and len({r["first"] for r in rates}) == 1
