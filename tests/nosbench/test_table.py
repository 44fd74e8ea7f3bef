"""Tests of table.py, and of the published table itself."""

import json
import random
import statistics
from itertools import islice

import numpy as np
import pytest

from dsl import Rule, RuleError, SearchSpace
from nosbench import table as table_module
from nosbench.table import ARRAYS, FOLDER, NONE, Table, TableError
from sameness import Families

RATES = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0]


@pytest.fixture(scope="module")
def sample() -> dict[int, Rule]:
    """Random strings of the space with their places in its enumeration."""
    places = set(random.Random(0).sample(range(SearchSpace(1).size()), 1500))
    return {i: rule for i, rule in enumerate(SearchSpace(1)) if i in places}


def test_every_string_has_a_class_that_of_its_fingerprint_in_the_order_of_the_space(table, sample):
    assert table.classes.shape == (154_880,) == (SearchSpace(1).size(),)
    numbers, first = np.unique(table.classes, return_index=True)
    assert np.array_equal(numbers, np.arange(len(table.mean)))
    assert (np.diff(first) > 0).all()  # numbered by their first string
    assert np.array_equal(table.classes[table.measured], numbers)
    assert all(table.index(rule) == i and table.rule(i) == rule for i, rule in sample.items())
    by_fingerprint = {}
    for i, rule in sample.items():
        name, number = rule.fingerprint(), table.classes[i]
        assert table.rule(table.measured[number]).fingerprint() == name
        assert by_fingerprint.setdefault(name, number) == number
    assert len(by_fingerprint) > 900  # or the loop would show little


def test_families_are_those_that_rules_found_in_the_order_of_classes(table):
    families = Families()
    expected = [families(table.rule(index)) for index in table.measured[:800].tolist()]
    assert table.family[:800].tolist() == expected and len(set(expected)) < 700
    _, first = np.unique(table.family, return_index=True)
    assert (np.diff(first) > 0).all() and table.family.max() == len(first) - 1


def test_a_family_is_told_by_mean_and_spread_over_its_classes(table):
    sizes = np.bincount(table.family)
    for number in (*np.argsort(-sizes)[:3].tolist(), int(np.flatnonzero(sizes == 1)[0])):
        members = [i for i in range(len(table.mean)) if table.family[i] == number]
        means = [float(table.mean[i]) for i in members]
        family = table.lookup(table.rule(table.measured[members[-1]])).family
        assert (family.number, family.classes) == (number, len(members))
        assert family.mean == pytest.approx(statistics.mean(means))
        spread = statistics.stdev(means) if len(means) > 1 else None
        assert family.spread == (None if spread is None else pytest.approx(spread))
        copies = table.near_copies(number)
        assert sorted(copies) == members
        assert [table.mean[i] for i in copies] == sorted(means, reverse=True)
        assert table.rank(copies[0]) == 1 + np.count_nonzero(table.mean > table.mean[copies[0]])


def test_lookup_is_the_arrays_in_words(table, sample):
    for i, rule in islice(sample.items(), 300):
        entry, number = table.lookup(str(rule)), table.classes[i]
        assert entry.number == number
        assert entry.mean == pytest.approx(sum(score or 0 for score in entry.scores) / 3)
        for seed in range(3):
            correct = table.correct[number, seed]
            assert entry.scores[seed] == (None if correct == NONE else correct / 2000)
            assert entry.lr[seed] == (None if correct == NONE else RATES[table.rate[number, seed]])
            sweep = table.sweep[number, seed].tolist()
            assert entry.sweep[seed] == tuple(None if n == NONE else n / 2000 for n in sweep)


def test_rules_outside_the_table_are_one_clear_line(table):
    for rule, message in (
        ("g 1 id id mul | r1 g id id mul", "has 2 groups"),
        ("g 2 id id mul", "'2'"),
        ("g 1 sqrt id pow", "'sqrt'"),
    ):
        with pytest.raises(TableError, match=f"^.*{message}.*$"):
            table.lookup(rule)
    with pytest.raises(RuleError):  # what is no rule at all is for the language to say
        table.lookup("g 1 id id")


def test_a_saved_table_loads_the_same_and_damaged_ones_are_refused(table, tmp_path, monkeypatch):
    monkeypatch.setattr(table_module, "FOLDER", tmp_path)
    with pytest.raises(TableError, match="missing"):
        Table.load("none")
    table.save(tmp_path / "copy.npz")
    copy = Table.load("copy")
    assert all(np.array_equal(getattr(copy, name), getattr(table, name)) for name in ARRAYS[1:])
    assert copy.header == table.header and [path.name for path in tmp_path.iterdir()] == ["copy.npz"]
    (tmp_path / "torn.npz").write_bytes((FOLDER / "micro.npz").read_bytes()[:5000])
    with pytest.raises(TableError, match="damaged"):
        Table.load("torn")
    header = np.array(json.dumps({"version": 99}))
    np.savez(tmp_path / "new.npz", **dict.fromkeys(ARRAYS, header))
    with pytest.raises(TableError, match="version 99"):
        Table.load("new")
    with np.load(FOLDER / "micro.npz") as file:
        arrays = {name: file[name] for name in ARRAYS}
    narrow = json.dumps({**table.header, "version": 2})
    np.savez(tmp_path / "narrow.npz", **arrays | {"header": narrow})
    del arrays["family"]
    np.savez(tmp_path / "old.npz", **arrays)
    for name in ("narrow", "old"):
        remedy = "python -m nosbench.build --families numbers its families"
        with pytest.raises(TableError, match=f"older.* {remedy}$"):
            Table.load(name)
    del arrays["sweep"]
    np.savez(tmp_path / "part.npz", **arrays)
    with pytest.raises(TableError, match="damaged .*sweep"):
        Table.load("part")
