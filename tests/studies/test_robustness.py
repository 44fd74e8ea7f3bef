"""Robustness on real children: what is changed, who is scored, and the arithmetic of the summary."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import DATA, killed, refusal, tiny_search

import data
import results
from child import ChildConfig, Training, evaluate_rule
from config import from_dict
from rules import HUMAN, NAMED_RULES
from studies import robustness
from studies.figures import robustness as figure
from studies.robustness import CHANGED, FACTORS, changed
from studies.trials import read_trials


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    flags = ["--samples", "12", "--start-from", "adam", "m v id exp mul"]
    return tiny_search(tmp_path_factory.mktemp("runs") / "search", *flags, batch_size=10)


@pytest.fixture(scope="module")
def changes(searched) -> Path:
    folder = searched.with_name("robustness")
    flags = ["--top", "1", "--seeds", "2", "--rules", "sgd", "signsgd", "--out", str(folder)]
    assert robustness.main([str(searched), *flags, "--workers", "1"]) == 0
    return folder


def test_a_change_multiplies_one_setting():
    child = ChildConfig()
    assert changed(child, None, 1.0) == child
    assert changed(child, "beta_horizon", 0.5).beta_horizon == 0.5
    assert changed(child, "eps", 10).eps == pytest.approx(1e-7)
    for factor, size in zip(FACTORS, (10, 50, 200, 1000), strict=True):
        assert changed(child, "batch_size", factor).batch_size == size
    for what in CHANGED:
        same = [name for name in vars(child) if name != what]
        assert all(getattr(changed(child, what, 2), name) == getattr(child, name) for name in same)


@pytest.mark.parametrize(
    "horizon, betas",
    [(1, (0.9, 0.999, 0.999)), (2, (0.95, 0.9995, 0.9995)), (0.1, (0.0, 0.99, 0.99))],
)
def test_the_optimizer_has_the_changed_decays_and_delta(horizon, betas):
    data.prepare(data.SAMPLE, DATA)
    config = ChildConfig(
        data.SAMPLE,
        str(DATA),
        filters=2,
        epoch_size=200,
        precision="float32",
        beta_horizon=horizon,
        eps=1e-4,
    )
    group = Training("adam 1 id id mul", 0.1, config, 0).optimizer.param_groups[0]
    assert group["betas"] == pytest.approx(betas) and group["eps"] == 1e-4


def test_everybody_is_scored_with_every_change(searched, changes):
    records, people = results.read_lines(changes / "records.jsonl"), [NAMED_RULES[n].rule for n in HUMAN]
    assert len(records) == 13 * 6 * 2  # one found, one named, four people; SGD comes once
    rules = [rule for _, rule in results.read_config(changes)["field"]]
    assert rules[1:] == ["sign_g 1 id id mul", *people]
    assert rules[0] not in people
    wanted = {(None, 1.0)} | {(what, factor) for what in CHANGED for factor in FACTORS}
    got = {(r["what"], r["factor"], r["rule"], r["seed"]) for r in records}
    assert got == {(*w, rule, seed) for w in wanted for rule in rules for seed in (5000, 5001)}
    child = from_dict(ChildConfig, results.read_config(changes)["child"])
    for record in records[5::37]:
        config = changed(child, record["what"], record["factor"])
        assert record["accuracy"] == evaluate_rule(record["rule"], config, record["seed"]).accuracy


def test_the_summary_has_differences_by_seed(changes):
    rows = list(csv.DictReader((changes / "summary.csv").read_text().splitlines()))
    records = results.read_lines(changes / "records.jsonl")

    def scores(rule: str, what: str | None, factor: float) -> np.ndarray:
        mine = [r for r in records if (r["rule"], r["what"], r["factor"]) == (rule, what, factor)]
        return np.array([r["accuracy"] or 0.0 for r in sorted(mine, key=lambda r: r["seed"])])

    for row in rows:
        before = scores(row["rule"], None, 1.0)
        assert float(row["unchanged"]) == pytest.approx(before.mean())
        for what in CHANGED:
            for factor in FACTORS:
                difference = (scores(row["rule"], what, factor) - before).mean()
                assert float(row[f"{what} x {factor:g}"]) == pytest.approx(difference)
    [sgd] = [row for row in rows if row["name"] == "sgd"]  # has neither averages nor division
    assert all(float(sgd[f"{what} x {f:g}"]) == 0 for what in ("beta_horizon", "eps") for f in FACTORS)
    assert any(float(sgd[f"batch_size x {f:g}"]) for f in FACTORS)


def test_it_is_resumed_to_the_same_records(changes, tmp_path):
    killed(changes, tmp_path / "broken", 140, torn='{"id": 5, "ru')
    lines = (changes / "records.jsonl").read_text().splitlines(keepends=True)
    assert robustness.main(["--resume", str(tmp_path / "broken"), "--workers", "2"]) == 0
    again = read_trials(tmp_path / "broken")
    same = ("what", "factor", "rule", "seed", "accuracy")
    assert [[r[name] for name in same] for r in again] == [
        [json.loads(line)[name] for name in same] for line in lines
    ]


def test_the_figure_has_a_line_for_each_rule_and_change(changes):
    records = results.read_lines(changes / "records.jsonl")
    axes = figure.picture(results.read_config(changes), records).axes
    lines = {line.get_gid(): line for panel in axes for line in panel.lines}
    adam = lines["adam batch_size"]
    assert adam.get_xdata().tolist() == [0.1, 0.5, 1.0, 2.0, 10.0]
    ten = [r["accuracy"] or 0.0 for r in records if r["name"] == "adam"
           and (r["what"], r["factor"]) == ("batch_size", 10)]  # fmt: skip
    assert adam.get_ydata()[-1] == pytest.approx(np.mean(ten))
    figure.plt.close("all")


@pytest.mark.parametrize(
    "wrong, what",
    [
        ([], "no RUN given"),
        (["nowhere"], "nowhere"),
        (["--resume", "nowhere", "--top", "3"], "--resume takes only --workers"),
    ],
)
def test_wrong_flags_are_one_line(wrong, what, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert what in refusal(robustness.main, wrong, capsys)
    assert not list(tmp_path.iterdir())
