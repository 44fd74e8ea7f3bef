"""What are the best rules of each search worth on seeds that it never used?

    python -m studies.rescore RUN [RUN ...]                # ten families of each, three fresh seeds
    python -m studies.rescore --resume runs/...            # go on after Ctrl-C or a crash
    python -m studies.figures.searches RUN ... FOLDER      # the figure and table that need it

The noise that selected a search's best rules flatters their scores, and the more so the more rules it
tried. So searches are compared by what the best rules of their best families score again; a family is
rules that no training can tell apart. Rules that several searches share are trained once. The human
optimizers come along; compare.py asks whether a rule beats them. Writes a run folder: records.jsonl (a
line a training), summary.csv, summary.txt. Read next: trials.py.
"""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from config import as_program, resolve, setting

import numpy as np

import results
from child import ChildConfig
from dsl import Rule
from results import aligned, number
from rules import HUMAN, NAMED_RULES
from sameness import by_family
from studies.analysis import fresh_scores
from studies.searches import RUNS, fresh_seeds, read_searches
from studies.searches import prepare as prepare  # trials.launch calls it
from studies.trials import Trials, launch
from training import evaluate_rule

FIRST_SEED = 3_000  # far from those that searches and compare.py use
ARGUMENT = RUNS
FIGURE = None


@dataclass(frozen=True)
class Config:
    top: int = setting(10, "best families of each run, the best rule of each", low=1)
    seeds: int = setting(3, "fresh seeds", low=1, high=1_000)


class Plan(NamedTuple):
    """All that determines what is trained; the best rules are kept, since runs may grow."""

    config: Config
    child: ChildConfig
    seeds: list[int]
    best: dict[str, list[tuple[str, float]]]  # run folder -> (rule, its family's reward in the search)

    @property
    def rules(self) -> list[str]:
        """All rules to train, one a key, the human optimizers first."""
        people = [NAMED_RULES[name].rule for name in HUMAN]
        found = [rule for best in self.best.values() for rule, _ in best]
        rules: dict[str, str] = {}
        for rule in people + found:
            rules.setdefault(Rule.parse(rule).key(), rule)
        return list(rules.values())


def configure(args) -> Plan:
    """Return the plan.

    Raises:
        ValueError: no runs, or some that do not compare.
    """
    config = resolve(Config, args)
    child, used, _, _ = read_searches(args.runs)
    best = {
        str(folder): [
            (family.best["rule"], family.reward)
            for family in results.best_families(results.read_records(folder), config.top, by_family())
        ]
        for folder in args.runs
    }
    if empty := [folder for folder, rules in best.items() if not rules]:
        raise results.RunError(
            f"{empty[0]}: no rule has trained to the end, so there is none to rescore"
        )
    return Plan(config, child, fresh_seeds(FIRST_SEED, config.seeds, used), best)


def label(plan: Plan) -> tuple[str, int]:
    return f"top{plan.config.top}", plan.seeds[0]


def summarize(plan: Plan, records: list[dict]) -> list[dict]:
    """Return a row for each run, and one for each human optimizer, whom nobody selected."""
    scores, rows = fresh_scores(records), []
    for run, best in plan.best.items():
        fresh = [scores[Rule.parse(rule).key()] for rule, _ in best]
        row = {"what": run, "families": len(best), "search": float(np.mean([x for _, x in best]))}
        rows.append({**row, "fresh": float(np.mean(fresh)), "best_fresh": max(fresh)})
    for name in HUMAN:
        row = {"what": name, "families": 1, "search": None}
        fresh = scores[Rule.parse(NAMED_RULES[name].rule).key()]
        rows.append({**row, "fresh": fresh, "best_fresh": None})
    return rows


def table(rows: list[dict]) -> str:
    """Return the rows as aligned text."""
    lines = [["search", "fresh", "families", "best of"]]
    for row in rows:
        lines.append([number(row["search"]), number(row["fresh"]), str(row["families"]), row["what"]])
    return "\n".join(aligned(lines)) + "\n"


def work(plan: Plan, trials: Trials) -> None:
    jobs = [{"rule": rule, "seed": seed} for seed in plan.seeds for rule in plan.rules]
    arguments = lambda job: (job["rule"], plan.child, job["seed"])  # noqa: E731
    trials.do("rescoring", jobs, evaluate_rule, arguments, asdict)


def report(plan: Plan, records: list[dict]) -> tuple[list[dict], str]:
    rows = summarize(plan, records)
    return rows, table(rows)


def then(plan: Plan, rows: list[dict], folder: Path) -> str:
    runs = " ".join([*plan.best, str(folder)])
    return f"python -m studies.figures.searches {runs}"


def main(argv: list[str] | None = None) -> int:
    return launch(sys.modules[__name__], argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
