"""Is a family one rule? The spread of scores within families against that of one rule over seeds.

    python -m studies.families RUN [RUN ...] STUDY [STUDY ...]

RUN are searches with one child and one child seed, STUDY rescorings or comparisons of such on fresh
seeds. Families should spread no more than one rule does over seeds. What they merge too much shows as
rules clearly worse, by three of that below the median. Read next: sameness.py, for the thresholds.
"""

import sys
from pathlib import Path

from config import Parser, as_program

import numpy as np

import results
from sameness import by_family
from studies.searches import read_searches
from studies.trials import read_trials, study_of

LEAST = 4  # rules that learn, from which a family has a spread worth the name


def deviation(groups: list[list[float]]) -> float:
    """Return the standard deviation within groups of numbers, over all groups."""
    squares = sum(np.var(some) * len(some) for some in groups)
    return float(np.sqrt(squares / sum(len(some) - 1 for some in groups)))


def over_seeds(folders: list[Path]) -> list[list[float]]:
    """Return the accuracies over seeds of each rule that learned with every one."""
    scores: dict[str, dict[int, float]] = {}
    least = results.LEARNS
    for record in (record for folder in folders for record in read_trials(folder)):
        least = results.guessing(record)  # all of them are on one scale
        scores.setdefault(record["rule"], {})[record["seed"]] = results.worth(record)
    return [[*some.values()] for some in scores.values() if min(some.values()) > least]


def report(searches: list[Path], studies: list[Path]) -> str:
    """Return the table, of the first training of each key. Raises RunError if nothing compares."""
    _, used, records, _ = read_searches(searches)
    name, families, known, seeds = by_family(), {}, set(), over_seeds(studies)
    for record in (record for record in records if record["status"] in ("ok", "diverged")):
        if record["key"] not in known:
            families.setdefault(name(record), []).append(record)
        known.add(record["key"])
    learn = [
        [r["reward"] for r in some if r["reward"] > results.guessing(r)] for some in families.values()
    ]
    both = zip(families.values(), learn, strict=True)
    large = [(some, scores, float(np.median(scores))) for some, scores in both if len(scores) >= LEAST]
    if len(used) > 1 or not large or not seeds:
        raise results.RunError(f"needs one child seed, families of {LEAST} that learn, and fresh seeds")
    noise, size = deviation(seeds), sum(len(some) for some, *_ in large)
    kept = [[x for x in scores if x >= median - 3 * noise] for _, scores, median in large]
    worse = [r for some, _, median in large for r in some if r["reward"] < median - 3 * noise]
    at_end = lambda r: r["lr"] in (r["sweep"][0][0], r["sweep"][-1][0])  # noqa: E731
    ends = [r for r in worse if r["reward"] <= results.guessing(r) or at_end(r)]
    rows = {
        "rules that were trained, one a key": f"{len(known):,}",
        "their families": f"{len(families):,}",
        f"families of at least {LEAST} rules that learn": f"{len(large):,} ({size:,} rules)",
        "standard deviation of their medians": f"{np.std([median for *_, median in large], ddof=1):.4f}",
        "  of one rule over seeds": f"{noise:.4f} ({len(seeds)} rules)",
        "  within families, of rules that learn": f"{deviation([scores for _, scores, _ in large]):.4f}",
        "  the same without clearly worse rules": f"{deviation(kept):.4f}",
        "clearly worse rules": f"{len(worse):,}",
        "  of these with no rate that works, or at an end of the sweep": f"{len(ends):,}",
    }
    return "\n".join(results.aligned([*rows.items()]))


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m studies.families", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN", help="searches and studies")
    folders = parser.parse_args(argv).folders
    try:
        studies = [folder for folder in folders if study_of(folder)]
        print(report([folder for folder in folders if folder not in studies], studies))
    except results.RunError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(as_program(main))
