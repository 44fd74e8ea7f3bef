"""The long-run filter: who goes on, with which rate, and what the summary and the figure hold."""

import pytest
from made import MadeTrials, made_up, plan_of

import results
from rules import HUMAN
from studies import longrun
from studies.figures import longrun as figure
from studies.searches import best_found, read_child
from studies.trials import to_dict
from training import evaluate_rule, train_curve


def made_curve(task, rule: str, lr: float, child, seed: int, epochs: int) -> tuple[list, float]:
    """Return scores that begin alike whatever the length; every seventh one is lost."""
    scores = [made_up(rule, lr, seed, epoch) for epoch in range(epochs)]
    return [None if score < 0.22 else score for score in scores], 1.0


@pytest.fixture(scope="module")
def made(searched) -> tuple[longrun.Plan, list[dict]]:
    plan = plan_of(longrun, searched, "--top", "5", "--epochs", "9")
    return plan, MadeTrials(longrun, plan, made_curve).records


def test_the_better_half_goes_on_and_people_always_do(searched, made):
    plan, records = made
    for epochs, of in ((300, [10, 30, 100, 300]), (9, [1, 3, 9]), (1, [1]), (2, [1, 2])):
        assert longrun.stage_epochs(epochs) == of
    stages = {}
    for record in records:
        stages.setdefault(record["epochs"], []).append(record)
    assert list(stages) == [1, 3, 9] and {record["seed"] for record in records} == {4000}
    ranked = best_found(results.read_records(searched), 5)
    expected = [(record["rule"], record["lr"]) for record in ranked]
    rates = {line["name"]: line["lr"] for line in results.read_humans(searched)}
    for some in stages.values():
        found = [r for r in some if r["kind"] == "found"]
        assert [(r["rule"], r["lr"]) for r in found] == expected
        humans = {r["name"]: r["lr"] for r in some if r["kind"] == "human"}
        assert humans == rates and list(humans) == list(HUMAN)
        best = sorted(found, key=lambda r: -(r["curve"][-1] or -1))
        expected = [(r["rule"], r["lr"]) for r in best[: (len(found) + 1) // 2]]
    assert [len(some) - 4 for some in stages.values()] == [5, 3, 2]
    for r in records:
        assert r["curve"] == made_curve(None, r["rule"], r["lr"], plan.child, r["seed"], r["epochs"])[0]


def test_the_summary_and_the_figure_have_everybody_as_far_as_they_came(made):
    rows, text = longrun.report(*made)
    records = made[1]
    assert len(rows) == 9 and {row["rule"] for row in rows} == {record["rule"] for record in records}
    for row in rows:
        last = [record for record in records if record["rule"] == row["rule"]][-1]
        assert (row["epochs"], row["final"]) == (last["epochs"], last["curve"][-1])
        assert row["best"] == max((score for score in last["curve"] if score is not None), default=None)
        assert row["after_1"] == last["curve"][0] and row["name"].lower() in text.lower()
    order = [(-row["epochs"], -(row["final"] or -1)) for row in rows]
    assert order == sorted(order)
    axes = figure.picture(to_dict(longrun, made[0]), records).axes[0]
    drawn = [line for line in axes.lines if not str(line.get_gid()).startswith("_")]
    lengths = sorted(len(line.get_xdata()) for line in drawn if len(line.get_xdata()) != 2)
    assert lengths == sorted({record["rule"]: len(record["curve"]) for record in records}.values())
    figure.plt.close("all")


def test_a_long_training_is_the_childs_own(searched):
    """With the child's epochs and its best rate it gives the very curve that scored the rule."""
    child, _ = read_child(searched)
    result = evaluate_rule("m 1 id id mul", child, 7)
    curve, cpu_s = train_curve("m 1 id id mul", result.lr, child, 7, child.epochs)
    assert curve == result.curve and cpu_s > 0
    lost, _ = train_curve("g 1 exp id left", 1e38, child, 7, 4)
    assert len(lost) == 4 and lost[-1] is None
