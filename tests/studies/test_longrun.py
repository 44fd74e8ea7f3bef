"""The long-run filter: who goes on, with which rate, and what the summary and the figure hold."""

import math
import statistics

import pytest
from made import MadeTrials, made_up, plan_of, write_run

import results
from studies import longrun
from studies.figures import longrun as figure
from studies.searches import best_found, read_child
from studies.trials import to_dict
from training import Training, evaluate_rule, train_curve


def made_curve(task, rule: str, lr: float, child, seed: int, epochs: int) -> tuple[list, list, float]:
    """Return scores that begin alike whatever the length; every seventh one is lost."""
    scores = [made_up(rule, lr, seed, epoch) for epoch in range(epochs)]
    return [None if score < 0.22 else score for score in scores], scores[::-1], 1.0


@pytest.fixture(scope="module")
def made(searched) -> tuple[longrun.Plan, list[dict]]:
    plan = plan_of(longrun, searched, "--top", "5", "--epochs", "9", "--seeds", "2")
    return plan, MadeTrials(longrun, plan, made_curve).records


def mean_end(some: list[dict]) -> float:
    """Return the mean of the last scores; -1 if one is lost."""
    ends = [record["curve"][-1] for record in some]
    return -1.0 if None in ends else sum(ends) / len(ends)


def test_the_better_half_goes_on_by_its_mean_and_people_train_to_the_end(searched, made):
    plan, records = made
    for epochs, of in ((300, [10, 30, 100, 300]), (9, [1, 3, 9]), (1, [1]), (2, [1, 2])):
        assert longrun.stage_epochs(epochs) == of
    stages = {}
    for record in records:
        by_rule = stages.setdefault(record["epochs"], {})
        by_rule.setdefault((record["kind"], record["name"], record["rule"], record["lr"]), []).append(
            record
        )
    assert list(stages) == [1, 3, 9]
    ranked = best_found(results.read_records(searched), 5)
    expected = [(record["rule"], record["lr"]) for record in ranked]
    rates = {line["name"]: line["lr"] for line in results.read_humans(searched)}
    for epochs, by_rule in stages.items():
        assert all([r["seed"] for r in some] == [4000, 4001] for some in by_rule.values())
        found = {(rule, lr): some for (kind, _, rule, lr), some in by_rule.items() if kind == "found"}
        assert list(found) == expected
        humans = {name: lr for kind, name, _, lr in by_rule if kind == "human"}
        assert humans == (rates if epochs == 9 else {})
        best = sorted(found, key=lambda rule: -mean_end(found[rule]))
        expected = best[: (len(found) + 1) // 2]
    for r in records:
        curve, losses, _ = made_curve(None, r["rule"], r["lr"], plan.child, r["seed"], r["epochs"])
        assert (r["curve"], r["losses"]) == (curve, losses)


def test_the_summary_and_the_figure_have_everybody_as_far_as_they_came(made):
    rows, text = longrun.report(*made)
    records = made[1]
    assert len(rows) == 9 and {row["rule"] for row in rows} == {record["rule"] for record in records}
    for row in rows:
        last = [record for record in records if record["rule"] == row["rule"]][-2:]
        ends = [record["curve"][-1] for record in last]
        lost = None in ends
        assert row["epochs"] == last[0]["epochs"] and (row["final"] is None) == lost
        assert lost or row["final"] == pytest.approx(statistics.mean(ends))
        assert lost or row["deviation"] == pytest.approx(statistics.stdev(ends))
        tops = [max((x for x in record["curve"] if x is not None), default=None) for record in last]
        assert row["best"] == (None if None in tops else pytest.approx(statistics.mean(tops)))
        firsts = [record["curve"][0] for record in last]
        assert row["after_1"] == (None if None in firsts else pytest.approx(statistics.mean(firsts)))
        assert row["name"].lower() in text.lower()
    order = [(-row["epochs"], -(row["final"] or -1)) for row in rows]
    assert order == sorted(order) and "2 seeds" in text
    axes, below = figure.picture(to_dict(longrun, made[0]), records).axes
    lines = {line.get_gid(): line for line in axes.lines}
    for row in rows:
        last = [record["curve"] for record in records if record["rule"] == row["rule"]][-2:]
        both = [None if None in pair else sum(pair) / 2 for pair in zip(*last, strict=True)]
        drawn = [None if math.isnan(y) else y for y in lines[row["name"]].get_ydata()]
        assert drawn == pytest.approx(both)
    losses = [list(line.get_ydata()) for line in below.lines if len(line.get_xdata()) == 9]
    ended = [row for row in rows if row["epochs"] == 9]
    assert len(losses) == len(ended) and below.get_yscale() == "log"
    for row in ended:
        last = [record["losses"] for record in records if record["rule"] == row["rule"]][-2:]
        assert [pytest.approx(sum(pair) / 2) for pair in zip(*last, strict=True)] in losses
    figure.plt.close("all")


def test_the_best_of_each_kind_is_confirmed_on_further_seeds(searched):
    flags = ["--top", "5", "--epochs", "9", "--seeds", "2", "--also", "powersign", "addsign"]
    plan = plan_of(longrun, searched, *flags, "--confirm-seeds", "3")

    def outcome(task, *job):
        return made_curve(task, *job) if len(job) == 5 else (0.01, [(0.01, 0.5)])  # or a sweep

    records = MadeTrials(longrun, plan, outcome).records
    again = [record for record in records if record.get("confirm")]
    assert [record["seed"] for record in again] == [s for s in (4002, 4003, 4004) for _ in range(6)]
    race = [record for record in records if record["epochs"] == 9 and not record.get("confirm")]
    assert {record["seed"] for record in race} == {4000, 4001}
    rows, text = longrun.report(plan, records)
    best, alive = {}, set()
    for record in race:
        end = mean_end([r for r in race if r["rule"] == record["rule"]])
        best[record["kind"]] = max(best.get(record["kind"], (-1,)), (end, record["rule"]))
        alive |= {record["rule"]} if record["kind"] == "human" and end > 0 else set()
    finalists = {best[kind][1] for kind in ("found", "named")} | alive
    for some in (again[:6], again[6:12], again[12:]):
        assert {r["rule"] for r in some} == finalists and len(alive) == 4
    # The race's rows are as without these seeds, and the table below has the means of these alone.
    unconfirmed = [record for record in records if not record.get("confirm")]
    assert longrun.report(plan, unconfirmed)[0] == rows
    below = text.split("further seeds")[1].splitlines()
    means = {
        rule: [record["curve"][-1] or 0.0 for record in again if record["rule"] == rule]
        for rule in finalists
    }
    person = max(alive, key=lambda rule: statistics.mean(means[rule]))
    for rule, ends in means.items():
        [line] = [line for line in below if line.startswith(f"{statistics.mean(ends):.4f}  ")]
        assert f"{statistics.stdev(ends):.4f}" in line and (" -  " in line) == (rule == person)


def test_a_run_is_drawn_wherever_it_stopped_and_if_all_diverged(made, tmp_path):
    plan, records = made
    for number in range(1, len(records)):
        folder = write_run(longrun, plan, records[:number], tmp_path / str(number))
        longrun.report(plan, records[:number])
        figure.draw([folder], tmp_path / "figure.png")
    for last in ([], [1.0] * 8):
        lost = [r | {"curve": [None] * r["epochs"], "losses": [None] * r["epochs"]} for r in records]
        lost[0]["losses"] = last or lost[0]["losses"]
        folder = write_run(longrun, plan, lost, tmp_path / f"lost{len(last)}")
        assert [path.exists() for path in figure.draw([folder], tmp_path / "figure.png")] == [True] * 2


def test_who_races_already_does_not_race_twice(searched):
    best = best_found(results.read_records(searched), 1)[0]["rule"]
    plan = plan_of(longrun, searched, "--top", "1", "--also", "adam", "powersign", best)
    assert [one.name for one in plan.runners if one.kind == "named"] == ["powersign"]


def test_a_long_training_is_the_childs_own(searched):
    """With the child's epochs and its best rate it gives the very curve that scored the rule."""
    child, _ = read_child(searched)
    result = evaluate_rule("m 1 id id mul", child, 7)
    curve, losses, cpu_s = train_curve("m 1 id id mul", result.lr, child, 7, child.epochs)
    assert curve == result.curve and cpu_s > 0
    training = Training("m 1 id id mul", result.lr, child, 7)
    training.epoch()
    assert (
        losses[0] == training.loss == pytest.approx(float(sum(training.losses)) / len(training.losses))
    )
    lost, no_loss, _ = train_curve("g 1 exp id left", 1e38, child, 7, 4)
    assert lost == no_loss == [None] * 4
