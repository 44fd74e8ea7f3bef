"""Rescoring on real children: who is trained with which seeds, and what the summary says."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import killed, refusal, tiny_search

import results
from child import ChildConfig, evaluate_rule
from config import from_dict
from dsl import Rule
from rules import HUMAN, NAMED_RULES
from studies import rescore
from studies.figures import searches as figure
from studies.trials import read_trials


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [tiny_search(folder / f"search{seed}", "--seed", str(seed)) for seed in range(2)]


@pytest.fixture(scope="module")
def rescored(searched) -> Path:
    folder = searched[0].with_name("rescored")
    flags = ["--top", "3", "--seeds", "2", "--workers", "1", "--out", str(folder)]
    assert rescore.main([*map(str, searched), *flags]) == 0
    return folder


def best(folder: Path, n: int) -> list[dict]:
    """The definition: trained to the end, one a key, best first, the older of equals."""
    ok = [r for r in results.read_records(folder) if r["status"] == "ok" and r["cached_from"] is None]
    return sorted(ok, key=lambda record: (-record["reward"], record["id"]))[:n]


def test_the_best_of_each_run_and_the_humans_are_trained_once_with_each_seed(searched, rescored):
    records = results.read_lines(rescored / "records.jsonl")
    wanted = {Rule.parse(r["rule"]).key() for folder in searched for r in best(folder, 3)}
    wanted |= {Rule.parse(NAMED_RULES[name].rule).key() for name in HUMAN}
    got = [(Rule.parse(record["rule"]).key(), record["seed"]) for record in records]
    assert sorted(got) == sorted((key, seed) for key in wanted for seed in (3000, 3001))
    child = from_dict(ChildConfig, results.read_config(rescored)["child"])
    for record in records[::3]:
        assert record["accuracy"] == evaluate_rule(record["rule"], child, record["seed"]).accuracy


def test_the_summary_is_the_mean_of_the_records(searched, rescored):
    scores: dict[str, list[float]] = {}
    for record in results.read_lines(rescored / "records.jsonl"):
        scores.setdefault(Rule.parse(record["rule"]).key(), []).append(record["accuracy"] or 0.0)
    rows = {
        row["what"]: row for row in csv.DictReader((rescored / "summary.csv").read_text().splitlines())
    }
    for folder in searched:
        rules = best(folder, 3)
        means = [np.mean(scores[Rule.parse(r["rule"]).key()]) for r in rules]
        row = rows[str(folder)]
        assert float(row["search"]) == pytest.approx(np.mean([r["reward"] for r in rules]))
        assert float(row["fresh"]) == pytest.approx(np.mean(means))
        assert float(row["best_fresh"]) == pytest.approx(max(means))
    adam = scores[Rule.parse(NAMED_RULES["adam"].rule).key()]
    assert float(rows["adam"]["fresh"]) == pytest.approx(np.mean(adam))


def test_a_rescoring_is_resumed_to_the_same_records(rescored, tmp_path, capsys):
    killed(rescored, tmp_path / "broken", 5, torn='{"id": 5, "ru')
    lines = (rescored / "records.jsonl").read_text().splitlines(keepends=True)
    assert rescore.main(["--resume", str(tmp_path / "broken"), "--workers", "2"]) == 0
    same = ("rule", "seed", "accuracy", "lr")
    again = read_trials(tmp_path / "broken")  # two workers end in any order
    assert [[r[name] for name in same] for r in again] == [
        [json.loads(line)[name] for name in same] for line in lines
    ]
    capsys.readouterr()
    assert rescore.main(["--resume", str(tmp_path / "broken")]) == 0
    said = capsys.readouterr().out  # from the records, not from the text that was written
    assert "already complete" in said and (rescored / "summary.txt").read_text() in said


def test_the_figure_takes_the_fresh_scores(searched, rescored, tmp_path, capsys):
    """Both runs are one line of the table: the mean over them of what their best rules scored again."""
    again = tmp_path / "again"  # all ten, or a run's mean is unknown
    flags = ["--seeds", "2", "--workers", "1", "--out", str(again)]
    assert rescore.main([*map(str, searched), *flags]) == 0
    capsys.readouterr()
    figure.draw([*searched, again], tmp_path / "searches.png")
    head, _, row = (line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[:3])
    rows = {
        line["what"]: line for line in csv.DictReader((again / "summary.csv").read_text().splitlines())
    }
    means = [float(rows[str(folder)]["fresh"]) for folder in searched]
    low, high = min(means), max(means)
    assert row[head.index("fresh")] == f"{np.mean(means):.3f} [{low:.3f}, {high:.3f}]"
    figure.draw([*searched, rescored], tmp_path / "searches.png")  # three of ten
    row = capsys.readouterr().out.splitlines()[2].strip("| ").split(" | ")
    assert row[head.index("fresh")] == "-"


def test_scores_of_another_child_do_not_stand_beside_the_searches(searched, rescored, tmp_path, capsys):
    shutil.copytree(rescored, tmp_path / "other")
    saved = json.loads((rescored / "config.json").read_text())
    saved["child"]["filters"] = 3
    (tmp_path / "other" / "config.json").write_text(json.dumps(saved))
    for folders, what in (
        ([*searched, tmp_path / "other"], "filters"),
        ([rescored], "name the searches"),
    ):
        with pytest.raises(SystemExit) as stop:
            figure.main([*map(str, folders), "-o", str(tmp_path / "figure.png")])
        assert stop.value.code == 2 and what in capsys.readouterr().err


def test_a_run_without_a_trained_rule_is_refused_before_anything_is_trained(searched, tmp_path, capsys):
    shutil.copytree(searched[0], tmp_path / "empty")
    lines = [json.loads(line) for line in (searched[0] / "records.jsonl").read_text().splitlines()]
    lost = [line | {"status": "diverged", "reward": 0.0} for line in lines]
    (tmp_path / "empty" / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lost))
    with pytest.raises(SystemExit) as stop:
        rescore.main([str(tmp_path / "empty"), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2 and not (tmp_path / "out").exists()
    assert "no rule has trained to the end" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong, what",
    [
        ([], "no RUN given"),
        (["nowhere"], "nowhere"),
        (["--resume", "nowhere", "--top", "3"], "--resume takes only --workers"),
        (["nowhere", "--workers", "0"], "at least 1"),
    ],
)
def test_wrong_flags_are_one_line(wrong, what, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert what in refusal(rescore.main, wrong, capsys)
    assert not list(tmp_path.iterdir())


def test_runs_of_other_scripts_are_refused(searched, rescored, capsys):
    for flags in ([str(rescored)], ["--resume", str(searched[0])]):
        with pytest.raises(SystemExit) as stop:
            rescore.main(flags)
        assert stop.value.code == 2
