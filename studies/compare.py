"""Does any found rule beat SGD, Momentum, RMSProp and Adam once the luck of being selected is gone?

Neural Optimizer Search, Bello et al., ICML 2017, section 5: found rules on the search's ConvNet. A
search's best rules are the maximum over hundreds of noisy scores, so part of their lead is luck.

    python -m studies.compare RUN [RUN ...]                # default settings
    python -m studies.compare RUN --rates half-decades --also powersign
    python -m studies.compare --resume runs/...            # go on after Ctrl-C or a crash
    python -m studies.figures.compare runs/...             # draw the figure again

Stage "rerank" takes the best rule of each of the best families of all runs, without the families of
human optimizers; a family is rules that no training can tell apart. It scores them again as the search
did, on fresh seeds, which no search has used. Its mean alone chooses the finalists. Stage "final" scores
these and the human optimizers on yet other seeds. It measures test accuracy once, at the end of each
training, and nothing selects by it. The reference is the human optimizer with the best mean there,
which can only favour the human side.

Seeds change weights, order of images and random operands, not the images. So the validation images
that chose the rules judge them too; the test images do so for the first time. A training that diverged
counts as accuracy 0. Writes a run folder: records.jsonl (a line a training), summary.csv, summary.txt
and the figure. Read next: trials.py for the loop, significance.py for the statistics.
"""

import sys
import textwrap
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from config import ConfigError, as_program, resolve, setting

import numpy as np

from nosbench.intervals import Interval, mean_interval
from results import aligned
from rules import HUMAN, NAMED_RULES, named, rule_or_class
from studies.analysis import by_seed
from studies.searches import PEOPLE, RUNS, Also, best_found, fresh_seeds, read_searches
from studies.searches import prepare as prepare  # trials.launch calls it
from studies.significance import holm, sign_flip_p, smallest_p
from studies.trials import Trials, launch
from training import ProtocolConfig, evaluate_and_test, evaluate_rule

FIRST_SEED = 1_000  # of the first stage, far from those that people give to searches
SIGNIFICANT = 0.05
ARGUMENT = RUNS
FIGURE = "studies.figures.compare"


@dataclass(frozen=True)
class Config(Also):
    top: int = setting(30, "best families, the best rule of each is scored again", low=1)
    seeds: int = setting(5, "fresh seeds that they are scored with", low=2, high=1_000)
    finalists: int = setting(5, "best of them that go on to the final stage", low=1)
    # UNSPECIFIED: how many trainings stand behind each accuracy that the paper compares.
    final_seeds: int = setting(10, "fresh seeds of the final stage", low=2, high=1_000)
    final_from: int = setting(
        2_000, "first of them; a higher one confirms what a comparison showed", low=2_000, high=10**9
    )
    rates: str = setting(
        "decades",
        "learning rates of the final stage: the search's, or those and half decades between",
        choices=("decades", "half-decades"),
    )


class Contestant(NamedTuple):
    kind: str  # found, named (by --also) or human
    name: str
    rule: str
    reward: float | None  # the search's score of its family, if it has one
    source: str | None  # run folder and id
    spread: float | None = None  # of the family's trainings there
    rules: int | None = None  # of the family; earlier comparisons took rules by key


class Plan(NamedTuple):
    """All that determines a comparison; what was read from the runs is kept, since they may grow."""

    config: Config
    child: ProtocolConfig
    used_seeds: list[int]  # the searches'
    contestants: list[Contestant]

    def of(self, *kinds: str) -> list[Contestant]:
        return [contestant for contestant in self.contestants if contestant.kind in kinds]


# --- what is compared -----------------------------------------------------------------------------


def configure(args) -> Plan:
    return make_plan(resolve(Config, args), args.runs)


def make_plan(config: Config, folders: list[Path]) -> Plan:
    """Return who competes with whom.

    Raises:
        ValueError: the runs or the rules cannot be compared.
    """
    if config.finalists > config.top:
        raise ConfigError(f"--finalists is {config.finalists}; it must be at most --top, {config.top}")
    child, used_seeds, records, rewards = read_searches(folders)
    humans = [Contestant("human", n, NAMED_RULES[n].rule, rewards.get(n), None) for n in HUMAN]
    best = best_found(records, config.top)
    names = ("infix", "rule", "reward", "source", "spread", "rules")
    found = [Contestant("found", *(record[name] for name in names)) for record in best]
    also = {}
    for name, rule in map(named, config.also):
        if rule.key() not in PEOPLE:
            also[rule.key()] = Contestant("named", name, str(rule), None, None)
    return Plan(config, child, used_seeds, [*found, *also.values(), *humans])


def seeds_of(plan: Plan) -> dict[str, list[int]]:
    """Return the seeds of both stages; none is the searches' or comes twice."""
    used, seeds = set(plan.used_seeds), {}
    config = plan.config
    stages = ("rerank", FIRST_SEED, config.seeds), ("final", config.final_from, config.final_seeds)
    for stage, first, count in stages:
        seeds[stage] = fresh_seeds(first, count, used)
        used.update(seeds[stage])
    return seeds


def final_child(plan: Plan) -> ProtocolConfig:
    """Return the final stage's child: the searches', perhaps with a finer sweep."""
    if plan.config.rates == "decades":
        return plan.child
    exponents = plan.child.lr_exponents
    halves = np.arange(min(exponents), max(exponents), 0.5).tolist()
    return replace(plan.child, lr_exponents=tuple(sorted({*exponents, *halves})))


def scores(records: list[dict], stage: str, rule: str, measure: str = "accuracy") -> np.ndarray:
    """Return a rule's accuracies in a stage, float [seeds]; 0 where it diverged."""
    return np.array([*by_seed(records, measure, stage=stage, rule=rule).values()])


def choose_finalists(found: list[Contestant], records: list[dict], count: int) -> list[Contestant]:
    """Return the best by the mean of their fresh scores in stage "rerank", and by nothing else."""
    return sorted(found, key=lambda one: -scores(records, "rerank", one.rule).mean())[:count]


# --- training -------------------------------------------------------------------------------------


def work(plan: Plan, trials: Trials) -> None:
    """Train both stages."""
    seeds, field = seeds_of(plan), plan.of("found", "human")
    # Humans have no part in the choice; they show how much an unselected score moves.
    train("rerank", field, seeds["rerank"], trials, evaluate_rule, plan.child, asdict)

    def measured(outcome: tuple) -> dict:
        result, test_accuracy = outcome
        return {**asdict(result), "test_accuracy": test_accuracy}

    field = finalists(plan, trials.records)
    train("final", field, seeds["final"], trials, evaluate_and_test, final_child(plan), measured)


def finalists(plan: Plan, records: list[dict]) -> list[Contestant]:
    """Return who is in the final stage, by the records of the first one."""
    chosen = choose_finalists(plan.of("found"), records, plan.config.finalists)
    keys = {rule_or_class(one.rule).key() for one in chosen}
    also = [one for one in plan.of("named") if rule_or_class(one.rule).key() not in keys]
    return [*chosen, *also, *plan.of("human")]


def train(stage, field: list[Contestant], seeds: list[int], trials: Trials, task, child, measured):
    """Train everybody in the field with every seed."""
    jobs = [
        {"stage": stage, "kind": one.kind, "name": one.name, "rule": one.rule, "seed": seed}
        for seed in seeds
        for one in field
    ]
    trials.do(stage, jobs, task, lambda job: (job["rule"], child, job["seed"]), measured)


# --- what came out --------------------------------------------------------------------------------


def columns(name: str, values: np.ndarray) -> dict[str, float]:
    """Return a mean and the ends of its 95 % interval as columns of a table."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), mean_interval(values), strict=True))


def cell(row: dict, name: str, form: str = ".4f") -> str:
    """Return such columns as text."""
    return format(Interval(row[name], row[f"{name}_low"], row[f"{name}_high"]), form)


def measures(records: list[dict]) -> dict[str, str]:
    """Return what the final stage has measured, and what it is called: a task may have no test."""
    tested = any(record.get("test_accuracy") is not None for record in records)
    return {"accuracy": "validation"} | ({"test_accuracy": "test"} if tested else {})


def summarize(field: list[Contestant], records: list[dict]) -> list[dict]:
    """Return a row for everybody in the final stage, best mean validation accuracy first."""
    measured = {
        what: {one.rule: scores(records, "final", one.rule, measure) for one in field}
        for measure, what in measures(records).items()
    }
    accuracy, test = measured["validation"], measured.get("test")
    humans = [one for one in field if one.kind == "human"]
    reference = max(humans, key=lambda one: accuracy[one.rule].mean())
    others = [one.rule for one in field if one.kind != "human"]
    ahead = [accuracy[rule] - accuracy[reference.rule] for rule in others]  # same seeds
    p_values = [sign_flip_p(differences) for differences in ahead]
    tests = dict(zip(others, zip(ahead, p_values, holm(p_values), strict=True), strict=True))
    rows = []
    for one in field:
        mine = [record for record in records if (record["stage"], record["rule"]) == ("final", one.rule)]
        rates = Counter(record["lr"] for record in mine if record["lr"] is not None)
        row = {"kind": one.kind, "name": one.name, "infix": rule_or_class(one.rule).infix()}
        row |= {"rule": one.rule, "source": one.source, "search_reward": one.reward}
        row |= {"search_spread": one.spread, "search_rules": one.rules, "n": len(mine)}
        row["diverged"] = sum(record["accuracy"] is None for record in mine)
        row["lr"] = " ".join(f"{lr:.2g}x{times}" for lr, times in rates.most_common())
        row |= columns("validation", accuracy[one.rule])
        row["deviation"] = float(accuracy[one.rule].std(ddof=1))  # of one training
        if test:
            row |= columns("test", test[one.rule])
        row["against"] = reference.name
        if one.rule in tests:
            differences, p, p_holm = tests[one.rule]
            row |= {**columns("ahead", differences), "p": p, "p_holm": p_holm}
            if test:
                row |= columns("test_ahead", test[one.rule] - test[reference.rule])
        rows.append(row)
    rows.sort(key=lambda row: -row["validation"])
    names = dict.fromkeys(name for row in rows for name in row)  # humans have no difference
    return [{name: row.get(name) for name in names} for row in rows]


def searched(row: dict) -> str:
    """Return who it is, and of what was found the family's mean in the search, sd, number of rules."""
    if row["kind"] != "found":
        return row["kind"]
    spread = "" if row["search_spread"] is None else f" sd {row['search_spread']:.4f}"
    count = row["search_rules"]
    rules = "" if count is None else f", {count:g} rule{'s' * (count != 1)}"
    return f"{row['search_reward']:.4f}{spread}{rules}"


def table(rows: list[dict]) -> str:
    """Return the rows as aligned text."""
    against = rows[0]["against"].upper()
    test = ["test"] if "test" in rows[0] else []
    lines = [["validation", "sd", *test, f"minus {against}", "p, Holm", "search", "rates", "update"]]
    for row in rows:
        cells = [cell(row, "validation"), f"{row['deviation']:.4f}"]
        cells += [f"{row['test']:.4f}" for _ in test]
        human = row["kind"] == "human"
        cells += ["-", "-"] if human else [cell(row, "ahead", "+.4f"), f"{row['p_holm']:.3f}"]
        lost = f" ({row['diverged']} of {row['n']} diverged)" if row["diverged"] else ""
        name = row["name"].upper() if human else row["name"]
        lines.append([*cells, searched(row), row["lr"], name + lost])
    return "\n".join(aligned(lines))


def selection_effect(plan: Plan, records: list[dict]) -> str:
    """Say how much of the searches' rewards was luck: the winner's curse."""

    def moved(contestants: list[Contestant]) -> tuple[float, float]:
        means = [scores(records, "rerank", one.rule).mean() for one in contestants]
        return float(np.mean([one.reward for one in contestants])), float(np.mean(means))

    found = plan.of("found")
    before, after = moved(found)
    text = (
        f"Selection effect: the best families ({len(found)}) scored {before:.4f} on average in the "
        f"search and {after:.4f} on {plan.config.seeds} fresh seeds, a difference of "
        f"{before - after:+.4f}."
    )
    if humans := [one for one in plan.of("human") if one.reward is not None]:
        before, after = moved(humans)
        text += f" For the human optimizers, which nobody selected, it is {before - after:+.4f}."
    return text


def conclusion(rows: list[dict], score: str = "accuracy") -> str:
    """Return in one sentence whether a rule beats the best human optimizer."""
    others = [row for row in rows if row["kind"] != "human"]
    winners = [row["name"] for row in others if row["ahead"] > 0 and row["p_holm"] < SIGNIFICANT]
    who = "found rule" if all(row["kind"] == "found" for row in others) else "rule"
    beats = f"{'; '.join(winners)} beat{'s' * (len(winners) == 1)}" if winners else f"No {who} beats"
    best = others[0]
    text = (
        f"{beats} {best['against'].upper()}, the best human optimizer, beyond noise. The best {who}, "
        f"{best['name']}, differs by {cell(best, 'ahead', '+.4f')} in validation {score} (p = "
        f"{best['p_holm']:.3f}, Holm-corrected for {len(others)})"
    )
    test = f" and by {cell(best, 'test_ahead', '+.4f')} in test {score}" if "test" in best else ""
    text += f"{test}."
    least = min(1.0, smallest_p(best["n"]) * len(others))
    if least >= SIGNIFICANT:
        text += f" With {best['n']} seeds p cannot be below {least:.3f}, whatever the difference."
    return text


def report(plan: Plan, records: list[dict]) -> tuple[list[dict], str]:
    """Return the rows, and the table with its legend, what selection did, and the conclusion."""
    rows = summarize(finalists(plan, records), records)
    exponents, seeds = final_child(plan).lr_exponents, seeds_of(plan)["final"]
    beyond = ", and beyond while that helps" if plan.child.follow_rates else ""
    legend = (
        f"Final stage: {len(seeds)} seeds from {seeds[0]}, {len(exponents)} rates from "
        f"10^{min(exponents):g} to 10^{max(exponents):g}{beyond}. In brackets stand 95 % t-intervals "
        "over seeds. The column sd is the standard deviation of one training. Differences are paired by "
        "seed. The column p is of a two-sided sign-flip test, corrected for the number of rules "
        "(Holm). The column search has what a found rule's family scored there, with its standard "
        "deviation and number of rules if known. Rates are the sweeps', each with how often."
    )
    parts = [legend, selection_effect(plan, records), conclusion(rows, plan.child.score_name)]
    return rows, "\n\n".join([table(rows), *(textwrap.fill(part, 100) for part in parts)]) + "\n"


# --- command line ---------------------------------------------------------------------------------


def label(plan: Plan) -> tuple[str, int]:
    return f"top{plan.config.top}-{plan.config.rates}", FIRST_SEED


def then(plan: Plan, rows: list[dict], folder: Path) -> str:
    best = next(row for row in rows if row["kind"] == "found")
    return f"python rules.py show '{best['rule']}' explains the best found rule"


def main(argv: list[str] | None = None) -> int:
    return launch(sys.modules[__name__], argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
