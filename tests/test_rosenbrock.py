"""Tests of rosenbrock.py: the function, one run, which run counts, and the script."""

import math
from functools import partial

import numpy as np
import pytest
from helpers import refusal

import rosenbrock
from dsl import Rule
from rosenbrock import PICKED, RATES, RULES, START, TORCH, best, descend, distinct_rules, gradient, table
from rules import NAMED_RULES, make_optimizer


def walk(name, lr, steps=50, starts=(START,), **settings):
    """The paths [N, S, 3] of one of torch's optimizers, or of a rule."""
    make = TORCH.get(name) or partial(make_optimizer, name, total_steps=steps)
    return descend(partial(make, lr=lr, **settings), list(starts), steps)


def a_path(*values):
    """A path [N, 3] with these values of f."""
    return np.array([(0, 0, value) for value in values], float)


# --- the function and one run ---------------------------------------------------------------------


def test_minimum_is_zero_at_one_one():
    assert rosenbrock.rosenbrock(1.0, 1.0) == 0 and gradient(1.0, 1.0) == (0, 0)
    assert rosenbrock.rosenbrock(*START) == pytest.approx(24.2)  # the well-known value there
    assert rosenbrock.rosenbrock(1e200, 0.0) == math.inf


@pytest.mark.parametrize(("name", "momentum"), [("SGD", 0.0), ("Momentum", 0.9)])
def test_sgd_and_momentum_walk_as_a_numpy_loop_does(name, momentum):
    point, velocity, wanted = np.array(START), np.zeros(2), []
    for _ in range(201):
        x, y = point
        wanted.append((x, y, (1 - x) ** 2 + 100 * (y - x**2) ** 2))
        slope = np.array([2 * (x - 1) - 400 * x * (y - x**2), 200 * (y - x**2)])
        velocity = momentum * velocity + slope
        point = point - 1e-3 * velocity
    # rounding grows a little over 200 steps
    np.testing.assert_allclose(walk(name, 1e-3, steps=200)[:, 0], wanted, rtol=1e-8)


def test_a_diverging_run_ends_with_its_first_value_that_is_not_finite():
    path = walk("SGD", 1.0)[:, 0]
    assert len(path) < 50 and not np.isfinite(path[-1, 2]) and np.isfinite(path[:-1, 2]).all()


@pytest.mark.parametrize("name", ["Momentum", "Adam", "powersign", "addsign-cd", "m g clip1e-3 exp mul"])
def test_starts_do_not_mind_each_other(name):
    starts = [START, (0.5, -0.5), (1.9, -0.9), (1.0, 1.0)]
    for lr in (1e-3, 0.05):  # at the larger one some diverge, but not all
        together = walk(name, lr, 80, starts)
        for number, start in enumerate(starts):
            alone = walk(name, lr, 80, [start])[:, 0]
            np.testing.assert_array_equal(together[: len(alone), number], alone)


# --- who races, and which run counts --------------------------------------------------------------


def test_default_rules_are_reported_ones_and_repeats_count_once():
    assert len(RULES) >= 3 and all(NAMED_RULES[name].source == "paper, recalled" for name in RULES)
    rules = distinct_rules(["signum", "Signum", "adam", "m g id id add", "g m id id add"])
    assert list(rules) == ["signum", "adam (rule)", "m + g"]
    assert rules["m + g"] == Rule.parse("m g id id add")


def test_what_is_said_of_the_sixteen_rules_holds():
    reported = [name for name, named in NAMED_RULES.items() if named.source == "paper, recalled"]
    ends = {name: [walk(name, lr, 100)[-1, 0, 2] for lr in RATES] for name in reported}
    lost = [name for name, values in ends.items() if not np.isfinite(values).any()]
    stuck = [name for name, values in ends.items() if all(abs(value - 24.2) < 0.1 for value in values)]
    assert (len(reported), len(lost), len(stuck)) == (16, 3, 4)
    said = " ".join(PICKED.split())
    assert "of all 16" in said and "three diverged" in said and "four never left" in said


def test_the_lowest_end_counts_a_tie_goes_to_the_smaller_rate_and_a_diverged_run_never_wins():
    runs = {0.2: a_path(0, 1), 0.1: a_path(0, 1), 0.3: a_path(0, 2)}
    assert best(runs) == (0.1, runs[0.1])
    for lost in (math.nan, math.inf, -math.inf):
        assert best({0.1: a_path(0, lost), 0.2: a_path(1e300)})[0] == 0.2


def test_table_is_ordered_by_the_run_that_counts_and_hides_no_diverged_run():
    text = table({
        "B": dict(zip(RATES, map(a_path, (5, math.nan, 6, 7)), strict=True)),
        "lost": dict.fromkeys(RATES, a_path(1, math.nan)),
        "Z": dict(zip(RATES, map(a_path, (9, 8, 7, 6)), strict=True)) | {1e-2: a_path(5, 5e-4, 9e-5, 2)},
    })  # fmt: skip
    assert [line.split() for line in text.splitlines()[3:]] == [
        ["Z", "9.0e+00", "8.0e+00", "2.0e+00*", "6.0e+00", "2", "steps"],
        ["B", "5.0e+00*", "diverged", "6.0e+00", "7.0e+00", "never"],
        ["lost", *["diverged"] * 4, "never"],
    ]


# --- the script -----------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(rosenbrock, "STEPS", 60)
    monkeypatch.setattr(rosenbrock, "RATES", (1e-3, 10.0))
    monkeypatch.setattr(rosenbrock, "ADAM_EPS", (1e-3, 1e-8))


def test_a_race_leaves_its_table_its_figure_and_its_paths(short, tmp_path, capsys):
    folder = tmp_path / "made" / "race"
    rules = ["powersign-ld", "m-exp-v", "g m id drop0.3 div"]
    assert rosenbrock.main(["--rules", *rules, "--out", str(folder)]) == 0
    said, text = capsys.readouterr().out, (folder / "table.txt").read_text()
    assert text.strip() in said and str(folder) in said and "rules.py show 'powersign-ld'" in said
    assert "with seed 0" in text and PICKED not in text
    assert (folder / "rosenbrock.png").stat().st_size > 20_000
    paths = np.load(folder / "paths.npz")
    ways = {name: [(name, {})] for name in (*TORCH, "powersign-ld")}
    ways["Adam, tuned eps"] = [("Adam", {"eps": eps}) for eps in (1e-3, 1e-8)]
    for shown, makes in ways.items():
        runs = [(lr, walk(name, lr, 60, **more)[:, 0]) for name, more in makes for lr in (1e-3, 10.0)]
        lr, path = min(runs, key=lambda run: (not np.isfinite(run[1][-1, 2]), run[1][-1, 2]))
        np.testing.assert_array_equal(paths[f"{shown}, {lr:g}"], path)
    assert not any("m-exp-v" in name for name in paths) and "diverged" in text
    assert rosenbrock.main(["--out", str(tmp_path / "default")]) == 0
    assert PICKED in capsys.readouterr().out


@pytest.mark.parametrize("flags", ["--rules powersing", "--rules g", "more", "--out ."])
def test_bad_input_is_one_line_with_code_2_and_changes_nothing(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = refusal(rosenbrock.main, ["--out", "race", *flags.split()], capsys)
    assert line.startswith("rosenbrock.py: error: ") and list(tmp_path.iterdir()) == []


def test_an_interrupted_race_leaves_nothing(tmp_path, monkeypatch, capsys):
    def interrupt(parameters, lr):
        raise KeyboardInterrupt  # as Ctrl-C does

    monkeypatch.setitem(TORCH, "Adam", interrupt)
    monkeypatch.setattr(rosenbrock, "STEPS", 5)
    assert rosenbrock.main(["--out", str(tmp_path / "race")]) == 130
    assert list(tmp_path.iterdir()) == [] and "interrupted" in capsys.readouterr().err
