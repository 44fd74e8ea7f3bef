"""Build the table of NOS-Bench: measure every rule of depth 1.

    python -m nosbench.build                     # half an hour on one core
    python -m nosbench.build --families          # measure nothing: number an old table's families

The 154,880 strings are merged into classes: exactly, by `Rule.key`, and then by `Rule.fingerprint`,
which puts together what behaves alike to five digits; one rule of each class is measured, and a sample
of second members too, to say how far they agree. Classes whose measured rules are near-copies of each
other are one family (sameness.py). A build that was stopped goes on where it last saved, a minute ago at
most. Read next: card.py, for what the table says.
"""

import json
import os
import random
import sys
import time
from concurrent.futures import as_completed
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from config import ConfigError, Parser, as_program

import numpy as np

from dsl import Rule, SearchSpace
from nosbench import micro
from nosbench.card import card
from nosbench.table import FOLDER, NO_RATE, NONE, TIER, Scores, Table, TableError, read
from pool import WorkerPool
from results import Progress, environment
from sameness import MAX_APART, MIN_COSINE, REACH, Families
from training import start_worker

BLOCK = 256  # rules in a task: a second or two
SAVE_EVERY_S = 60.0
NUM_PAIRS = 500  # second members measured to check the merging by fingerprint

# --- classes --------------------------------------------------------------------------------------


class Merging(NamedTuple):
    """How strings fall into classes, each numbered by its first string."""

    classes: np.ndarray  # int32 [N], the class of each string
    keys: int  # how many different keys the strings have
    members: list[list[int]]  # for each class, a string of each of its keys, the simplest one first


def merge(rules: list[Rule]) -> Merging:
    """Put rules into one class if their fingerprints, or those of rules with their keys, are equal."""
    by_key: dict[str, int] = {}
    by_fingerprint: dict[str, int] = {}
    classes, members = [], []
    length = lambda i: len(rules[i].key())  # noqa: E731
    for i, rule in enumerate(rules):
        key = rule.key()
        if key not in by_key:
            by_key[key] = by_fingerprint.setdefault(rule.fingerprint(), len(members))
            if by_key[key] == len(members):
                members.append([])
            members[by_key[key]].append(i)
        classes.append(by_key[key])
    # So that Adam itself is measured, and not sign(g^2) * Adam.
    members = [sorted(group, key=length) for group in members]
    return Merging(np.array(classes, dtype=np.int32), len(by_key), members)


# --- build ----------------------------------------------------------------------------------------


class Build:
    """The scores of all classes, some of which are still to be measured.

    Args:
        path: of the partial result, which is read if it is there.
        settings: what the scores depend on; a partial result of other settings is refused.
    """

    def __init__(self, path: Path, settings: dict, num_classes: int, num_seeds: int, num_rates: int):
        self.path, self.settings = path, json.dumps(settings)
        shape = (num_classes, num_seeds)
        self.scores = Scores(
            np.full(shape, NONE, np.uint16),
            np.full(shape, NONE, np.uint16),
            np.full(shape, NO_RATE, np.uint8),
            np.full((*shape, num_rates), NONE, np.uint16),
        )
        self.done, self.seconds = np.zeros(shape, bool), 0.0
        if path.exists():
            self._read()
        self._saved_s = self._last_s = time.monotonic()

    def _read(self) -> None:
        try:
            with np.load(self.path) as file:
                if str(file["settings"]) != self.settings:
                    raise ValueError("it was begun with other settings")
                self.scores = Scores(*(file[name] for name in Scores._fields))
                self.done, self.seconds = file["done"], float(file["seconds"])
        except (OSError, ValueError, KeyError, EOFError) as error:
            reason = str(error).split("\n")[0]
            raise TableError(f"cannot go on with {self.path} ({reason}); remove it") from None

    def note(self, block: range, seed: int, scores: Scores) -> None:
        """Take the scores of a block of classes; save now and then."""
        for array, new in zip(self.scores, scores, strict=True):
            array[block.start : block.stop, seed] = new
        self.done[block.start : block.stop, seed] = True
        if time.monotonic() - self._saved_s > SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._last_s
        self._last_s = self._saved_s = now
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with partial.open("wb") as file:
            values = {"settings": self.settings, "done": self.done, "seconds": self.seconds}
            np.savez(file, **values, **self.scores._asdict())
        os.replace(partial, self.path)


def build(num_seeds: int, workers: int, folder: Path, space: SearchSpace) -> Table:
    """Measure all rules of a space with seeds 0 ... num_seeds - 1, and write the table.

    Args:
        folder: where the table, its numbers and, until it is complete, its partial result go.
    Raises:
        TableError: there is a table already, or a partial result of other settings.
    """
    if (path := folder / f"{TIER}.npz").exists():
        raise TableError(f"{path} is there already; move it away to build it again")
    progress = Progress()
    kinds = {"operands": 0, "unary": 2, "binary": 4}
    tokens, rules = {kind: space.choices(k) for kind, k in kinds.items()}, list(space)
    settings = {"tier": TIER, "tokens": tokens, "protocol": micro.PROTOCOL, "seeds": num_seeds}
    progress.say(f"merging {len(rules):,} strings")
    merging = merge(rules)
    measured = np.array([members[0] for members in merging.members], dtype=np.int32)
    texts = [str(rules[i]) for i in measured]
    folder.mkdir(parents=True, exist_ok=True)
    part = Build(
        folder / f"{TIER}.partial.npz",
        {**settings, "strings": len(rules), "classes": len(texts)},
        len(texts),
        num_seeds,
        len(micro.RATES),
    )
    progress.say(f"{len(texts):,} classes, {num_seeds} seeds; {part.done.mean():.0%} measured before")

    pool = WorkerPool(workers, initializer=start_worker, preload=["torch", "numpy"])
    try:
        measure_rest(part, pool, texts, progress)
        check = check_merging(pool, rules, merging, part.scores, num_seeds)
    finally:
        pool.stop()
        part.save()
    header = {
        **settings,
        "strings": len(rules),
        "keys": merging.keys,
        "merging": check,
        "seconds": round(part.seconds),
        "workers": workers,
        "date": time.strftime("%Y-%m-%d"),
        **environment(1),
    }
    table = write(Table(header, merging.classes, measured, measured, *part.scores), path, progress)
    part.path.unlink()
    return table


def write(table: Table, path: Path, progress: Progress) -> Table:
    """Number a table's families, whatever it said of them, write it and its numbers, and return it."""
    families, numbers = Families(), []
    for index in table.measured.tolist():
        numbers.append(families(table.rule(index)))
        progress.update(f"families: {len(numbers):,} of {len(table.measured):,} classes")
    thresholds = {"least cosine": MIN_COSINE, "most decades apart": MAX_APART, "reach": REACH}
    header = table.header | {"families": thresholds}
    table = replace(table, header=header, family=np.array(numbers, np.int32))
    table.save(path)
    path.with_suffix(".md").write_text(card(table), "utf-8")
    return table


def add_families(folder: Path) -> Table:
    """Write a table that is there again, with its families; all that was measured stays as it is.

    Raises:
        TableError: it is missing or damaged.
    """
    path = folder / f"{TIER}.npz"
    header, arrays = read(path)
    return write(Table(header, **arrays | {"family": arrays["measured"]}), path, Progress())


def measure_rest(part: Build, pool, texts: list[str], progress: Progress) -> None:
    """Measure the classes, each by its text, and seeds that are still to be measured."""
    futures = {}
    for seed in range(part.done.shape[1]):
        for start in range(0, len(texts), BLOCK):
            block = range(start, min(start + BLOCK, len(texts)))
            if not part.done[start, seed]:
                futures[pool.submit(micro.measure, texts[start : block.stop], seed)] = block, seed
    before, start_s = part.done.mean(), time.monotonic()
    for future in as_completed(futures):
        part.note(*futures[future], future.result())
        done = part.done.mean()
        left_s = (time.monotonic() - start_s) * (1 - done) / (done - before)
        progress.update(f"{done:.1%} measured, {left_s / 60:.0f} min to go")


def check_merging(pool, rules, merging: Merging, scores: Scores, num_seeds: int) -> dict:
    """Measure a second member of some classes, which has another key, and compare its scores.

    Returns:
        For all pairs, and for those whose measured member is above half of the best: how many there
        are, the share of equal scores, mean and largest difference of accuracies (0 if diverged).
    """
    several = [i for i, members in enumerate(merging.members) if len(members) > 1]
    chosen = sorted(random.Random(0).sample(several, min(NUM_PAIRS, len(several))))
    texts = [str(rules[random.Random(i).choice(merging.members[i][1:])]) for i in chosen]
    futures = [pool.submit(micro.measure, texts, seed) for seed in range(num_seeds)]
    second = np.stack([future.result().correct for future in futures], 1)
    accuracy = lambda counts: np.where(counts == NONE, 0, counts) / micro.NUM_VALIDATION  # noqa: E731
    difference = np.abs(accuracy(scores.correct[chosen]) - accuracy(second))
    equal, mean = scores.correct[chosen] == second, accuracy(scores.correct).mean(1)

    def report(some: np.ndarray) -> dict | None:
        if not some.any():
            return None
        return {
            "pairs": int(some.sum()),
            "equal": round(float(equal[some].mean()), 4),
            "mean difference": round(float(difference[some].mean()), 5),
            "largest difference": round(float(difference[some].max()), 4),
        }

    high = mean[chosen] > mean.max() / 2
    return {"all": report(high | True), "high": report(high)}


# --- command line ---------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m nosbench.build", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds a rule (default: 3)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument(
        "--families", action="store_true", help="only number the families of a table that is there"
    )
    args = parser.parse_args(argv)
    try:
        for name, least in (("seeds", 2), ("workers", 1)):  # one seed does not show noise
            if (value := getattr(args, name)) < least:
                raise ConfigError(f"--{name} is {value}; it must be at least {least}")
        if args.families:
            table = add_families(FOLDER)
        else:
            table = build(args.seeds, args.workers, FOLDER, SearchSpace(1))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"{FOLDER / TIER}.npz: {len(table.mean):,} rules, and {TIER}.md, its numbers. ", end="")
    print("Next: python -m nosbench.verify")
    return 0


if __name__ == "__main__":
    sys.exit(as_program(main))
