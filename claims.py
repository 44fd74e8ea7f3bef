"""The claims of the paper one by one: what the published runs say of each, with a verdict by rule.

    python claims.py          # prints the table on top of RESULTS.md, as Markdown

Each function below reads records from runs/published and returns one row: claim, the paper's words in
short, what was measured, on how much, and the verdict. Its docstring says when a claim counts as
reproduced; "partly" is some of that. What has no records is "not run". Nothing is chosen by a test set.
Read next: RESULTS.md.
"""

import csv
import signal
import sys
from glob import glob
from pathlib import Path
from typing import NamedTuple

import numpy as np

import compare
import results
import robustness
import rosenbrock
from config import Parser
from plots.runs import Run, read_all
from plots.searches import standing
from plots.study import Setting, paired
from rules import HUMAN, NAMED_RULES, RECALLED
from significance import holm, mean_interval, ratio_interval, sign_flip_p, spearman
from tasks import BEST, METRICS
from trials import read_trials

PUBLISHED = Path(__file__).parent / "runs" / "published"
REPORTED = {name for name, named in NAMED_RULES.items() if named.source == RECALLED}


class Claim(NamedTuple):
    """A row of the table."""

    claim: str
    paper: str
    here: str
    n: str
    verdict: str
    command: str


NOT_RUN = Claim("", "", "-", "-", "not run", "")


PAPERS = ("reproduced", "partly", "not reproduced")
OURS = ("holds", "holds in part", "does not hold")  # of what the paper does not claim


def graded(wins: list[bool], words: tuple[str, str, str] = PAPERS) -> str:
    """Return the verdict: the first word if all are won, the second if some are; not for no wins."""
    return words[0] if all(wins) else words[1] if any(wins) else words[2]


# --- reading --------------------------------------------------------------------------------------


def summary(folder: str) -> list[dict]:
    """Return the rows of a published run's summary.csv; none if it is not there.

    What looks like a number is one, except in names: a rule's may be "1". An empty cell is None.
    """
    file = PUBLISHED / folder / "summary.csv"
    if not file.exists():
        return []

    def value(column: str, text: str) -> float | str | None:
        if column in ("kind", "name", "infix", "rule", "against"):
            return text
        try:
            return float(text)
        except ValueError:
            return text or None

    with file.open(newline="", encoding="utf-8") as lines:
        return [{name: value(name, text) for name, text in row.items()} for row in csv.DictReader(lines)]


def runs(pattern: str) -> list[Run]:
    """Return the published searches whose names match."""
    return read_all(sorted(map(Path, glob(str(PUBLISHED / pattern)))))


def searches(folder: str, setting: str) -> Setting | None:
    """Return one setting of a published study, None if none of its searches is there."""
    file = PUBLISHED / folder / f"{setting}.jsonl"
    return Setting(file) if file.exists() and file.stat().st_size else None


class Pair(NamedTuple):
    """A value of two settings after so many rules, each float [seeds that both have]."""

    ours: np.ndarray
    theirs: np.ndarray
    rules: int


def pair_of(folder: str, ours: str, theirs: str, what: str) -> Pair | None:
    """Return a pair of two settings of a study, None if they have not two seeds in common."""
    settings = [searches(folder, name) for name in (ours, theirs)]
    if None in settings:
        return None
    last = int(min(setting.rules[-1] for setting in settings))
    values = paired(*settings, what, last, last)
    return Pair(*values, rules=last) if len(values[0]) > 1 else None


def shown(values: tuple[float, float, float], digits: int = 2, sign: str = "") -> str:
    """Return a mean with its interval."""
    middle, low, high = (f"{value:{sign}.{digits}f}" for value in values)
    return f"{middle} [{low}, {high}]"


def probability(p: float) -> str:
    return f"p {p:.3f}" if p >= 0.001 else "p < 0.001"


def extent(values: list[float], digits: int = 3) -> str:
    """Return a mean with the lowest and the highest."""
    ends = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{ends}"


# --- searching ------------------------------------------------------------------------------------


def endings(name: str) -> tuple[list[Run], list[dict]]:
    """Return the searches of a name with the paper's protocol, strided child, and where they end.

    Good is as good as the median human optimizer.
    """
    some = runs(f"protocol-strided-cifar10-{name}-s*")
    bar = float(np.median([line["reward"] for line in some[0].humans])) if some else 0.0
    return some, [standing(run, bar, {}) for run in some]


def in_short(ends: list[dict]) -> str:
    """Return the mean reward in the end and the number of different good rules."""
    return f"{extent([e['latest fifth'] for e in ends])} and {extent([e['good'] for e in ends], 0)}"


def samples_improve() -> Claim:
    """Reproduced if in each search the last fifth is better than the first and than random search's."""
    row = NOT_RUN._replace(
        claim="the controller's samples improve as it sees more rules (Figure 4)",
        paper="the learning curve rises",
        command="search.py",
    )
    names = {"trpo": "TRPO", "random": "random search", "evolution": "evolution"}
    searched = {name: endings(name) for name in names}
    if not searched["trpo"][0] or not searched["random"][0]:
        return row
    some, ends = searched["trpo"]
    rewards = [[record["reward"] for record in run.records] for run in some]
    first = [float(np.mean(run[: len(run) // 5])) for run in rewards]
    last, chance = ([end["latest fifth"] for end in searched[n][1]] for n in ("trpo", "random"))
    verdict = graded([after > max(before, *chance) for before, after in zip(first, last, strict=True)])
    others = [
        f"{title} {in_short(searched[name][1])}"
        for name, title in names.items()
        if name != "trpo" and searched[name][0]
    ]
    shortest = min(len(run.records) for some, _ in searched.values() for run in some)
    return row._replace(
        here=f"mean reward {extent(first)} in the first fifth; in the last, with the number of "
        f"different good rules, {in_short(ends)}; {', '.join(others)}; the paper's "
        "protocol, strided child, depth 1, TRPO with larger radius and entropy weight, lag 1, screened",
        n=f"{', '.join(str(len(some)) for some, _ in searched.values() if some)} searches of at least "
        f"{shortest:,} rules",
        verdict=f"{verdict}, at depth 1",
    )


def many_do_well() -> Claim:
    """Reproduced if each search finds at least ten different good rules, and its best is not among the
    first fifth's."""
    row = NOT_RUN._replace(
        claim="it finds many different updates that perform well, and their maximum rises",
        paper="yes",
        command="search.py",
    )
    said, wins = [], []
    for name, title in (("trpo", "TRPO"), ("random", "random search")):
        some, ends = endings(name)
        if not some:
            return row
        rewards = [np.array([record["reward"] for record in run.records]) for run in some]
        early, best = ([float(r[: len(r) // n].max()) for r in rewards] for n in (5, 1))
        said.append(
            f"{title}: good rules {extent([end['good'] for end in ends], 0)}, maximum {extent(early)} "
            f"in the first fifth and {extent(best)} in all"
        )
        wins.append([
            end["good"] >= 10 and after > before
            for end, before, after in zip(ends, early, best, strict=True)
        ])  # fmt: skip
    passed = f"both so in {sum(wins[0])} of {len(wins[0])} and {sum(wins[1])} of {len(wins[1])} searches"
    return row._replace(
        here=f"{'; '.join(said)}; {passed}", n=f"{len(wins[0])}, {len(wins[1])} searches, as above",
        verdict=f"{graded(wins[0])}, at depth 1",
    )  # fmt: skip


def controllers(row: Claim, kind: str, what: str, title: str, bar: float = 1.0) -> Claim:
    """Fill in a claim on REINFORCE, PPO and TRPO against random search, on the table.

    Args:
        kind: of the settings, "paper" or "wide".
        what: "latest", the mean reward in the end, or "found_fresh", the number of top rules.
        title: says so.
        bar: the ratio to random search's that the interval of each must exceed.
    """
    names = ("reinforce", "ppo", "trpo")
    for folder in ("study-10000", "study"):  # the longer one if all three have been run there
        pairs = [pair_of(folder, f"{name}-{kind}", "random", what) for name in names]
        if None not in pairs:
            break
    else:
        return row
    ratios = [ratio_interval(pair.ours, pair.theirs) for pair in pairs]
    said = [f"{name.upper()} {shown(ratio)}" for name, ratio in zip(names, ratios, strict=True)]
    counts = ", ".join(str(len(pair.ours)) for pair in pairs)
    return row._replace(
        here=f"{title}, in multiples of random search's: {', '.join(said)}, after "
        f"{min(pair.rules for pair in pairs):,} rules" + (f"; asked for: {bar}" if bar > 1 else ""),
        n=f"{counts} searches, on a table of depth 1",
        verdict=graded([low > bar for _, low, _ in ratios], PAPERS if what == "latest" else OURS),
    )


def paper_setting_learns() -> Claim:
    """Reproduced if REINFORCE, PPO and TRPO all end with a mean reward that is surely half as high again
    as random search's; a rise that can be seen in a figure, not only in an interval."""
    row = NOT_RUN._replace(
        claim="samples improve with the paper's setting, too",
        paper="Adam at 1e-5, batches of 5, 10,000 samples (recalled)",
        command="study.py",
    )
    title = "mean reward of the latest fifth (TRPO's step is our choice)"
    return controllers(row, "paper", "latest", title, bar=1.5)


def paper_setting_finds() -> Claim:
    """Holds if REINFORCE, PPO and TRPO all have found more top rules than random search, by fresh seeds:
    one rule, written again and again, lifts the mean too."""
    row = NOT_RUN._replace(
        claim="with it more top rules are found than by random search",
        paper="not shown in what we hold",
        command="study.py; search.py",
    )
    row = controllers(row, "paper", "found_fresh", "top-1 % rules")
    (some, ends), (others, chance) = endings("paper-trpo"), endings("random")
    if row.verdict == NOT_RUN.verdict or not some or not others:
        return row
    many = min(len(run.records) for run in some)
    text = f"TRPO on CIFAR-10, strided child, depth 1, screened, after {many:,}: mean of the last "
    text += f"fifth and different good rules {in_short(ends)}, random search {in_short(chance)}"
    n = f"{row.n}; {len(some)} and {len(others)} on CIFAR-10"
    return row._replace(here=f"{row.here}; {text}", n=n)


def beats_random_search() -> Claim:
    """Holds if all controllers without extras find more top rules than random search, by fresh seeds."""
    row = NOT_RUN._replace(
        claim="with other settings more top rules are found than by random search",
        paper="not shown in what we hold",
        command="study.py",
    )
    title = (
        "without extras, with larger steps and an entropy weight of 0.1 (chosen on another table seed, "
        "but after an ablation on the reporting ones had shown the gain), top-1 % rules"
    )
    return controllers(row, "wide", "found_fresh", title)


def beats_careful_search() -> Claim:
    """Holds if it finds more top rules, by fresh seeds, than both rivals that never repeat a rule,
    after 2,000 rules and after 10,000, with settings chosen for so many, and at depth 2."""
    row = NOT_RUN._replace(
        claim="with an elite, and known rules passed over, more than by rivals that pass them over too",
        paper="not in the paper",
        command="study.py",
    )
    said, wins, counts = [], [], []
    for folder, kind in (("study", "new"), ("study-10000", "long"), ("study-depth2", "new")):
        depth = ", depth 2" if folder == "study-depth2" else ""
        for rival, name in (("random-new", "random search"), (f"evolution-{kind}", "evolution")):
            if not (pair := pair_of(folder, f"reinforce-{kind}", rival, "found_fresh")):
                return row
            ratio = ratio_interval(pair.ours, pair.theirs)
            said.append(f"{shown(ratio)} those of {name} after {pair.rules:,}{depth}")
            wins.append(ratio[1] > 1)
            counts.append(len(pair.ours))
    return row._replace(
        here=f"REINFORCE finds so many times the top-1 % rules, all treated alike: {', '.join(said)}",
        n=f"{min(counts[:4])} searches, on a table of depth 1; {min(counts[4:])} at depth 2",
        verdict=graded(wins, OURS),
    )


# --- the rules found ------------------------------------------------------------------------------


COMPARISONS = {"decades": "compare-protocol-cifar10", "half decades": "compare-halfdecades-cifar10"}
CONFIRMATION = "compare-confirm-cifar10"  # half decades on more seeds


def final_scores(folders: list[str], rule: str, without: set[int] = frozenset()) -> dict[int, float]:
    """Return a rule's validation accuracy by seed in the final stage of compare.py, 0 if it diverged."""
    return {
        record["seed"]: record["accuracy"] or 0.0
        for folder in folders
        for record in read_trials(PUBLISHED / folder)
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
        records = read_trials(PUBLISHED / folder)
        best = max(found, key=lambda one: compare.scores(records, "rerank", one["rule"]).mean())
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
            for record in read_trials(PUBLISHED / folder)
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
        f"with a rank correlation of {spearman(*both.T):+.2f}"
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
    found = [one["name"] for one in rows if one["name"] not in NAMED_RULES]
    if not found or np.isnan(noise):
        return row
    scores: dict[tuple, dict[int, float]] = {}
    for record in read_trials(PUBLISHED / folder):
        what = record["name"], record["what"], record["factor"]
        scores.setdefault(what, {})[record["seed"]] = record["accuracy"] or 0.0

    def changes(name: str, factors: tuple[float, ...]) -> list[np.ndarray]:
        """Return what each change adds to a rule's accuracy, by seed."""
        before = scores[name, None, 1.0]
        after = [scores[name, what, factor] for what in robustness.CHANGED for factor in factors]
        return [np.array([one[seed] - before[seed] for seed in before]) for one in after]

    def worst(names: list[str], factors: tuple[float, ...]) -> float:
        return min(float(one.mean()) for name in names for one in changes(name, factors))

    seeds = len(scores[found[0], None, 1.0])
    row = row._replace(
        here=f"the worst change of accuracy by a factor of 2 {worst(found, (0.5, 2)):+.3f}, of people's "
        f"{worst(HUMAN, (0.5, 2)):+.3f}; by a factor of 10 {worst(found, (0.1, 10)):+.3f} and "
        f"{worst(HUMAN, (0.1, 10)):+.3f}; standard deviation of one training {noise:.4f}",
        n=f"{len(found)} rules, {seeds} fresh seeds",
        verdict=f"not decided, on {seeds} seed{'s' * (seeds > 1)}",
    )
    if seeds == 1:
        return row
    ends = [[mean_interval(one)[1:] for one in changes(name, (0.5, 2))] for name in found]
    survive = [all(low > -noise for low, _ in some) for some in ends]
    lost = [any(high < -noise for _, high in some) for some in ends]
    if all(survive) or any(survive) and any(lost) or all(lost):
        return row._replace(verdict=graded(survive))
    return row


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
    plan = results.read_config(PUBLISHED / folder)
    rules = [name for name, _ in plan["rules"]]
    records = rosenbrock.runs_of(read_trials(PUBLISHED / folder))
    below = []  # [starts, rules]: whether a rule ends below all of them
    for start in range(plan["config"]["starts"]):
        groups = rosenbrock.by_name([one for one in records if one["start"] == start])
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


def claims() -> list[Claim]:
    return [
        samples_improve(),
        many_do_well(),
        paper_setting_learns(),
        paper_setting_finds(),
        beats_random_search(),
        beats_careful_search(),
        found_beat_human(),
        reported_beat_human(),
        last_for_long(),
        transfers("wrn", "found rules transfer to a Wide ResNet", "yes (recalled)"),
        reported_transfer(),
        transfers("fashion", "found rules transfer to Fashion-MNIST", "to other data, not this"),
        transfers("text", "found rules transfer to a language model", "to other tasks, not this"),
        survives_changes(),
        rosenbrock_valley(),
    ]


def main(argv: list[str] | None = None) -> int:
    Parser(prog="claims.py", description=__doc__).parse_args(argv)
    rows = [Claim._fields, ["---"] * len(Claim._fields), *claims()]
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so that `... | head` ends it quietly
    sys.exit(main())
