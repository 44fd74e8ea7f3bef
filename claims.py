"""The claims of the paper one by one: what the published runs say of each, with a verdict by rule.

    python claims.py          # prints the table on top of RESULTS.md, as Markdown

Each function below reads records from runs/published and returns one row: claim, the paper's words in
short, what was measured, on how much, and the verdict. Its docstring says when a claim counts as
reproduced. What has no records is "not run". Nothing is chosen by a test set. Read next: RESULTS.md.
"""

import csv
import signal
import sys
from glob import glob
from pathlib import Path
from typing import NamedTuple

import numpy as np

import results
from config import Parser
from plots import study as study_figure
from rules import HUMAN
from significance import mean_interval, ratio_interval

PUBLISHED = Path(__file__).parent / "runs" / "published"
FIFTH = 5
NOT_RUN = "not run"
SIGNIFICANT = 0.05


class Claim(NamedTuple):
    """A row of the table."""

    claim: str
    paper: str
    here: str
    n: str
    verdict: str
    command: str


def summary(folder: str) -> list[dict]:
    """Return the rows of a published run's summary.csv, numbers as floats; none if it is not there."""

    def value(text: str) -> float | str | None:
        try:
            return float(text)
        except ValueError:
            return text or None

    file = PUBLISHED / folder / "summary.csv"
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return [{name: value(text) for name, text in row.items()} for row in csv.DictReader(lines)]


def rewards(pattern: str) -> list[np.ndarray]:
    """Return the rewards of the published searches whose names match, float [sampled] each."""
    folders = map(Path, sorted(glob(str(PUBLISHED / pattern))))
    return [np.array([r["reward"] for r in results.read_records(folder)]) for folder in folders]


def searches(folder: str, setting: str) -> study_figure.Setting | None:
    """Return one setting of a published study, None if it is not there."""
    file = PUBLISHED / folder / f"{setting}.jsonl"
    return study_figure.Setting(file) if file.exists() else None


def times(folder: str, setting: str, rival: str, what: str = "found") -> tuple[float, float, float]:
    """Return how many times as much of something a setting finds as its rival, with an interval."""
    ours, theirs = (searches(folder, name) for name in (setting, rival))
    last = min(ours.rules[-1], theirs.rules[-1])
    found = [dict(zip(s.seeds, s.at(what, last), strict=True)) for s in (ours, theirs)]
    same = sorted(found[0].keys() & found[1].keys())
    return ratio_interval(*(np.array([values[seed] for seed in same]) for values in found))


def shown(values: tuple[float, float, float], digits: int = 2, sign: str = "") -> str:
    middle, low, high = (f"{value:{sign}.{digits}f}" for value in values)
    return f"{middle} [{low}, {high}]"


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


# --- searching ------------------------------------------------------------------------------------


def samples_improve() -> Claim:
    """Reproduced if the last fifth is better than the first in each search, and than random search's."""
    ours, chance = (rewards(f"protocol-strided-cifar10-{name}-s*") for name in ("trpo", "random"))
    first = [run[: len(run) // FIFTH].mean() for run in ours]
    last = [run[-(len(run) // FIFTH) :].mean() for run in ours]
    random = [run[-(len(run) // FIFTH) :].mean() for run in chance]
    rise = [b > max(a, *random) for a, b in zip(first, last, strict=True)]
    return Claim(
        "the controller's samples improve as it sees more rules (Figure 4)",
        "the learning curve rises",
        f"mean reward {spread(first)} in the first fifth, {spread(last)} in the last, random search "
        f"{spread(random)}; paper's protocol, strided child, depth 1, TRPO with a larger radius",
        f"{len(ours)} searches of {min(map(len, ours)):,} to {max(map(len, ours)):,} rules, "
        f"{len(chance)} of random search",
        "reproduced, at depth 1" if all(rise) else "partly" if any(rise) else "not reproduced",
        "search.py",
    )


def paper_setting_learns() -> Claim:
    """Reproduced if REINFORCE, PPO and TRPO all end with a higher mean reward than random search."""
    chance = searches("study-10000", "random")
    said, learns, counts = [], [], []
    for name in ("reinforce", "ppo", "trpo"):
        if (ours := searches("study-10000", f"{name}-paper")) is None:
            continue
        last = chance.rules[-1]
        theirs = dict(zip(chance.seeds, chance.at("latest", last), strict=True))
        ahead = [
            value - theirs[seed] for seed, value in zip(ours.seeds, ours.at("latest", last), strict=True)
        ]
        interval = mean_interval(np.array(ahead))
        said.append(f"{name.upper()} {shown(interval, 3, '+')}")
        learns.append(interval[1] > 0)
        counts.append(len(ahead))
    return Claim(
        "the controller learns with the paper's setting",
        "Adam at 1e-5, batches of 5, 10,000 samples (recalled)",
        f"mean reward of the last fifth against random search: {', '.join(said)}",
        f"{min(counts)} searches of {chance.rules[-1]:,} rules each, on a table",
        "reproduced" if all(learns) else "partly" if any(learns) else "not reproduced",
        "study.py",
    )


def beats_random_search() -> Claim:
    """Reproduced if all three plain controllers find more top rules than random search."""
    plain = {name: times("study", name, "random") for name in ("reinforce", "ppo", "trpo")}
    said = ", ".join(f"{name.upper()} {shown(ratio)}" for name, ratio in plain.items())
    wins = [low > 1 for _, low, _ in plain.values()]
    ours = searches("study", "trpo")
    return Claim(
        "the controller finds more good rules than random search",
        "not shown in what we hold",
        f"a plain controller finds so many times the different top-1 % rules: {said}",
        f"{len(ours.seeds)} searches of {ours.rules[-1]:,} rules each, on a table",
        "yes" if all(wins) else "only some" if any(wins) else "no",
        "study.py",
    )


def beats_careful_search() -> Claim:
    """Yes if it finds more top rules than both rivals that never repeat a rule."""
    best = ("reinforce-new", "ppo-new", "trpo-new")
    ratios = {rival: times("study", best[0], rival) for rival in ("random-new", "evolution-new")}
    wins = [low > 1 for _, low, _ in ratios.values()]
    ours = searches("study", best[0])
    return Claim(
        "the same, with an elite and known rules passed over",
        "not in the paper",
        f"REINFORCE finds {shown(ratios['random-new'])} times the different top-1 % rules of random "
        f"search and {shown(ratios['evolution-new'])} times those of evolution, all treated alike",
        f"{len(ours.seeds)} searches of {ours.rules[-1]:,} rules each, on a table",
        "yes" if all(wins) else "only some" if any(wins) else "no",
        "study.py",
    )


# --- the rules found ------------------------------------------------------------------------------


def found_beat_human(folder: str = "compare-strided-cifar10") -> Claim:
    """Reproduced if a finalist's lead over the best human optimizer is significant after Holm."""
    claim = "found rules beat SGD, Momentum, RMSProp and Adam on the search ConvNet"
    found = [row for row in summary(folder) if row["kind"] == "found"]
    if not found:
        return Claim(claim, "yes", "", "", NOT_RUN, "compare.py")
    best = found[0]
    won = best["ahead"] > 0 and best["p_holm"] < SIGNIFICANT
    lead = shown((best["ahead"], best["ahead_low"], best["ahead_high"]), 4, "+")
    test = shown((best["test_ahead"], best["test_ahead_low"], best["test_ahead_high"]), 4, "+")
    return Claim(
        claim,
        "yes",
        f"the best finalist against {best['against'].title()}: {lead} in validation accuracy, {test} in "
        f"test accuracy; standard deviation of one training {best['deviation']:.4f}",
        f"{len(found)} finalists, {best['n']:.0f} fresh seeds",
        "reproduced" if won else "not reproduced",
        "compare.py",
    )


def reported_beat_human(folder: str = "compare-strided-cifar10") -> Claim:
    """Reproduced if most of the reported rules have a significant lead over the best human optimizer."""
    claim = "so do the rules that the paper reports (recalled)"
    rows = summary(folder)
    reported = [row for row in rows if row["kind"] == "named"]
    if not reported:
        return Claim(claim, "yes", "", "", NOT_RUN, "compare.py --also")
    ahead = [row for row in reported if row["ahead"] > 0]
    won = [row for row in ahead if row["p_holm"] < SIGNIFICANT]
    people = [row for row in rows if row["kind"] == "human"]
    above = {
        one["name"]: sum(row["validation"] > one["validation"] for row in reported) for one in people
    }
    best = reported[0]
    return Claim(
        claim,
        "yes",
        f"of {len(reported)}, above "
        + ", ".join(f"{name.title()} {count}" for name, count in above.items())
        + f"; the best, {best['name']}, against {best['against'].title()}: "
        + shown((best["ahead"], best["ahead_low"], best["ahead_high"]), 4, "+"),
        f"{len(reported)} rules, {best['n']:.0f} fresh seeds",
        "reproduced" if len(won) > len(reported) / 2 else "partly" if won else "not reproduced",
        "compare.py --also",
    )


def last_for_long(folder: str = "longrun-strided-cifar10") -> Claim:
    """Reproduced if a found rule that trained to the end is above all human optimizers there."""
    claim, rows = "the best rules last for 300 epochs", summary(folder)
    if not rows:
        return Claim(claim, "dozens were filtered", "", "", NOT_RUN, "longrun.py")
    epochs = max(row["epochs"] for row in rows)
    ended = [row for row in rows if row["epochs"] == epochs]
    found, people = ([r for r in ended if (r["kind"] == "human") is human] for human in (False, True))
    best = max(people, key=lambda row: row["final"] or 0.0)
    above = [row for row in found if (row["final"] or 0.0) > best["final"]]
    began = sum(row["kind"] == "found" for row in rows)
    return Claim(
        claim,
        "dozens were filtered",
        f"of {began} rules {len(found)} trained to the end, {len(above)} of them above "
        f"{best['name'].title()} ({best['final']:.4f}); the best {found[0]['final']:.4f}",
        f"{epochs:.0f} epochs of 10,000 images, 1 seed",
        "reproduced, on one seed" if above else "not reproduced",
        "longrun.py",
    )


def transfers(task: str, claim: str) -> Claim:
    """Reproduced if the found rule with the best validation score is the better one on the test set too
    than the human optimizer with the best validation score."""
    rows = summary(f"transfer-{task}")
    if not rows:
        return Claim(claim, "yes", "", "", NOT_RUN, f"transfer.py {task}")
    people = [row for row in rows if row["name"] in HUMAN]
    rules = [row for row in rows if row["name"] not in HUMAN]
    ours, theirs = rules[0], people[0]  # rows are sorted by final validation score
    better = (
        ours["final_test"] < theirs["final_test"]
        if task == "text"
        else ours["final_test"] > theirs["final_test"]
    )
    ahead = rows.index(ours) < rows.index(theirs)
    return Claim(
        claim,
        "yes",
        f"best by validation: {ours['name']}, test {ours['final_test']:.4f}; of people's "
        f"{theirs['name'].title()}, {theirs['final_test']:.4f}",
        f"{len(rules)} rules, {ours['n']:.0f} seed{'s' * (ours['n'] > 1)}",
        "reproduced" if better and ahead else "not reproduced",
        f"transfer.py {task}",
    )


def survives_changes(folder: str = "robustness-strided-cifar10") -> Claim:
    """Reproduced if factors of 2 cost found rules no more than they cost the human optimizers."""
    claim, rows = "rules survive slight changes of their hyperparameters", summary(folder)
    if not rows:
        return Claim(claim, "preliminary: yes", "", "", NOT_RUN, "robustness.py")

    def worst(human: bool, factors: tuple[str, ...]) -> float:
        mine = [row for row in rows if (row["name"] in HUMAN) is human]
        return min(row[name] for row in mine for name in row if name.rpartition(" x ")[2] in factors)

    small, large = (
        [worst(human, factors) for human in (False, True)] for factors in (("0.5", "2"), ("0.1", "10"))
    )
    rules = sum(row["name"] not in HUMAN for row in rows)
    return Claim(
        claim,
        "preliminary: yes",
        f"largest change of the accuracy by factors of 2: {small[0]:+.3f}, of people's {small[1]:+.3f}; "
        f"by factors of 10: {large[0]:+.3f}, of people's {large[1]:+.3f}",
        f"{rules} rules, {rows[0]['n']:.0f} fresh seeds",
        "reproduced" if small[0] >= small[1] else "partly",
        "robustness.py",
    )


def rosenbrock_order(folder: str = "rosenbrock-found-s0") -> Claim:
    """Reproduced if a rule that a search found has a better mean rank than Adam, RMSProp and SGD."""
    claim = "a found rule beats Adam, RMSProp and SGD on the Rosenbrock function (recalled)"
    rows = summary(folder)
    if not rows:
        return Claim(claim, "yes", "", "", NOT_RUN, "rosenbrock.py RUN")
    rank = {row["name"]: row["mean_rank"] for row in rows}
    config = results.read_config(PUBLISHED / folder)
    rules = [name for name, _ in config["rules"]]
    rivals = [name for name in rank if name not in (*rules, "Momentum")]
    first = [name for name in rules if rank[name] < min(rank[rival] for rival in rivals)]
    order = [
        rows.index(next(r for r in rows if r["name"] == name)) + 1 for name in (*rivals, "Momentum")
    ]
    places = ", ".join(
        f"{name} {place}" for name, place in zip((*rivals, "Momentum"), order, strict=True)
    )
    return Claim(
        claim,
        "yes",
        f"{len(first)} of {len(rules)} rules of halls of fame do; places of {len(rows)}: {places}",
        f"{config['config']['starts']} starts, {len(config['config']['rates'])} rates",
        "reproduced" if first else "not reproduced",
        "rosenbrock.py RUN",
    )


def claims() -> list[Claim]:
    return [
        samples_improve(),
        paper_setting_learns(),
        beats_random_search(),
        beats_careful_search(),
        found_beat_human(),
        reported_beat_human(),
        last_for_long(),
        transfers("wrn", "found rules transfer to a Wide ResNet"),
        transfers("fashion", "to another data set, Fashion-MNIST"),
        transfers("text", "to another task, a language model"),
        survives_changes(),
        rosenbrock_order(),
    ]


def main(argv: list[str] | None = None) -> int:
    Parser(prog="claims.py", description=__doc__).parse_args(argv)
    head = Claim._fields
    rows = [head, ["---"] * len(head), *claims()]
    print("\n".join(f"| {' | '.join(cell or '-' for cell in row)} |" for row in rows))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so that `... | head` ends it quietly
    sys.exit(main())
