"""Learning-rate advice, against sweeps whose answer is plain to see."""

import json
from pathlib import Path

import pytest

import results
from advice import Advice, Sweeps, advise
from dsl import Rule

RATES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
ADAM = {"name": "adam", "rule": "adam 1 id id mul", "status": "ok", "lr": 1e-3}
ADAM["sweep"] = [[rate, y] for rate, y in zip(RATES, (0.5, 0.4, 0.1, 0.1, None), strict=True)]


def record(scores: list[float | None], lr: float, rule="m 1 id id mul", **more) -> dict:
    line = {"rule": rule, "key": Rule.parse(rule).key(), "status": "ok", "lr": lr}
    return line | {"sweep": [[r, y] for r, y in zip(RATES, scores, strict=True)]} | more


@pytest.mark.parametrize(
    ("scores", "lr", "low", "high"),
    [
        ((0.1, 0.2, 0.5, 0.3, None), 0.1, 0.1, 0.1),
        ((0.1, 0.49, 0.5, 0.485, None), 0.1, 0.01, 1.0),
        ((0.1, 0.2, 0.2575, 0.2375, 0.2), 0.1, 0.1, 1.0),  # two points exactly: 0.2575 - 0.2375
        ((0.5, 0.3, 0.5, 0.5, None), 1e-3, 1e-3, 1e-3),  # good ones beyond a bad one do not count
        ((0.1, 0.1, 0.49, None, 0.5), 10.0, 10.0, 10.0),  # nor beyond one that diverged
        ((0.5, 0.5, 0.5, 0.5, 0.5), 1e-3, 1e-3, 10.0),
    ],
)
def test_range_is_the_rates_around_the_best_within_two_points(scores, lr, low, high):
    found = advise(record(list(scores), lr), [ADAM])
    assert found == Advice(lr, low, high, adam_lr=1e-3)
    assert found.to_adam == pytest.approx(lr / 1e-3)


def test_order_of_the_sweep_does_not_matter():
    line = record([0.1, 0.49, 0.5, 0.3, None], 0.1)
    assert advise(line | {"sweep": line["sweep"][::-1]}, []) == advise(line, [])


def test_without_adam_there_is_no_ratio_and_it_says_so():
    for humans in ([], [ADAM | {"status": "diverged", "lr": None}], [ADAM | {"name": "sgd"}]):
        found = advise(record([0.1, 0.2, 0.5, 0.3, None], 0.1), humans)
        assert found.to_adam is None and "Adam was not scored" in str(found)


def test_a_rule_that_failed_has_no_advice():
    assert advise(record([None] * 5, None) | {"status": "diverged"}, [ADAM]) is None


def make_run(folder, records, humans=(ADAM,), dataset="cifar10"):
    with results.Run.create(folder, {"algorithm": "trpo", "dataset": dataset}, {}) as run:
        for line in humans:
            run.append("baselines.jsonl", line)
        for line in records:
            run.append("records.jsonl", line)


def test_equal_rules_are_found_however_they_are_spelled_and_runs_are_counted(tmp_path):
    same = [record([0.1, 0.49, 0.5, 0.3, None], 0.1)]
    for name in ("a", "deep/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        make_run(tmp_path / name, same * 2)  # twice in one run counts once
    make_run(tmp_path / "c", [record([0.1, 0.2, 0.3, 0.5, None], 1.0)], dataset="other")
    make_run(tmp_path / "d", [record([None] * 5, None, status="diverged")])
    results.Run.create(tmp_path / "script", {"rules": []}, {}).close()
    (tmp_path / "script" / "records.jsonl").write_text('{"of": "another script"}\n')

    found = Sweeps([tmp_path, tmp_path / "a", tmp_path / "missing"]).of(Rule.parse("m g id neg left"))
    assert [(one.advice.lr, one.dataset, one.runs) for one in found] == [
        (0.1, "cifar10", 2),
        (1.0, "other", 1),
    ]
    sweeps = Sweeps([tmp_path])
    assert sweeps.of(Rule.parse("g 1 id id mul")) == []
    [adam] = [one for one in sweeps.of(Rule.parse("adam 1 id id mul")) if one.dataset == "cifar10"]
    assert adam.runs == 3 and adam.advice.to_adam == 1.0


def test_published_runs_say_what_their_lines_say():
    """Against the text of the records, read with nothing of this project."""
    folder = Path(__file__).parent.parent / "runs" / "published"
    paths = folder.rglob("baselines.jsonl")
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    for line in (line for line in lines if line["name"] == "sgd"):
        best = max(y for _, y in line["sweep"] if y is not None)
        good = [rate for rate, y in line["sweep"] if y is not None and round(best - y, 9) <= 0.02]
        found = Sweeps([folder]).of(Rule.parse(line["rule"]))
        assert any(
            (f.advice.lr, f.advice.low, f.advice.high) == (line["lr"], min(good), max(good))
            for f in found
        )
