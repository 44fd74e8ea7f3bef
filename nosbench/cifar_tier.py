"""NOS-Bench, the CIFAR tier: rules of depth 1 on a small ConvNet, in an order that may stop anywhere.

    python -m nosbench.cifar_tier build --workers 2   # begin, or go on; Ctrl-C when you like
    python -m nosbench.cifar_tier report              # coverage, how well the micro tier predicts it

The whole space would take days, so the rules come in an order of which every beginning is useful:
the named ones; a random sample of 2,000 distinct ones, as many of each binary function, all trained;
then, at random, those that pass the tests of screen.py (studies/screening.py tells what these would have
lost of the sample). The child is that of `search.py --preset laptop` on CIFAR-10: one epoch of 1,000
images at each rate, five at the best. Distinct rules are the classes of the micro tier. Each record is
one line, as search.py writes them.
Read next: build.py, the tier that is complete.
"""

import random
import sys
from collections import Counter, deque
from concurrent.futures import Future
from dataclasses import asdict, replace
from itertools import islice, zip_longest
from pathlib import Path

from config import ConfigError, Parser, as_program, from_dict

import numpy as np

import data
import results
from child import CHILDREN, ChildConfig, identify, resolve_precision
from dsl import BINARY, Rule
from loop import describe
from nosbench.intervals import spearman_interval
from nosbench.table import CIFAR, Table
from pool import WorkerPool, usable_cores
from results import CHANCE, FAILURE_REWARD, Progress
from rules import NAMED_RULES
from screen import screen
from training import evaluate_rule, start_worker

SAMPLE = 2_000
CHILD = CHILDREN["laptop"] | {"dataset": "cifar10", "screen": False}
BAR = 2 * CHANCE  # accuracy from which a rule clearly does more than guess
TOP = 0.01


def order(table: Table) -> list[tuple[int, Rule, str]]:
    """Return all classes as (number, rule, part), part being "named", "sample" or "passing"."""
    rng = random.Random(0)
    named = {}
    for rule in (Rule.parse(named.rule) for named in NAMED_RULES.values()):
        if len(rule.groups) == 1 and set(rule.operands) <= set(table.tokens[0]):
            named.setdefault(table.number(rule), rule)
    rules = {number: table.rule(index) for number, index in enumerate(table.measured.tolist())}
    rest = [number for number in rules if number not in named]
    rng.shuffle(rest)
    binary = [token for token in BINARY if token in table.tokens[4]]
    strata = [[n for n in rest if rules[n].tokens[4] == token] for token in binary]
    turns = zip_longest(*strata)  # one of each in turn; `left` has few distinct rules
    sample = [n for row in turns for n in row if n is not None][:SAMPLE]
    taken = set(sample)
    parts = [(n, rule, "named") for n, rule in named.items()]
    parts += [(n, rules[n], "sample") for n in sample]
    return parts + [(n, rules[n], "passing") for n in rest if n not in taken]


def build(folder: Path, workers: int, limit: int) -> None:
    """Train rules in order until `limit` of them are recorded, or somebody stops it.

    Raises:
        DataError, RunError, ConfigError: no data, no run folder, or one of other settings.
    """
    config = replace(ChildConfig(**CHILD), precision=resolve_precision("auto"))
    if folder.exists():
        saved = results.read_config(folder)
        config = from_dict(ChildConfig, {name: saved[name] for name in asdict(config) if name in saved})
    else:
        data.prepare(config.dataset, Path(config.data))
    config = identify(config)
    if folder.exists():
        run = results.Run.reopen(folder)
    else:
        settings = asdict(config) | {"child_seed": 0}
        run = results.Run.create(folder, settings, results.environment(threads=1))
    progress, in_flight = Progress(run.folder / "log.txt"), deque()
    with run, WorkerPool(workers, initializer=start_worker, preload=("child", "numpy.random")) as pool:
        # By what is recorded, not by place: the order changes when a rule gets a name.
        done = {record["class"] for record in results.read_lines(folder / "records.jsonl")}
        missing = (one for one in candidates(Table.load("micro")) if one[0] not in done)
        for id, (number, rule, part) in enumerate(islice(missing, max(0, limit - len(done))), len(done)):
            in_flight.append((id, number, rule, part, pool.submit(evaluate_rule, str(rule), config, 0)))
            if len(in_flight) > 2 * workers:
                note(run, config, *in_flight.popleft())
                progress.update(f"{id + 1 - len(in_flight):,} rules trained, now '{part}'")
        while in_flight:
            note(run, config, *in_flight.popleft())


def candidates(table: Table):
    """Yield the rules in order, those of the last part only if they pass the tests of screen.py."""
    for number, rule, part in order(table):
        if part != "passing" or screen(rule) is None:
            yield number, rule, part


def note(
    run: results.Run, config: ChildConfig, id: int, number: int, rule: Rule, part: str, future: Future
) -> None:
    """Wait for a rule's score and append its record; a rule that fails scores 0, as in a search."""
    record = {"id": id, "class": number, "part": part, "rule": str(rule), "infix": rule.infix()}
    record |= {"key": rule.key(), "seed": 0, "cached_from": None, **describe(future, config.open)}
    record["reward"] = FAILURE_REWARD if record["accuracy"] is None else record["accuracy"]
    run.append("records.jsonl", record)


def report(folder: Path) -> str:
    """Return coverage, and how the micro tier's means agree with this tier's scores.

    The share "of all distinct rules" is that of the random sample, in which each binary function is
    given the weight that it has in the space; correlation and overlap are the sample's as it is.

    Raises:
        RunError: there is nothing yet.
    """
    table, records = Table.load("micro"), results.read_lines(folder / "records.jsonl")
    if not records:
        how = "make some: python -m nosbench.cifar_tier build"
        raise results.RunError(f"{folder} has no records; {how}")
    share = len(records) / len(table.mean)
    lines = [f"{len(records):,} of {len(table.mean):,} distinct rules, {share:.1%}"]
    for name in ("named", "sample", "passing"):
        some = [record["reward"] for record in records if record["part"] == name]
        if some:
            clear = np.mean([reward >= BAR for reward in some])
            lines += [f"{name:8}{len(some):7,}, {clear:6.1%} reach {BAR}, best {max(some):.4f}"]

    sample = [record for record in records if record["part"] == "sample"]
    number, reward = (np.array([record[name] for record in sample]) for name in ("class", "reward"))
    binary = np.array([record["rule"].split()[4] for record in sample])
    everywhere = Counter(table.rule(index).tokens[4] for index in table.measured.tolist())
    weight = np.array([everywhere[token] / np.sum(binary == token) for token in binary])
    micro, clear = table.mean[number], reward >= BAR
    correlation = spearman_interval(micro[clear], reward[clear])
    best = round(TOP * len(sample))
    both = set(np.argsort(-micro)[:best]) & set(np.argsort(-reward)[:best])
    lines += [
        f"of all distinct rules about {np.average(clear, weights=weight):.1%} reach {BAR}",
        f"Spearman with the micro tier over the {clear.sum():,} rules of the sample that do: "
        f"{correlation:.3f}",
        f"of the best {best} of the sample in both tiers, {len(both)} are the same",
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m nosbench.cifar_tier", description=__doc__)
    parser.add_argument("command", choices=("build", "report"))
    parser.add_argument("--workers", type=int, default=usable_cores(), metavar="N", help="processes")
    parser.add_argument("--limit", type=int, default=10**6, metavar="N", help="rules to have in the end")
    parser.add_argument(
        "--out", type=Path, default=CIFAR, metavar="DIR", help="records (default: the published)"
    )
    args = parser.parse_args(argv)
    try:
        if min(args.workers, args.limit) < 1:
            raise ConfigError("--workers and --limit must be at least 1")
        if args.command == "build":
            build(args.out, args.workers, args.limit)
        print(report(args.out))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    print(f"{args.out} holds the records. Next: python -m nosbench.cifar_tier build goes on with it")
    return 0


if __name__ == "__main__":
    sys.exit(as_program(main))
