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
from collections.abc import Callable
from glob import glob
from pathlib import Path
from typing import NamedTuple

import numpy as np

import results
import rosenbrock
from config import Parser
from plots.runs import Run, read_all
from plots.searches import standing
from plots.study import Setting, paired
from rules import HUMAN, NAMED_RULES, RECALLED
from significance import mean_interval, ratio_interval
from tasks import BEST, METRICS
from trials import read_trials

PUBLISHED = Path(__file__).parent / "runs" / "published"
SIGNIFICANT = 0.05
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


def lead(row: dict, name: str) -> str:
    return shown((row[name], row[f"{name}_low"], row[f"{name}_high"]), 4, "+")


def spread(values: list[float], digits: int = 3) -> str:
    """Return a mean with the lowest and the highest."""
    ends = f" [{min(values):.{digits}f}, {max(values):.{digits}f}]" if len(values) > 1 else ""
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
    return f"{spread([e['latest fifth'] for e in ends])} and {spread([e['good'] for e in ends], 0)}"


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
        here=f"mean reward {spread(first)} in the first fifth; in the last, with the number of "
        f"different good rules, {in_short(ends)}; {', '.join(others)}; the paper's "
        "protocol, strided child, depth 1, TRPO with larger radius and entropy weight, lag 1, screened",
        n=f"{', '.join(str(len(some)) for some, _ in searched.values() if some)} searches of at least "
        f"{shortest:,} rules",
        verdict=f"{verdict}, at depth 1",
    )


def controllers(row: Claim, kind: str, what: str, title: str, words: tuple[str, str, str]) -> Claim:
    """Fill in a claim on REINFORCE, PPO and TRPO against random search, on the table.

    Args:
        kind: of the settings, "paper" or "wide".
        what: "latest", the mean reward in the end, or "found_fresh", the number of top rules.
        title: says so.
        words: of the verdict.
    """
    said, wins, counts = [], [], []
    for name in ("reinforce", "ppo", "trpo"):
        for folder in ("study-10000", "study"):  # the longer one where that has been run
            if pair := pair_of(folder, f"{name}-{kind}", "random", what):
                break
        else:
            return row
        if what == "latest":
            result = mean_interval(pair.ours - pair.theirs)
            text, wins = shown(result, 3, "+"), [*wins, result[1] > 0]
        else:
            result = ratio_interval(pair.ours, pair.theirs)
            text, wins = f"{shown(result)} times", [*wins, result[1] > 1]
        said.append(f"{name.upper()} {text}")
        counts.append(len(pair.ours))
    return row._replace(
        here=f"{title}: {', '.join(said)}, after {pair.rules:,} rules",
        n=f"{', '.join(map(str, counts))} searches, on a table",
        verdict=graded(wins, words),
    )


def paper_setting_learns() -> Claim:
    """Reproduced if REINFORCE, PPO and TRPO all end with a higher mean reward than random search."""
    row = NOT_RUN._replace(
        claim="so they do with the paper's setting",
        paper="Adam at 1e-5, batches of 5, 10,000 samples (recalled)",
        command="study.py",
    )
    title = "mean reward of the latest fifth minus random search's (TRPO's step is our choice)"
    return controllers(row, "paper", "latest", title, PAPERS)


def paper_setting_finds() -> Claim:
    """Holds if REINFORCE, PPO and TRPO all have found more top rules than random search, by fresh seeds:
    one rule, written again and again, lifts the mean too."""
    row = NOT_RUN._replace(
        claim="and more different good rules are found with it",
        paper="not shown in what we hold",
        command="study.py; search.py",
    )
    row = controllers(row, "paper", "found_fresh", "top-1 % rules, by random search's", OURS)
    (paper, on_cifar), (others, chance) = endings("paper-trpo"), endings("random")
    if row.verdict == NOT_RUN.verdict or not paper or not chance:
        return row
    many = min(len(run.records) for run in paper)
    text = f"TRPO on CIFAR-10, strided child, depth 1, screened, after {many:,}: mean of the last "
    text += f"fifth and different good rules {in_short(on_cifar)}, random search {in_short(chance)}"
    n = f"{row.n}; {len(paper)} and {len(others)} on CIFAR-10"
    return row._replace(here=f"{row.here}; {text}", n=n)


def beats_random_search() -> Claim:
    """Holds if all controllers without extras find more top rules than random search, by fresh seeds."""
    row = NOT_RUN._replace(
        claim="the controller finds more good rules than random search with other settings",
        paper="not shown in what we hold",
        command="study.py",
    )
    title = (
        "without extras, with larger steps and an entropy weight of 0.1 (chosen on another table seed, "
        "but after an ablation on the reporting ones had shown the gain), top-1 % rules, by random "
        "search's"
    )
    return controllers(row, "wide", "found_fresh", title, OURS)


def beats_careful_search() -> Claim:
    """Holds if it finds more top rules, by fresh seeds, than both rivals that never repeat a rule,
    after 2,000 rules and after 10,000, with settings chosen for so many."""
    row = NOT_RUN._replace(
        claim="the same, with an elite and known rules passed over",
        paper="not in the paper",
        command="study.py",
    )
    said, wins, counts = [], [], []
    for folder, kind in (("study", "new"), ("study-10000", "long")):
        for rival, name in (("random-new", "random search"), (f"evolution-{kind}", "evolution")):
            if not (pair := pair_of(folder, f"reinforce-{kind}", rival, "found_fresh")):
                return row
            ratio = ratio_interval(pair.ours, pair.theirs)
            said.append(f"{shown(ratio)} those of {name} after {pair.rules:,}")
            wins.append(ratio[1] > 1)
            counts.append(len(pair.ours))
    return row._replace(
        here=f"REINFORCE finds so many times the top-1 % rules, all treated alike: {', '.join(said)}",
        n=f"{min(counts)} searches, on a table",
        verdict=graded(wins, OURS),
    )


# --- the rules found ------------------------------------------------------------------------------


COMPARISONS = {"decades": "compare-protocol-cifar10", "half decades": "compare-halfdecades-cifar10"}


def beat_human(row: Claim, ours: Callable[[dict], bool], all_must: bool) -> Claim:
    """Fill in a claim on what compare.py measured, for each grid of learning rates.

    Args:
        ours: which rows of the summaries the claim is about.
        all_must: whether all these rules must lead, or one of them with each grid.
    """
    said, counts, won = [], [], []
    for grid, folder in COMPARISONS.items():
        rows = summary(folder)
        if not (rules := [one for one in rows if ours(one)]):
            continue
        best = rules[0]  # by validation accuracy
        above = [
            f"{one['name'].upper()} {sum(rule['validation'] > one['validation'] for rule in rules)}"
            for one in rows
            if one["kind"] == "human"
        ]
        said.append(
            f"rates by {grid}: above {', '.join(above)} of {len(rules)}; the best, {best['name']}, "
            f"minus {best['against'].upper()} {lead(best, 'ahead')}, test {lead(best, 'test_ahead')}, "
            f"p after Holm {best['p_holm']:.3f}, standard deviation of one training "
            f"{best['deviation']:.4f}"
        )
        counts.append(f"{best['n']:.0f} fresh seeds")
        leads = [one["ahead"] > 0 and one["p_holm"] < SIGNIFICANT for one in rules]
        won += leads if all_must else [any(leads)]
    if not said:
        return row
    return row._replace(here="; ".join(said), n=", ".join(counts), verdict=graded(won))


def found_beat_human() -> Claim:
    """Reproduced if with each grid a finalist's lead over the best human optimizer is significant."""
    row = NOT_RUN._replace(
        claim="found rules beat SGD, Momentum, RMSProp and Adam on the search ConvNet",
        paper="yes",
        command="compare.py",
    )
    return beat_human(row, lambda one: one["kind"] == "found", all_must=False)


def reported_beat_human() -> Claim:
    """Reproduced if with each grid all reported rules' leads over the best human one are significant."""
    row = NOT_RUN._replace(
        claim="so do the rules that the paper reports (recalled)",
        paper="yes",
        command="compare.py --also",
    )
    return beat_human(row, lambda one: one["name"] in REPORTED, all_must=True)


def stood_out_again(name: str = "powersign-adam", folder: str = "compare-confirm-cifar10") -> Claim:
    """Reproduced if the lead of the rule that stood out is significant on seeds that nobody had seen."""
    row = NOT_RUN._replace(
        claim="the one of these that stood out does so again (Adam * exp(sign(g) * sign(m)))",
        paper="reported (recalled)",
        command="compare.py --final-from",
    )
    rows = [one for one in summary(folder) if one["name"] == name]
    if not rows:
        return row
    [again] = rows
    return row._replace(
        here=f"rates by half decades: minus {again['against'].upper()} {lead(again, 'ahead')}, test "
        f"{lead(again, 'test_ahead')}, p after Holm {again['p_holm']:.3f}",
        n=f"{again['n']:.0f} more fresh seeds",
        verdict=graded([again["ahead"] > 0 and again["p_holm"] < SIGNIFICANT]),
    )


def last_for_long(
    folder: str = "longrun-strided-cifar10", noise: str = "compare-protocol-cifar10"
) -> Claim:
    """Reproduced if all found rules that trained to the end are above the best human optimizer there, or
    below by less than the standard deviation of one training."""
    row = NOT_RUN._replace(
        claim="the best rules last for 300 epochs", paper="dozens were filtered", command="longrun.py"
    )
    rows, people = summary(folder), [one for one in summary(noise) if one["kind"] == "human"]
    if not rows or not people:
        return row
    epochs = max(one["epochs"] for one in rows)
    ended = [one for one in rows if one["epochs"] == epochs]
    found = [one["final"] or 0.0 for one in ended if one["kind"] == "found"]  # 0 if it diverged
    human = [one for one in ended if one["kind"] == "human" and one["final"] is not None]
    if not found or not human:
        return row
    best = max(human, key=lambda one: one["final"])
    bar = best["final"] - np.mean([one["deviation"] for one in people])
    last = [final > bar for final in found]
    return row._replace(
        here=f"of {sum(one['kind'] == 'found' for one in rows)} rules {len(found)} trained to the end, "
        f"{sum(last)} of them above {best['name'].upper()} ({best['final']:.4f}) or within one "
        f"training's standard deviation below; the best {max(found):.4f}",
        n=f"{epochs:.0f} epochs of 10,000 images, 1 seed",
        verdict=f"{graded(last)}, on one seed",
    )


def transfers(task: str, claim: str, reported: bool = False) -> Claim:
    """Reproduced if the found (or reported) rule that is best by validation is better, by validation and
    on the test set, than the human optimizer that is best by validation, beyond two standard errors of
    several seeds. One seed proves no lead."""
    row = NOT_RUN._replace(claim=claim, paper="yes", command=f"transfer.py {task}")
    rows = [one for one in summary(f"transfer-{task}") if one["final_test"] is not None]
    people = [one for one in rows if one["name"] in HUMAN]
    found = [one for one in rows if one["name"] not in NAMED_RULES]  # they have a formula for it
    rules = [one for one in rows if one["name"] in REPORTED] if reported else found
    if not people or not rules:
        return row
    ours, theirs = rules[0], people[0]  # the best: rows are sorted by final validation score
    sign = 1 if BEST[METRICS[task]] is max else -1
    several = ours["n"] > 1
    noise = (
        np.hypot(ours["final_test_sd"], theirs["final_test_sd"]) / np.sqrt(ours["n"]) if several else 0
    )
    ahead = sign * (ours["final_test"] - theirs["final_test"]) > 2 * noise
    won = bool(ahead and rows.index(ours) < rows.index(theirs))
    return row._replace(
        here=f"best by validation: {ours['name']}, test {METRICS[task]} {ours['final_test']:.4f}; of "
        f"people's {theirs['name'].upper()}, {theirs['final_test']:.4f}",
        n=f"{len(rules)} rules, {ours['n']:.0f} seed{'s' * several}",
        verdict=graded([won]) if several else "not decided, on one seed",
    )


def reported_transfer(beside: str = "compare-halfdecades-cifar10") -> Claim:
    """As `transfers`, of reported rules; with Spearman's rank correlation between the order that
    validation gives them and people's there and that on the search ConvNet."""
    row = transfers("wrn", "so do the rules that it reports (recalled), in its order", reported=True)
    row = row._replace(paper="yes; the order of its table is not at hand")
    convnet = {one["name"]: one["validation"] for one in summary(beside)}
    both = [
        (one["final_validation"], convnet[one["name"]])
        for one in summary("transfer-wrn")
        if one["name"] in REPORTED | set(HUMAN) and one["name"] in convnet
    ]
    if row.verdict == NOT_RUN.verdict or len(both) < 3 or None in dict(both):
        return row
    ranks = [np.sign(np.subtract.outer(some, some)).sum(0) for some in zip(*both, strict=True)]
    order = np.corrcoef(ranks)[0, 1]
    return row._replace(
        here=f"{row.here}; with people's, validation orders all {len(both)} as on the search ConvNet "
        f"with a rank correlation of {order:+.2f}"
    )


def survives_changes(folder: str = "robustness-strided-cifar10") -> Claim:
    """Reproduced if factors of 2 cost each found rule no more, in the mean over the changes, than they
    cost the human optimizer that they cost most."""
    row = NOT_RUN._replace(
        claim="rules survive slight changes of their hyperparameters",
        paper="preliminary: yes",
        command="robustness.py",
    )
    rows = summary(folder)
    if not rows:
        return row

    def change(one: dict, factors: tuple[str, ...]) -> float:
        changes = [one[name] for name in one if name.rpartition(" x ")[2] in factors]
        return float(np.mean(np.minimum(changes, 0.0)))  # or a gain would make up for a loss

    small, large = (
        {one["name"]: change(one, factors) for one in rows} for factors in (("0.5", "2"), ("0.1", "10"))
    )
    found = [name for name in small if name not in NAMED_RULES]
    if not found:
        return row
    worst = [min(changes[name] for name in HUMAN) for changes in (small, large)]
    losses = [min(changes[name] for name in found) for changes in (small, large)]
    return row._replace(
        here=f"mean loss of accuracy by factors of 2, of the worst rule {losses[0]:+.3f}, of "
        f"people's worst {worst[0]:+.3f}; by factors of 10 {losses[1]:+.3f} and {worst[1]:+.3f}",
        n=f"{len(found)} rules, {rows[0]['n']:.0f} fresh seeds",
        verdict=graded([small[name] >= worst[0] for name in found]),
    )


def rosenbrock_valley(folder: str = "rosenbrock-found-s0") -> Claim:
    """Reproduced if a rule ends below Adam, RMSProp and SGD from more than half of the starts; partly if
    one does from the customary start."""
    row = NOT_RUN._replace(
        claim="a found rule beats Adam, RMSProp and SGD on the Rosenbrock function (recalled)",
        paper="yes",
        command="rosenbrock.py RUN",
    )
    if not summary(folder):
        return row
    plan = results.read_config(PUBLISHED / folder)
    rules = [name for name, _ in plan["rules"]]
    runs = rosenbrock.runs_of(read_trials(PUBLISHED / folder))
    below = []  # [starts, rules]: whether a rule ends below all of them
    for start in range(plan["config"]["starts"]):
        groups = rosenbrock.by_name([run for run in runs if run["start"] == start])
        winners = {name: rosenbrock.best(mine) for name, mine in groups.items()}
        final = {name: won["final_value"] if won else np.inf for name, won in winners.items()}
        bar = min(value for name, value in final.items() if name not in (*rules, "Momentum"))
        below.append([final[name] < bar for name in rules])
    wins = np.sum(below, axis=0)
    return row._replace(
        here=f"{sum(below[0])} of {len(rules)} rules of halls of fame end below all three, Adam tuned, "
        f"from the customary start; {rules[int(wins.argmax())]} does most often, {wins.max()} times",
        n=f"{len(below)} starts, {len(plan['config']['rates'])} rates",
        verdict="reproduced"
        if wins.max() > len(below) / 2
        else "partly"
        if any(below[0])
        else "not reproduced",
    )


def claims() -> list[Claim]:
    return [
        samples_improve(),
        paper_setting_learns(),
        paper_setting_finds(),
        beats_random_search(),
        beats_careful_search(),
        found_beat_human(),
        reported_beat_human(),
        stood_out_again(),
        last_for_long(),
        transfers("wrn", "found rules transfer to a Wide ResNet"),
        reported_transfer(),
        transfers("fashion", "to another data set, Fashion-MNIST"),
        transfers("text", "to another task, a language model"),
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
