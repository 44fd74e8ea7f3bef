"""What the table of NOS-Bench says about a rule: its scores, its sweep, its rank and its near-copies.

    python -m nosbench.show adam
    python -m nosbench.show m v id exp mul       # or any other string of depth 1

Read next: data/README.md beside this file, on what was measured.
"""

import sys

from config import Parser, as_program

from dsl import Rule
from nosbench.table import CIFAR, TIER, Entry, Table
from results import number, read_lines
from rules import HUMAN, NAMED_RULES, find

NEAR_COPIES = 5  # of a family that are printed


def show(table: Table, rule: Rule) -> str:
    """Return a text on a rule: its scores, its sweep, its rank, and human optimizers beside it."""
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
    lines += ["", "beside the human optimizers"]
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
    return "\n".join(lines + ["", *kin(table, entry)])


def kin(table: Table, entry: Entry) -> list[str]:
    """Return what is known of a rule's family: its near-copies, mean and spread over them, and rank."""
    family, above = entry.family, sum(other.mean > entry.family.mean for other in table.families)
    if family.classes == 1:
        return [f"family {family.number:,}: no near-copies"]
    best = [
        f"{table.mean[i]:.4f}  {table.rule(table.measured[i])}" for i in table.near_copies(family.number)
    ]
    shown = "the best and the worst" if len(best) > NEAR_COPIES + 1 else "all"
    return [
        f"family {family.number:,}: {family.classes:,} classes of near-copies, mean {family.mean:.4f}, "
        f"spread {family.spread:.4f}, rank {above + 1:,} of {len(table.families):,}; {shown}:",
        *(f"  {line}" for line in (best if shown == "all" else best[:NEAR_COPIES] + best[-1:])),
    ]


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m nosbench.show", description=__doc__)
    parser.add_argument("rule", nargs="+", metavar="RULE", help="a name, or a rule's tokens")
    args = parser.parse_args(argv)
    try:
        print(show(Table.load(TIER), find(" ".join(args.rule))))
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(as_program(main))
