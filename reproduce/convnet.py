"""Are the rules better than people's optimizers on the search's ConvNet, do they last, are they robust?

Nothing to run here. Read next: elsewhere.py beside this file.
"""

import numpy as np

from nosbench.intervals import mean_interval
from reproduce.reading import (
    NOT_RUN,
    REPORTED,
    Claim,
    graded,
    probability,
    records,
    shown,
    summary,
)
from rules import HUMAN, NAMED_RULES
from studies import compare, robustness
from studies.significance import holm, sign_flip_p

COMPARISONS = {"decades": "compare-protocol-cifar10", "half decades": "compare-halfdecades-cifar10"}
CONFIRMATION = "compare-confirm-cifar10"  # half decades on more seeds


def final_scores(folders: list[str], rule: str, without: set[int] = frozenset()) -> dict[int, float]:
    """Return a rule's validation accuracy by seed in the final stage of compare.py, 0 if it diverged."""
    return {
        record["seed"]: record["accuracy"] or 0.0
        for folder in folders
        for record in records(folder)
        if (record["stage"], record["rule"]) == ("final", rule) and record["seed"] not in without
    }


def beats_each(folders: list[str], rule: str, without: set[int] = frozenset()) -> tuple[str, list[bool]]:
    """Return by how much a rule leads each human optimizer, and over whom the lead is significant, after
    Holm's correction for these four tests; paired by seed, seeds in `without` not counted."""
    ours = final_scores(folders, rule, without)
    ahead = []
    for name in HUMAN:
        theirs = final_scores(folders, NAMED_RULES[name].rule, without)
        ahead.append(np.array([ours[seed] - theirs[seed] for seed in ours]))
    p_values = holm([sign_flip_p(differences) for differences in ahead])
    said = [
        f"{name.upper()} {shown(mean_interval(differences), 4, '+')}, {probability(p)}"
        for name, differences, p in zip(HUMAN, ahead, p_values, strict=True)
    ]
    won = [d.mean() > 0 and p < compare.SIGNIFICANT for d, p in zip(ahead, p_values, strict=True)]
    return "; ".join(said), won


def found_beat_human() -> Claim:
    """Reproduced if, with each grid, the found rule that was best on the first stage's seeds leads each
    human optimizer significantly on the final stage's."""
    row = NOT_RUN._replace(
        claim="found rules beat SGD, Momentum, RMSProp and Adam on the search ConvNet",
        paper="yes",
        command="compare.py",
    )
    said, counts, won = [], [], []
    for grid, folder in COMPARISONS.items():
        found = [one for one in summary(folder) if one["kind"] == "found"]
        if not found:
            continue
        mine = records(folder)
        best = max(found, key=lambda one: compare.scores(mine, "rerank", one["rule"]).mean())
        text, wins = beats_each([folder], best["rule"])
        said.append(f"rates by {grid}, {best['name']} minus {text}")
        counts.append(f"{best['n']:.0f}")
        won += wins
    if not said:
        return row
    noise = f"; standard deviation of one training {one_training():.4f}"
    n = f"{' and '.join(counts)} fresh seeds"
    return row._replace(here="; ".join(said) + noise, n=n, verdict=graded(won))


def reported_beat_human() -> Claim:
    """Reproduced if the reported rule that is best in the comparison by decades leads each human
    optimizer significantly by half decades, on seeds that the first comparison had not."""
    row = NOT_RUN._replace(
        claim="so does the best of the rules that it reports (recalled)",
        paper="yes",
        command="compare.py --also; compare.py --final-from",
    )
    first, *folders = [*COMPARISONS.values(), CONFIRMATION]
    rows = summary(first)
    reported = [one for one in rows if one["name"] in REPORTED]
    if not reported or not all(map(summary, folders)):
        return row
    above = [
        f"{one['name'].upper()} {sum(rule['validation'] > one['validation'] for rule in reported)}"
        for one in rows
        if one["kind"] == "human"
    ]
    best = reported[0]  # by validation accuracy
    seen = set(final_scores([first], best["rule"]))
    text, wins = beats_each(folders, best["rule"], without=seen)
    return row._replace(
        here=f"rates by decades: above {', '.join(above)} of {len(reported)}, the best {best['name']}; "
        f"by half decades and other seeds, it minus {text}",
        n=f"{len(set(final_scores(folders, best['rule'])) - seen)} fresh seeds, of both later runs",
        verdict=graded(wins),
    )


def one_training() -> float:
    """Return the standard deviation of one training on the search ConvNet, over people's optimizers."""
    people = [one for one in summary(COMPARISONS["decades"]) if one["kind"] == "human"]
    return float(np.sqrt(np.mean([one["deviation"] ** 2 for one in people]))) if people else np.nan


def last_for_long(folder: str = "longrun-strided-cifar10") -> Claim:
    """Not decided, since it ran with one seed: how many found rules trained to the end, and how many of
    those are above the best human optimizer there, or below by less than one training's deviation."""
    row = NOT_RUN._replace(
        claim="the best rules last for 300 epochs", paper="dozens were filtered", command="longrun.py"
    )
    rows, noise = summary(folder), one_training()
    if not rows or np.isnan(noise):
        return row
    epochs = max(one["epochs"] for one in rows)
    ended = [one for one in rows if one["epochs"] == epochs]
    found = [one["final"] for one in ended if one["kind"] == "found" and one["final"] is not None]
    human = [one for one in ended if one["kind"] == "human" and one["final"] is not None]
    if not found or not human:
        return row
    best = max(human, key=lambda one: one["final"])
    above = sum(final > best["final"] for final in found)
    near = sum(best["final"] >= final > best["final"] - noise for final in found)
    return row._replace(
        here=f"of {sum(one['kind'] == 'found' for one in rows)} rules {len(found)} trained to the end: "
        f"above {best['name'].upper()} ({best['final']:.4f}) {above}, less than one training's standard "
        f"deviation below {near}; the best {max(found):.4f}",
        n=f"{epochs:.0f} epochs of 10,000 images, 1 seed",
        verdict="not decided, on one seed",
    )


def survives_changes(folder: str = "robustness-strided-cifar10") -> Claim:
    """Reproduced if each factor of 2 surely costs each found rule less than the standard deviation of
    one training, partly if that is sure of some rules; not if some factor surely costs each rule more;
    by 95 % intervals over seeds. One seed proves nothing."""
    row = NOT_RUN._replace(
        claim="rules survive slight changes of their hyperparameters",
        paper="preliminary: yes",
        command="robustness.py",
    )
    noise, rows = one_training(), summary(folder)
    found = [one["rule"] for one in rows if one["name"] not in NAMED_RULES]
    if not found or np.isnan(noise):
        return row
    scores = robustness.by_change(records(folder))
    people = [NAMED_RULES[name].rule for name in HUMAN]

    def changes(rule: str, factors: tuple[float, ...]) -> list[np.ndarray]:
        """Return what each change adds to a rule's accuracy, by seed."""
        before = scores[rule, None, 1.0]
        after = [scores[rule, what, factor] for what in robustness.CHANGED for factor in factors]
        return [np.array([one[seed] - before[seed] for seed in before]) for one in after]

    def worst(some: list[str], factors: tuple[float, ...]) -> float:
        return min(float(one.mean()) for rule in some for one in changes(rule, factors))

    seeds = len(scores[found[0], None, 1.0])
    row = row._replace(
        here=f"the worst change of accuracy by a factor of 2 {worst(found, (0.5, 2)):+.3f}, of people's "
        f"{worst(people, (0.5, 2)):+.3f}; by a factor of 10 {worst(found, (0.1, 10)):+.3f} and "
        f"{worst(people, (0.1, 10)):+.3f}; standard deviation of one training {noise:.4f}",
        n=f"{len(found)} rules, {seeds} fresh seeds",
        verdict=f"not decided, on {seeds} seed{'s' * (seeds > 1)}",
    )
    if seeds == 1:
        return row
    ends = [[mean_interval(one)[1:] for one in changes(rule, (0.5, 2))] for rule in found]
    survive = [all(low > -noise for low, _ in some) for some in ends]
    lost = [any(high < -noise for _, high in some) for some in ends]
    if all(survive) or any(survive) and any(lost) or all(lost):
        return row._replace(verdict=graded(survive))
    return row
