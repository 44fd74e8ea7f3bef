"""Tests of studies/screening.py: what screening would have lost, counted by hand."""

from helpers import refusal
from test_screen import BAD, GOOD

import results
from dsl import Rule
from studies.screening import main


def make_run(folder, rules, screened=False):
    """Write a run whose n-th rule scored 1 / n."""
    with results.Run.create(folder, {"screen": screened}, {}) as run:
        for number, rule in enumerate(rules):
            key = Rule.parse(rule).key()
            run.append("records.jsonl", {"key": key, "rule": rule, "reward": 1 / (1 + number)})
    return folder


def test_audit_counts_what_would_be_lost(tmp_path, capsys):
    bad = [rule for rules in BAD.values() for rule in rules]
    run = make_run(tmp_path / "run", [GOOD[0], *bad, *GOOD[1:], GOOD[0]])  # the last is a duplicate
    assert main([str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    total = len(bad) + len(GOOD)
    assert lines[0].startswith(f"{total} trained rules, one a key; the best 2 ")
    rejected = {line[:24].strip(): line[24:].split() for line in lines[2:7]}
    for reason, rules in BAD.items():
        lost = int(reason == next(iter(BAD)))  # the second best rule is the first bad one
        assert rejected[reason] == [str(len(rules)), str(lost)]
    assert rejected["all"] == [str(len(bad)), "1"]
    assert lines[7] == f"of the others {(len(bad) - 1) / (total - 2):.1%} rejected"
    assert lines[8].startswith(f"best rule rejected: 0.5000, place 2, '{bad[0]}'")
    run = make_run(tmp_path / "small", [*GOOD, *BAD["constant"]])  # whose best tenth is one rule
    assert main([str(run)]) == 0
    assert "at most 95.0% are lost" in capsys.readouterr().out


def test_audit_leaves_out_what_was_chosen_and_refuses_screened_runs(tmp_path, capsys):
    proof, tuning = make_run(tmp_path / "proof", [*GOOD, *BAD["constant"]]), tmp_path / "tuning"
    make_run(tuning, GOOD[:2])
    with results.Run.reopen(proof) as run:
        chosen = {"key": "g", "rule": "g 1 id id mul", "reward": 2.0, "part": "passing"}
        run.append("records.jsonl", chosen)
        near_copy = {"key": "near g", "rule": "g 1 id id mul", "reward": 3.0, "cached_from": 0}
        run.append("records.jsonl", near_copy)
    assert main([str(proof), "--unlike", str(tuning)]) == 0
    left = len(GOOD) - 2 + len(BAD["constant"])
    said = capsys.readouterr().out
    assert said.startswith(f"{left} trained rules, one a key; the best 1 score 0.3333+")
    for folder in (tmp_path, make_run(tmp_path / "screened", GOOD, screened=True)):
        refusal(main, [str(folder)], capsys)
