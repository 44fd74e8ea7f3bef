"""Do rules work on other networks, data and tasks, and on the Rosenbrock function?

Nothing to run here. Read next: RESULTS.md.
"""

import numpy as np
from scipy.stats import spearmanr

import results
from nosbench.intervals import mean_interval
from reproduce import reading
from reproduce.reading import PAPERS, REPORTED, Claim, graded, records, several, summary
from rules import HUMAN, NAMED_RULES
from studies import valley
from studies.analysis import curves, lead
from studies.tasks import BEST, METRICS


def transfers(task: str, claim: str, paper: str, reported: bool = False) -> Claim:
    """Reproduced if the found rule that is best by validation is better on the test set
    than the human optimizer that is best by validation, not if it is worse; by 95 % intervals of the
    differences by seed. One seed proves nothing."""
    row, metric, folder = Claim(claim, paper, "transfer"), METRICS[task], f"transfer-{task}"
    rows = [one for one in summary(folder) if one["final_test"] is not None]  # best validation first
    people = [one for one in rows if one["name"] in HUMAN]
    # Found rules have a formula for a name.
    rules = [one for one in rows if one["name"] in REPORTED or not reported]
    rules = [one for one in rules if one["name"] not in NAMED_RULES or reported]
    if not people or not rules:
        return row
    ours, theirs = rules[0], people[0]

    def tests(one: dict) -> dict[int, float]:
        found = curves(records(folder), one["rule"], one["final_lr"], "test")
        return {seed: curve[-1] for seed, curve in found.items()}

    ahead = lead(tests(ours), tests(theirs))
    interval, verdict = mean_interval(ahead), f"not decided, on {several(len(ahead), 'seed')}"
    if interval and interval.low * interval.high > 0:  # it leaves out 0
        verdict = PAPERS[0] if (interval.low > 0) == (BEST[metric] is max) else PAPERS[2]
    difference = f"{interval:+.4f}" if interval else f"{ahead[0]:+.4f}"
    return row._replace(
        number=f"test {metric} minus {theirs['name'].upper()}'s {difference}",
        n=f"{len(rules)} rules, {several(len(ahead), 'seed')}",
        verdict=verdict,
        details=(
            f"best by validation: {ours['name']}, test {metric} {ours['final_test']:.4f}; of human "
            f"optimizers {theirs['name'].upper()}, {theirs['final_test']:.4f}",
        ),
    )


def reported_transfer(beside: str = "compare-halfdecades-cifar10") -> Claim:
    """As for found rules. Beside it stands Spearman's rank correlation between the order that validation
    gives reported rules and human optimizers there and that on the search's ConvNet."""
    claim = "so do the rules that it reports (recalled), in its order"
    row = transfers("wrn", claim, "yes; the order of its table is not at hand", reported=True)
    convnet = {one["name"]: one["validation"] for one in summary(beside)}
    both = np.array([
        (-np.inf if one["final_validation"] is None else one["final_validation"], convnet[one["name"]])
        for one in summary("transfer-wrn")
        if one["name"] in REPORTED | set(HUMAN) and one["name"] in convnet
    ], dtype=float)  # fmt: skip
    if row.n == "-" or len(both) < 3:
        return row
    order = (
        f"rank correlation of the order of these {len(both)} rules with that on the search's ConvNet: "
    )
    return row._replace(details=(*row.details, f"{order}{spearmanr(*both.T).statistic:+.2f}"))


def rosenbrock_valley(folder: str = "rosenbrock-found-s0") -> Claim:
    """Reproduced if the rule that ends below Adam (its eps tuned), RMSProp and SGD most often from one
    half of the starts does so from most of the other half; partly if from any."""
    claim = "a found rule beats Adam, RMSProp and SGD on the Rosenbrock function (recalled)"
    row = Claim(claim, "yes", "rosenbrock")
    if not summary(folder):
        return row
    plan = results.read_config(reading.PUBLISHED / folder)
    rules = [name for name, _ in plan["rules"]]
    everyone = valley.runs_of(records(folder))
    below = []  # [starts, rules]: whether a rule ends below all of them
    for start in range(plan["config"]["starts"]):
        groups = valley.by_name([one for one in everyone if one["start"] == start])
        winners = {name: valley.best(mine) for name, mine in groups.items()}
        final = {name: won["final_value"] if won else np.inf for name, won in winners.items()}
        bar = min(value for name, value in final.items() if name not in (*rules, "Momentum"))
        below.append([final[name] < bar for name in rules])
    half = len(below) // 2
    chosen = int(np.sum(below[:half], axis=0).argmax())
    first, rest = (sum(start[chosen] for start in some) for some in (below[:half], below[half:]))
    return row._replace(
        number=f"chosen on {half} starts ({first} wins), wins from {rest} of {len(below) - half} others",
        n=f"{len(rules)} rules, {len(below)} starts",
        verdict=graded([rest > 0, rest > (len(below) - half) / 2]),
        details=(
            f"the chosen one is {rules[chosen]}",
            f"{sum(below[0])} rules end below all three from the customary start",
        ),
    )
