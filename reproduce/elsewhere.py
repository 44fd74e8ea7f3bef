"""Do rules work on other networks, data and tasks, and on the Rosenbrock function?

Nothing to run here. Read next: RESULTS.md.
"""

import numpy as np
from scipy.stats import spearmanr

import results
import rosenbrock
from nosbench.intervals import mean_interval
from reproduce import reading
from reproduce.reading import NOT_RUN, PAPERS, REPORTED, Claim, graded, records, shown, summary
from rules import HUMAN, NAMED_RULES
from studies.tasks import BEST, METRICS


def transfers(task: str, claim: str, paper: str, reported: bool = False) -> Claim:
    """Reproduced if the found (or reported) rule that is best by validation is better on the test set
    than the human optimizer that is best by validation, not if it is worse; by 95 % intervals of the
    differences by seed. One seed proves nothing."""
    row = NOT_RUN._replace(claim=claim, paper=paper, command=f"transfer.py {task}")
    folder, metric = f"transfer-{task}", METRICS[task]
    rows = [one for one in summary(folder) if one["final_test"] is not None]  # best validation first
    people = [one for one in rows if one["name"] in HUMAN]
    known = [one for one in rows if one["name"] in REPORTED]
    found = [one for one in rows if one["name"] not in NAMED_RULES]  # they have a formula for it
    rules = known if reported else found
    if not people or not rules:
        return row
    ours, theirs = rules[0], people[0]

    def tests(one: dict) -> dict[int, float]:
        return {
            record["seed"]: record["test"][-1]
            for record in records(folder)
            if (record["stage"], record["rule"]) == ("train", one["rule"])
            and record["lr"] == one["final_lr"]
        }

    mine, others = tests(ours), tests(theirs)
    ahead = np.array([mine[seed] - others[seed] for seed in mine])
    here = f"by validation the best {'reported' if reported else 'found'} rule is {ours['name']}, test "
    here += f"{metric} {ours['final_test']:.4f}; of people's {theirs['name'].upper()}, "
    here += f"{theirs['final_test']:.4f}"
    if known and not reported:
        here += f" (of reported ones {known[0]['name']}, {known[0]['final_test']:.4f})"
    n = f"{len(rules)} rules, {len(ahead)} seed{'s' * (len(ahead) > 1)}"
    if len(ahead) == 1:
        return row._replace(here=here, n=n, verdict="not decided, on one seed")
    mean, *ends = mean_interval(ahead)
    low, high = ends if BEST[metric] is max else (-ends[1], -ends[0])
    verdict = PAPERS[0] if low > 0 else PAPERS[2] if high < 0 else f"not decided, on {len(ahead)} seeds"
    here += f"; difference {shown((mean, *ends), 4, '+')}"
    return row._replace(here=here, n=n, verdict=verdict)


def reported_transfer(beside: str = "compare-halfdecades-cifar10") -> Claim:
    """As `transfers`, of reported rules; with Spearman's rank correlation between the order that
    validation gives them and people's there and that on the search ConvNet."""
    claim = "so do the rules that it reports (recalled), in its order"
    row = transfers("wrn", claim, "yes; the order of its table is not at hand", reported=True)
    convnet = {one["name"]: one["validation"] for one in summary(beside)}
    both = np.array([
        (-np.inf if one["final_validation"] is None else one["final_validation"], convnet[one["name"]])
        for one in summary("transfer-wrn")
        if one["name"] in REPORTED | set(HUMAN) and one["name"] in convnet
    ], dtype=float)  # fmt: skip
    if row.verdict == NOT_RUN.verdict or len(both) < 3:
        return row
    return row._replace(
        here=f"{row.here}; with people's, validation orders all {len(both)} as on the search ConvNet "
        f"with a rank correlation of {spearmanr(*both.T).statistic:+.2f}"
    )


def rosenbrock_valley(folder: str = "rosenbrock-found-s0") -> Claim:
    """Reproduced if the rule that ends below Adam, RMSProp and SGD most often from one half of the
    starts does so from most of the other half; partly if from any."""
    row = NOT_RUN._replace(
        claim="a found rule beats Adam, RMSProp and SGD on the Rosenbrock function (recalled)",
        paper="yes",
        command="rosenbrock.py RUN",
    )
    if not summary(folder):
        return row
    plan = results.read_config(reading.PUBLISHED / folder)
    rules = [name for name, _ in plan["rules"]]
    everyone = rosenbrock.runs_of(records(folder))
    below = []  # [starts, rules]: whether a rule ends below all of them
    for start in range(plan["config"]["starts"]):
        groups = rosenbrock.by_name([one for one in everyone if one["start"] == start])
        winners = {name: rosenbrock.best(mine) for name, mine in groups.items()}
        final = {name: won["final_value"] if won else np.inf for name, won in winners.items()}
        bar = min(value for name, value in final.items() if name not in (*rules, "Momentum"))
        below.append([final[name] < bar for name in rules])
    half = len(below) // 2
    chosen = int(np.sum(below[:half], axis=0).argmax())
    first, rest = (sum(start[chosen] for start in some) for some in (below[:half], below[half:]))
    return row._replace(
        here=f"{sum(below[0])} of {len(rules)} rules of halls of fame end below all three, Adam tuned, "
        f"from the customary start; {rules[chosen]}, the most frequent winner from the first {half} "
        f"starts ({first} times), from {rest} of the other {len(below) - half}",
        n=f"{len(below)} starts, {len(plan['config']['rates'])} rates",
        verdict=graded([rest > 0, rest > (len(below) - half) / 2]),
    )
