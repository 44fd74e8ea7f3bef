"""Rescoring on real children: who is trained with which seeds, and what the summary says."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import data
import rescore
import results
import search
from child import ChildConfig, evaluate_rule
from config import from_dict
from dsl import Rule
from plots import searches as figure
from rules import HUMAN, NAMED_RULES

DATA = Path(__file__).parent.parent / "data"
TINY = [
    *("--preset", "smoke", "--data", str(DATA), "--samples", "24", "--filters", "2", "--epochs", "2"),
    *("--epoch-size", "200", "--num-validation", "200", "--lr-exponents=-3,-1", "--workers", "1"),
]


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> list[Path]:
    data.prepare(data.SAMPLE, DATA)
    folders = [tmp_path_factory.mktemp("runs") / f"search{seed}" for seed in range(2)]
    for seed, folder in enumerate(folders):
        flags = ["--algorithm", "random", "--seed", str(seed), "--start-from", "adam"]
        assert search.main([*TINY, *flags, "--out", str(folder)]) == 0
    return folders


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
    shutil.copytree(rescored, tmp_path / "broken")
    lines = (rescored / "records.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "broken" / "records.jsonl").write_text("".join(lines[:5]) + lines[5][:20])
    meta = json.loads((rescored / "meta.json").read_text()) | {"end": None}
    (tmp_path / "broken" / "meta.json").write_text(json.dumps(meta))
    assert rescore.main(["--resume", str(tmp_path / "broken"), "--workers", "2"]) == 0
    same = ("rule", "seed", "accuracy", "lr")
    again = results.read_lines(tmp_path / "broken" / "records.jsonl")
    assert [[r[name] for name in same] for r in again] == [
        [json.loads(line)[name] for name in same] for line in lines
    ]
    capsys.readouterr()
    assert rescore.main(["--resume", str(tmp_path / "broken")]) == 0
    assert "already complete" in capsys.readouterr().out


def test_the_figure_takes_the_fresh_scores(searched, rescored, tmp_path, capsys):
    figure.draw([*searched, rescored], tmp_path / "searches.png")
    fresh = figure.fresh_scores(rescored)
    keys = [Rule.parse(record["rule"]).key() for record in best(searched[1], 3)]
    scores = {key: [] for key in keys}
    for record in results.read_lines(rescored / "records.jsonl"):
        scores.get(Rule.parse(record["rule"]).key(), []).append(record["accuracy"] or 0.0)
    for key in keys:
        assert fresh[key] == pytest.approx(np.mean(scores[key]))


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
    with pytest.raises(SystemExit) as stop:
        rescore.main(wrong)
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert what in line
    assert not list(tmp_path.iterdir())


def test_runs_of_other_scripts_are_refused(searched, rescored, capsys):
    for flags in ([str(rescored)], ["--resume", str(searched[0])]):
        with pytest.raises(SystemExit) as stop:
            rescore.main(flags)
        assert stop.value.code == 2
        assert "another script" in capsys.readouterr().err
