"""The comparison: fresh seeds, blind selection, honest arithmetic, on accuracies that are made up."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from helpers import refusal
from made import MadeTrials, changed_copy, made_result, made_up, write_run

import results
from child import ChildConfig
from dsl import Rule
from nosbench.intervals import mean_interval
from rules import HUMAN, NAMED_RULES
from sameness import by_family
from studies import compare
from studies.compare import Config, Contestant, Plan
from studies.figures import compare as figure
from studies.searches import read_child
from studies.significance import holm, sign_flip_p
from training import evaluate_and_test, evaluate_rule

PEOPLE = [NAMED_RULES[name].rule for name in HUMAN]
SMALL = {"top": 3, "seeds": 2, "finalists": 2, "final_seeds": 3, "rates": "half-decades"}
CONFIG = Config(also=("powersign", "adam"), **SMALL)


def outcome(task, rule: str, child: ChildConfig, seed: int):
    if task is evaluate_rule:
        return made_result(rule, child, seed)
    assert task is evaluate_and_test
    return made_result(rule, child, seed), made_up("test", rule, seed)


@pytest.fixture(scope="module")
def plan(searched) -> Plan:
    return compare.make_plan(CONFIG, [searched])


@pytest.fixture(scope="module")
def trials(plan) -> MadeTrials:
    return MadeTrials(compare, plan, outcome)


@pytest.fixture(scope="module")
def compared(plan, trials, tmp_path_factory):
    return write_run(compare, plan, trials.records, tmp_path_factory.mktemp("runs") / "compared")


def test_both_stages_hold_everybody_with_every_seed(plan, trials):
    records = trials.records
    rerank, final = ([r for r in records if r["stage"] == stage] for stage in ("rerank", "final"))
    assert [r["id"] for r in records] == list(range(len(records)))
    found = [one.rule for one in plan.of("found")]
    assert len(found) == 3
    jobs = [[(r["seed"], r["rule"]) for r in some] for some in (rerank, final)]
    assert jobs[0] == [*itertools.product((1000, 1001), found + PEOPLE)]
    chosen = compare.choose_finalists(plan.of("found"), rerank, 2)
    powersign = str(Rule.parse(NAMED_RULES["powersign"].rule))
    field = [one.rule for one in chosen] + [powersign, *PEOPLE]  # Adam, also named, comes once
    assert jobs[1] == [*itertools.product((2000, 2001, 2002), field)]
    assert all("test_accuracy" not in r for r in rerank) and all("test_accuracy" in r for r in final)
    for some, exponents in ((rerank, (-3, -1)), (final, (-3, -2.5, -2, -1.5, -1))):
        rates = [10.0**exponent for exponent in exponents]  # those and half decades between
        assert all([lr for lr, _ in r["sweep"]] == rates for r in some)
    children = {"rerank": plan.child, "final": compare.final_child(plan)}
    for r in records:
        assert r["accuracy"] == made_result(r["rule"], children[r["stage"]], r["seed"]).accuracy


def test_found_are_the_best_rules_of_the_best_families_that_have_no_human_optimizer(searched, plan):
    name = by_family()
    best = results.best_families(results.read_records(searched), name=name)
    human = {name({"rule": rule}) for rule in PEOPLE}
    expected = [family for family in best if name(family.best) not in human][:3]
    assert expected != best[:3]  # or there would be nothing to leave out
    for one, family in zip(plan.of("found"), expected, strict=True):
        assert (one.rule, one.source) == (family.best["rule"], f"{searched}#{family.best['id']}")
        assert (one.reward, one.spread, one.rules) == (family.reward, family.spread, family.num_rules)


def test_rules_of_several_runs_are_ranked_together_each_once(searched, tmp_path):
    records = results.read_records(searched)
    rows = [r | {"accuracy": r["accuracy"] and r["accuracy"] / 2} for r in records]
    twin = changed_copy(searched, tmp_path / "twin", rows, child_seed=1001)
    alone = compare.make_plan(Config(), [searched])
    both = compare.make_plan(Config(), [searched, twin, searched])
    halves = [(one.rule, 0.75 * one.reward, one.rules) for one in alone.of("found")]
    assert [(one.rule, one.reward, one.rules) for one in both.of("found")] == halves
    assert both.used_seeds == [0, 1001]
    assert compare.seeds_of(both)["rerank"] == [1000, 1002, 1003, 1004, 1005]
    changes = {"data": "pictures", "screen": False, "samples": 99, "seed": 5}  # none changes a score
    other = changed_copy(searched, tmp_path / "it", **changes)
    elsewhere = compare.make_plan(Config(), [searched, other])
    assert elsewhere.child == replace(read_child(searched)[0], screen=False)


def test_seeds_are_fresh_whatever_the_searches_used():
    plan = Plan(Config(seeds=1_000, final_seeds=4), ChildConfig(), [1_000, 1_500, 2_003], [])
    seeds = compare.seeds_of(plan)
    every = seeds["rerank"] + seeds["final"]
    assert len(every) == len(set(every)) == 1_004
    assert not set(every) & set(plan.used_seeds)
    assert seeds["final"] == [2_002, 2_004, 2_005, 2_006]  # 2000 and 2001 went into the first stage
    later = plan._replace(config=replace(plan.config, final_from=2_020))
    assert compare.seeds_of(later)["final"] == [2_020, 2_021, 2_022, 2_023]


def test_final_and_test_numbers_cannot_change_the_finalists(plan, trials):
    found, records = plan.of("found"), trials.records
    chosen = compare.choose_finalists(found, records, 2)
    [loser] = [one for one in found if one not in chosen]
    mine = lambda r, stage: (r["stage"], r["rule"]) == (stage, loser.rule)  # noqa: E731
    poison = {"stage": "final", "rule": loser.rule, "accuracy": 1.0, "test_accuracy": 1.0}
    poisoned = [r | {"test_accuracy": 1.0} if mine(r, "rerank") else r for r in records]
    poisoned += [poison | {"seed": seed} for seed in range(9)]
    assert compare.choose_finalists(found, poisoned, 2) == chosen
    better = [r | {"accuracy": 1.0} if mine(r, "rerank") else r for r in records]
    assert compare.choose_finalists(found, better, 2)[0] == loser  # fresh scores can


FIELD = [
    Contestant("found", "one", "m g id drop0.1 left", 0.9, "a#1", 0.0123, 7),
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
    pairs = zip(FIELD, means, strict=True)
    return final_records({one.rule: (x + common + rng.normal(0, 0.002, n)).tolist() for one, x in pairs})


def test_differences_are_paired_with_the_best_human_optimizer_and_what_diverged_counts_as_nothing():
    records = noisy(0, 0.62, 0.59, 0.5, 0.6, 0.55, 0.58)
    rows = {row["name"]: row for row in compare.summarize(FIELD, records)}
    values = {one.name: compare.scores(records, "final", one.rule) for one in FIELD}
    assert list(rows) == sorted(values, key=lambda name: -values[name].mean())
    assert {row["against"] for row in rows.values()} == {"momentum"}
    p_values = [sign_flip_p(values[name] - values["momentum"]) for name in ("one", "two")]
    for name, p, corrected in zip(("one", "two"), p_values, holm(p_values), strict=True):
        row, differences = rows[name], values[name] - values["momentum"]
        assert (row["ahead"], row["ahead_low"], row["ahead_high"]) == mean_interval(differences)
        wide = row["validation_high"] - row["validation_low"]
        assert row["ahead_high"] - row["ahead_low"] < wide / 5
        assert (row["p"], row["p_holm"]) == (p, corrected)
        assert row["deviation"] == pytest.approx(np.std(values[name], ddof=1))
    assert rows["adam"]["ahead"] is None and rows["adam"]["p_holm"] is None
    # A diverged training counts as nothing, and is told.
    scores = {one.rule: [0.5, 0.6, 0.7] for one in FIELD} | {FIELD[0].rule: [0.9, None, 0.9]}
    rows = compare.summarize(FIELD, final_records(scores))
    [row] = [row for row in rows if row["name"] == "one"]
    assert (row["validation"], row["diverged"], row["n"]) == (pytest.approx(0.6), 1, 3)
    text = compare.table(rows)
    assert "one (1 of 3 diverged)" in text
    assert "  0.9000 sd 0.0123, 7 rules  " in text and "  0.8000  " in text  # of two no more is known


BEYOND = "MOMENTUM, the best human optimizer, beyond noise"
SAID = [((0.62, 0.55), 10, f"one beats {BEYOND}"), ((0.62, 0.63), 10, "two; one beat MOMENTUM")]
SAID += [((0.5, 0.5), 10, f"No found rule beats {BEYOND}")]
SAID += [((0.9, 0.55), 3, "No found rule beats")]  # a large lead, but three seeds prove nothing


@pytest.mark.parametrize("means, n, said", SAID)
def test_conclusion_says_what_is_so(means, n, said):
    rows = compare.summarize(FIELD, noisy(1, *means, 0.5, 0.6, 0.55, 0.58, n=n))
    conclusion = compare.conclusion(rows)
    assert conclusion.startswith(said) and (n == 3) == ("With 3 seeds p cannot" in conclusion)


def test_selection_effect_is_reward_minus_fresh_mean():
    rules = {one.rule: [one.reward - 0.1, one.reward - 0.3] for one in FIELD if one.kind == "found"}
    rules |= {one.rule: [0.51, 0.51] for one in FIELD if one.kind == "human"}
    records = [record | {"stage": "rerank"} for record in final_records(rules)]
    plan = Plan(Config(seeds=2), ChildConfig(), [0], FIELD)
    said = compare.selection_effect(plan, records)
    assert (
        "the best families (2) scored 0.8500 on average in the search and 0.6500 on 2 fresh seeds"
        in said
    )
    assert "+0.2000" in said and said.endswith("it is -0.0100.")
    unscored = [one._replace(reward=None) if one.kind == "human" else one for one in FIELD]
    assert "human" not in compare.selection_effect(plan._replace(contestants=unscored), records)


def test_figure_shows_all_of_the_final_stage(searched, plan, compared, trials, tmp_path, capsys):
    figure.draw([compared], tmp_path / "figure.png")
    svg = (tmp_path / "figure.svg").read_text()
    rows, text = compare.report(plan, trials.records)
    assert sorted(row["kind"] for row in rows) == ["found", "found", *["human"] * 4, "named"]
    assert all(f"{row['validation']:.4f} [" in text and f"{row['test']:.4f}" in text for row in rows)
    for one in compare.choose_finalists(plan.of("found"), trials.records, 2):
        spread = f" sd {one.spread:.4f}" if one.spread is not None else ""
        assert f"  {one.reward:.4f}{spread}, {one.rules} rule{'s' * (one.rules > 1)}  " in text
    records = [r for r in trials.records if r["stage"] == "final"]
    names = [name for name, _ in figure.looks(figure.by_rule(records, "final")).values()]
    assert sorted(names) == ["Adam", "Momentum", "RMSProp", "SGD", "powersign", "rule 1", "rule 2"]
    for name in names:
        for kind in ("validation", "test"):
            [dots] = [part for part in svg.split("<g id=") if part.startswith(f'"{name} {kind}"')]
            assert dots.count("<use ") == 3
    early = changed_copy(compared, tmp_path / "early", trials.records[:8])
    for folder, why in ((searched, "no run of"), (early, "final stage"), (tmp_path, "not a run")):
        line = refusal(figure.main, [str(folder)], capsys)
        assert line.startswith("python -m studies.figures.compare: error: ") and why in line
