"""The long-run filter on real children: who goes on, with what, and going on after a kill."""

import csv
import json
from pathlib import Path

import pytest
from helpers import killed, refusal, tiny_search

import results
from child import ChildConfig, evaluate_rule, train_curve
from config import from_dict
from dsl import Rule
from rules import HUMAN, NAMED_RULES
from studies import longrun
from studies.figures import longrun as figure
from studies.trials import read_trials


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    return tiny_search(tmp_path_factory.mktemp("runs") / "search")


@pytest.fixture(scope="module")
def filtered(searched) -> Path:
    folder = searched.with_name("longrun")
    flags = ["--top", "5", "--epochs", "9", "--workers", "1", "--out", str(folder)]
    assert longrun.main([str(searched), *flags]) == 0
    return folder


def test_the_better_half_goes_on_and_people_always_do(searched, filtered):
    records = results.read_lines(filtered / "records.jsonl")
    stages = {}
    for record in records:
        stages.setdefault(record["epochs"], []).append(record)
    assert list(stages) == [1, 3, 9]
    people = {Rule.parse(NAMED_RULES[name].rule).key() for name in HUMAN}
    ranked = [
        record
        for record in results.best_distinct(results.read_records(searched))
        if Rule.parse(record["rule"]).key() not in people
    ]
    expected = [(record["rule"], record["lr"]) for record in ranked[:5]]
    for epochs, some in stages.items():
        found = [r for r in some if r["kind"] == "found"]
        assert [(r["rule"], r["lr"]) for r in found] == expected
        assert [r["name"] for r in some if r["kind"] == "human"] == list(HUMAN)
        assert all(len(r["curve"]) == epochs for r in some)
        best = sorted(found, key=lambda r: -(r["curve"][-1] or -1))
        expected = [(r["rule"], r["lr"]) for r in best[: (len(found) + 1) // 2]]
    assert [len(s) - 4 for s in stages.values()] == [5, 3, 2]
    curves = {}
    for record in records:  # a later stage repeats the earlier ones and goes on
        assert record["curve"][: len(curves.get(record["rule"], []))] == curves.get(record["rule"], [])
        curves[record["rule"]] = record["curve"]


def test_the_summary_has_everybody_as_far_as_they_came(filtered):
    rows = list(csv.DictReader((filtered / "summary.csv").read_text().splitlines()))
    records = results.read_lines(filtered / "records.jsonl")
    assert len(rows) == 9 and {row["rule"] for row in rows} == {record["rule"] for record in records}
    for row in rows:
        last = [record for record in records if record["rule"] == row["rule"]][-1]
        assert int(row["epochs"]) == last["epochs"]
        if last["curve"][-1] is not None:
            assert float(row["final"]) == last["curve"][-1]
            assert float(row["best"]) == max(score for score in last["curve"] if score is not None)
    order = [(-int(row["epochs"]), -float(row["final"] or -1)) for row in rows]
    assert order == sorted(order)


def test_it_is_resumed_to_the_same_records(filtered, tmp_path):
    killed(filtered, tmp_path / "broken", 11, torn='{"id": 5, "ru')
    lines = (filtered / "records.jsonl").read_text().splitlines(keepends=True)
    assert longrun.main(["--resume", str(tmp_path / "broken"), "--workers", "2"]) == 0
    again = read_trials(tmp_path / "broken")
    same = ("epochs", "rule", "lr", "seed", "curve")
    assert [[r[name] for name in same] for r in again] == [
        [json.loads(line)[name] for name in same] for line in lines
    ]


def test_a_long_training_is_the_childs_own(searched):
    """With the child's epochs and its best rate it gives the very curve that scored the rule."""
    config = from_dict(
        ChildConfig,
        {k: v for k, v in results.read_config(searched).items() if k in ChildConfig.__annotations__},
    )
    result = evaluate_rule("m 1 id id mul", config, 7)
    curve, cpu_s = train_curve("m 1 id id mul", result.lr, config, 7, config.epochs)
    assert curve == result.curve and cpu_s > 0
    lost, _ = train_curve("g 1 exp id left", 1e38, config, 7, 4)
    assert len(lost) == 4 and lost[-1] is None


@pytest.mark.parametrize(
    "epochs, stages", [(300, [10, 30, 100, 300]), (9, [1, 3, 9]), (1, [1]), (2, [1, 2])]
)
def test_stages(epochs, stages):
    assert longrun.stage_epochs(epochs) == stages


def test_the_figure_draws_every_rule_once_as_far_as_it_went(filtered):
    records = results.read_lines(filtered / "records.jsonl")
    axes = figure.picture(results.read_config(filtered), records).axes[0]
    lines = [line for line in axes.lines if not str(line.get_gid()).startswith("_")]
    lengths = sorted(len(line.get_xdata()) for line in lines if len(line.get_xdata()) != 2)
    longest = {record["rule"]: len(record["curve"]) for record in records}
    assert lengths == sorted(longest.values())
    figure.plt.close("all")


@pytest.mark.parametrize(
    "wrong, what",
    [
        ([], "no RUN given"),
        (["nowhere"], "nowhere"),
        (["nowhere", "--top", "0"], "at least 1"),
        (["--resume", "nowhere", "--top", "3"], "--resume takes only --workers"),
    ],
)
def test_wrong_flags_are_one_line(wrong, what, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert what in refusal(longrun.main, wrong, capsys)
    assert not list(tmp_path.iterdir())
