"""The spread of families against that of seeds: on scores of which it can be worked out by hand."""

import numpy as np
from helpers import refusal
from made import MadeTrials, changed_copy, plan_of, write_run

import results
from dsl import Rule
from studies import families, rescore

SCALED = [f"{{}} {x}" for x in ("1 id id mul", "1 id exp mul", "1e-2w id exp div", "1e-3w id exp div")]


def test_spreads_and_clearly_worse_rules_are_those_of_the_records(searched, tmp_path, capsys):
    [ok, *_] = [record for record in results.read_records(searched) if record["status"] == "ok"]
    ok |= {"sweep": [[0.1, 0.2], [1.0, 0.3], [10.0, 0.2]], "lr": 1.0, "cached_from": None}
    scores = {"m": [0.50, 0.52, 0.54, 0.56], "g": [0.30, 0.30, 0.30, 0.18, 0.16]}
    pairs = [(form.format(x), y) for x in scores for form, y in zip(SCALED, scores[x], strict=False)]
    rows = [ok | {"rule": rule, "key": Rule.parse(rule).key(), "reward": y} for rule, y in pairs]
    rows += [rows[0] | {"reward": 0.9}]  # known by its key
    rows += [rows[0] | {"rule": "m m id id add", "key": "2m", "reward": 0.1}]  # learns nothing
    rows += [rows[4] | {"rule": "g g id id add", "key": "2g", "reward": 0.16, "lr": 10.0}]
    rows += [rows[0] | {"rule": "v 1 id id mul", "key": "v", "reward": 0.2}]  # a family of its own
    rows += [rows[0] | {"key": "?", "status": "rejected", "reward": 0.0}]
    rows = [row | {"id": id, "accuracy": row["reward"]} for id, row in enumerate(rows)]
    run = changed_copy(searched, tmp_path / "run", rows)
    plan = plan_of(rescore, searched, "--top", "2", "--seeds", "3")
    trials = MadeTrials(rescore, plan).records
    for record in trials:
        record["accuracy"] = 0.5 + 0.01 * (record["seed"] - 3001)
    study = write_run(rescore, plan, trials, tmp_path / "study")
    assert families.main([str(run), str(study)]) == 0
    lines = [line.strip().split("  ") for line in capsys.readouterr().out.splitlines()]
    said = {words[0].split(",")[0]: words[-1].strip() for words in lines}
    squares = [len(some) * np.var(some) for some in scores.values()]
    assert list(said.values()) == [
        *("11", "3", "2 (10 rules)"),
        f"{np.std([0.53, 0.30], ddof=1):.4f}",
        f"{0.01:.4f} ({len(plan.rules)} rules)",
        f"{np.sqrt(sum(squares) / 7):.4f}",
        f"{np.sqrt(squares[0] / 5):.4f}",
        *("3", "2"),  # not 0.18, at a rate inside the sweep
    ]
    assert "fresh seeds" in refusal(families.main, [str(run)], capsys)
