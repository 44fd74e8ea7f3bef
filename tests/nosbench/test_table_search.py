"""Tests of nosbench/search.py: the table answers as a child would, and the search of it is a search."""

import json
import pickle

import numpy as np
import pytest
from helpers import history, killed, refusal, undrawn

import results
import search as search_py
from dsl import Rule
from nosbench import micro, search
from nosbench.search import TableScorer
from nosbench.table import NO_RATE, NONE
from rules import HUMAN, find
from screen import screen
from training import ChildResult


@pytest.fixture(scope="module", autouse=True)
def no_figures():
    with undrawn():
        yield


def rules_by_fate(table) -> dict[str, tuple[str, int]]:
    """A rule and seed that is ok, one that diverged at all rates, one only in the long run."""
    text = lambda where: (str(table.rule(table.measured[where[0]])), int(where[1]))  # noqa: E731
    dead, all_dead = table.correct == NONE, table.rate == NO_RATE
    return {
        "ok": text(np.argwhere(~dead)[0]),
        "diverged": text(np.argwhere(all_dead)[0]),
        "late": text(np.argwhere(dead & ~all_dead)[0]),
    }


@pytest.mark.parametrize("scores", ["micro", "none"])  # the table's, or measured on the spot
@pytest.mark.parametrize("fate", ["ok", "diverged", "late"])
def test_answers_in_the_childs_place(table, fate, scores):
    rule, seed = rules_by_fate(table)[fate]
    result, entry = TableScorer(scores).evaluate(rule, seed), table.lookup(rule)
    assert (result.cpu_s > 0) == (scores == "none")
    assert isinstance(result, ChildResult)
    assert result.status == ("ok" if fate == "ok" else "diverged")
    assert (result.accuracy, result.lr) == (entry.scores[seed], entry.lr[seed])
    assert [lr for lr, _ in result.sweep] == table.header["protocol"]["rates"]
    counted = [accuracy for _, accuracy in result.sweep if accuracy is not None]
    if fate == "diverged":
        assert (counted, result.curve) == ([], [])
    else:
        assert result.curve == [max(counted), result.accuracy]
    if fate == "ok":
        assert dict(result.sweep)[result.lr] == max(counted)
    screened = TableScorer("micro", screen=True).evaluate(rule, seed)
    assert screened.error == screen(Rule.parse(rule))  # as a child would
    assert (screened.status == "rejected") == bool(screened.error) == (not screened.sweep)
    # Plain data, as a worker sends it.
    assert pickle.loads(pickle.dumps(result)) == result
    json.dumps([result.sweep, result.curve, result.accuracy, result.lr])


def test_a_search_trains_nothing_and_is_resumed_to_the_same_history(tmp_path, table, capsys):
    flags = ["--algorithm", "trpo", "--samples", "60", "--candidates", "4", "--elite-coeff", "0.3"]
    flags += ["--entropy-growth", "0.5", "--lag", "3", "--start-from", "adam"]
    whole = tmp_path / "whole"
    assert search.main([*flags, "--out", str(whole)]) == 0
    said = capsys.readouterr()
    assert "core-seconds" not in said.out and "Next: python rules.py show" in said.out
    assert "preset table, but" in said.err and "samples=60" in said.err and "max-kl" not in said.err
    records = results.read_records(whole)
    assert records[0]["rule"] == str(find("adam"))
    for record in records:
        score = table.lookup(record["rule"]).scores[0]
        assert record["reward"] == (score or 0.0)
        assert record["status"] == ("diverged" if score is None else "ok")
    humans = results.read_humans(whole)
    assert [line["name"] for line in humans] == list(HUMAN)
    for line in humans:
        assert line["reward"] == table.lookup(line["rule"]).scores[0]
    assert search.main(["--resume", str(killed(whole, tmp_path / "broken", 23))]) == 0
    assert history(tmp_path / "broken") == history(whole)
    capsys.readouterr()
    assert "another version or script" in refusal(search_py.main, ["--resume", str(whole)], capsys)


def test_without_a_table_deeper_rules_are_trained_with_as_many_seeds_as_are_asked_for(tmp_path, capsys):
    flags = ["--table", "none", "--iterations", "2", "--algorithm", "evolution", "--population", "5"]
    flags += ["--samples", "30", "--candidates", "2", "--rotate", "4", "--replicates", "2", "--screen"]
    assert search.main([*flags, "--out", str(tmp_path / "run")]) == 0
    assert "NOS-Bench's micro child, seed 0" in capsys.readouterr().err
    records = results.read_records(tmp_path / "run")
    assert {record["seed"] for record in records} > {0, 1, 2, 3}  # more than the table has
    for record in records:
        assert (record["status"] == "rejected") == (screen(Rule.parse(record["rule"])) is not None)
        if record["status"] == "ok":
            [correct] = micro.measure([record["rule"]], record["seed"]).correct
            assert record["accuracy"] == correct / micro.NUM_VALIDATION
