"""The comparison on real children and workers: fresh seeds, blind selection, honest arithmetic."""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_search

import data
import results
from child import ChildConfig
from dsl import Rule
from nosbench.intervals import mean_interval
from rules import HUMAN, NAMED_RULES
from studies import compare
from studies.compare import Config, Contestant, Plan
from studies.figures import compare as figure
from studies.searches import read_child
from studies.significance import holm, sign_flip_p
from studies.trials import from_folder, read_trials

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT / "data"
TIMES = {"start_s", "wall_s", "cpu_s", "worker"}  # all that may differ between two equal runs
SMALL = ["--top", "3", "--seeds", "2", "--finalists", "2", "--final-seeds", "3", "--workers", "1"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "search"
    # That it starts from Adam and a rule that acts like SGD makes both candidates for "found".
    return tiny_search(folder, "--start-from", "adam", "g m id id left")


@pytest.fixture(scope="module")
def compared(searched) -> Path:
    folder = searched.with_name("compared")
    flags = ["--rates", "half-decades", "--also", "powersign", "adam"]
    assert compare.main([str(searched), *SMALL, *flags, "--out", str(folder)]) == 0
    return folder


def history(folder: Path) -> list[dict]:
    return [
        {name: value for name, value in row.items() if name not in TIMES} for row in read_trials(folder)
    ]


def copy(folder: Path, to: Path, **changes) -> Path:
    """Copy a run folder, with other settings."""
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text()) | changes
    (to / "config.json").write_text(json.dumps(config))
    return to


def cut(folder: Path, lines: int, torn: str = "") -> Path:
    """Make a finished comparison one that was killed after so many records."""
    kept = (folder / "records.jsonl").read_text().splitlines(keepends=True)[:lines]
    (folder / "records.jsonl").write_text("".join(kept) + torn)
    meta = json.loads((folder / "meta.json").read_text()) | {"end": None}
    (folder / "meta.json").write_text(json.dumps(meta))
    for name in ("summary.csv", "summary.txt", "compare.png"):
        (folder / name).unlink()
    return folder


# --- who competes, with which seeds ---------------------------------------------------------------


def test_both_stages_hold_everybody_with_every_seed(compared):
    plan, records = from_folder(compare, compared), history(compared)
    rerank, final = ([r for r in records if r["stage"] == stage] for stage in ("rerank", "final"))
    assert [r["id"] for r in records] == list(range(len(records)))
    humans = [NAMED_RULES[name].rule for name in HUMAN]
    found = [one.rule for one in plan.of("found")]
    assert len(found) == 3
    assert [(r["rule"], r["seed"]) for r in rerank] == [
        (rule, seed) for seed in (1000, 1001) for rule in found + humans
    ]
    finalists = compare.choose_finalists(plan.of("found"), rerank, 2)
    field = [one.rule for one in finalists] + [str(Rule.parse(NAMED_RULES["powersign"].rule)), *humans]
    assert [(r["rule"], r["seed"]) for r in final] == [
        (rule, seed) for seed in (2000, 2001, 2002) for rule in field
    ]
    assert all("test_accuracy" not in r for r in rerank) and all("test_accuracy" in r for r in final)
    rates = {len(r["sweep"]) for r in rerank}, {len(r["sweep"]) for r in final}
    assert rates == ({2}, {5})  # 10^-3, 10^-1; then those and half decades between


def test_top_rules_are_the_searchs_best_distinct_ones_without_the_human_ones(searched, compared):
    best = results.best_distinct(results.read_records(searched))
    human = {Rule.parse(NAMED_RULES[name].rule).key() for name in HUMAN}
    assert human & {record["key"] for record in best}  # or there would be nothing to leave out
    expected = [r for r in best if r["key"] not in human][:3]
    found = from_folder(compare, compared).of("found")
    assert [one.rule for one in found] == [r["rule"] for r in expected]
    assert [one.reward for one in found] == [r["reward"] for r in expected]
    assert [one.source for one in found] == [f"{searched}#{r['id']}" for r in expected]


def test_rules_of_several_runs_are_ranked_together_each_once(searched, tmp_path):
    twin = copy(searched, tmp_path / "twin", child_seed=1001)
    rows = [r | {"reward": r["reward"] / 2} for r in results.read_records(searched)]
    (twin / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    alone = compare.make_plan(Config(), [searched])
    both = compare.make_plan(Config(), [searched, twin, searched])
    assert both.of("found") == alone.of("found")
    assert both.used_seeds == [0, 1001]
    assert compare.seeds_of(both)["rerank"] == [1000, 1002, 1003, 1004, 1005]


def test_seeds_are_fresh_whatever_the_searches_used():
    plan = Plan(Config(seeds=1_000, final_seeds=4), ChildConfig(), [1_000, 1_500, 2_003], [])
    seeds = compare.seeds_of(plan)
    every = seeds["rerank"] + seeds["final"]
    assert len(every) == len(set(every)) == 1_004
    assert not set(every) & set(plan.used_seeds)
    assert seeds["final"] == [2_002, 2_004, 2_005, 2_006]  # 2000 and 2001 went into the first stage
    later = plan._replace(config=replace(plan.config, final_from=2_020))
    assert compare.seeds_of(later)["final"] == [2_020, 2_021, 2_022, 2_023]


def test_half_decades_hold_the_searchs_rates_as_they_are():
    plan = Plan(Config(rates="half-decades"), ChildConfig(), [], [])
    exponents = compare.final_child(plan).lr_exponents
    assert exponents == (-5, -4.5, -4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1)
    assert compare.final_child(plan._replace(config=Config())) == ChildConfig()


# --- selection is blind ---------------------------------------------------------------------------


def test_final_and_test_numbers_cannot_change_the_finalists(compared):
    plan, records = from_folder(compare, compared), history(compared)
    found = plan.of("found")
    chosen = compare.choose_finalists(found, records, 2)
    [loser] = [one for one in found if one not in chosen]
    for stage, what in (("final", "accuracy"), ("final", "test_accuracy"), ("rerank", "test_accuracy")):
        poison = {"stage": stage, "rule": loser.rule, "seed": 5, "accuracy": 0.0, what: 1.0}
        extra = [poison] * 9 if stage == "final" else []
        poisoned = [r | {what: 1.0} if r["rule"] == loser.rule and extra == [] else r for r in records]
        assert compare.choose_finalists(found, poisoned + extra, 2) == chosen
    better = [
        r | {"accuracy": 1.0} if (r["stage"], r["rule"]) == ("rerank", loser.rule) else r
        for r in records
    ]
    assert compare.choose_finalists(found, better, 2)[0] == loser  # fresh scores can


def test_poisoned_test_images_change_test_accuracy_alone(searched, compared, tmp_path):
    shutil.copytree(DATA / data.SAMPLE, tmp_path / "data" / data.SAMPLE)
    labels = tmp_path / "data" / data.SAMPLE / "test_labels.npy"
    np.save(labels, (np.load(labels) + 1) % 10)
    run = copy(searched, tmp_path / "search", data=str(tmp_path / "data"))
    flags = ["--rates", "half-decades", "--also", "powersign"]
    assert compare.main([str(run), *SMALL, *flags, "--out", str(tmp_path / "poisoned")]) == 0
    clean, poisoned = history(compared), history(tmp_path / "poisoned")
    tested = [
        (r.pop("test_accuracy", None), s.pop("test_accuracy", None))
        for r, s in zip(clean, poisoned, strict=True)
    ]
    assert clean == poisoned
    assert np.mean([a != b for a, b in tested if a is not None]) > 0.9


# --- killed and resumed ---------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [5, 20])  # in either stage
def test_resumed_comparison_has_the_same_records_and_summary(compared, tmp_path, lines):
    folder = cut(copy(compared, tmp_path / "cut"), lines, torn='{"id": 7, "sta')
    assert compare.main(["--resume", str(folder), "--workers", "2"]) == 0
    assert history(folder) == history(compared)
    for name in ("summary.csv", "summary.txt"):
        assert (folder / name).read_text() == (compared / name).read_text()


def test_killed_process_leaves_what_resume_needs_even_if_the_search_went_on(
    searched, compared, tmp_path
):
    run, folder = copy(searched, tmp_path / "search"), tmp_path / "killed"
    flags = ["--rates", "half-decades", "--also", "powersign", "--out", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "studies.compare", str(run), *SMALL, *flags],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    path = folder / "records.jsonl"
    while not (path.exists() and path.read_bytes().count(b"\n") > 2) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    shutil.rmtree(run)
    assert compare.main(["--resume", str(folder), "--workers", "1"]) == 0
    assert history(folder) == history(compared)


def test_complete_comparison_is_only_shown(compared, capsys):
    before = (compared / "records.jsonl").read_bytes()
    assert compare.main(["--resume", str(compared)]) == 0
    assert "already complete" in (out := capsys.readouterr().out)
    assert (compared / "summary.txt").read_text() in out
    assert (compared / "records.jsonl").read_bytes() == before


def test_records_of_another_comparison_are_refused(compared, tmp_path, capsys):
    folder = cut(copy(compared, tmp_path / "other"), 10)
    rows = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    rows[4]["seed"] = 7
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert compare.main(["--resume", str(folder), "--workers", "1"]) == 1
    assert "record 4 is not" in capsys.readouterr().err


# --- the summary ----------------------------------------------------------------------------------

SGD, MOMENTUM, RMSPROP, ADAM = (NAMED_RULES[name].rule for name in HUMAN)
FIELD = [
    Contestant("found", "one", "m g id drop0.1 left", 0.9, "a#1"),
    Contestant("found", "two", "g m id drop0.3 add", 0.8, "a#2"),
    *(Contestant("human", name, NAMED_RULES[name].rule, 0.5, None) for name in HUMAN),
]


def final_records(accuracies: dict[str, list[float | None]]) -> list[dict]:
    return [
        {"stage": "final", "rule": rule, "seed": seed, "accuracy": x, "test_accuracy": x, "lr": 0.1}
        for rule, values in accuracies.items()
        for seed, x in enumerate(values)
    ]


def noisy(seed: int, *means: float, n: int = 10) -> list[dict]:
    """Return records whose rules differ by these means, with much luck common to a seed."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0, 0.05, n)
    return final_records(
        {
            one.rule: (mean + common + rng.normal(0, 0.002, n)).tolist()
            for one, mean in zip(FIELD, means, strict=True)
        }
    )


def test_differences_are_paired_with_the_best_human_optimizer():
    records = noisy(0, 0.62, 0.59, 0.5, 0.6, 0.55, 0.58)
    rows = {row["name"]: row for row in compare.summarize(FIELD, records)}
    values = {one.name: compare.scores(records, "final", one.rule) for one in FIELD}
    assert list(rows) == sorted(values, key=lambda name: -values[name].mean())
    assert {row["against"] for row in rows.values()} == {"momentum"}
    p_values = [sign_flip_p(values[name] - values["momentum"]) for name in ("one", "two")]
    for name, p, corrected in zip(("one", "two"), p_values, holm(p_values), strict=True):
        row, differences = rows[name], values[name] - values["momentum"]
        assert (row["ahead"], row["ahead_low"], row["ahead_high"]) == mean_interval(differences)
        assert (
            row["ahead_high"] - row["ahead_low"] < (row["validation_high"] - row["validation_low"]) / 5
        )
        assert (row["p"], row["p_holm"]) == (p, corrected)
        assert row["deviation"] == pytest.approx(np.std(values[name], ddof=1))
    assert rows["adam"]["ahead"] is None and rows["adam"]["p_holm"] is None


def test_conclusion_says_what_is_so():
    def of(*means, **kw):
        return compare.conclusion(compare.summarize(FIELD, noisy(1, *means, **kw)))

    clear = of(0.62, 0.55, 0.5, 0.6, 0.55, 0.58)
    assert (
        clear.startswith("one beats MOMENTUM, the best human optimizer, beyond noise")
        and "two" not in clear
    )
    assert of(0.62, 0.63, 0.5, 0.6, 0.55, 0.58).startswith("two; one beat MOMENTUM")
    worse = of(0.5, 0.5, 0.5, 0.6, 0.55, 0.7)
    assert worse.startswith("No found rule beats ADAM, the best human optimizer, beyond noise")
    few = of(0.9, 0.55, 0.5, 0.6, 0.55, 0.58, n=3)  # a large lead, but three seeds prove nothing
    assert few.startswith("No found rule beats") and "with 3 seeds p cannot be below 0.500" in few
    assert "cannot be below" not in worse


def test_diverged_training_counts_as_nothing_and_is_told():
    scores = {one.rule: [0.5, 0.6, 0.7] for one in FIELD} | {FIELD[0].rule: [0.9, None, 0.9]}
    rows = compare.summarize(FIELD, final_records(scores))
    [row] = [row for row in rows if row["name"] == "one"]
    assert (row["validation"], row["diverged"], row["n"]) == (pytest.approx(0.6), 1, 3)
    assert "one (1 of 3 diverged)" in compare.table(rows)


def test_selection_effect_is_reward_minus_fresh_mean():
    rules = {one.rule: [one.reward - 0.1, one.reward - 0.3] for one in FIELD if one.kind == "found"}
    rules |= {one.rule: [0.51, 0.51] for one in FIELD if one.kind == "human"}
    records = [record | {"stage": "rerank"} for record in final_records(rules)]
    plan = Plan(Config(seeds=2), ChildConfig(), [0], FIELD)
    said = compare.selection_effect(plan, records)
    assert "the best 2 rules scored 0.8500 in the search and 0.6500 on 2 fresh seeds" in said
    assert "+0.2000" in said and said.endswith("it is -0.0100.")
    unscored = [one._replace(reward=None) if one.kind == "human" else one for one in FIELD]
    assert "human" not in compare.selection_effect(plan._replace(contestants=unscored), records)


def test_summary_files_say_the_same(compared):
    with (compared / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    text = (compared / "summary.txt").read_text()
    assert sorted(row["kind"] for row in rows) == ["found", "found", *["human"] * 4, "named"]
    for row in rows:
        assert f"{float(row['validation']):.4f} [" in text and f"{float(row['test']):.4f}" in text
    assert "cannot be below" in text  # three seeds


# --- the figure -----------------------------------------------------------------------------------


def test_figure_shows_every_training_of_the_final_stage(compared, tmp_path):
    paths = figure.draw([compared], tmp_path / "figure.png")
    assert [path.name for path in paths] == ["figure.png", "figure.svg"]
    svg = paths[1].read_text()
    records = [r for r in history(compared) if r["stage"] == "final"]
    names = [name for name, _ in figure.looks(figure.by_rule(records, "final")).values()]
    assert sorted(names) == ["Adam", "Momentum", "RMSProp", "SGD", "powersign", "rule 1", "rule 2"]
    for name in names:
        for kind in ("validation", "test"):
            [dots] = [part for part in svg.split("<g id=") if part.startswith(f'"{name} {kind}"')]
            assert dots.count("<use ") == 3


def test_figure_of_what_cannot_be_drawn_is_refused(searched, compared, tmp_path, capsys):
    early = cut(copy(compared, tmp_path / "early"), 8)
    for folder, why in ((searched, "no run of"), (early, "final stage"), (tmp_path, "no run")):
        with pytest.raises(SystemExit) as stopped:
            figure.main([str(folder)])
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith("python -m studies.figures.compare: error: ") and error.count("\n") == 1
        assert why.split()[0] in error


# --- what is wrong --------------------------------------------------------------------------------


def test_bad_input_is_one_line_and_exit_code_2(searched, compared, tmp_path, capsys):
    run, out = str(searched), str(tmp_path / "out")
    other = str(copy(searched, tmp_path / "filters", filters=3))
    odd = str(copy(searched, tmp_path / "odd", filters="many"))
    failed = copy(searched, tmp_path / "failed")
    rows = [r | {"status": "diverged"} for r in results.read_records(searched)]
    (failed / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    wrong = {
        "no RUN given": [],
        "no readable": [str(tmp_path / "nothing")],
        "another script than search.py": [str(compared)],
        "searched a table": [str(copy(searched, tmp_path / "table", table="micro"))],
        "differ in filters": [run, other],
        "config.json: --filters": [odd],
        "no rule has trained": [str(failed)],
        "--finalists is 5": [run, "--top", "4"],
        "--seeds is 1": [run, "--seeds", "1"],
        "--rates is 'years'": [run, "--rates", "years"],
        "--workers is 0": [run, "--workers", "0"],
        "unknown rule 'adamm'": [run, "--also", "adamm"],
        "exists already": [run, "--out", str(compared)],
        "takes only --workers": ["--resume", str(compared), "--top", "3"],
        "no run of studies.compare": ["--resume", run],
        "unrecognized arguments": [run, "--finalist", "3"],
    }
    for why, argv in wrong.items():
        given = argv if "--out" in argv or "--resume" in argv or not argv else [*argv, "--out", out]
        with pytest.raises(SystemExit) as stopped:
            compare.main(given)
        output = capsys.readouterr()
        assert stopped.value.code == 2, why
        assert why in output.err and output.err.count("\n") == 1, (why, output.err)
        assert output.err.startswith("python -m studies.compare: error: ") and output.out == ""
    assert not Path(out).exists()


def test_settings_that_change_no_score_may_differ(searched, tmp_path):
    elsewhere = copy(searched, tmp_path / "elsewhere", data="pictures", screen=False, samples=99, seed=5)
    plan = compare.make_plan(Config(), [searched, elsewhere])
    assert plan.child == replace(read_child(searched)[0], screen=False)
