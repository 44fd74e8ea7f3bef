"""Transfer: who trains with which rates, and what is chosen by what."""

from functools import partial

from config import ConfigError

import numpy as np
import pytest
from made import MadeTrials, made_up, plan_of

from rules import HUMAN, NAMED_RULES
from studies import confirming, transfer
from studies.figures import transfer as figure
from studies.tasks import Outcome
from studies.transfer import Config, Plan, rates_to_train, summarize

FIELD = [("a", "g 1 id id mul"), ("b", "m 1 id id mul")]
PLAN = Plan("text", Config(epochs=3, seeds=2), "float32", FIELD)


def made_outcome(task, name, root, precision, rule, lr, seed, epochs, examples, horizon) -> Outcome:
    curve = [1 + made_up(rule, lr, seed, epoch) for epoch in range(epochs)]
    return Outcome(curve, [None] * (epochs - 1) + [2 + made_up(rule, lr, seed, "test")], 1.0)


def test_all_sweep_and_then_train_with_the_best_rate_and_its_neighbours():
    rules = ["adam", "sign_m 1 id id mul", "1 adam id id mul"]  # Adam comes but once
    plan = plan_of(transfer, "text", "--epochs", "3", "--seeds", "2", "--rules", *rules)
    trials = MadeTrials(transfer, plan, made_outcome)
    rules = ["sign_m 1 id id mul", *(NAMED_RULES[name].rule for name in HUMAN)]
    sweep = [r for r in trials.records if r["stage"] == "sweep"]
    jobs = [(r["rule"], r["lr"], r["seed"]) for r in sweep]
    assert jobs == [(rule, 10.0**e, 0) for rule in rules for e in range(-5, 2)]
    assert all(len(r["curve"]) == 1 for r in sweep)
    assert {(args[-2], args[-1]) for args in trials.arguments[: len(sweep)]} == {(10_000, 3)}
    trained = [(r["rule"], r["lr"], r["seed"]) for r in trials.records if r["stage"] == "train"]
    wanted = []
    for rule in rules:
        best = min((r for r in sweep if r["rule"] == rule), key=lambda r: (r["curve"][0], r["lr"]))["lr"]
        wanted += [(rule, best * f, seed) for seed in (0, 1) for f in (0.1, 1, 10)]
    assert [(a, pytest.approx(b), c) for a, b, c in trained] == wanted
    rows, _ = transfer.report(plan, trials.records)
    finals = [row["final_validation"] for row in rows]
    assert len(rows) == 5 and finals == sorted(finals)  # of perplexities the lowest comes first


def record(rule: str, lr: float, seed: int, curve: list, test: list, stage="train") -> dict:
    job = {"stage": stage, "rule": rule, "lr": lr, "seed": seed}
    return job | {"curve": curve, "test": test}


def test_the_rate_is_chosen_by_validation_and_test_scores_and_the_drawn_curve_follow():
    rule = PLAN.field[0][1]
    records = [
        record(rule, 0.1, 0, [5.0, 3.0, 4.0], [9.0, 8.0, 7.0]),
        record(rule, 0.1, 1, [5.0, 4.0, 4.2], [9.0, 6.0, 5.0]),
        record(rule, 1.0, 0, [6.0, 5.0, 3.9], [1.0, 1.0, 1.0]),
        record(rule, 1.0, 1, [6.0, 5.0, 3.8], [1.0, 1.0, 2.0]),
        record(rule, 10.0, 0, [2.0, None, None], [1.0, None, None]),
        record(rule, 10.0, 1, [2.0, 1.0, 1.0], [1.0, 1.0, 1.0]),
    ]
    other = [record(PLAN.field[1][1], 0.1, s, [None] * 3, [None] * 3) for s in (0, 1)]
    good, lost = summarize(PLAN, records + other)
    # Final: 3.85 at 1.0 is better than 4.1 at 0.1; 10 diverged with one seed.
    assert (good["final_lr"], good["final_validation"]) == (1.0, pytest.approx(3.85))
    assert (good["final_test"], good["final_test_sd"]) == (1.5, pytest.approx(np.std([1, 2], ddof=1)))
    # Best epochs: 2.0 and 1.0 at rate 10, whose first seed diverged later.
    assert (good["best_lr"], good["best_validation"], good["best_test"]) == (10.0, 1.5, 1.0)
    assert lost["name"] == "b" and lost["final_validation"] is None and lost["best_test"] is None
    assert "b" in transfer.table(PLAN, [good, lost]).splitlines()[2]
    # The curve that is drawn is the mean at the chosen rate.
    records.append(record(rule, 1.0, 0, [1.0], [None], "sweep"))
    rows = [{"name": "a", "rule": rule, "human": "False", "final_lr": "1.0"}]
    [axes, *_] = figure.picture({"task": "text", "config": {"seeds": 2}}, records, rows).axes
    [line] = [line for line in axes.lines if line.get_gid() == "a"]
    assert line.get_ydata().tolist() == pytest.approx([6.0, 5.0, 3.85])
    figure.plt.close("all")


def test_the_best_rules_and_all_people_are_confirmed_at_their_rates_on_further_seeds():
    rules = ["powersign", "sign_m 1 id id mul", "addsign", "gamma 1 id id mul"]
    flags = ["--epochs", "3", "--seeds", "2", "--first-seed", "5", "--confirm-seeds", "3"]
    plan = plan_of(transfer, "text", *flags, "--rules", *rules)
    trials = MadeTrials(transfer, plan, made_outcome)
    rows, text = transfer.report(plan, trials.records)
    kinds = {"found": rules[1::2], "named": [NAMED_RULES[name].rule for name in rules[::2]]}
    kinds["human"] = [NAMED_RULES[name].rule for name in HUMAN]
    again = [record for record in trials.records if record["stage"] == "confirm"]
    assert [record["seed"] for record in again] == [seed for seed in (7, 8, 9) for _ in range(6)]
    best = {kind: next(row for row in rows if row["rule"] in some) for kind, some in kinds.items()}
    people = [row for row in rows if row["rule"] in kinds["human"]]
    wanted = sorted((row["rule"], row["final_lr"]) for row in [best["found"], best["named"], *people])
    assert sorted((record["rule"], record["lr"]) for record in again[:6]) == wanted
    # The best of people is told by validation there, which for perplexity is the lowest.
    validation = {
        row["rule"]: np.mean([r["curve"][-1] for r in again if r["rule"] == row["rule"]])
        for row in people
    }
    best["human"] = next(row for row in people if row["rule"] == min(validation, key=validation.get))
    # What the table says is of these alone, and the lead over the best human optimizer.
    scores = {
        (kind, what): np.array([r[what][-1] for r in again if r["rule"] == best[kind]["rule"]])
        for kind in kinds
        for what in ("curve", "test")
    }
    ours, ahead = scores["found", "test"], scores["found", "test"] - scores["human", "test"]
    margin = 4.303 * ahead.std(ddof=1) / np.sqrt(3)  # t of two degrees of freedom
    table = text.split("further seeds")[1].splitlines()
    [said] = [line for line in table if line.endswith(f"  {best['found']['name']}")]
    numbers = [float(word.strip("[],")) for word in said.split()[:6]]
    wanted = [scores["found", "curve"].mean(), ours.mean(), ours.std(ddof=1)]
    wanted += [ahead.mean(), ahead.mean() - margin, ahead.mean() + margin]
    assert numbers == pytest.approx(wanted, abs=2e-4)
    assert f"minus {best['human']['name'].upper()} " in text
    assert "further seeds" not in transfer.report(plan, trials.records[:-18])[1]


def test_another_optimizer_confirms_as_a_named_one_not_as_a_found_rule():
    names = ["torch.optim.AdamW(weight_decay=0.01)", "sign(m)", "powersign", "adam", "sgd"]
    rows = [{"name": name, "rule": name, "score": 1.0} for name in names]
    assert [row["name"] for row in confirming.finalists(rows, "score")] == [*names[:2], "adam", "sgd"]
    rows[0]["score"] = None  # it diverged
    assert [row["name"] for row in confirming.finalists(rows, "score")] == names[1:]
    assert confirming.finalists(rows[:3], "score") == []  # nobody to compare with
    raced = [row | {"kind": "named"} for row in rows[:2]] + rows[3:]  # as a long run tells it
    assert [row["name"] for row in confirming.finalists(raced, "score")] == ["sign(m)", "adam", "sgd"]


def test_one_further_seed_has_no_interval():
    with pytest.raises(ConfigError, match="--confirm-seeds is 1"):
        plan_of(transfer, "text", "--confirm-seeds", "1")


def test_of_equal_rates_the_smaller_is_chosen_and_has_neighbours_beyond_the_sweep():
    rule = PLAN.field[0][1]
    sweep = [record(rule, lr, 0, [2.0], [None], "sweep") for lr in (1.0, 10.0)]
    assert rates_to_train(PLAN, sweep) == pytest.approx([0.1, 1.0, 10.0])
    sweep = [record(rule, lr, 0, [x], [None], "sweep") for lr, x in ((1e-5, 9.0), (1.0, None))]
    assert rates_to_train(PLAN, sweep) == pytest.approx([1e-6, 1e-5, 1e-4])
    # Higher is better for classifiers, lower for language models.
    text, images = (partial(transfer.rank, PLAN._replace(task=task)) for task in ("text", "wrn"))
    assert text(3.0) > text(4.0) > text(None) and images(0.4) > images(0.3) > images(None)
