"""Tests of studies/valley.py: what a race records, who wins over many starts, the folder, the figure."""

import json
import math
import re

import numpy as np
import pytest
from helpers import refusal, undrawn

import plots.rosenbrock as figure
import results
from nosbench import search
from rosenbrock import ADAPTIVE, COMMON, START, descend
from rules import NAMED_RULES
from studies import valley
from studies.trials import read_trials
from studies.valley import TUNED, Config, best, distinct_by_key, measure, run_from, runs_of, table, thin

SMALL = ["--iterations", "60", "--rates", "1e-3,0.1,10", "--adam-eps", "1e-3,1e-8", "--workers", "1"]
RACED = ["powersign", "m-exp-v", "g m id drop0.3 add", "adam", "torch.optim.AdamW"]


def record(value, lr=0.1, **more):
    ended = value is not None and math.isfinite(value)
    return {"status": "ok" if ended else "diverged", "final_value": value, "lr": lr, **more}


def test_measure_reads_the_end_and_the_first_steps_below_each_threshold():
    path = np.array([(0, 0, value) for value in (24, 1e-3, 0.5, 1e-5, 1e-3)])
    path[-1, :2] = (4, 5)
    measured = measure(path)
    assert (measured["status"], measured["steps"], measured["final_value"]) == ("ok", 4, 1e-3)
    assert (measured["distance"], measured["lowest_value"]) == (5, 1e-5)
    assert measured["steps_below"] == {"1e-2": 1, "1e-4": 3, "1e-6": None, "1e-8": None}
    for steps in (1, 199, 201, 100_000):  # a thinned path keeps its beginning and its end
        long = np.random.default_rng(0).normal(size=(steps + 1, 3))
        kept = thin(long)
        iterations = kept["iteration"]
        assert iterations[: min(steps, 200) + 1] == list(range(min(steps, 200) + 1))
        assert iterations[-1] == steps and len(iterations) <= 802 and np.all(np.diff(iterations) > 0)
        columns = [kept[name] for name in ("x", "y", "value")]
        np.testing.assert_array_equal(np.stack(columns, 1), long[iterations])
    path[2:4, 2] = math.nan  # lost, while other starts went on
    lost = measure(path)
    assert (lost["status"], lost["steps"], lost["lowest_value"]) == ("diverged", 2, 1e-3)


def test_rules_count_once_random_ones_repeat_with_their_seed_and_decays_end_with_the_run():
    rules = distinct_by_key(["signum", "Signum", "adam", "m g id id add", "g m id id add"])
    assert list(rules) == ["signum", "adam (rule)", "m + g"] and rules["m + g"].key() == "add(g,m)"

    def walk(text, seed=0, steps=20):
        [(name, rule)] = distinct_by_key([text]).items()
        job = {"name": name, "rule": str(rule), "eps": None, "lr": 1e-3, "seed": seed}
        return run_from([START], job, Config(iterations=steps))[:11].tolist()

    assert walk("g-plus-m") == walk("g-plus-m") != walk("g-plus-m", seed=1)
    assert walk("powersign") == walk("powersign", seed=1)
    short, long = walk("powersign-ld", steps=10), walk("powersign-ld", steps=100)
    assert short[1] == long[1] and short[5] != long[5]


def test_lowest_final_value_wins_a_tie_goes_to_the_smaller_rate_and_a_diverged_run_never_wins():
    records = [record(2.0), record(1.0, lr=0.1), record(1.0, lr=0.01), record(3.0)]
    assert best(records) is records[2]
    for lost in map(record, (math.nan, -math.inf, math.inf, None)):
        assert best([lost, record(1e300), lost])["final_value"] == 1e300
        assert best([lost]) is None


def test_table_ranks_by_final_value_and_hides_no_diverged_run():
    rates, more = (0.1, 0.2), {"lowest_value": 0.0, "steps_below": {"1e-4": 1234}}
    runs = [("B", None, 5.0, math.nan), ("lost", None, math.inf, math.nan), ("A", None, 4.0, 3.0)]
    runs += [(TUNED, 1e-3, 9.0, 8.0), (TUNED, 1e-8, 7.0, math.nan)]
    records = [
        record(value, lr, name=name, eps=eps, **more)
        for name, eps, *pair in runs
        for lr, value in zip(rates, pair, strict=True)
    ]
    lines = table(Config(rates=rates, adam_eps=(1e-3, 1e-8)), records).splitlines()[3:]
    assert len({len(line) for line in lines}) == 1
    rows = [re.split(r" {2,}", line) for line in lines if not line.startswith("---")]
    assert rows[0][0] == "optimizer" and rows[1:] == [
        ["A", "4.0e+00", "3.0e+00*", "0.0e+00", "1,234"],
        ["B", "5.0e+00*", "diverged", "0.0e+00", "1,234"],
        [TUNED, "7.0e+00*", "8.0e+00", "0.0e+00", "1,234"],  # the best eps at each rate
        ["lost", "diverged", "diverged", "-", "-"],
        ["Adam, eps 0.001", "9.0e+00", "8.0e+00*", "0.0e+00", "1,234"],
        ["Adam, eps 1e-08", "7.0e+00*", "diverged", "0.0e+00", "1,234"],
    ]


def test_order_is_the_mean_rank_over_starts():
    values = {"a": [1.0, 5e-5, 9.0], "b": [2.0, 5e-5, 1.0], "c": [None, 3.0, 2.0]}  # a value a start
    starts = [(name, start, value) for name, some in values.items() for start, value in enumerate(some)]
    records = [record(value, 0.1, name=name, start=start) for name, start, value in starts]
    records += [record(99.0, 1.0, name=name, start=start) for name, start, _ in starts[:-3]]  # worse
    rows = valley.order(records)
    assert [row["name"] for row in rows] == ["b", "a", "c"]
    assert [row["mean_rank"] for row in rows] == pytest.approx([4.5 / 3, 5.5 / 3, 8 / 3])
    assert [row["wins"] for row in rows] == [2, 2, 0] and [row["solved"] for row in rows] == [1, 1, 0]
    assert rows[2]["median_value"] == 3.0
    lines = valley.order_table(rows, 3).splitlines()
    assert lines[-3].split() == ["1", "1.5", "2", "1", "1.0e+00", "b"]
    many = [{**rows[0], "name": f"rule {i}"} for i in range(20)] + [{**rows[0], "name": "Adam"}]
    shown = valley.order_table(many, 3).splitlines()[3:]
    assert len(shown) == valley.SHOWN + 1 and shown[-1].split()[0] == "21"  # Adam keeps its place


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    """A finished small race: its folder."""
    folder = tmp_path_factory.mktemp("runs") / "race"
    assert valley.main([*SMALL, "--rules", *RACED, "--out", str(folder)]) == 0
    return folder


def test_records_are_what_each_optimizer_does_at_each_rate_and_paths_the_best_ones(raced):
    records = runs_of(read_trials(raced))
    names = ["SGD", "Momentum", "RMSProp", "Adam", TUNED, TUNED]
    names += ["powersign", "m-exp-v", "g + drop(m, 0.3)", "adam (rule)", RACED[-1]]
    raced_at = [(name, lr) for name in names for lr in (1e-3, 0.1, 10.0)]
    assert [(r["name"], r["lr"]) for r in records] == raced_at
    assert {r["eps"] for r in records if r["name"] == TUNED} == {1e-3, 1e-8}
    for r in records:
        assert (r["final_value"] is None) == (r["status"] == "diverged") == (r["steps"] < 60)
        human = COMMON | ADAPTIVE["tensorflow"]
        if r["name"].split(",")[0] in human and r["status"] == "ok":
            more = {} if r["eps"] is None else {"eps": r["eps"]}
            optimizer = human[r["name"].split(",")[0]]
            path = descend(lambda w: optimizer(w, lr=r["lr"], **more), [START], 60)[:, 0]  # noqa: B023
            assert r["final_value"] == path[-1, 2] and r["lowest_value"] == path[:, 2].min()
    assert all(r["status"] == "diverged" for r in records if r["name"] == "m-exp-v")
    paths = {r["name"]: r["path"] for r in read_trials(raced) if "path" in r}
    assert paths.keys() == set(names) - {"m-exp-v"}
    for name, path in paths.items():
        finals = [r["final_value"] for r in records if r["name"] == name and r["status"] == "ok"]
        assert path["value"][-1] == min(finals)
        assert (path["x"][0], path["y"][0]) == START and path["iteration"] == list(range(61))
    assert "with seed 0" in (raced / "summary.txt").read_text()


def test_a_hall_of_fame_is_raced_from_several_starts(tmp_path, capsys):
    flags = ["--algorithm", "random", "--samples", "4", "--out", str(tmp_path / "s")]
    with undrawn():
        assert search.main(flags) == 0
    random = "adam g drop0.1 id left"
    flags = [str(tmp_path / "s"), *SMALL, "--starts", "3", "--rules", "addsign", random]
    assert valley.main([*flags, "--out", str(tmp_path / "run")]) == 0
    records = read_trials(tmp_path / "run")
    families = results.best_families(results.read_records(tmp_path / "s"))
    found = {family.best["rule"] for family in families}
    assert {r["rule"] for r in records if r["rule"]} == found | {NAMED_RULES["addsign"].rule, random}
    assert all(len(record["starts"]) == 3 for record in records if "path" not in record)
    starts = valley.starting_points(Config(starts=3))
    assert len(set(starts)) == 3 and starts[0] == START
    assert all(-2 <= x <= 2 and -1 <= y <= 3 for x, y in starts)
    close = valley.starting_points(Config(starts=9, around=1e-9))
    assert len({START, *close}) == 9 and close[0] == START
    assert 1e-10 < np.abs(np.array(close) - START).max() < 1.001e-9
    assert "Order over 3 starts" in capsys.readouterr().out
    # The way of a random rule, followed again for the figure, is that of its race.
    [path] = [r["path"] for r in records if "path" in r and r["rule"] == random]
    runs = [run for run in runs_of(records) if run["rule"] == random and run["start"] == 0]
    assert path["value"][-1] == best(runs)["final_value"]


def test_figure_is_drawn_from_the_folder_alone(raced, tmp_path, capsys):
    for name in ("config.json", "meta.json", "records.jsonl", "summary.csv"):
        (tmp_path / name).write_bytes((raced / name).read_bytes())
    assert figure.main([str(tmp_path), "-o", str(tmp_path / "again" / "figure.png")]) == 0
    again = (tmp_path / "again" / "figure.svg").read_text()
    assert again == (raced / "rosenbrock.svg").read_text()
    for words in ("SGD, 0.001", "powersign, 0.001", TUNED, "Diverged at every rate: 1."):
        assert words in again
    (tmp_path / "summary.csv").unlink()
    assert "is not finished" in refusal(figure.main, [str(tmp_path)], capsys)
    config = json.loads((tmp_path / "config.json").read_text()) | {"script": "studies.compare"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "another script" in refusal(figure.main, [str(tmp_path)], capsys)


def test_of_many_rules_the_best_over_all_starts_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(valley, "DRAWN", 2)
    steps = ("g", "m", "rmsprop", "adam", "sign_g", "sign_m")
    rules = [f"{step} {step} id id add" for step in steps] + ["adam m id id add", "adam g id id add"]
    flags = "--iterations 60 --rates 1e-3 --adam-eps 1e-3 --seed 4 --workers 1 --starts 2".split()
    assert valley.main([*flags, "--rules", *rules, "--out", str(tmp_path / "run")]) == 0
    records = read_trials(tmp_path / "run")
    raced = [run for run in runs_of(records) if run["rule"]]
    first = [run for run in raced if run["start"] == 0]
    over_all, from_first = ({row["name"] for row in valley.order(x)[:2]} for x in (raced, first))
    assert over_all != from_first  # or the case would show nothing
    assert {r["name"] for r in records if r["rule"] and "path" in r} == over_all
    text = (tmp_path / "run" / "rosenbrock.svg").read_text()
    assert {r["name"] for r in raced if f">{r['name']}, {r['lr']:g}<" in text} == over_all
    assert "And 6 rules" in text and "Diverged" not in text and "the first of 2 starts" in text
