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
from sameness import by_family

WINDOW = 100  # rules in the moving mean and in the entropy

# --- searches: `records` are those of one run of search.py ------------------------------------------


def moving_mean(records: list[dict]) -> np.ndarray:
    """Return the mean reward of the last WINDOW rules, from rule WINDOW on."""
    total = np.cumsum([0.0, *(record["reward"] for record in records)])
    return (total[WINDOW:] - total[:-WINDOW]) / WINDOW


def good_rules(records: list[dict], bar: float) -> np.ndarray:
    """Return how many different rules had reached the bar by each sampled one, int [sampled].

    Rules whose fingerprints are equal behave alike and count once.
    """
    known, counts = set(), []
    for record in records:
        if record["cached_from"] is None and record["reward"] >= bar:  # a repeat adds none: saves time
            known.add(Rule.parse(record["rule"]).fingerprint())
        counts.append(len(known))
    return np.array(counts)


def good_by_trained(records: list[dict], bar: float) -> np.ndarray:
    """Return the same by each rule that was trained to the end, int [trained]."""
    trained = [r["cached_from"] is None and r["status"] == "ok" for r in records]
    return good_rules(records, bar)[np.flatnonzero(trained)]


def entropy(records: list[dict]) -> np.ndarray:
    """Return the entropy in nats over the keys of the last WINDOW rules, from rule WINDOW on.

    With the correction of Miller and Madow (1955); WINDOW different ones have ln(WINDOW) + 1/2 = 5.1.
    """
    keys = [record["key"] for record in records]
    values = []
    for end in range(WINDOW, len(keys) + 1):
        shares = np.array([*Counter(keys[end - WINDOW : end]).values()]) / WINDOW
        values.append(-(shares * np.log(shares)).sum() + (len(shares) - 1) / (2 * WINDOW))
    return np.array(values)


def ten_best(records: list[dict], fresh: dict[str, float]) -> tuple[float, float]:
    """Return the mean of a run's ten best families: by its rewards, and on fresh seeds or NaN."""
    best = results.best_families(records, 10, by_family())
    again = [fresh.get(family.best["key"], np.nan) for family in best]
    return float(np.mean([family.reward for family in best])), float(np.mean(again))


def standing(records: list[dict], bar: float, fresh: dict[str, float]) -> dict[str, float]:
    """Return where a run stands at its end.

    Args:
        bar: the reward from which a rule is good, `results.good_bar` of the run's human optimizers.
        fresh: what `fresh_scores` returns, or {}; then the value of the same name is NaN.
    """
    rewards = np.array([record["reward"] for record in records])
    new = [record for record in records if record["cached_from"] is None]
    late = [record for record in new if record["id"] >= len(rewards) // 2]
    best, again = ten_best(records, fresh)
    return {
        "sampled": len(rewards),
        "distinct": len(new),
        "trained": sum(record["status"] == "ok" for record in new),
        "latest fifth": rewards[-max(1, len(rewards) // 5) :].mean(),
        "learn": (rewards > results.LEARNS).mean(),
        "good": good_rules(records, bar)[-1],
        "best": rewards.max(),
        "ten best": best,
        "fresh": again,
        "entropy": entropy(records)[-1] if len(rewards) >= WINDOW else np.nan,
        "core-minutes": sum(record["cpu_s"] or 0.0 for record in new) / 60,
        "core-seconds, new": float(np.mean([record["cpu_s"] or 0.0 for record in late or new])),
    }


# --- trainings on fresh seeds: `records` are those of one or more runs of a study --------------------


def by_seed(records: list[dict], measure: str = "accuracy", **job) -> dict[int, float]:
    """Return a measure by seed, 0 where the training diverged, of the records with this job.

    For example `by_seed(records, stage="final", rule=rule)`; a job's names are the script's.
    """
    return {
        record["seed"]: record[measure] or 0.0
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
        scores.setdefault(Rule.parse(record["rule"]).key(), []).append(record["accuracy"] or 0.0)
    return {key: float(np.mean(values)) for key, values in scores.items()}


def curves(records: list[dict], rule: str, lr: float, what: str = "curve") -> dict[int, np.ndarray]:
    """Return a rule's curve by seed in a transfer with a rate, float [epochs]; NaN where it diverged.

    Args:
        what: "curve", the validation score after each epoch, or "test", where it was measured.
    """
    return {
        record["seed"]: np.array(record[what], dtype=float)
        for record in records
        if (record["stage"], record["rule"], record["lr"]) == ("train", rule, lr)
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
