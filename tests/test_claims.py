"""Tests of claims.py: verdicts follow the records, and what has none is not run."""

import csv
import json
import re

import numpy as np
import pytest

import claims
import results
from plots.study import COLUMNS, PANELS
from rules import HUMAN


@pytest.fixture
def published(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "PUBLISHED", tmp_path)
    return tmp_path


def write(folder, rows, name="summary.csv"):
    folder.mkdir(exist_ok=True)
    columns = dict.fromkeys(key for row in rows for key in row)
    with (folder / name).open("w", newline="") as file:
        lines = csv.DictWriter(file, columns)
        lines.writeheader()
        lines.writerows(rows)


def searched(folder, rewards):
    folder.mkdir()
    config = {"algorithm": "trpo", "dataset": "cifar10", "child_seed": 0}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "meta.json").write_text(json.dumps({"format": results.FORMAT}))
    whole = dict.fromkeys(results.FIELDS)
    lines = [json.dumps(whole | {"id": i, "reward": reward}) for i, reward in enumerate(rewards)]
    (folder / "records.jsonl").write_text("\n".join(lines) + "\n")


def studied(folder, name, found, latest=0.2):
    """A setting of a study with these numbers of top rules, one search each."""
    folder.mkdir(exist_ok=True)
    names = {*COLUMNS, *PANELS, "found_by_distinct"}
    lines = [
        {"name": name, "seed": seed, "table_seed": 1, "config": {}, "checkpoints": [2_000]}
        | dict.fromkeys(names, [0.0])
        | {"found": [float(value)], "latest": [latest + 0.001 * seed]}
        for seed, value in enumerate(found)
    ]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_every_claim_has_a_verdict_on_what_is_published():
    rows = claims.claims()
    assert len({row.claim for row in rows}) == len(rows) == 12
    assert all(row.verdict and (row.here or row.verdict == claims.NOT_RUN) for row in rows)


def test_what_has_no_records_is_not_run(published):
    later = [claims.found_beat_human, claims.reported_beat_human, claims.last_for_long]
    later += [claims.survives_changes, claims.rosenbrock_order, lambda: claims.transfers("text", "text")]
    assert {claim().verdict for claim in later} == {"not run"}


@pytest.mark.parametrize(
    "ours, verdict",
    [
        ([[0.1] * 50 + [0.5] * 50] * 2, "reproduced, at depth 1"),
        ([[0.1] * 50 + [0.5] * 50, [0.5] * 50 + [0.1] * 50], "partly"),
        ([[0.5] * 50 + [0.3] * 50], "not reproduced"),
        ([[0.05] * 50 + [0.15] * 50], "not reproduced"),  # it rises, but random search is better
    ],
)
def test_samples_improve_if_the_last_fifth_is_above_the_first_and_above_chance(published, ours, verdict):
    for seed, rewards in enumerate(ours):
        searched(published / f"protocol-strided-cifar10-trpo-s{seed}", rewards)
    searched(published / "protocol-strided-cifar10-random-s0", [0.2] * 100)
    assert claims.samples_improve().verdict == verdict


@pytest.mark.parametrize(
    "found, verdict", [((40, 40, 40), "yes"), ((40, 10, 10), "only some"), ((10, 9, 8), "no")]
)
def test_more_top_rules_must_be_beyond_the_interval(published, found, verdict):
    noise = np.random.default_rng(0).integers(-3, 4, size=30)
    for name, middle in zip(("reinforce", "ppo", "trpo"), found, strict=True):
        studied(published / "study", name, middle + noise)
    studied(published / "study", "random", 10 + noise[::-1])
    row = claims.beats_random_search()
    ratio = float(re.search(r"REINFORCE (\S+)", row.here)[1])
    assert row.verdict == verdict and ratio == pytest.approx(found[0] / 10, rel=0.05)


@pytest.mark.parametrize("extra, verdict", [(0.1, "reproduced"), (0.0, "not reproduced")])
def test_the_papers_setting_learns_if_it_ends_above_random_search(published, extra, verdict):
    studied(published / "study-10000", "random", [5] * 6)
    for name in ("reinforce", "ppo", "trpo"):
        studied(published / "study-10000", f"{name}-paper", [5] * 6, latest=0.2 + extra)
    assert claims.paper_setting_learns().verdict == verdict


def contestant(kind, ahead, p, name="rule", validation=0.5):
    row = {"kind": kind, "name": name, "n": 10, "validation": validation, "deviation": 0.01}
    row |= {"against": "adam", "ahead": ahead, "p_holm": p}
    ends = ("ahead_low", "ahead_high", "test_ahead", "test_ahead_low", "test_ahead_high")
    return row | dict.fromkeys(ends, ahead)


@pytest.mark.parametrize(
    "ahead, p, verdict",
    [(0.02, 0.01, "reproduced"), (0.02, 0.2, "not reproduced"), (-0.02, 0.01, "not reproduced")],
)
def test_a_lead_must_be_significant(published, ahead, p, verdict):
    rows = [contestant("found", ahead, p), contestant("human", "", "", "adam", 0.49)]
    rows += [contestant("named", ahead, p, f"named{i}") for i in range(3)]
    write(published / "compare-strided-cifar10", rows)
    assert claims.found_beat_human().verdict == claims.reported_beat_human().verdict == verdict
    assert "above Adam 3" in claims.reported_beat_human().here


@pytest.mark.parametrize("best, verdict", [(0.6, "reproduced, on one seed"), (0.4, "not reproduced")])
def test_a_rule_lasts_if_it_ends_above_all_people(published, best, verdict):
    rows = [{"kind": "found", "name": "a", "epochs": 300, "final": best}]
    rows += [{"kind": "found", "name": "b", "epochs": 10, "final": 0.9}]  # stopped early: no proof
    rows += [{"kind": "human", "name": name, "epochs": 300, "final": 0.5} for name in HUMAN]
    write(published / "longrun-strided-cifar10", rows)
    row = claims.last_for_long()
    assert row.verdict == verdict and row.here.startswith("of 2 rules 1 trained to the end")


@pytest.mark.parametrize("task, better", [("wrn", max), ("text", min)])
def test_transfer_is_judged_by_the_test_score_of_what_validation_chose(published, task, better):
    scores = [0.5, 0.6]
    for ours, theirs in (scores, scores[::-1]):
        rows = [{"name": "a", "n": 1, "final_test": ours}]
        rows += [{"name": name, "n": 1, "final_test": theirs} for name in HUMAN]
        write(published / f"transfer-{task}", rows)
        wanted = "reproduced" if better(ours, theirs) == ours else "not reproduced"
        assert claims.transfers(task, "it transfers").verdict == wanted
    write(
        published / f"transfer-{task}", [*rows[1:], {"name": "a", "n": 1, "final_test": better(scores)}]
    )
    assert claims.transfers(task, "it transfers").verdict == "not reproduced"  # worse by validation


@pytest.mark.parametrize("loss, verdict", [(-0.01, "reproduced"), (-0.2, "partly")])
def test_small_changes_may_cost_no_more_than_people_lose(published, loss, verdict):
    factors = {f"eps x {factor}": -0.03 for factor in ("0.1", "2", "10")}
    rows = [{"name": "a", "n": 3, "eps x 0.5": loss, **factors}]
    rows += [{"name": name, "n": 3, "eps x 0.5": -0.05, **factors} for name in HUMAN]
    write(published / "robustness-strided-cifar10", rows)
    assert claims.survives_changes().verdict == verdict


@pytest.mark.parametrize("rank, verdict", [(1.5, "reproduced"), (9.0, "not reproduced")])
def test_on_the_valley_the_mean_rank_counts(published, rank, verdict):
    ranks = {"Adam - g": rank, "Adam": 2.0, "RMSProp": 3.0, "SGD": 4.0, "Momentum": 1.0}
    folder = published / "rosenbrock-found-s0"
    write(folder, [{"name": name, "mean_rank": value} for name, value in ranks.items()])
    config = {"rules": [["Adam - g", "adam g id id sub"]], "config": {"starts": 10, "rates": [0.1]}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "meta.json").write_text(json.dumps({"format": results.FORMAT}))
    assert claims.rosenbrock_order().verdict == verdict


def test_it_prints_a_table_in_markdown(capsys):
    assert claims.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.count(" | ") for line in lines} == {5} and len(lines) == 14
