"""Do rules work on other networks, data and tasks, and on the Rosenbrock function?

Nothing to run here. Read next: RESULTS.md.
"""

import numpy as np
from scipy.stats import spearmanr

import results
from nosbench.intervals import mean_interval
from reproduce import reading
from reproduce.reading import REPORTED, Claim, decided, graded, records, several, summary
from rosenbrock import FOUR, RATES
from rules import HUMAN, NAMED_RULES
from studies import valley
from studies.analysis import curves, lead
from studies.confirming import reference
from studies.tasks import BEST, METRICS


def transfers(task: str, claim: str, paper: str, reported: bool = False) -> Claim:
    """Reproduced if the found rule that is best by validation is better on the test set than the human
    optimizer that is best by validation; by the 95 % interval of the differences by seed. Where further
    seeds were trained, these alone count, and the human optimizer is the best of these, which favours
    the human side. Not if it is surely less than one training's standard deviation ahead. One seed
    proves nothing."""
    row, metric, folder = Claim(claim, paper, "transfer"), METRICS[task], f"transfer-{task}"
    rows = [one for one in summary(folder) if one["final_test"] is not None]  # best validation first
    # Found rules have a formula for a name.
    rules = [one for one in rows if one["name"] in REPORTED or not reported]
    rules = [one for one in rules if one["name"] not in NAMED_RULES or reported]
    people = [one for one in rows if one["name"] in HUMAN]
    if not rules or not people:
        return row
    lines = records(folder)
    confirmed = any(one["stage"] == "confirm" for one in lines)
    stage = "confirm" if confirmed else "train"

    def ends(one: dict, what: str) -> dict[int, float]:
        found = curves(lines, one["rule"], one["final_lr"], what, stage)
        return {seed: curve[-1] for seed, curve in found.items()}

    higher = BEST[metric] is max
    ours, theirs = rules[0], people[0]
    if confirmed:
        theirs = reference(people, lambda one: ends(one, "curve"), higher)
    tests = [ends(one, "test") for one in (ours, theirs)]
    ahead = lead(*tests)
    interval = mean_interval(ahead)
    difference = f"{interval:+.4f}" if interval else f"{ahead[0]:+.4f}"
    means = [np.mean([*some.values()]) for some in tests]
    return row._replace(
        number=f"test {metric} minus {theirs['name'].upper()}'s {difference}",
        n=f"{len(rules)} rules, {several(len(ahead), 'seed')}",
        verdict=decided(*tests, higher),
        details=(
            f"best by validation: {ours['name']}, test {metric} {means[0]:.4f}; of human "
            f"optimizers {theirs['name'].upper()}, {means[1]:.4f}",
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


def valley_ends(folder: str, rates: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Return where each optimizer of a race ends at its best of these rates, from each start."""
    ends: dict[str, np.ndarray] = {}
    for one in valley.runs_of(records(folder)):
        if one["lr"] in rates:
            of_one = ends.setdefault(one["name"], np.full(100, np.inf))
            value = np.inf if one["status"] == "diverged" else one["final_value"]
            of_one[one["start"]] = min(of_one[one["start"]], value)
    return ends


def rosenbrock_valley(found: str = "rosenbrock-found-s0", ours: str = "rosenbrock-tensorflow-s0",
                      near: str = "rosenbrock-near-s0") -> Claim:  # fmt: skip
    """A rule wins from a start if it ends at less than a tenth of where TensorFlow's Adam (its eps
    tuned), RMSProp and SGD end: a start 1e-9 away moves Adam's end by more than that. Reproduced if the
    found rule that wins most often from one half of the starts, at the paper's four rates (recalled),
    wins from most of the other half, also by half decades; partly if from any."""
    claim = "a found rule beats Adam, RMSProp and SGD on the Rosenbrock function (recalled)"
    row = Claim(claim, "yes", "rosenbrock")
    if not summary(found) or not summary(ours):
        return row
    plan = results.read_config(reading.PUBLISHED / found)
    rules, starts = [name for name, _ in plan["rules"]], plan["config"]["starts"]
    losers = [name for name in valley.HUMAN if name != "Momentum"]
    wins = {}  # by grid and optimizer, from which starts
    for grid, rates in (("decades", FOUR), ("half decades", RATES)):
        people = valley_ends(ours, rates)
        bar = np.min([people[name] for name in losers if name in people], axis=0) / 10
        # Rules do not depend on the library, so those raced beside torch's optimizers are as good.
        field = people | (valley_ends(found, rates) if rates == FOUR else {})
        wins[grid] = {name: (end < bar)[:starts] for name, end in field.items()}
    half = starts // 2
    chosen = max(rules, key=lambda name: wins["decades"][name][:half].sum())
    first, rest = (wins["decades"][chosen][part].sum() for part in (slice(half), slice(half, None)))
    finer = wins["half decades"].get(chosen, np.zeros(starts))[half:].sum()
    said = [f"{name} from {wins['decades'][name].sum()} by decades, {won.sum()} by half decades"
            for name, won in wins["half decades"].items() if name not in losers]  # fmt: skip
    nearby = [
        f"{name} {end[:21].min():.0e} to {end[:21].max():.0e}"
        for name, end in valley_ends(near, FOUR).items()
        if name in ("powersign-adam", "Momentum", valley.TUNED)
    ]
    beside = [str(one["powersign-adam"].sum()) for one in wins.values() if "powersign-adam" in one]
    beside = f"; powersign-adam from {' (half decades '.join(beside)}) of {starts}" * bool(beside)
    return row._replace(
        number=f"the chosen rule wins from {rest} of {starts - half} others{beside}",
        n=f"{len(rules)} rules, {starts} starts",
        verdict=graded([rest > 0, rest > (starts - half) / 2, finer > (starts - half) / 2]),
        details=(
            f"the chosen one is {chosen}, which won from {first} of the first {half} starts",
            f"{sum(wins['decades'][name][0] for name in rules)} rules win from the customary start",
            f"wins from {starts} starts: {'; '.join(said)}",
            *([f"ends from 21 starts within 1e-9, by decades: {'; '.join(nearby)}"] if nearby else []),
        ),
    )
