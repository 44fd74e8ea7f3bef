"""Robustness: what is changed, who is scored, and the arithmetic of the summary."""

from dataclasses import replace

import numpy as np
import pytest
from made import MadeTrials, plan_of

from child import ChildConfig
from rules import HUMAN, NAMED_RULES
from studies import robustness
from studies.figures import robustness as figure
from studies.robustness import CHANGED, FACTORS, changed
from studies.trials import to_dict
from training import Training, evaluate_rule


@pytest.fixture(scope="module")
def made(searched) -> tuple[robustness.Plan, MadeTrials]:
    plan = plan_of(robustness, searched, "--top", "1", "--seeds", "2", "--rules", "sgd", "signsgd")
    return plan, MadeTrials(robustness, plan)


def test_a_change_multiplies_one_setting():
    child = ChildConfig()
    assert changed(child, None, 1.0) == child
    assert changed(child, "beta_horizon", 0.5).beta_horizon == 0.5
    assert changed(child, "eps", 10).eps == pytest.approx(1e-7)
    for factor, size in zip(FACTORS, (10, 50, 200, 1000), strict=True):
        assert changed(child, "batch_size", factor).batch_size == size
    for what in CHANGED:
        same = [name for name in vars(child) if name != what]
        assert all(getattr(changed(child, what, 2), name) == getattr(child, name) for name in same)


def test_everybody_is_scored_with_every_change(made):
    plan, trials = made
    people = [NAMED_RULES[name].rule for name in HUMAN]
    found, *rules = [rule for _, rule in plan.field]
    assert rules == ["sign_g 1 id id mul", *people] and found not in rules  # SGD comes once
    wanted = {(None, 1.0)} | {(what, factor) for what in CHANGED for factor in FACTORS}
    got = [((r["what"], r["factor"]), r["rule"], r["seed"]) for r in trials.records]
    assert len(got) == len(set(got)) == 13 * 6 * 2 and plan.seeds == [5000, 5001]
    assert set(got) == {(w, rule, seed) for w in wanted for _, rule in plan.field for seed in plan.seeds}
    for record, (task, *arguments) in zip(trials.records, trials.arguments, strict=True):
        child = changed(plan.child, record["what"], record["factor"])
        assert (task, arguments) == (evaluate_rule, [record["rule"], child, record["seed"]])


def test_without_the_searches_best_only_the_rules_named_come_along(searched):
    plan = plan_of(robustness, searched, "--top", "0", "--rules", "signsgd", "m 1 clip1e-3 id left")
    assert [name for name, _ in plan.field] == ["signsgd", "clip(m, 1e-3)", *HUMAN]


def test_the_summary_has_differences_by_seed_and_the_figure_a_line_for_each_change(made):
    plan, trials = made
    records = [r | {"accuracy": None} if r["id"] == 3 else r for r in trials.records]  # it diverged
    rows, text = robustness.report(plan, records)

    def scores(rule: str, what: str | None, factor: float) -> np.ndarray:
        mine = [r for r in records if (r["rule"], r["what"], r["factor"]) == (rule, what, factor)]
        return np.array([r["accuracy"] or 0.0 for r in sorted(mine, key=lambda r: r["seed"])])

    for row in rows:
        before = scores(row["rule"], None, 1.0)
        assert row["unchanged"] == pytest.approx(before.mean()) and f"{before.mean():.4f}" in text
        for what in CHANGED:
            for factor in FACTORS:
                difference = (scores(row["rule"], what, factor) - before).mean()
                assert row[f"{what} x {factor:g}"] == pytest.approx(difference)
    axes = figure.picture(to_dict(robustness, plan), records).axes
    adam = {line.get_gid(): line for panel in axes for line in panel.lines}["adam batch_size"]
    assert adam.get_xdata().tolist() == [0.1, 0.5, 1.0, 2.0, 10.0]
    mean = scores(NAMED_RULES["adam"].rule, "batch_size", 10).mean()
    assert adam.get_ydata()[-1] == pytest.approx(mean)
    figure.plt.close("all")


def test_rules_without_averages_or_division_do_not_mind_their_change(searched):
    """On the real child: SGD has neither, whatever they are; its batch it minds."""
    child = replace(plan_of(robustness, searched).child, lr_exponents=(-1,))
    rule = NAMED_RULES["sgd"].rule
    same = evaluate_rule(rule, child, 0).curve
    group = Training("adam 1 id id mul", 0.1, changed(child, "beta_horizon", 0.1), 0).optimizer.settings
    assert group["betas"] == pytest.approx((0, 0.99, 0.99)) and group["eps"] == child.eps
    for what in ("beta_horizon", "eps"):
        assert evaluate_rule(rule, changed(child, what, 10), 0).curve == same
    assert evaluate_rule(rule, changed(child, "batch_size", 2), 0).curve != same
