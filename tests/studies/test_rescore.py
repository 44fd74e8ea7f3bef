"""Rescoring: who is trained with which seeds, what the summary says, and the figure that takes it."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import refusal
from made import MadeTrials, changed_copy, made_result, made_up, plan_of, write_run

import results
from dsl import Rule
from plots.runs import family_of
from rules import HUMAN, NAMED_RULES
from sameness import by_family
from studies import analysis, rescore
from studies.figures import searches as figure


@pytest.fixture(scope="module")
def both(searched, tmp_path_factory) -> list[Path]:
    """The search, and one of another seed that found the same rules but for one."""
    records = results.read_records(searched)
    rows = [r | {"accuracy": r["accuracy"] and made_up(r["key"])} for r in records]
    other = tmp_path_factory.mktemp("other") / "search"
    return [searched, changed_copy(searched, other, rows, seed=1)]


def rescored(folders: list[Path], to: Path, *flags) -> tuple[rescore.Plan, list[dict]]:
    """Rescore with accuracies that are made up; return the plan and the records."""
    plan = plan_of(rescore, *folders, *flags)
    records = MadeTrials(rescore, plan).records
    write_run(rescore, plan, records, to)
    return plan, records


def best_three(folder: Path) -> list[results.Family]:
    return results.best_families(results.read_records(folder), 3, by_family())


def test_the_best_of_each_run_and_humans_are_trained_and_the_summary_has_means(both, tmp_path):
    plan, records = rescored(both, tmp_path / "run", "--top", "3", "--seeds", "2")
    people = {name: Rule.parse(NAMED_RULES[name].rule).key() for name in HUMAN}
    wanted = {family.best["key"] for run in both for family in best_three(run)} | {*people.values()}
    got = [(Rule.parse(record["rule"]).key(), record["seed"]) for record in records]
    assert sorted(got) == sorted((key, seed) for key in wanted for seed in (3000, 3001))
    for record in records:
        assert record["accuracy"] == made_result(record["rule"], plan.child, record["seed"]).accuracy
    records[0]["accuracy"] = None  # it diverged
    scores: dict[str, list[float]] = {}
    for (key, _), record in zip(got, records, strict=True):
        scores.setdefault(key, []).append(record["accuracy"] or 0.0)
    rows = {row["what"]: row for row in rescore.report(plan, records)[0]}
    for folder in both:
        families, row = best_three(folder), rows[str(folder)]
        means = [np.mean(scores[family.best["key"]]) for family in families]
        assert row["search"] == pytest.approx(np.mean([family.reward for family in families]))
        assert row["fresh"] == pytest.approx(np.mean(means)) and row["best_fresh"] == max(means)
    for name, key in people.items():
        assert rows[name]["fresh"] == pytest.approx(np.mean(scores[key]))


def test_the_bar_is_of_fresh_seeds_only_if_all_people_were_scored_there():
    humans = [{"name": name, "rule": NAMED_RULES[name].rule, "reward": 0.5} for name in HUMAN]
    keys = [Rule.parse(line["rule"]).key() for line in humans]
    assert analysis.people_scores(humans, dict.fromkeys(keys[1:], 0.6))[1] == "in the search"
    people, where = analysis.people_scores(humans, dict(zip(keys, (0.1, 0.2, 0.4, 0.9), strict=True)))
    assert where == "on fresh seeds" and people == dict(zip(HUMAN, (0.1, 0.2, 0.4, 0.9), strict=True))
    assert analysis.good_bar(people) == pytest.approx(0.3)


def test_the_figure_takes_the_fresh_scores(both, tmp_path, capsys):
    """Both runs are one line of the table: the mean over them of what their best rules scored again."""
    plan, records = rescored(both, tmp_path / "all", "--seeds", "2")
    rows = {row["what"]: row for row in rescore.report(plan, records)[0]}
    means = [rows[str(folder)]["fresh"] for folder in both]
    rescored(both, tmp_path / "three", "--top", "3", "--seeds", "1")
    bar, good = np.median([rows[name]["fresh"] for name in HUMAN]), []
    for run in map(results.read_records, both):
        families = results.best_families(run, name=family_of(run))
        good.append(sum(family.reward >= bar for family in families))
    assert bar != np.median([line["reward"] for line in results.read_humans(both[0])])
    all_ten = f"{np.mean(means):.3f} [{min(means):.3f}, {max(means):.3f}]"
    for name, wanted in (("all", all_ten), ("three", "-")):
        figure.draw([*both, tmp_path / name], tmp_path / "searches.png")
        lines = capsys.readouterr().out.splitlines()
        head, row = (lines[i].strip("| ").split(" | ") for i in (0, 2))
        assert row[head.index("fresh")] == wanted
        if name == "all":
            assert row[head.index("good")] == f"{np.mean(good):.0f} [{min(good)}, {max(good)}]"
            assert "The human optimizers, on fresh seeds: SGD " in lines[-2]
    # Scores of another child do not stand beside the searches'.
    child = results.read_config(tmp_path / "all")["child"]
    other = changed_copy(tmp_path / "all", tmp_path / "other", child=child | {"filters": 3})
    for folders, what in (([*both, other], "filters"), ([other], "name the searches")):
        argv = [*map(str, folders), "-o", str(tmp_path / "figure.png")]
        assert what in refusal(figure.main, argv, capsys)
    pictures = [
        changed_copy(tmp_path / "all", tmp_path / sha, child=child | {"data_sha256": sha})
        for sha in ("auto", "0" * 64)
    ]
    figure.draw([*both, pictures[0]], tmp_path / "searches.png")  # older runs do not say what they saw
    argv = [*map(str, (*both, pictures[1])), "-o", str(tmp_path / "figure.png")]
    assert "data_sha256" in refusal(figure.main, argv, capsys)
    # Nor do those of one that was interrupted, wherever that was.
    for count in (0, 2, len(records) // 2, len(records) - 1):
        part = changed_copy(tmp_path / "all", tmp_path / f"part {count}", records[:count])
        meta = results.read_meta(part) | {"end": None}
        (part / "meta.json").write_text(json.dumps(meta), "utf-8")
        argv = [*map(str, (*both, part)), "-o", str(tmp_path / "figure.png")]
        assert f"--resume '{part}'" in refusal(figure.main, argv, capsys)
