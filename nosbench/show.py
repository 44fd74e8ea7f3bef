"""What a table of NOS-Bench says, in words: all of it for its data card, or one rule.

Nothing to run here; `python -m nosbench.build build` writes the card, `python -m nosbench.show RULE` prints
the rest. Read next: nosbench/data/README.md.
"""

from pathlib import Path

import numpy as np

from dsl import Rule
from nosbench.table import LEARNS, NONE, Table
from results import number, read_lines
from rules import HUMAN, NAMED_RULES, find

CIFAR = (
    Path(__file__).parent.parent / "runs" / "published" / "nosbench-cifar"
)  # records of cifar_tier.py


def noise(table: Table) -> tuple[int, float, float, float]:
    """Return, of the classes that learn: number, noise, spread and correlation of the scores.

    Noise is the standard deviation of one evaluation between seeds, spread that of the classes' means;
    the correlation is between two seeds.
    """
    scores = table.accuracy[table.learns]
    seeds = scores.shape[1]
    correlation = (np.corrcoef(scores.T).sum() - seeds) / (seeds * (seeds - 1))
    sd = np.sqrt(scores.var(1, ddof=1).mean())
    return len(scores), float(sd), float(scores.mean(1).std()), float(correlation)


def card(table: Table) -> str:
    """Return a table's numbers, in Markdown; README.md beside it says the rest."""
    header, protocol, num_classes = table.header, table.header["protocol"], len(table.mean)
    seeds, strings = table.correct.shape[1], np.bincount(table.classes, minlength=num_classes)
    diverged = (table.correct == NONE).mean(1)
    learn, sd, spread, correlation = noise(table)
    per_rule_ms = 1000 * header["seconds"] * header["workers"] / num_classes / seeds
    facts = {
        "child": protocol["child"],
        "data": protocol["data"],
        "steps of each rate; of the best one after it": " + ".join(map(str, protocol["steps"])),
        "pictures in a batch; for validation; for the test": f"{protocol['batch']}; "
        f"{protocol['validation']:,}; {protocol['test']:,}",
        "learning rates": ", ".join(f"{rate:g}" for rate in protocol["rates"]),
        "seeds": f"0 to {seeds - 1}",
        "command": f"`{header['command']}`, commit {header['commit']}, {header['date']}",
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
        f"classes that learn, with at least {LEARNS:.0%} of SGD's mean": f"{learn:,}",
        "noise: their standard deviation of one score, between seeds": f"{sd:.4f}",
        f"spread: standard deviation of their means over {seeds} seeds": f"{spread:.4f}",
        "correlation of their scores with two seeds": f"{correlation:.2f}",
    }
    lines = [
        f"# {header['tier']}",
        "",
        "Written by `nosbench.py build`; see [the data card](README.md).",
    ]
    lines += ["", "| | |", "|---|---|", *(f"| {name} | {fact} |" for name, fact in facts.items())]

    lines += [
        "",
        "## Distribution of the mean score",
        "",
        "| from | classes | strings |",
        "|---|---|---|",
    ]
    edges = [0, 0.001, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.62, 0.64, 0.66, 0.68, 0.7, 1]
    counts, weighted = (np.histogram(table.mean, edges, weights=w)[0] for w in (None, strings))
    lines += [
        f"| {low:g} | {n / num_classes:.2%} | {m / header['strings']:.2%} |"
        for low, n, m in zip(edges, counts, weighted, strict=False)
        if n
    ]

    lines += ["", "## People's optimizers, and the best rules", ""]
    lines += ["| rule | mean | each seed | test, mean | rank | of all |", "|---|---|---|---|---|---|"]
    best = np.argsort(-table.mean, kind="stable")[:20].tolist()
    named = [(name, table.lookup(find(name)).number) for name in HUMAN]
    for name, i in [*named, *((f"`{table.rule(table.measured[i])}`", i) for i in best)]:
        scores = " / ".join(f"{score:.4f}" for score in table.accuracy[i])
        test = np.where(table.test[i] == NONE, 0, table.test[i]).mean() / protocol["test"]
        row = [name, f"{table.mean[i]:.4f}", scores, f"{test:.4f}"]
        row += [f"{table.rank(i):,}", f"{table.rank(i) / num_classes:.2%}"]
        lines += [f"| {' | '.join(row)} |"]

    lines += ["", "## Do members of a class score alike?", ""]
    lines += ["| members with another key | number | equal scores | mean difference | largest |"]
    lines += ["|---|---|---|---|---|"]
    for name, check in (("any", "all"), ("of classes above half of the best", "high")):
        if values := header["merging"][check]:
            row = [name, values["pairs"], f"{values['equal']:.1%}"]
            row += [values["mean difference"], values["largest difference"]]
            lines += [f"| {' | '.join(map(str, row))} |"]
    return "\n".join(lines) + "\n"


def show(table: Table, rule: Rule) -> str:
    """Return a text on a rule: its scores, its sweep, its rank, and people's optimizers beside it."""
    entry, protocol = table.lookup(rule), table.header["protocol"]
    names = [
        name
        for name, named in NAMED_RULES.items()
        if len(find(name).groups) == 1 and table.lookup(named.rule).number == entry.number
    ]
    rank, num_classes = table.rank(entry.number), len(table.mean)
    spellings = int((table.classes == entry.number).sum())
    measured = table.rule(table.measured[entry.number])
    below = float((table.mean < table.mean[entry.number]).mean())
    lines = [
        f"{rule}    {rule.infix()}" + (f"    also named {', '.join(names)}" if names else ""),
        f"class {entry.number:,}: {spellings:,} string{'s' * (spellings > 1)}, measured as '{measured}'",
        f"mean {entry.mean:.4f}, rank {rank:,} of {num_classes:,}, better than {below:.2%} of them",
    ]
    rates = "".join(f"{f'{lr:g}':>8}" for lr in protocol["rates"])
    lines += ["", f"{'seed':>4}{'score':>8}{'test':>8}{'lr':>8}   sweep:{rates}"]
    for seed, sweep in enumerate(entry.sweep):
        lr = "-" if entry.lr[seed] is None else f"{entry.lr[seed]:g}"
        line = f"{seed:>4}{number(entry.scores[seed]):>8}{number(entry.test[seed]):>8}{lr:>8}"
        lines += [line + " " * 9 + "".join(f"{number(x):>8}" for x in sweep)]
    lines += ["", "beside people's optimizers"]
    for name in HUMAN:
        other = table.lookup(find(name))
        scores = " ".join(f"{number(x):>7}" for x in other.scores)
        lines += [f"  {name:10}{other.mean:.4f}  ({scores})  rank {table.rank(other.number):,}"]
    first, more = protocol["steps"]
    lines += [
        "",
        f"sweep: validation accuracy after {first} steps; score: after {more} more at the best rate",
    ]
    for record in read_lines(CIFAR / "records.jsonl"):
        if record["class"] == entry.number:
            lines += [f"CIFAR tier, one seed: {record['reward']:.4f}, as '{record['rule']}'"]
    return "\n".join(lines)
