"""NOS-Bench: the score of every rule of depth 1, measured once, so that a search takes seconds.

A tabular benchmark, as NAS-Bench-101 (Ying et al. 2019) is for architectures. A table holds all strings
of the paper's language with one group of five tokens, merged into classes of rules that behave alike,
and for each class its family (sameness.py) and what `measure` of its tier's child returned, once a seed:

    table = Table.load("micro")
    table.lookup("adam 1 id id mul").mean       # validation accuracy, mean over the seeds
    table.lookup("adam 1 id id mul").family     # its near-copies, mean and spread over them
    table.mean, table.correct, table.sweep      # arrays of all classes, to study

nosbench/data/README.md says how each was measured. Read next: micro.py, the child of the table that
ships, then build.py, which measures it.
"""

import json
import os
import zipfile
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsl import GROUP, Rule, SearchSpace
from rules import find

FOLDER = Path(__file__).parent / "data"
CIFAR = Path(__file__).parent.parent / "runs" / "published" / "nosbench-cifar"  # of cifar_tier.py
KEEPS_UP = 0.8  # of SGD's mean: rules with at least so much are said to keep up with it
TIER = "micro"  # the one that is complete
VERSION = 3  # of what it holds; a reader refuses others instead of guessing

NONE = np.iinfo(np.uint16).max  # in the place of a count: diverged
NO_RATE = np.iinfo(np.uint8).max  # in the place of a rate: diverged at all of them


class TableError(ValueError):
    """There is no such table, or it does not have this rule."""


class Scores(NamedTuple):
    """What one seed measured of R rules with L learning rates; NONE or NO_RATE where it diverged."""

    correct: np.ndarray  # validation images after the long run, uint16 [R]
    test: np.ndarray  # test images after it, uint16 [R]
    rate: np.ndarray  # index of the best rate of the sweep, uint8 [R]
    sweep: np.ndarray  # validation images after each rate's short run, uint16 [R, L]


class Family(NamedTuple):
    """What a table says about the classes that are near-copies of each other."""

    number: int
    classes: int  # that it has
    mean: float  # over its classes of their means
    spread: float | None  # standard deviation of these means; None of a single one


class Entry(NamedTuple):
    """What a table says about a rule; None where a run diverged."""

    number: int  # of its class
    family: Family  # of its class
    mean: float  # of the scores, a diverged one counting as 0
    scores: tuple[float | None, ...]  # for each seed: accuracy on the validation images
    test: tuple[float | None, ...]  # and on the test images, of the same weights
    lr: tuple[float | None, ...]  # the best learning rate of the sweep
    sweep: tuple[tuple[float | None, ...], ...]  # each rate's validation accuracy after the short run


@dataclass(frozen=True)
class Table:
    """One tier: S seeds, L learning rates, F families of C classes of rules, N strings.

    The index of a string is the mixed radix number of its tokens' places in the header's lists, the
    first token counting most. Classes are numbered by their first string, families by their first class.
    """

    header: dict  # tokens, protocol, seeds and how it was built
    classes: np.ndarray  # the class of each string, int32 [N]
    measured: np.ndarray  # the index of the string that was measured for a class, int32 [C]
    family: np.ndarray  # the family of each class, that of its measured string, int32 [C]
    correct: np.ndarray  # uint16 [C, S], as in Scores
    test: np.ndarray  # uint16 [C, S]
    rate: np.ndarray  # uint8 [C, S]
    sweep: np.ndarray  # uint16 [C, S, L]

    @staticmethod
    def load(name: str) -> "Table":
        """Read a table that ships with the project, by the name of its tier.

        Raises:
            TableError: it is missing, damaged or of another version.
        """
        return _load(FOLDER / f"{name}.npz")

    def save(self, path: Path) -> None:
        """Write the table in one step, so that a reader never sees half of it."""
        arrays = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        arrays["header"] = np.array(json.dumps({**self.header, "version": VERSION}))
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        with partial.open("wb") as file:
            np.savez_compressed(file, **{name: arrays[name] for name in ARRAYS})
        os.replace(partial, path)

    @cached_property
    def tokens(self) -> list[list[str]]:
        """The tokens that each of the five positions chooses from."""
        operands, unary, binary = (self.header["tokens"][k] for k in ("operands", "unary", "binary"))
        return [operands, operands, unary, unary, binary]

    @cached_property
    def _places(self) -> list[dict[str, int]]:
        return [{token: i for i, token in enumerate(tokens)} for tokens in self.tokens]

    @cached_property
    def mean(self) -> np.ndarray:
        """Mean validation accuracy over the seeds, a diverged one counting as 0; float64 [C]."""
        return self.accuracy.mean(1)

    @cached_property
    def accuracy(self) -> np.ndarray:
        """Validation accuracy, 0 if diverged; float64 [C, S]."""
        return np.where(self.correct == NONE, 0, self.correct) / self.header["protocol"]["validation"]

    @cached_property
    def families(self) -> list[Family]:
        """All families, by number."""
        sizes = np.bincount(self.family)
        means = family_means(self.family, self.mean)
        squares = np.bincount(self.family, (self.mean - means[self.family]) ** 2)
        spreads = np.sqrt(squares / np.maximum(1, sizes - 1))
        rows = enumerate(zip(sizes.tolist(), means.tolist(), spreads.tolist(), strict=True))
        return [Family(i, n, mean, None if n == 1 else spread) for i, (n, mean, spread) in rows]

    @cached_property
    def keeps_up(self) -> np.ndarray:
        """Which classes keep up with SGD, by their mean; bool [C]."""
        return self.mean >= KEEPS_UP * self.lookup("sgd").mean

    @property
    def num_seeds(self) -> int:
        return self.correct.shape[1]

    def index(self, rule: Rule | str) -> int:
        """Return the place in `classes` of a rule, which may be given by a name or as text.

        Raises:
            RuleError: the text is neither.
            TableError: it is not of depth 1, or has a token that the table lacks.
        """
        rule = find(rule) if isinstance(rule, str) else rule
        if len(rule.tokens) != GROUP:
            raise TableError(f"'{rule}' has {len(rule.groups)} groups; the table holds rules of one")
        index = 0
        for token, places in zip(rule.tokens, self._places, strict=True):
            if token not in places:
                raise TableError(f"'{rule}' has '{token}', which is none of the table's tokens")
            index = index * len(places) + places[token]
        return index

    def number(self, rule: Rule | str) -> int:
        """Return the number of a rule's class; raise as `index` does."""
        return int(self.classes[self.index(rule)])

    def family_of(self, rule: Rule | str) -> int:
        """Return the number of a rule's family, that of its class; raise as `index` does."""
        return int(self.family[self.number(rule)])

    def rule(self, index: int) -> Rule:
        """Return the string of that index."""
        places = np.unravel_index(index, [len(tokens) for tokens in self.tokens])
        return Rule(tuple(tokens[i] for tokens, i in zip(self.tokens, places, strict=True)))

    def lookup(self, rule: Rule | str) -> Entry:
        """Return what was measured of a rule's class.

        Raises:
            RuleError, TableError: as `index`.
        """
        number, protocol = self.number(rule), self.header["protocol"]
        share = lambda counts, all: tuple(None if n == NONE else n / all for n in counts)  # noqa: E731
        correct = self.correct[number].tolist()
        return Entry(
            number,
            self.families[self.family[number]],
            float(self.mean[number]),
            share(correct, protocol["validation"]),
            share(self.test[number].tolist(), protocol["test"]),
            tuple(
                None if n == NONE else protocol["rates"][rate]
                for n, rate in zip(correct, self.rate[number].tolist(), strict=True)
            ),
            tuple(share(counts, protocol["validation"]) for counts in self.sweep[number].tolist()),
        )

    def near_copies(self, number: int) -> list[int]:
        """Return the classes of a family, by their mean, the best one first."""
        classes = np.flatnonzero(self.family == number)
        return classes[np.argsort(-self.mean[classes], kind="stable")].tolist()

    def rank(self, number: int) -> int:
        """Return a class's place among all, 1 for the best; equal means share one."""
        return 1 + int((self.mean > self.mean[number]).sum())


def family_means(family: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the mean score of each family, float64 [F]; 0 of a number that no class has.

    Args:
        family, scores: of some classes, int [n] and float [n].
    """
    return np.bincount(family, scores) / np.maximum(1, np.bincount(family))


ARRAYS = ("header", "classes", "measured", "family", "correct", "test", "rate", "sweep")


def read(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Return the header and the arrays of a file; one of version 1 has no families.

    Raises:
        TableError: it is missing or damaged.
    """
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            names = [name for name in ARRAYS if name != "family" or name in file.files]
            arrays = {name: file[name] for name in names}
        return json.loads(str(arrays.pop("header"))), arrays
    except FileNotFoundError:
        others = ", ".join(sorted(other.stem for other in path.parent.glob("*.npz")))
        remedy = f"there is {others}" if others else "build it: python -m nosbench.build"
        raise TableError(f"{path} is missing; {remedy}") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).split("\n")[0]
        raise TableError(f"{path} is damaged ({reason})") from None


@lru_cache(maxsize=4)
def _load(path: Path) -> Table:
    header, arrays = read(path)
    if "family" not in arrays or header.get("version") == 2:  # with narrower ones
        remedy = "python -m nosbench.build --families numbers its families"
        raise TableError(f"{path} is of an older version; {remedy}")
    if header.get("version") != VERSION:
        raise TableError(f"{path} has version {header.get('version')}; this program reads {VERSION}")
    return Table(header, **arrays)


def check(tier: str, space: SearchSpace, seed: int) -> None:
    """Check that a table can answer for a search space and a seed.

    Raises:
        TableError: it cannot, or is missing.
    """
    table = Table.load(tier)
    lacking = set()
    for choices, tokens in zip(map(space.choices, range(GROUP)), table.tokens, strict=True):
        lacking |= set(choices) - set(tokens)
    if space.length != GROUP or lacking:
        what = f"lacks {', '.join(sorted(lacking))}" if lacking else "has rules of --iterations 1 only"
        raise TableError(f"the {tier} tier of NOS-Bench {what}")
    if not 0 <= seed < table.num_seeds:
        raise TableError(f"--table-seed is {seed}; the table has the seeds 0 to {table.num_seeds - 1}")
