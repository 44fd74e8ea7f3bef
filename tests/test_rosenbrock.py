"""Tests of rosenbrock.py: the function, one run, which run counts, and the script."""

import itertools
import json
import math
import re
import shlex
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers import AVERAGED

import rosenbrock
from rosenbrock import ADAPTIVE, COMMON, FOUR, MOVES, PICKED, RATES, RULES, START, best, descend, table
from rules import NAMED_RULES, make_optimizer, named

TENSORFLOW = json.loads((Path(__file__).parent / "data" / "tensorflow_steps.json").read_text())


def walk(name, lr, steps=50, starts=(START,), library="tensorflow", **settings):
    """The paths [N, S, 3] of an optimizer of a library, or of a rule."""
    make = (COMMON | ADAPTIVE[library]).get(name) or partial(make_optimizer, name, total_steps=steps)
    return descend(partial(make, lr=lr, **settings), list(starts), steps)


def paths_of(*values, nearby=(1.0, 2.0)):
    """Paths [N, 3, 3] with these values of f from the first start, and ends of two others."""
    paths = np.zeros((len(values), 3, 3))
    paths[:, 0, 2], paths[-1, 1:, 2] = values, nearby
    return paths


def test_minimum_is_zero_at_one_one_and_a_run_ends_with_its_first_value_that_is_not_finite():
    assert rosenbrock.rosenbrock(1.0, 1.0) == 0 == walk("SGD", 1.0, 5, [(1.0, 1.0)])[-1, 0, 2]
    assert rosenbrock.rosenbrock(*START) == pytest.approx(24.2)  # the well-known value there
    assert rosenbrock.rosenbrock(1e200, 0.0) == math.inf
    path = walk("SGD", 1.0)[:, 0]
    assert len(path) < 50 and path[-1, 2] == math.inf and np.isfinite(path[:-1, 2]).all()


class Float32(float):
    """A setting as TensorFlow keeps it whatever the weights are; its powers are float32 products."""

    def __new__(cls, value):
        return super().__new__(cls, np.float32(value))

    def __pow__(self, t):
        return float(np.multiply.accumulate(np.full(t, self, np.float32))[-1])


BETAS = Float32(0.9), Float32(0.999)
SETTINGS = [("SGD", {}), ("Momentum", {"momentum": Float32(0.9)})]
SETTINGS += [("RMSProp", {"decay": Float32(0.9), "eps": Float32(1e-10)})]
SETTINGS += [("Adam", {"betas": BETAS, "eps": Float32(1e-8)})]
SETTINGS += [("Adam, eps 0.001", {"betas": BETAS, "eps": Float32(1e-3)})]


@pytest.mark.parametrize("name, settings", SETTINGS)
def test_twenty_steps_are_those_that_tensorflow_takes(name, settings):
    """Recorded by tests/data/tensorflow_steps.py; a path multiplies what rounding it begins with."""
    recorded, name = TENSORFLOW[name], name.split(",")[0]
    lr = recorded["settings"]["learning_rate"]
    path = walk(name, Float32(lr), len(recorded["points"]), **settings)[1:, 0]
    np.testing.assert_allclose(path[:, :2], recorded["points"], rtol=1e-13)
    np.testing.assert_allclose(path[:, 2], [rosenbrock.rosenbrock(*point) for point in path[:, :2]])
    own = {"eps": 1e-3} if "epsilon" in recorded["settings"] else {}
    defaults = walk(name, lr, len(recorded["points"]), **own)[1:, 0, :2]
    np.testing.assert_allclose(defaults, recorded["points"], rtol=1e-5)
    if name in ADAPTIVE["torch"]:
        assert abs(walk(name, lr, 1, library="torch")[1, 0] - path[0]).max() > 1e-12


@pytest.mark.parametrize("name", ["Momentum", "Adam", "powersign", "addsign-cd", "m g clip1e-3 exp mul"])
def test_starts_do_not_mind_each_other(name):
    starts = [START, (0.5, -0.5), (1.9, -0.9), (1.0, 1.0)]
    for lr in (1e-3, 0.05):  # at the larger one some diverge, but not all
        together = walk(name, lr, 80, starts)
        for number, start in enumerate(starts):
            alone = walk(name, lr, 80, [start])[:, 0]
            np.testing.assert_array_equal(together[: len(alone), number], alone)
    # Anybody's optimizer races too: torch's Adam by its name has the path of torch's own.
    name, other = named("torch.optim.Adam(eps=1e-8)")
    assert name == "torch.optim.Adam(eps=1e-08)"
    np.testing.assert_array_equal(
        descend(partial(make_optimizer, other, total_steps=60, lr=0.01), [START], 60),
        walk("Adam", 0.01, 60, library="torch"),
    )


def test_what_is_said_of_the_sixteen_rules_holds():
    reported = [name for name, named in NAMED_RULES.items() if named.source == "paper, recalled"]
    ends = {name: [walk(name, lr, 100)[-1, 0, 2] for lr in FOUR] for name in reported}
    lost = [name for name, values in ends.items() if not np.isfinite(values).any()]
    stuck = [name for name, values in ends.items() if all(abs(value - 24.2) < 0.1 for value in values)]
    assert (len(reported), len(lost), len(stuck)) == (16, 3, 4) and {*RULES} <= {*reported}
    said = " ".join(PICKED.split())
    assert "of all 16" in said and "three diverged" in said and "four never left" in said


def test_the_lowest_end_counts_a_tie_goes_to_the_smaller_rate_and_a_diverged_run_never_wins():
    runs = {0.2: paths_of(0, 1), 0.1: paths_of(0, 1), 0.3: paths_of(0, 0.5), 0.4: paths_of(0, math.inf)}
    assert best(runs, (0.2, 0.1)) == (1, 0.1) and best(runs, tuple(runs)) == (0.5, 0.3)
    assert best(runs, (0.4, 0.2)) == (1, 0.2)


def test_table_is_ordered_by_the_run_that_counts_and_hides_no_diverged_run():
    lost, between = paths_of(1, math.inf), dict.fromkeys(RATES, paths_of(9))
    counts = paths_of(9, 2e-5, 4, nearby=(3e-7, math.inf))
    text = table({
        "B": between | {1e-4: counts, 1e-3: lost, 3.2e-2: paths_of(1)},
        "lost": dict.fromkeys(RATES, lost),
        "Z": between | {1e-1: paths_of(3, 3)},
    })  # fmt: skip
    assert [line.split() for line in text.splitlines()[5:]] == [
        ["Z", *["9e+00"] * 6, "3e+00*", "3e+00", "1e+00", "to", "2e+00"],
        "B 4e+00* 9e+00 - 9e+00 9e+00 1e+00+ 9e+00 2e-05 3e-07 to inf".split(),
        ["lost", *["-"] * 7],
    ]


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(rosenbrock, "STEPS", 60)
    monkeypatch.setattr(rosenbrock, "RATES", (1e-3, 0.5, 10.0))
    monkeypatch.setattr(rosenbrock, "FOUR", (1e-3, 10.0))
    monkeypatch.setattr(rosenbrock, "ADAM_EPS", (1e-3, 1e-8))


@pytest.mark.parametrize("library", ["tensorflow", "torch"])
def test_a_race_leaves_its_table_its_figure_and_its_paths(short, tmp_path, monkeypatch, capsys, library):
    folder = tmp_path / "made" / "race"
    rules = ["g m id drop0.3 div", "powersign-ld", "m-exp-v"]
    chosen = ["--library", library] * (library == "torch")
    assert rosenbrock.main(["--rules", *rules, "--out", str(folder), *chosen]) == 0
    said, text = capsys.readouterr().out, (folder / "table.txt").read_text()
    assert text.strip() in said and str(folder) in said and PICKED not in text
    [first] = re.findall(r"^(powersign-ld|g / .*?|m-exp-v)  ", text, re.M)[:1]
    shown = NAMED_RULES[first].rule if first in NAMED_RULES else rules[0]
    assert f"rules.py show '{shown}' explains {first}, the table's best rule" in said
    assert (folder / "rosenbrock.png").stat().st_size > 20_000
    with np.load(folder / "paths.npz") as file:
        paths = dict(file)
    ways = {name: [(name, {})] for name in (*COMMON, *ADAPTIVE[library], "powersign-ld")}
    ways["Adam, tuned eps"] = [("Adam", {"eps": eps}) for eps in (1e-3, 1e-8)]
    for shown, makes in ways.items():
        more = {"library": library}
        rates = itertools.product(makes, (1e-3, 10.0))
        runs = [(lr, walk(name, lr, 60, **own, **more)[:, 0]) for (name, own), lr in rates]
        lr, path = min(runs, key=lambda run: run[1][-1, 2])
        np.testing.assert_array_equal(paths[f"{shown}, {lr:g}"], path)
    assert not any("m-exp-v" in name for name in paths)
    together = rosenbrock.race({}, COMMON | ADAPTIVE[library])["Momentum"][0.001]
    assert len(MOVES) == 20 and abs(MOVES).max() < 1e-9 and together.shape[1] == 21
    alone = walk("Momentum", 0.001, 60, [tuple(START + MOVES[2])])
    np.testing.assert_array_equal(together[:, 3], alone[:, 0])
    monkeypatch.setattr(rosenbrock, "draw", lambda *_: 1 / 0)
    assert rosenbrock.main(["--out", str(tmp_path / "default"), *chosen, "--also", "g m id id add"]) == 0
    said = capsys.readouterr()
    assert PICKED in said.out
    again = shlex.split(re.search(r"Draw it again with: (.*)", said.err)[1])
    assert again[:4] == ["python", "rosenbrock.py", "--library", library]
    assert again[4:] == ["--rules", *rosenbrock.RULES, "g m id id add"]


def test_an_optimizer_with_modes_is_read_as_it_evaluates_and_one_that_fails_leaves_nothing(
    short, tmp_path, capsys
):
    (tmp_path / "mine.py").write_text(AVERAGED)
    mine, plain = walk(f"{tmp_path}/mine.py:Averaged", 1e-3)[:, 0], walk("SGD", 1e-3)[:, 0]
    means = np.cumsum(plain[1:, :2], axis=0) / np.arange(1, 51)[:, None]
    np.testing.assert_allclose(mine[1:, :2], means, rtol=1e-12)
    with pytest.raises(SystemExit) as stop:
        rosenbrock.main(["--also", f"{tmp_path}/mine.py:Late", "--out", str(tmp_path / "race")])
    said = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2 and not (tmp_path / "race").exists()
    assert said.endswith("an optimizer of --also fails, the last one begun: ValueError: boom")


def test_an_interrupted_race_leaves_nothing(tmp_path, monkeypatch, capsys):
    def interrupt(parameters, lr):
        raise KeyboardInterrupt  # as Ctrl-C does

    monkeypatch.setitem(ADAPTIVE["tensorflow"], "Adam", interrupt)
    monkeypatch.setattr(rosenbrock, "STEPS", 5)
    with pytest.raises(KeyboardInterrupt):
        rosenbrock.main(["--out", str(tmp_path / "race")])
    assert list(tmp_path.iterdir()) == []
