"""Are the rules better than human optimizers on the search's ConvNet, do they last, are they robust?

Nothing to run here. Read next: elsewhere.py beside this file.
"""

from collections.abc import Collection

import numpy as np

from nosbench.intervals import mean_interval
from reproduce.reading import REPORTED, Claim, decided, graded, records, several, summary
from rules import HUMAN, NAMED_RULES
from studies import compare, robustness
from studies.analysis import by_seed, lead
from studies.significance import holm, sign_flip_p

# By their grid of rates: of searches of the paper's size, of its protocol at depth 1, and of the laptop
# preset's ConvNet at depth 2.
LARGEST = {"half decades": "compare-paper-cifar10"}
COMPARISONS = {"decades": "compare-protocol-cifar10", "half decades": "compare-halfdecades-cifar10"}
DEEPER = {
    "decades": "compare-laptop-depth2-cifar10",
    "half decades": "compare-laptop-depth2-halfdecades-cifar10",
}
CONFIRMATION = "compare-confirm-cifar10"  # half decades on more seeds


class Lead:
    """By how much a rule leads each human optimizer, and over whom the lead is significant.

    By the final stage of comparisons, paired by seed, seeds in `without` not counted; after Holm's
    correction for these four tests.
    """

    def __init__(self, folders: list[str], rule: str, without: Collection[int] = ()):
        finals = [record for folder in folders for record in records(folder)]
        ours = by_seed(finals, stage="final", rule=rule)
        ours = {seed: score for seed, score in ours.items() if seed not in without}
        self.count, self.intervals, p_values = len(ours), {}, []
        for name in HUMAN:
            ahead = lead(ours, by_seed(finals, stage="final", rule=NAMED_RULES[name].rule))
            self.intervals[name] = mean_interval(ahead)
            p_values.append(sign_flip_p(ahead))
        self.p = dict(zip(HUMAN, holm(p_values), strict=True))
        # One seed has a p value of 1 and no interval.
        self.won = [self.p[x] < compare.SIGNIFICANT and self.intervals[x].middle > 0 for x in HUMAN]

    def details(self) -> list[str]:
        p = {name: f"p {p:.3f}" if p >= 0.001 else "p < 0.001" for name, p in self.p.items()}
        return [f"minus {name.upper()} {self.intervals[name]:+.4f}, {p[name]}" for name in HUMAN]


def found_leads(comparisons: dict[str, str]) -> list[tuple[str, str, Lead]]:
    """Return for each grid of rates the name and the lead of the found rule that was best on the first
    stage's seeds; none unless every grid is there, on two seeds or more."""
    leads = []
    for grid, folder in comparisons.items():
        mine, found = records(folder), [one for one in summary(folder) if one["kind"] == "found"]
        if not found:
            return []
        best = max(found, key=lambda one: compare.scores(mine, "rerank", one["rule"]).mean())  # noqa: B023
        leads.append((grid, best["name"], Lead([folder], best["rule"])))
    return leads if all(lead.count > 1 for _, _, lead in leads) else []


def found_beat_human(
    comparisons: dict[str, str] = LARGEST,
    claim: str = "found rules beat the human optimizers on the search's ConvNet",
    page: str = "better-than-adam",
) -> Claim:
    """Reproduced if, with each grid of rates, the found rule that was best on the first stage's seeds
    leads each human optimizer significantly on the final stage's. Sign-flip tests, Holm-corrected for
    the four optimizers. Not run unless every grid is there, on two seeds or more."""
    row = Claim(claim, "yes", page)
    number, details, counts, won = [], [], [], []
    for grid, name, ahead in found_leads(comparisons):
        best = min(HUMAN, key=lambda name: ahead.intervals[name].middle)  # noqa: B023, of the human ones
        minus = f"minus {best.upper()}" if not number else best.upper()
        how = "" if grid == "decades" else f"{grid}, " if not number else f"{grid} "
        number.append(f"{how}{minus} {ahead.intervals[best]:+.4f}")
        details += [f"rates by {grid}, {name} {text}" for text in ahead.details()]
        counts.append(str(ahead.count))
        won += ahead.won
    if not won:
        return row
    return row._replace(
        number=", ".join(number),
        n=f"{' and '.join(counts)} fresh seeds", verdict=graded(won),
        details=(*details, f"standard deviation of one training {one_training(comparisons):.4f}"),
    )  # fmt: skip


def reported_beat_human() -> Claim:
    """Reproduced if the reported rule that is best in the comparison by decades leads each human
    optimizer significantly by half decades, on seeds that the first comparison had not."""
    row = Claim("so does the best rule that the paper reports (recalled)", "yes", "better-than-adam")
    first, *folders = [*COMPARISONS.values(), CONFIRMATION]
    rows = summary(first)
    reported = [one for one in rows if one["name"] in REPORTED]
    if not reported or not all(map(summary, folders)):
        return row
    best = reported[0]  # by validation accuracy
    seen = by_seed(records(first), stage="final", rule=best["rule"])
    ahead = Lead(folders, best["rule"], without=seen)
    if ahead.count < 2:
        return row
    above = [
        f"{sum(rule['validation'] > one['validation'] for rule in reported)} above {one['name'].upper()}"
        for one in rows
        if one["kind"] == "human"
    ]
    return row._replace(
        number=f"{best['name']} minus ADAM {ahead.intervals['adam']:+.4f}",
        n=f"{ahead.count} fresh seeds",
        verdict=graded(ahead.won),
        details=(
            f"rates by decades, of {len(reported)} rules: {', '.join(above)}; best: {best['name']}",
            *(f"rates by half decades, other seeds, {best['name']} {text}" for text in ahead.details()),
        ),
    )


def one_training(comparisons: dict[str, str] = COMPARISONS) -> float:
    """Return the standard deviation of one training on the search ConvNet, over human optimizers."""
    folder = next(iter(comparisons.values()))
    people = [one for one in summary(folder) if one["kind"] == "human"]
    return float(np.sqrt(np.mean([one["deviation"] ** 2 for one in people]))) if people else np.nan


def last_for_long(folder: str = "longrun-strided-cifar10") -> Claim:
    """Reproduced if the found rule that was best before leads the human optimizer that ends best, which
    favours the human side; by the 95 % interval of the differences by seed of the validation accuracy
    after the last epoch. Best before is best in the end on other seeds, without such one stage earlier.
    Not if it is surely less than one training's standard deviation ahead. One seed proves nothing."""
    row = Claim("the best rules last for 300 epochs", "dozens were filtered", "longrun")
    if not summary(folder):
        return row
    lines = [one | {"accuracy": one["curve"][-1]} for one in records(folder) if one["epochs"]]
    race = [one for one in lines if not one.get("confirm")]
    *_, before, last = [0, 0, *sorted({one["epochs"] for one in race})]
    finals = [one for one in lines if one.get("confirm")]  # of found rules the best alone
    finals = finals or [one for one in race if one["epochs"] == last]
    ends: dict[str, dict[str, dict[int, float]]] = {"found": {}, "human": {}}
    for one in finals:
        if one["kind"] in ends:
            ends[one["kind"]][one["rule"]] = by_seed(finals, rule=one["rule"])
    if not before or not all(ends.values()):
        return row
    mean = lambda some: float(np.mean(list(some.values())))  # noqa: E731
    chosen = max(ends["found"], key=lambda rule: mean(by_seed(race, epochs=before, rule=rule)))
    best = max(ends["human"], key=lambda rule: mean(ends["human"][rule]))
    names = {one["rule"]: one["name"] for one in race}
    ours, theirs, name = ends["found"][chosen], ends["human"][best], names[best].upper()
    ahead = lead(ours, theirs)
    found = [one for one in race if one["kind"] == "found"]
    count, lasted = (len({one["rule"] for one in found if one["epochs"] >= n}) for n in (0, last))
    return row._replace(
        number=f"minus {name} {mean_interval(ahead) or float(ahead[0]):+.4f}",
        n=f"{count} rules, {several(len(ahead), 'seed')}",
        verdict=decided(ours, theirs),
        details=(
            f"of {count} rules {lasted} trained to the end, {last} epochs; {names[chosen]}, best "
            f"before, ends at {mean(ours):.4f}, {name} at {mean(theirs):.4f}",
        ),
    )


def survives_changes(folder: str = "robustness-strided-cifar10") -> Claim:
    """Reproduced if each factor of 2 surely costs each found rule less than the standard deviation of
    one training, partly if that is sure of some rules; not if some factor surely costs each rule more;
    by 95 % intervals over seeds. One seed proves nothing."""
    row = Claim(
        "rules survive slight changes of their hyperparameters", "preliminary: yes", "robustness"
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

    def worst(some: list[str], factors: tuple[float, ...]) -> str:
        return f"{min(float(one.mean()) for rule in some for one in changes(rule, factors)):+.3f}"

    seeds = len(scores[found[0], None, 1.0])
    ends = [[mean_interval(one) for one in changes(rule, (0.5, 2))] for rule in found if seeds > 1]
    survive = [all(one.low > -noise for one in some) for some in ends]
    lost = [any(one.high < -noise for one in some) for some in ends]
    decided = seeds > 1 and (all(survive) or (any(survive) and any(lost)) or all(lost))
    return row._replace(
        number=f"worst change by a factor of 2 {worst(found, (0.5, 2))}; "
        f"one training's noise {noise:.4f}",
        n=f"{len(found)} rules, {several(seeds, 'seed')}",
        verdict=graded(survive) if decided else f"not decided, on {several(seeds, 'seed')}",
        details=tuple(
            f"worst change of accuracy by a factor of {factors[1]}: found rules "
            f"{worst(found, factors)}, human optimizers {worst(people, factors)}"
            for factors in ((0.5, 2), (0.1, 10))
        ),
    )
