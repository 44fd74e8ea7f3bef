"""Tests of rosenbrock.py: the function, the runs, who wins, the folder and the figure."""

import json
import math
import re

import numpy as np
import pytest
import torch
from helpers import killed

import plots.rosenbrock as figure
import results
import rosenbrock
import search
from rosenbrock import (
    PICKED,
    RULES,
    TUNED,
    Config,
    best,
    descend,
    distinct_rules,
    gradient,
    measure,
    run_from,
    runs_of,
    table,
    thin,
)
from rules import NAMED_RULES
from studies.trials import read_trials

START = (-1.2, 1.0)
SMALL = ["--iterations", "60", "--rates", "1e-3,0.1,10", "--adam-eps", "1e-3,1e-8"]
RACED = ["powersign", "m-exp-v", "g m id drop0.3 add", "adam"]


def path_of(make, iterations=50, start=START, **settings):
    w = torch.tensor([start], dtype=torch.float64, requires_grad=True)
    return descend(make([w], **settings), w, iterations)[:, 0]


def walk(text, config, lr, starts=(START,)):
    """The paths [N, S, 3] of a rule, or of one of torch's optimizers."""
    name, rule = (text, None) if text in rosenbrock.TORCH else distinct_rules([text])[0]
    job = {"name": name, "rule": rule, "eps": None, "lr": lr, "seed": config.seed}
    return run_from(list(starts), job, config)


def a_path(values):
    """A path [N, 3] with these values of f."""
    return np.stack([np.zeros(len(values)), np.zeros(len(values)), np.array(values, float)], axis=1)


def record(value, lr=0.1, status="ok", **more):
    return {"status": status, "final_value": value, "lr": lr, **more}


# --- the function and one run ---------------------------------------------------------------------


def test_minimum_is_zero_at_one_one():
    assert rosenbrock.rosenbrock(1.0, 1.0) == 0 and gradient(1.0, 1.0) == (0, 0)
    assert rosenbrock.rosenbrock(*START) == pytest.approx(24.2)  # the well-known value there


def test_gradient_equals_autograd():
    w = torch.randn(2, 500, dtype=torch.float64, requires_grad=True)
    rosenbrock.rosenbrock(*w).sum().backward()
    torch.testing.assert_close(torch.stack(gradient(*w.detach())), w.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_and_momentum_walk_as_a_numpy_loop_does(momentum):
    point, velocity, wanted = np.array(START), np.zeros(2), []
    for _ in range(201):
        x, y = point
        wanted.append((x, y, (1 - x) ** 2 + 100 * (y - x**2) ** 2))
        slope = np.array([2 * (x - 1) - 400 * x * (y - x**2), 200 * (y - x**2)])
        velocity = momentum * velocity + slope
        point = point - 1e-3 * velocity
    path = path_of(torch.optim.SGD, iterations=200, lr=1e-3, momentum=momentum)
    np.testing.assert_allclose(path, wanted, rtol=1e-8)  # rounding grows a little over 200 steps


def test_the_adam_rule_walks_as_torch_adam_does():
    ours, theirs = (walk(name, Config(iterations=50), 0.01) for name in ("adam", "Adam"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)


def test_a_diverging_run_ends_with_its_first_value_that_is_not_finite():
    path = path_of(torch.optim.SGD, lr=1.0)
    assert len(path) < 50 and not np.isfinite(path[-1, 2]) and np.isfinite(path[:-1, 2]).all()
    assert measure(path)["status"] == "diverged"


@pytest.mark.parametrize(
    "optimizer", ["Momentum", "Adam", "powersign", "addsign-cd", "m g clip1e-3 exp mul"]
)
def test_starts_do_not_mind_each_other(optimizer):
    starts, config = [START, (0.5, -0.5), (1.9, -0.9), (1.0, 1.0)], Config(iterations=80)
    for lr in (1e-3, 0.05):  # at the larger one some diverge, but not all
        together = walk(optimizer, config, lr, starts)
        for number, start in enumerate(starts):
            alone = walk(optimizer, config, lr, [start])[:, 0]
            np.testing.assert_array_equal(together[: len(alone), number], alone)
            assert str(measure(together[:, number])) == str(measure(alone))  # NaN is not itself


def test_measure_reads_the_end_and_the_first_steps_below_each_threshold():
    path = a_path([24, 1e-3, 0.5, 1e-5, 1e-3])
    path[-1, :2] = (4, 5)
    measured = measure(path)
    assert (measured["status"], measured["steps"], measured["final_value"]) == ("ok", 4, 1e-3)
    assert (measured["distance"], measured["lowest_value"]) == (5, 1e-5)
    assert measured["steps_below"] == {"1e-2": 1, "1e-4": 3, "1e-6": None, "1e-8": None}


@pytest.mark.parametrize("steps", [1, 2, 199, 201, 4000, 100_000])
def test_thinned_path_keeps_its_beginning_and_its_end(steps):
    path = np.random.default_rng(0).normal(size=(steps + 1, 3))
    kept = thin(path)
    iterations = kept["iteration"]
    assert iterations[: min(steps, 200) + 1] == list(range(min(steps, 200) + 1))
    assert iterations[-1] == steps and len(iterations) <= 802 and np.all(np.diff(iterations) > 0)
    np.testing.assert_array_equal(np.stack([kept["x"], kept["y"], kept["value"]], 1), path[iterations])


# --- who wins -------------------------------------------------------------------------------------


def test_lowest_final_value_wins_and_a_tie_goes_to_the_smaller_rate():
    records = [record(2.0), record(1.0, lr=0.1), record(1.0, lr=0.01), record(3.0)]
    assert best(records) is records[2]


@pytest.mark.parametrize("value", [math.nan, -math.inf, math.inf, None])
def test_a_diverged_run_never_wins(value):
    diverged = record(value, status="diverged")
    assert best([diverged, record(1e300), diverged])["final_value"] == 1e300
    assert best([diverged]) is None


def test_table_ranks_by_final_value_and_hides_no_diverged_run():
    config = Config(rates=(0.1, 0.2), adam_eps=(1e-3, 1e-8))
    more = {"lowest_value": 0.0, "steps_below": {"1e-4": 1234}}
    values = {
        "B": [(0.1, 5.0), (0.2, math.nan)],
        "lost": [(0.1, math.inf), (0.2, math.nan)],
        "A": [(0.1, 4.0), (0.2, 3.0)],
        TUNED: [(0.1, 9.0), (0.2, 8.0), (0.1, 7.0), (0.2, math.nan)],
    }
    records = [
        record(
            v, lr, "ok" if math.isfinite(v) else "diverged", name=name, eps=(1e-3, 1e-8)[i // 2], **more
        )
        for name, runs in values.items()
        for i, (lr, v) in enumerate(runs)
    ]
    lines = table(config, records).splitlines()[3:]
    rows = [re.split(r" {2,}", line) for line in lines]
    assert [row[0] for row in rows if len(row) > 1] == (
        ["optimizer", "A", "B", TUNED, "lost", "Adam, eps 0.001", "Adam, eps 1e-08"]
    )
    cells = {row[0]: row[1:] for row in rows}
    assert cells["A"] == ["4.0e+00", "3.0e+00*", "0.0e+00", "1,234"]
    assert cells["B"] == ["5.0e+00*", "diverged", "0.0e+00", "1,234"]
    assert cells[TUNED][:2] == ["7.0e+00*", "8.0e+00"]  # the best eps at each rate
    assert cells["Adam, eps 0.001"][:2] == ["9.0e+00", "8.0e+00*"]
    assert cells["lost"] == ["diverged", "diverged", "-", "-"]
    assert len({len(line) for line in lines}) == 1


# --- the script -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    """A finished small race: its folder."""
    folder = tmp_path_factory.mktemp("runs") / "race"
    assert rosenbrock.main([*SMALL, "--rules", *RACED, "--out", str(folder)]) == 0
    return folder


def test_every_optimizer_has_a_record_at_every_rate(raced):
    records = runs_of(read_trials(raced))
    names = ["SGD", "Momentum", "RMSProp", "Adam", TUNED, TUNED]
    names += ["powersign", "m-exp-v", "g + drop(m, 0.3)", "adam (rule)"]
    assert [(r["name"], r["lr"]) for r in records] == [
        (n, lr) for n in names for lr in (1e-3, 0.1, 10.0)
    ]
    assert {r["eps"] for r in records if r["name"] == TUNED} == {1e-3, 1e-8}
    assert all((r["final_value"] is None) == (r["status"] == "diverged") for r in records)
    assert all(r["status"] == "diverged" for r in records if r["name"] == "m-exp-v")
    assert all(r["steps"] == 60 for r in records if r["status"] == "ok")


def test_records_are_what_the_optimizers_do(raced):
    theirs = {
        "SGD": torch.optim.SGD,
        "RMSProp": torch.optim.RMSprop,
        "Adam": torch.optim.Adam,
        "Momentum": lambda params, lr: torch.optim.SGD(params, lr, momentum=0.9),
    }
    for row in runs_of(read_trials(raced)):
        if row["name"] in theirs and row["status"] == "ok":
            path = path_of(theirs[row["name"]], iterations=60, lr=row["lr"])
            assert row["final_value"] == path[-1, 2] and row["lowest_value"] == path[:, 2].min()


def test_each_path_is_of_the_run_with_the_lowest_final_value(raced):
    records = runs_of(read_trials(raced))
    paths = [record for record in read_trials(raced) if "path" in record]
    assert {p["name"] for p in paths} == {r["name"] for r in records} - {"m-exp-v"}
    for p in paths:
        finals = [r["final_value"] for r in records if r["name"] == p["name"] and r["status"] == "ok"]
        path = p["path"]
        assert path["value"][-1] == min(finals)
        assert (path["x"][0], path["y"][0]) == START and path["iteration"] == list(range(61))


def test_the_path_of_a_random_rule_is_that_of_its_race(tmp_path):
    flags = ["--starts", "3", "--rules", "adam g drop0.1 id left", "--out", str(tmp_path / "run")]
    assert rosenbrock.main([*SMALL, *flags]) == 0
    records = read_trials(tmp_path / "run")
    raced = [run for run in runs_of(records) if run["rule"] and run["start"] == 0]
    [path] = [record["path"] for record in records if record["rule"] and "path" in record]
    assert path["value"][-1] == best(raced)["final_value"]


def test_folder_tells_what_was_raced_and_what_came_out(raced):
    saved = json.loads((raced / "config.json").read_text())
    assert (saved["config"]["iterations"], saved["config"]["rates"]) == (60, [1e-3, 0.1, 10.0])
    assert saved["rules"][0] == ["powersign", NAMED_RULES["powersign"].rule] and len(saved["rules"]) == 4
    assert json.loads((raced / "meta.json").read_text())["end"]
    assert "with seed 0" in (raced / "summary.txt").read_text()
    assert (raced / "rosenbrock.png").stat().st_size > 0


@pytest.mark.parametrize("lines", [0, 7, 31])
def test_a_killed_race_goes_on_to_the_same_result(raced, lines, tmp_path, capsys):
    folder = killed(raced, tmp_path / "run", lines, torn='{"id": 40, "na')
    assert rosenbrock.main(["--resume", str(folder)]) == 0
    assert read_trials(folder) == read_trials(raced)
    assert (folder / "summary.txt").read_text() == (raced / "summary.txt").read_text()


def test_random_rules_repeat_with_their_seed():
    def final(seed, rule):
        return walk(rule, Config(seed=seed, iterations=50), 1e-3)[-1].tolist()

    assert final(0, "g-plus-m") == final(0, "g-plus-m") != final(1, "g-plus-m")
    assert final(0, "powersign") == final(1, "powersign")


def test_what_is_said_of_the_sixteen_rules_holds():
    reported = [name for name, named in NAMED_RULES.items() if named.source == "paper, recalled"]
    config = Config(iterations=300)
    runs = {name: [walk(name, config, lr)[:, 0] for lr in config.rates] for name in reported}
    lost = [name for name, paths in runs.items() if not any(np.isfinite(p[-1, 2]) for p in paths)]
    stuck = [name for name, paths in runs.items() if all(abs(p[-1, 2] - 24.2) < 0.1 for p in paths)]
    assert (len(reported), len(lost), len(stuck)) == (16, 3, 4)
    said = " ".join(PICKED.split())
    assert "of all 16" in said and "three diverged" in said and "four never left" in said


def test_decays_end_with_the_run():
    short, long = (walk("powersign-ld", Config(iterations=n), 1e-3)[:11, 0] for n in (10, 1_000))
    assert (short[1] == long[1]).all() and (short[5] != long[5]).any()


def test_default_rules_are_at_least_three_and_repeats_count_once():
    assert len(RULES) >= 3 and all(NAMED_RULES[name].source == "paper, recalled" for name in RULES)
    assert [name for name, _ in distinct_rules(["signum", "Signum", "signsgd"])] == ["signum", "signsgd"]
    assert len(distinct_rules(["m g id id add", "g m id id add"])) == 1  # two spellings of a rule


@pytest.mark.parametrize(
    "flags",
    [
        ["--iterations", "0"],
        ["--iterations", "many"],
        ["--rates", "0"],
        ["--rates", "nan"],
        ["--rates", ","],
        ["--adam-eps", ","],
        ["--start-x", "inf"],
        ["--momentum", "1.1"],
        ["--rules", "powersing"],
        ["--rules", "g 1 id id"],
        ["--starts", "101"],
        ["extra"],
    ],
    ids=" ".join,
)
def test_bad_flags_are_one_message_with_code_2_and_leave_no_folder(flags, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        rosenbrock.main([*flags, "--out", str(tmp_path / "run")])
    captured = capsys.readouterr()
    assert stop.value.code == 2 and list(tmp_path.iterdir()) == [] and captured.out == ""
    assert captured.err.startswith("rosenbrock.py: error: ") and captured.err.count("error") == 1


def test_existing_folder_is_refused_and_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(SystemExit) as stop:
        rosenbrock.main([*SMALL, "--out", str(tmp_path)])
    assert stop.value.code == 2 and "exists" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# --- the figure -----------------------------------------------------------------------------------


def test_figure_is_drawn_from_the_folder_alone(raced, tmp_path, capsys):
    for name in ("config.json", "meta.json", "records.jsonl", "summary.csv"):
        (tmp_path / name).write_bytes((raced / name).read_bytes())
    assert figure.main([str(tmp_path), "-o", str(tmp_path / "again" / "figure.png")]) == 0
    assert (tmp_path / "again" / "figure.png").stat().st_size > 10_000
    again = (tmp_path / "again" / "figure.svg").read_text()
    assert again == (raced / "rosenbrock.svg").read_text()
    for words in ("SGD, 0.001", "powersign, 0.001", TUNED, "Diverged at every rate: m-exp-v"):
        assert words in again


def test_figure_of_no_run_is_one_message_and_exit_code_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        figure.main([str(tmp_path)])
    assert stop.value.code == 2 and capsys.readouterr().err.count("error:") == 1
    assert list(tmp_path.iterdir()) == []


# --- many starts, a search's rules ----------------------------------------------------------------


def test_order_is_the_mean_rank_over_starts():
    values = [  # a row a start, the best of two rates each
        {"a": 1.0, "b": 2.0, "c": None},
        {"a": 5e-5, "b": 5e-5, "c": 3.0},
        {"a": 9.0, "b": 1.0, "c": 2.0},
    ]
    records = [
        record(value if value is not None else math.inf, lr, "ok" if value is not None else "diverged",
               name=name, start=start)
        for start, row in enumerate(values)
        for name, value in row.items()
        for lr, value in ((0.1, value), (1.0, None if value is None else value + 7))
    ]  # fmt: skip
    rows = rosenbrock.order(records)
    assert [row["name"] for row in rows] == ["b", "a", "c"]
    assert [row["mean_rank"] for row in rows] == pytest.approx([4.5 / 3, 5.5 / 3, 8 / 3])
    assert [row["wins"] for row in rows] == [2, 2, 0] and [row["solved"] for row in rows] == [1, 1, 0]
    assert rows[2]["median_value"] == 3.0
    lines = rosenbrock.order_table(rows, 3).splitlines()
    assert lines[-3].split() == ["1", "1.5", "2", "1", "1.0e+00", "b"]
    many = [{**rows[0], "name": f"rule {i}"} for i in range(20)] + [{**rows[0], "name": "Adam"}]
    shown = rosenbrock.order_table(many, 3).splitlines()[3:]
    assert len(shown) == rosenbrock.SHOWN + 1 and shown[-1].split()[0] == "21"  # Adam keeps its place


def test_a_hall_of_fame_is_raced_from_several_starts(tmp_path, capsys):
    flags = "--preset table --algorithm random --samples 8 --out".split() + [str(tmp_path / "s")]
    assert search.main(flags) == 0
    flags = [str(tmp_path / "s"), *SMALL, "--starts", "3", "--rules", "addsign"]
    assert rosenbrock.main([*flags, "--out", str(tmp_path / "run")]) == 0
    records = read_trials(tmp_path / "run")
    rules = {record["rule"] for record in records if record["rule"]}
    found = {record["rule"] for record in results.best_distinct(results.read_records(tmp_path / "s"))}
    assert rules == found | {NAMED_RULES["addsign"].rule}
    assert all(len(record["starts"]) == 3 for record in records if "path" not in record)
    starts = rosenbrock.starting_points(Config(starts=3))
    assert len(set(starts)) == 3 and starts[0] == START
    assert all(-2 <= x <= 2 and -1 <= y <= 3 for x, y in starts)
    assert "Order over 3 starts" in capsys.readouterr().out


def test_if_all_diverge_there_is_a_figure_all_the_same(tmp_path, capsys):
    flags = ["--iterations", "50", "--rates", "1e6", "--rules", "m-exp-v", "--adam-eps", "0"]
    assert rosenbrock.main([*flags, "--start-x", "90", "--out", str(tmp_path / "run")]) == 0
    assert "Diverged at every rate" in (tmp_path / "run" / "rosenbrock.svg").read_text()


@pytest.mark.parametrize("starts", [1, 2])
def test_of_many_rules_the_best_over_all_starts_are_drawn(tmp_path, monkeypatch, starts):
    monkeypatch.setattr(rosenbrock, "DRAWN", 2)
    steps = ("g", "m", "rmsprop", "adam", "sign_g", "sign_m")
    rules = [f"{step} {step} id id add" for step in steps] + ["adam m id id add", "adam g id id add"]
    flags = ["--iterations", "60", "--rates", "1e-3", "--adam-eps", "1e-3", "--seed", "4"]
    flags += ["--starts", str(starts), "--rules", *rules]
    assert rosenbrock.main([*flags, "--out", str(tmp_path / "run")]) == 0
    records = read_trials(tmp_path / "run")
    text = (tmp_path / "run" / "rosenbrock.svg").read_text()
    raced = [record for record in records if record["rule"] and "starts" in record]
    lost = float("inf")  # where a rule diverged
    final = [[lost if s["status"] != "ok" else s["final_value"] for s in r["starts"]] for r in raced]
    ranks = (np.array(final)[:, None] > np.array(final)[None]).sum(1)  # how many are lower
    names = {raced[i]["name"] for i in np.argsort(ranks.mean(1), kind="stable")[:2]}
    from_first = {raced[i]["name"] for i in np.argsort(ranks[:, 0], kind="stable")[:2]}
    assert (names == from_first) == (starts == 1)  # or the case would show nothing
    assert len(raced) == 8 and {r["name"] for r in records if r["rule"] and "path" in r} == names
    assert {
        record["name"] for record in raced if f">{record['name']}, {record['lr']:g}<" in text
    } == names
    assert "And 6 rules" in text and "Diverged" not in text
    assert (f"the first of {starts} starts" in text) == (starts > 1)


def test_a_folder_without_rules_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        rosenbrock.main([str(tmp_path), "--out", str(tmp_path / "run")])
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1 and not (tmp_path / "run").exists()
