"""Tests of claims.py: verdicts follow the records, and what has none is not run."""

import csv
import json
import re
from dataclasses import asdict

import numpy as np
import pytest

import claims
import results
from plots.study import COLUMNS, PANELS
from rules import HUMAN
from search import Config


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
    config = asdict(Config(dataset="cifar10", seed=int(folder.name[-1])))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "meta.json").write_text(json.dumps({"format": results.FORMAT}))
    whole = dict.fromkeys(results.FIELDS) | {"rule": "g m id id mul", "key": "mul(g,m)", "status": "ok"}
    lines = [json.dumps(whole | {"id": i, "reward": reward}) for i, reward in enumerate(rewards)]
    (folder / "records.jsonl").write_text("\n".join(lines) + "\n")
    people = [json.dumps(whole | {"name": name, "reward": 0.3}) for name in HUMAN]
    (folder / "baselines.jsonl").write_text("\n".join(people) + "\n")


def studied(folder, name, found, latest=0.2):
    """A setting of a study with these numbers of top rules, one search each."""
    folder.mkdir(exist_ok=True)
    names = {*COLUMNS, *PANELS, "found_by_distinct"}
    lines = [
        {"name": name, "seed": seed, "table_seed": 1, "config": {}, "checkpoints": [2_000]}
        | dict.fromkeys(names, [0.0])
        | {"found_fresh": [float(value)], "latest": [latest + 0.001 * seed]}
        for seed, value in enumerate(found)
    ]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_every_claim_has_a_verdict_on_what_is_published():
    rows = claims.claims()
    assert len({row.claim for row in rows}) == len(rows) == 15
    assert not any(set(row[:2]) & {"", "-"} or "|" in "".join(row) for row in rows)


def test_what_has_no_records_is_not_run(published):
    assert {row.verdict for row in claims.claims()} == {"not run"}


@pytest.mark.parametrize(
    "ours, verdict",
    [
        ([[0.1] * 50 + [0.5] * 50] * 2, "reproduced, at depth 1"),
        ([[0.1] * 50 + [0.5] * 50, [0.5] * 50 + [0.1] * 50], "partly, at depth 1"),
        ([[0.5] * 50 + [0.3] * 50], "not reproduced, at depth 1"),
        (
            [[0.05] * 50 + [0.15] * 50],
            "not reproduced, at depth 1",
        ),  # it rises, but random search is better
    ],
)
def test_samples_improve_if_the_last_fifth_is_above_the_first_and_above_chance(published, ours, verdict):
    for seed, rewards in enumerate(ours):
        searched(published / f"protocol-strided-cifar10-trpo-s{seed}", rewards)
    searched(published / "protocol-strided-cifar10-random-s0", [0.2] * 100)
    assert claims.samples_improve().verdict == verdict


@pytest.mark.parametrize(
    "found, verdict",
    [((40, 40, 40), "holds"), ((40, 10, 10), "holds in part"), ((10, 9, 8), "does not hold")],
)
def test_more_top_rules_must_be_beyond_the_interval(published, found, verdict):
    noise = np.random.default_rng(0).integers(-3, 4, size=30)
    for name, middle in zip(("reinforce", "ppo", "trpo"), found, strict=True):
        studied(published / "study", f"{name}-wide", middle + noise)
    studied(published / "study", "random", 10 + noise[::-1])
    row = claims.beats_random_search()
    ratio = float(re.search(r"REINFORCE (\S+)", row.here)[1])
    assert row.verdict == verdict and ratio == pytest.approx(found[0] / 10, rel=0.05)


@pytest.mark.parametrize(
    "extra, found, mean, rules",
    [
        (0.1, 9, "reproduced", "holds"),
        (0.1, 5, "reproduced", "does not hold"),  # it writes one good rule again and again
        (0.0, 5, "not reproduced", "does not hold"),
    ],
)
def test_the_papers_setting_may_raise_the_mean_and_find_no_more(published, extra, found, mean, rules):
    studied(published / "study-10000", "random", [5] * 6)
    for name in ("reinforce", "ppo", "trpo"):
        studied(published / "study-10000", f"{name}-paper", [found] * 6, latest=0.2 + extra)
    assert claims.paper_setting_learns().verdict == mean
    row = claims.paper_setting_finds()
    assert row.verdict == rules and "CIFAR" not in row.here
    searched(published / "protocol-strided-cifar10-paper-trpo-s0", [0.1] * 50 + [0.5] * 50)
    searched(published / "protocol-strided-cifar10-random-s0", [0.2] * 100)
    row = claims.paper_setting_finds()
    assert row.verdict == rules and "0.500 and " in row.here and "random search 0.200 and" in row.here


def test_a_careful_controller_must_win_after_2_000_and_after_10_000_rules(published):
    noise = np.random.default_rng(0).integers(-3, 4, size=30)
    for folder, tuned, ours in (("study", "new", 50), ("study-10000", "long", 20)):
        studied(published / folder, f"reinforce-{tuned}", ours + noise)
        studied(published / folder, f"evolution-{tuned}", 30 + noise[::-1])
        studied(published / folder, "random-new", 10 + noise[::-1])
    assert claims.beats_careful_search().verdict == "holds in part"
    studied(published / "study-10000", "reinforce-long", 50 + noise)
    assert claims.beats_careful_search().verdict == "holds"


def test_the_papers_setting_is_read_at_2_000_rules_where_10_000_have_not_been_run(published):
    for folder, learns in (("study", 0.1), ("study-10000", 0.0)):
        studied(published / folder, "random", [5] * 6)
        studied(published / folder, "reinforce-paper", [5] * 6, latest=0.2 + learns)
    assert claims.paper_setting_learns().verdict == "not run"  # PPO and TRPO are nowhere
    for name in ("ppo", "trpo"):
        studied(published / "study", f"{name}-paper", [5] * 6, latest=0.3)
    row = claims.paper_setting_learns()
    assert row.verdict == "partly" and row.here.count("+0.100 [") == 2


def test_searches_that_have_hardly_begun_are_not_run(published):
    folder = published / "study"
    for name in ("reinforce", "ppo", "trpo", "reinforce-paper", "ppo-paper", "trpo-paper"):
        studied(folder, name, [5])
    studied(folder, "random", [5] * 3)  # one seed in common
    (folder / "reinforce-new.jsonl").write_text("")  # killed before its first search
    late = (claims.paper_setting_learns, claims.beats_random_search, claims.beats_careful_search)
    assert {claim().verdict for claim in late} == {"not run"}
    write(published / "compare-protocol-cifar10", [{"kind": "human", "name": "adam", "deviation": 0.01}])
    for kind in ("human", "found"):
        write(
            published / "longrun-strided-cifar10",
            [{"kind": kind, "name": "a", "epochs": 9, "final": 0.5}],
        )
        assert claims.last_for_long().verdict == "not run"  # nobody to compare with


def contestant(kind, ahead, p, name="rule", validation=0.5):
    row = {"kind": kind, "name": name, "n": 10, "validation": validation, "deviation": 0.01}
    row |= {"against": "adam", "ahead": ahead, "p_holm": p}
    ends = ("ahead_low", "ahead_high", "test_ahead", "test_ahead_low", "test_ahead_high")
    return row | dict.fromkeys(ends, ahead)


REPORTED = ("powersign", "g-plus-m", "m-exp-w")


@pytest.mark.parametrize(
    "ahead, p, verdict",
    [(0.02, 0.01, "reproduced"), (0.02, 0.2, "not reproduced"), (-0.02, 0.01, "not reproduced")],
)
def test_a_lead_must_be_significant(published, ahead, p, verdict):
    rows = [contestant("found", 0.03, 0.3), contestant("found", ahead, p)]  # luck first
    rows += [contestant("human", "", "", "adam", 0.49)]
    rows += [contestant("named", ahead, p, name) for name in REPORTED]
    rows += [contestant("named", 0.1, 0.001, "lion")]  # not of the paper
    write(published / "compare-protocol-cifar10", rows)
    assert claims.found_beat_human().verdict == claims.reported_beat_human().verdict == verdict
    assert "ADAM 3 of 3" in claims.reported_beat_human().here
    assert claims.stood_out_again().verdict == "not run"
    write(published / "compare-confirm-cifar10", [contestant("named", ahead, p, "powersign-adam")])
    assert claims.stood_out_again().verdict == verdict


def test_a_lead_on_one_grid_of_rates_or_of_some_reported_rules_is_part_of_the_claim(published):
    won, lost = contestant("found", 0.02, 0.01), contestant("found", 0.0, 1.0)
    people = contestant("human", "", "", "adam", 0.49)
    write(published / "compare-protocol-cifar10", [lost, people])
    write(published / "compare-halfdecades-cifar10", [won, people])
    row = claims.found_beat_human()
    assert row.verdict == "partly" and "by half decades" in row.here and row.n.count("10") == 2
    write(published / "compare-protocol-cifar10", [won, people])
    assert claims.found_beat_human().verdict == "reproduced"
    some = contestant("named", 0.02, 0.01, REPORTED[0]), contestant("named", 0.0, 1.0, REPORTED[1])
    write(published / "compare-protocol-cifar10", [*some, people])
    assert claims.reported_beat_human().verdict == "partly"


@pytest.mark.parametrize(
    "finals, verdict",
    [((0.6, 0.495), "reproduced"), ((0.6, 0.48), "partly"), ((0.4, ""), "not reproduced")],
)
def test_a_rule_lasts_if_it_ends_within_the_noise_of_the_best_of_people(published, finals, verdict):
    rows = [{"kind": "found", "name": "a", "epochs": 300, "final": final} for final in finals]
    rows += [{"kind": "found", "name": "b", "epochs": 10, "final": 0.9}]  # stopped early: no proof
    rows += [{"kind": "human", "name": name, "epochs": 300, "final": 0.5} for name in HUMAN]
    write(published / "longrun-strided-cifar10", rows)
    write(published / "compare-protocol-cifar10", [{"kind": "human", "name": "adam", "deviation": 0.01}])
    row = claims.last_for_long()
    assert row.verdict == f"{verdict}, on one seed"
    assert row.here.startswith("of 3 rules 2 trained to the end")


@pytest.mark.parametrize("task, better", [("wrn", max), ("text", min)])
def test_transfer_is_judged_by_the_test_score_of_what_validation_chose(published, task, better):
    def verdict(*scores, n=1, sd=""):
        rows = [
            {"name": name, "n": n, "final_test": score, "final_test_sd": sd} for name, score in scores
        ]
        write(published / f"transfer-{task}", rows)
        return claims.transfers(task, "it transfers").verdict

    good, bad = better(0.5, 0.6), 1.1 - better(0.5, 0.6)
    sure = {"n": 3, "sd": 0.0}
    assert verdict(("1", good), ("adam", bad), **sure) == "reproduced"  # a rule may be called "1"
    assert verdict(("1", bad), ("adam", good), **sure) == "not reproduced"
    assert verdict(("adam", bad), ("1", good), **sure) == "not reproduced"  # worse by validation
    assert verdict(("1", good), ("adam", bad), ("lost", ""), **sure) == "reproduced"
    assert verdict(("1", good), ("adam", bad)) == "not decided, on one seed"
    assert verdict(("lost", ""), ("adam", bad)) == "not run"
    assert verdict(("1", good), ("adam", bad), n=8, sd=0.05) == "reproduced"
    assert verdict(("1", good), ("adam", bad), n=8, sd=0.5) == "not reproduced"  # within the noise


@pytest.mark.parametrize(
    "finals, order",  # by hand: 1 - 6 sum of d^2 / (n^3 - n); the last has a mean rank of 2.5 four times
    [
        ((1, 2, 3, 4, 5), "+1.00"),
        ((1, 2, 3, 5, 4), "+0.90"),
        ((5, 4, 3, 2, 1), "-1.00"),
        ((1, 1, 1, 1, 5), "+0.71"),
    ],
)
def test_the_order_of_reported_rules_is_compared_with_that_on_the_convnet(published, finals, order):
    convnet = ("compare-halfdecades-cifar10", "validation", range(5))
    for folder, column, values in (convnet, ("transfer-wrn", "final_validation", finals)):
        named = zip((*REPORTED, "sgd", "adam"), values, strict=True)
        rows = [{"name": name, "n": 1, column: value} for name, value in named]
        best_first = sorted(rows, key=lambda row: -row[column])
        write(published / folder, [row | {"final_test": 0.5, "final_test_sd": ""} for row in best_first])
    row = claims.reported_transfer()
    assert row.here.endswith(f"all 5 as on the search ConvNet with a rank correlation of {order}")
    assert row.verdict == "not decided, on one seed"


@pytest.mark.parametrize(
    "losses, verdict",
    [((-0.01, 0.0), "reproduced"), ((-0.01, -0.2), "partly"), ((-0.1, -0.2), "not reproduced")],
)
def test_small_changes_may_cost_no_more_than_people_lose(published, losses, verdict):
    large = {"eps x 0.1": -0.3, "eps x 10": -0.3}

    def row(name, loss):
        return {"name": name, "n": 3, "eps x 0.5": loss - 0.02, "eps x 2": loss + 0.02, **large}

    rows = [row(f"rule {loss}", loss) for loss in losses] + [row(name, -0.05) for name in HUMAN]
    write(published / "robustness-strided-cifar10", rows)
    assert claims.survives_changes().verdict == verdict


@pytest.mark.parametrize(
    "finals, verdict",
    [
        ([1.0, 1.0, 9.0], "reproduced"),
        ([9.0, 1.0, 1.0], "reproduced"),
        ([1.0, 9.0, 9.0], "partly"),
        ([9.0, 9.0, 1.0], "not reproduced"),
        ([None, 9.0, None], "not reproduced"),
    ],
)
def test_on_the_valley_the_starts_are_counted(published, finals, verdict):
    folder = published / "rosenbrock-found-s0"
    everyone = {"Adam - g": finals, "RMSProp": [3.0] * 3, "SGD": [4.0] * 3, "Adam": [2.0] * 3}
    everyone["Momentum"] = [0.0] * 3  # is no rival
    write(folder, [{"name": name} for name in everyone])
    lines = [
        {"id": i, "name": name, "lr": 0.1}
        | {"starts": [{"status": "diverged" if v is None else "ok", "final_value": v} for v in values]}
        for i, (name, values) in enumerate(everyone.items())
    ]
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = {"rules": [["Adam - g", "adam g id id sub"]], "config": {"starts": 3, "rates": [0.1]}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "meta.json").write_text(json.dumps({"format": results.FORMAT}))
    assert claims.rosenbrock_valley().verdict == verdict


def test_it_prints_a_table_in_markdown(capsys):
    assert claims.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.count(" | ") for line in lines} == {5} and len(lines) == 17
