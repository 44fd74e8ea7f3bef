"""What searches say as numbers, and the figure and table that compare them, against plain counting."""

import math
import random
from collections import Counter

import numpy as np
import pytest
from made_runs import make_run

from dsl import Rule, SearchSpace
from plots.runs import read_groups
from studies import analysis
from studies.figures import searches


def run_of(rewards: list[float], rules: list[str]) -> list[dict]:
    """Return records in which a key that came before is a duplicate."""
    records, first = [], {}
    for id, rule in enumerate(rules):
        key = Rule.parse(rule).key()
        old = first.setdefault(key, id)
        record = {"id": id, "reward": rewards[old], "key": key, "rule": rule, "infix": key}
        record |= {"status": "ok" if rewards[old] else "rejected", "cpu_s": 6.0}
        records.append(record | {"cached_from": None if old == id else old})
    return records


RNG = np.random.default_rng(0)
SPACE = SearchSpace(1, operands=("g", "m", "sign_m", "adam"), unary=("id", "exp", "sign", "drop0.1"))
RULES = [str(SPACE.sample(random.Random(int(n)))) for n in RNG.integers(0, 120, size=300)]
REWARDS = [float(x) if x > 0.3 else 0.0 for x in RNG.uniform(size=300)]
RUN = run_of(REWARDS, RULES)
BAR = 0.7


def test_good_rules_are_counted_once_by_sampled_and_by_trained_rules():
    seen, alike, good, by_trained = set(), set(), 0, []
    for place, record in enumerate(RUN):
        if record["key"] not in seen:
            seen.add(record["key"])
            if record["reward"] >= BAR:
                alike.add(Rule.parse(record["rule"]).fingerprint())
                good += 1
            if record["status"] == "ok":
                by_trained.append(len(alike))
        assert analysis.good_rules(RUN, BAR)[place] == len(alike)
    assert analysis.good_by_trained(RUN, BAR).tolist() == by_trained
    assert 0 < len(alike) < good  # different keys, the same behaviour
    assert 0 < len(by_trained) < len(seen) < 300


def test_entropy_and_mean_are_those_of_the_last_hundred():
    means, entropies = analysis.moving_mean(RUN), analysis.entropy(RUN)
    assert len(means) == len(entropies) == 201
    for end in (100, 177, 300):
        last = RUN[end - 100 : end]
        assert means[end - 100] == pytest.approx(sum(r["reward"] for r in last) / 100)
        shares = [n / 100 for n in Counter(r["key"] for r in last).values()]
        plain = -sum(p * math.log(p) for p in shares)
        assert entropies[end - 100] == pytest.approx(plain + (len(shares) - 1) / 200)
    one = run_of([0.5] * 150, ["m g id id mul"] * 150)
    assert analysis.entropy(one) == pytest.approx(0)


def test_standing_counts_what_the_records_say():
    said = analysis.standing(RUN, BAR, {})
    new = [record for record in RUN if record["cached_from"] is None]
    assert (said["sampled"], said["distinct"]) == (300, len(new))
    assert said["trained"] == sum(record["reward"] > 0 for record in new)
    assert said["good"] == analysis.good_rules(RUN, BAR)[-1]
    assert said["latest fifth"] == pytest.approx(sum(r["reward"] for r in RUN[240:]) / 60)
    assert said["learn"] == pytest.approx(sum(r["reward"] > 0.15 for r in RUN) / 300)
    best = sorted((record["reward"] for record in new), reverse=True)
    assert (said["best"], said["ten best"]) == (best[0], pytest.approx(sum(best[:10]) / 10))
    assert math.isnan(said["fresh"])
    assert said["core-minutes"] == pytest.approx(0.1 * len(new))


def test_the_figure_and_the_table_hold_every_group(tmp_path, capsys):
    folders = [make_run(tmp_path / f"trpo{seed}", samples=120, seed=seed) for seed in range(2)]
    folders += [make_run(tmp_path / "no", samples=120, candidates=16)]
    folders += [make_run(tmp_path / "random", samples=60, algorithm="random")]
    assert searches.main([*map(str, folders), "-o", str(tmp_path / "figure.png")]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    labels = [row[0] for row in rows[2:5]]
    assert labels == ["TRPO", "TRPO, no repeats", "random"]
    reordered = read_groups([folders[2], *folders[:2]])
    assert [group.label for group in reordered] == ["TRPO, no repeats", "TRPO"]
    assert [row[1] for row in rows[2:5]] == ["2", "1", "1"]
    groups = read_groups(folders)
    good = [
        analysis.good_rules(run.records, 0.7055)[-1] for run in groups[0].runs
    ]  # the median of PEOPLE
    assert rows[2][7] == f"{np.mean(good):.0f} [{min(good)}, {max(good)}]"
    assert rows[4][11] == "-"  # fewer rules than the window of the entropy
    figure = searches.picture(groups, 0.7055)
    lines = {line.get_gid(): line for axes in figure.axes for line in axes.lines}
    np.testing.assert_allclose(
        lines["TRPO, no repeats Good rules found"].get_ydata(),
        analysis.good_rules(groups[1].runs[0].records, 0.7055),
    )
    mean = np.mean([analysis.moving_mean(run.records) for run in groups[0].runs], 0)
    np.testing.assert_allclose(lines["TRPO Mean reward"].get_ydata(), mean)


def test_ten_best_are_matched_with_their_fresh_scores_by_key():
    run = run_of([0.9, 0.8, 0.7], ["m g id id mul", "g 1 id id mul", "v g id id left"])
    others = [Rule.parse(rule).key() for rule in ("g m id id mul", "1 g id id mul", "v m id log left")]
    fresh = dict(zip(others, (0.1, 0.2, 0.6), strict=True))  # other spellings of the same rules
    assert analysis.ten_best(run, fresh) == pytest.approx((0.8, 0.3))
    assert math.isnan(analysis.ten_best(run, {others[0]: 0.1})[1])
