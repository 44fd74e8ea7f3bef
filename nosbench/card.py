"""The numbers of a table of NOS-Bench, for its data card; build.py writes them beside the table.

Nothing to run here. Read next: data/README.md beside this file.
"""

import numpy as np

from nosbench.table import KEEPS_UP, NO_RATE, NONE, Family, Table
from results import markdown
from rules import HUMAN, find

TOP = 0.01  # share of the families that are called top
LARGE, NAMED = 4, 12  # classes of a family whose spread says something; families that are listed
FAR = 0.05  # below a family's median
EDGES = (0, 0.001, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.62, 0.64, 0.66, 0.68, 0.7, 1)


def noise(table: Table) -> tuple[float, float, float]:
    """Return noise, spread and correlation of the scores of the classes that keep up with SGD.

    Noise is the standard deviation of one evaluation between seeds, spread that of the classes' means;
    the correlation is between two seeds.
    """
    scores, seeds = table.accuracy[table.keeps_up], table.num_seeds
    correlation = (np.corrcoef(scores.T).sum() - seeds) / (seeds * (seeds - 1))
    sd = np.sqrt(scores.var(1, ddof=1).mean())
    return float(sd), float(scores.mean(1).std()), float(correlation)


def card(table: Table) -> str:
    """Return a table's numbers, in Markdown; README.md beside it says the rest."""
    sections = [
        [f"# {table.header['tier']}"],
        ["Written by `python -m nosbench.build`; see [the data card](README.md)."],
        facts(table),
        ["## Distribution of the mean score"],
        distribution(table),
        ["## Human optimizers, and the best rules"],
        standing(table),
        ["## Do members of a class score alike?"],
        merging(table.header["merging"]),
        ["## Families"],
        families(table),
        [f"Those of at least {LARGE} classes of which half keep up with SGD, the {NAMED} largest:"],
        named(table, largest(table)[:NAMED]),
        [f"The {NAMED} largest of the top {TOP:.0%} by their means:"],
        named(table, sorted(top(table), key=lambda family: -family.classes)[:NAMED]),
    ]
    return "\n\n".join(map("\n".join, sections)) + "\n"


def facts(table: Table) -> list[str]:
    header, protocol, num_classes = table.header, table.header["protocol"], len(table.mean)
    seeds, strings = table.num_seeds, np.bincount(table.classes)
    diverged = (table.correct == NONE).mean(1)
    sd, spread, correlation = noise(table)
    per_rule_ms = 1000 * header["seconds"] * header["workers"] / num_classes / seeds
    said = {
        "child": protocol["child"],
        "data": protocol["data"],
        "steps of each rate; of the best one after it": " + ".join(map(str, protocol["steps"])),
        "pictures in a batch; for validation; for the test": f"{protocol['batch']}; "
        f"{protocol['validation']:,}; {protocol['test']:,}",
        "learning rates": ", ".join(f"{rate:g}" for rate in protocol["rates"]),
        "seeds": f"0 to {seeds - 1}",
        "built": f"with commit {header['commit']}, {header['date']}",
        "time": f"{header['seconds'] / 60:.1f} minutes, workers: {header['workers']}, one thread each; "
        f"{per_rule_ms:.1f} ms a rule and seed",
        "machine": f"{header['processor']}, {header['capability']}, torch {header['torch']}",
        "strings; keys; classes": f"{header['strings']:,}; {header['keys']:,}; {num_classes:,}",
        "strings in the largest class": f"{strings.max():,}",
        "classes of one string": f"{(strings == 1).sum():,}",
        "diverged runs": f"{diverged.mean():.1%}",
        "classes that diverged with every seed": f"{(diverged == 1).mean():.1%}",
        "mean score of all classes": f"{table.mean.mean():.4f}",
        **{
            f"best {share:.4g} % of the classes: from": f"{np.quantile(table.mean, 1 - share / 100):.4f}"
            for share in (10, 1, 0.1, 0.01)
        },
        f"classes that keep up: at least {KEEPS_UP:.0%} of SGD's mean": f"{table.keeps_up.sum():,}",
        "noise: their standard deviation of one score, between seeds": f"{sd:.4f}",
        f"spread: standard deviation of their means over {seeds} seeds": f"{spread:.4f}",
        "correlation of their scores with two seeds": f"{correlation:.2f}",
    }
    return markdown(["", ""], list(said.items()))


def distribution(table: Table) -> list[str]:
    strings = np.bincount(table.classes)
    counts, weighted = (np.histogram(table.mean, EDGES, weights=w)[0] for w in (None, strings))
    rows = [
        [f"{low:g}", f"{n / len(table.mean):.2%}", f"{m / strings.sum():.2%}"]
        for low, n, m in zip(EDGES, counts, weighted, strict=False)
        if n
    ]
    return markdown(["from", "classes", "strings"], rows)


def standing(table: Table) -> list[str]:
    best = np.argsort(-table.mean, kind="stable")[:20].tolist()
    named = [(name, table.lookup(find(name)).number) for name in HUMAN]
    rows = []
    for name, i in [*named, *((f"`{table.rule(table.measured[i])}`", i) for i in best)]:
        scores = " / ".join(f"{score:.4f}" for score in table.accuracy[i])
        test = np.where(table.test[i] == NONE, 0, table.test[i]).mean()
        rank = table.rank(i)
        row = [name, f"{table.mean[i]:.4f}", scores, f"{test / table.header['protocol']['test']:.4f}"]
        rows.append([*row, f"{rank:,}", f"{rank / len(table.mean):.2%}"])
    return markdown(["rule", "mean", "each seed", "test, mean", "rank", "of all"], rows)


def merging(checks: dict) -> list[str]:
    rows = []
    for name, check in (("any", "all"), ("of classes above half of the best", "high")):
        if values := checks[check]:
            row = [name, str(values["pairs"]), f"{values['equal']:.1%}"]
            rows.append([*row, str(values["mean difference"]), str(values["largest difference"])])
    head = ["members with another key", "number", "equal scores", "mean difference", "largest"]
    return markdown(head, rows)


# --- families -------------------------------------------------------------------------------------


def largest(table: Table) -> list[Family]:
    """Return the families of at least LARGE classes of which half keep up with SGD, largest first."""
    sizes = np.bincount(table.family)
    share = np.bincount(table.family, table.keeps_up) / sizes
    chosen = np.flatnonzero((sizes >= LARGE) & (share >= 0.5))
    return [table.families[i] for i in chosen[np.argsort(-sizes[chosen], kind="stable")]]


def top(table: Table) -> list[Family]:
    """Return the families that are called top, by their mean over seeds and classes."""
    ranked = sorted(table.families, key=lambda family: -family.mean)
    return ranked[: max(1, round(TOP * len(ranked)))]


def families(table: Table) -> list[str]:
    """Return how many there are, how large, and how far their members agree."""
    sizes, best = np.bincount(table.family), top(table)
    top_classes = np.argsort(-table.mean, kind="stable")[: round(TOP * len(table.mean))]
    held = np.bincount(table.family[top_classes])
    said = {
        "families": f"{len(sizes):,}",
        "of one class": f"{(sizes == 1).sum():,}",
        "classes of the largest": ", ".join(f"{n:,}" for n in np.sort(sizes)[::-1][:5]),
        f"top {TOP:.0%} of them: how many; from a mean of": f"{len(best):,}; {best[-1].mean:.4f}",
        "classes in these; families of one class among them": f"{sum(f.classes for f in best):,}; "
        f"{sum(f.classes == 1 for f in best):,}",
        f"families that the top {TOP:.0%} of the classes are in": f"{(held > 0).sum():,} "
        f"of {len(top_classes):,} classes; the most in one: {held.max():,}",
    }
    if learning := [np.flatnonzero(table.family == family.number) for family in largest(table)]:
        below = [some[table.mean[some] < np.median(table.mean[some]) - FAR] for some in learning]
        others = [np.setdiff1d(some, far) for some, far in zip(learning, below, strict=True)]
        far = np.concatenate(below)
        ends = (0, len(table.header["protocol"]["rates"]) - 1, NO_RATE)
        edge = np.isin(table.rate[far], ends).any(1).sum()
        within = np.median([table.accuracy[some].std(0, ddof=1).mean() for some in others])
        between = np.std([np.median(table.mean[some]) for some in learning])
        said |= {
            f"families of at least {LARGE} classes of which half keep up": f"{len(learning):,}, "
            f"with {sum(map(len, learning)):,} classes",
            f"classes of these over {FAR} below their family's median": f"{len(far):,}; of "
            f"{edge:,} the best rate is an end of the sweep",
            "spread of the others, with one seed, within a family (median)": f"{within:.4f}",
            "spread between those families' medians": f"{between:.4f}",
        }
    return markdown(["", ""], list(said.items()))


def named(table: Table, chosen: list[Family]) -> list[str]:
    """Return a row a family, which its shortest rule names."""
    rows = []
    for family in chosen:
        members = table.near_copies(family.number)
        rules = [table.rule(i) for i in table.measured[members]]
        median, best = np.median(table.mean[members]), table.mean[members[0]]
        row = [f"`{min(rules, key=lambda rule: len(rule.infix()))}`", f"{family.classes:,}"]
        spread = "-" if family.spread is None else f"{family.spread:.4f}"
        rows.append([*row, f"{family.mean:.4f}", spread, f"{median:.4f}", f"{best:.4f}"])
    return markdown(["shortest rule", "classes", "mean", "spread", "median", "best"], rows)
