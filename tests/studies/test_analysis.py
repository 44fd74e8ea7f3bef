"""What searches say as numbers, and the figure and table that compare them, against plain counting."""

import math
import random
from collections import Counter

import numpy as np
import pytest
from made_runs import make_run

import results
from dsl import Rule, SearchSpace
from plots.runs import read_groups
from sameness import by_family
from studies import analysis
from studies.figures import searches


def run_of(rewards: list[float], rules: list[str]) -> list[dict]:
    """Return records in which a key that came before is a duplicate."""
    records, first = [], {}
    for id, rule in enumerate(rules):
        key = Rule.parse(rule).key()
        old = first.setdefault(key, id)
        record = {"id": id, "reward": rewards[old], "key": key, "rule": rule, "infix": key, "seed": 0}
        record["accuracy"] = rewards[old] or None
        record |= {"status": "ok" if rewards[old] else "rejected", "cpu_s": 6.0}
        records.append(record | {"cached_from": None if old == id else old})
    return records


RNG = np.random.default_rng(0)
SPACE = SearchSpace(1, operands=("g", "m", "adam", "1"), unary=("id", "exp", "sign", "drop0.1"))
RULES = [str(SPACE.sample(random.Random(int(n)))) for n in RNG.integers(0, 120, size=300)]
REWARDS = [float(x) if x > 0.1 else 0.0 for x in RNG.uniform(size=300)]
RUN = run_of(REWARDS, RULES)
BAR = 0.7


def test_good_families_are_those_whose_mean_so_far_reaches_the_bar():
    counts, name = analysis.good_families(RUN, BAR), by_family()
    spent, good_at, tried, fell = 0, {0: 0}, [], 0
    for place, record in enumerate(RUN):
        families = results.best_families(RUN[: place + 1], name=name)
        assert counts[place] == sum(family.reward >= BAR for family in families)
        fell += place and counts[place] < counts[place - 1]
        spent += record["cpu_s"] * (record["cached_from"] is None)
        good_at[spent] = counts[place]
        tried.append(len({name(record) for record in RUN[: place + 1]}))
    by_cost = [good_at[max(end for end in good_at if end <= s)] for s in range(0, int(spent) + 4, 4)]
    assert analysis.good_by_cost(RUN, BAR, step_s=4).tolist() == by_cost and by_cost[-1] == counts[-1]
    assert analysis.families_tried(RUN).tolist() == tried
    top = max(family.reward for family in families)
    bars = [0.0, BAR, top, 2.0]
    at_end = [sum(family.reward >= bar for family in families) for bar in bars]
    assert analysis.good_by_bar(RUN, np.array(bars)).tolist() == at_end and at_end[-1] == 0
    good = {record["key"] for record in RUN if record["reward"] >= BAR}
    assert fell and 1 < counts[-1] < len(good) and 0 < spent < 6 * 300
    assert any(0.1 < reward < 0.15 for reward in REWARDS)  # hardly better than guessing


def test_entropy_and_mean_are_those_of_the_last_hundred():
    means, entropies, name = analysis.moving_mean(RUN), analysis.entropy(RUN), by_family()
    assert len(means) == len(entropies) == 201
    for end in (100, 177, 300):
        last = RUN[end - 100 : end]
        assert means[end - 100] == pytest.approx(sum(r["reward"] for r in last) / 100)
        shares = [n / 100 for n in Counter(map(name, last)).values()]
        plain = -sum(p * math.log(p) for p in shares)
        assert entropies[end - 100] == pytest.approx(plain + (len(shares) - 1) / 200)
    one = run_of([0.5] * 150, ["m g id id mul"] * 150)
    assert analysis.entropy(one) == pytest.approx(0)


def test_standing_counts_what_the_records_say_and_fresh_scores_are_matched_by_key():
    said = analysis.standing(RUN, BAR, {})
    new, name, rewards = [r for r in RUN if r["cached_from"] is None], by_family(), {}
    for record in new:
        rewards.setdefault(name(record), []).append(record["reward"])
    best = sorted((np.mean(some) for some in rewards.values() if any(some)), reverse=True)
    assert len(best) > 10 and math.isnan(said.pop("fresh"))
    wanted = {"trained": sum(r["reward"] > 0 for r in new), "core-minutes": 0.1 * len(new)}
    wanted |= {"good": analysis.good_families(RUN, BAR)[-1], "sampled": 300, "families": len(rewards)}
    wanted |= {"latest fifth": sum(r["reward"] for r in RUN[240:]) / 60}
    wanted |= {"learn": sum(r["reward"] > 0.15 for r in RUN) / 300}
    wanted |= {"best": best[0], "ten best": np.mean(best[:10])}
    assert {column: said[column] for column in wanted} == pytest.approx(wanted)
    run = run_of([0.9, 0.8, 0.7], ["m g id id mul", "g 1 id id mul", "v g id id left"])
    run += [run[1] | {"rule": "g 1 id exp mul", "key": "e * g", "accuracy": 0.6}]  # of g's family
    others = [Rule.parse(rule).key() for rule in ("g m id id mul", "1 g id id mul", "v m id log left")]
    fresh = dict(zip(others, (0.1, 0.2, 0.6), strict=True))  # other spellings of the same rules
    said = analysis.standing(run, 0.75, fresh)
    assert (said["ten best"], said["fresh"]) == pytest.approx(((0.9 + 0.7 + 0.7) / 3, 0.3))
    assert math.isnan(analysis.standing(run, 0.75, {others[0]: 0.1})["fresh"])


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
    bar = 0.7055  # the median of PEOPLE
    good = [analysis.good_families(run.records, bar)[-1] for run in groups[0].runs]
    assert rows[2][7] == f"{np.mean(good):.0f} [{min(good)}, {max(good)}]"
    assert rows[4][11] == "-"  # fewer rules than the window of the entropy
    figure = searches.picture(groups, {"sgd": bar, "adam": bar}, "in the search")
    lines = {line.get_gid(): line for axes in figure.axes for line in axes.lines}
    drawn = lines["TRPO, no repeats Good families found"].get_ydata()
    np.testing.assert_allclose(drawn, analysis.good_families(groups[1].runs[0].records, bar))
    short, level = (lines[f"random Good families found{more}"] for more in ("", " to its label"))
    right = short.axes.get_xlim()[1]
    assert level.get_xydata().tolist() == [[60, short.get_ydata()[-1]], [right, short.get_ydata()[-1]]]
    assert "TRPO Good families found to its label" not in lines and right < 130
    mean = np.mean([analysis.moving_mean(run.records) for run in groups[0].runs], 0)
    np.testing.assert_allclose(lines["TRPO Mean reward"].get_ydata(), mean)
