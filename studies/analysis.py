"""What finished runs say, as plain numbers: below the tables, the figures and the claims.

First searches, by the records of search.py; then trainings on fresh seeds, by the records of the
studies. A training that diverged has accuracy 0, as its rule has reward 0. Nothing is drawn and nothing
is decided here. Nothing to run here. Read next: significance.py, for what is more than noise.
"""

import csv
from collections import Counter
from pathlib import Path

import numpy as np

import results
from dsl import Rule
from plots.runs import family_of

WINDOW = 100  # rules in the moving mean and in the entropy

# --- searches: `records` are those of one run of search.py ------------------------------------------


def moving_mean(records: list[dict]) -> np.ndarray:
    """Return the mean reward of the last WINDOW rules, from rule WINDOW on."""
    total = np.cumsum([0.0, *(record["reward"] for record in records)])
    return (total[WINDOW:] - total[:-WINDOW]) / WINDOW


def good_families(records: list[dict], bar: float) -> np.ndarray:
    """Return how many families were good by each sampled rule, int [sampled].

    A family is good while the mean over its trainings so far reaches the bar, so the count may fall.
    """
    name, accuracies, good, counts = family_of(records), {}, set(), []
    for record in records:
        if record["cached_from"] is None:
            some = accuracies.setdefault(name(record), [])
            some.append(results.worth(record))
            (good.add if np.mean(some) >= bar else good.discard)(name(record))
        counts.append(len(good))
    return np.array(counts)


def good_by_cost(records: list[dict], bar: float, step_s: float) -> np.ndarray:
    """Return the same every `step_s` seconds of the trainings' processor time, from 0 s to their end."""
    seconds = np.cumsum([0.0, *((r["cached_from"] is None and r["cpu_s"]) or 0.0 for r in records)])
    times = np.arange(0, seconds[-1] + step_s, step_s)
    return np.array([0, *good_families(records, bar)])[seconds.searchsorted(times, side="right") - 1]


def good_by_bar(records: list[dict], bars: np.ndarray) -> np.ndarray:
    """Return how many families have at the end a mean of at least each bar, int [bars]."""
    rewards = [family.reward for family in results.best_families(records, name=family_of(records))]
    return np.sum(np.array(rewards)[:, None] >= bars, axis=0)


def families_tried(records: list[dict]) -> np.ndarray:
    """Return how many families were sampled by each sampled rule, int [sampled]."""
    name, seen, counts = family_of(records), set(), []
    for record in records:
        seen.add(name(record))
        counts.append(len(seen))
    return np.array(counts)


def entropy(records: list[dict]) -> np.ndarray:
    """Return the entropy in nats over the families of the last WINDOW rules, from rule WINDOW on.

    With the correction of Miller and Madow (1955); WINDOW different ones have ln(WINDOW) + 1/2 = 5.1.
    """
    families = list(map(family_of(records), records))
    values = []
    for end in range(WINDOW, len(families) + 1):
        shares = np.array([*Counter(families[end - WINDOW : end]).values()]) / WINDOW
        values.append(-(shares * np.log(shares)).sum() + (len(shares) - 1) / (2 * WINDOW))
    return np.array(values)


def fresh_of_best(records: list[dict], fresh: dict[str, float]) -> float:
    """Return what the best rules of the ten best families score on fresh seeds, NaN if one did not.

    These families are told by the records alone, as in studies/rescore.py: those of a search depend on
    candidates that it never trained, too.
    """
    from sameness import by_family  # with torch, which figures without a rescoring do not need

    best = [family.best["key"] for family in results.best_families(records, 10, by_family())]
    return float(np.mean([fresh.get(key, np.nan) for key in best])) if best else np.nan


def people_scores(humans: list[dict], fresh: dict[str, float]) -> tuple[dict[str, float], str]:
    """Return what the human optimizers score, by name, and where: "on fresh seeds" or "in the search".

    In the search if one of them is not in `fresh`, which is what `fresh_scores` returns.
    """
    keys = {line["name"]: Rule.parse(line["rule"]).key() for line in humans}
    if fresh.keys() >= set(keys.values()):
        return {name: fresh[key] for name, key in keys.items()}, "on fresh seeds"
    return {line["name"]: line["reward"] for line in humans}, "in the search"


def good_bar(people: dict[str, float]) -> float:
    """Return the reward from which a rule is good: the median of the human optimizers' scores."""
    return float(np.median(list(people.values())))


def standing(records: list[dict], bar: float, fresh: dict[str, float]) -> dict[str, float]:
    """Return where a run stands at its end.

    Args:
        bar: the reward from which a family is good, see `good_bar`.
        fresh: what `fresh_scores` returns, or {}; then the value of the same name is NaN.
    """
    rewards, name = np.array([record["reward"] for record in records]), family_of(records)
    new = [record for record in records if record["cached_from"] is None]
    late = [record for record in new if record["id"] >= len(rewards) // 2]
    families = results.best_families(records, name=name)
    best = [family.reward for family in families]
    again = fresh_of_best(records, fresh) if fresh else np.nan
    return {
        "sampled": len(rewards),
        "families": len(set(map(name, records))),
        "trained": sum(record["status"] == "ok" for record in new),
        "latest fifth": rewards[-max(1, len(rewards) // 5) :].mean(),
        "learn": np.mean([record["reward"] > results.guessing(record) for record in records]),
        "good": sum(reward >= bar for reward in best),
        "best": best[0] if best else np.nan,
        "ten best": float(np.mean(best[:10])) if best else np.nan,
        "fresh": again,
        "entropy": entropy(records)[-1] if len(rewards) >= WINDOW else np.nan,
        "core-minutes": sum(record["cpu_s"] or 0.0 for record in new) / 60,
        "core-seconds, new": float(np.mean([record["cpu_s"] or 0.0 for record in late or new])),
    }


# --- trainings on fresh seeds: `records` are those of one or more runs of a study --------------------


def by_seed(records: list[dict], measure: str = "accuracy", **job) -> dict[int, float]:
    """Return a measure by seed of the records with this job; what diverged counts as a failure.

    For example `by_seed(records, stage="final", rule=rule)`; a job's names are the script's.
    """
    return {
        record["seed"]: results.worth(record, measure)
        for record in records
        if all(record[name] == value for name, value in job.items())
    }


def lead(ours: dict[int, float], theirs: dict[int, float]) -> np.ndarray:
    """Return ours minus theirs, float [seeds that both have]."""
    return np.array([ours[seed] - theirs[seed] for seed in ours if seed in theirs])


def fresh_scores(records: list[dict]) -> dict[str, float]:
    """Return what a rescoring measured: the mean accuracy of each rule by its key."""
    scores: dict[str, list[float]] = {}
    for record in records:
        scores.setdefault(Rule.parse(record["rule"]).key(), []).append(results.worth(record))
    return {key: float(np.mean(values)) for key, values in scores.items()}


def curves(
    records: list[dict], rule: str, lr: float, what: str = "curve", stage: str = "train"
) -> dict[int, np.ndarray]:
    """Return a rule's curve by seed in a transfer with a rate, float [epochs]; NaN where it diverged.

    Args:
        what: "curve", the validation score after each epoch, or "test", where it was measured.
        stage: "train", or "confirm", on further seeds.
    """
    return {
        record["seed"]: np.array(record[what], dtype=float)
        for record in records
        if (record["stage"], record["rule"], record["lr"]) == (stage, rule, lr)
    }


def read_summary(folder: Path) -> list[dict]:
    """Return the rows of a study's summary.csv; none if it is not there yet.

    What looks like a number is one, except in names: a rule's may be "1". An empty cell is None.
    """
    file = folder / "summary.csv"
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
