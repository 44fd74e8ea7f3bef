"""Build, verify, show: a small space built for real, and the published table measured again."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from dsl import Rule, SearchSpace
from nosbench import build as building
from nosbench import micro, verify
from nosbench.build import build, merge
from nosbench.card import card
from nosbench.show import show
from nosbench.table import ARRAYS, CIFAR, FOLDER, NONE, Scores, TableError, read
from results import read_lines
from rules import find
from sameness import Families

SMALL = SearchSpace(1, ("g", "m", "1", "adam", "rmsprop"), ("id", "neg"), ("add", "mul", "left"))


def test_merging_is_by_key_and_then_by_fingerprint():
    rules = list(SMALL)
    merging = merge(rules)
    assert merging.keys == len({rule.key() for rule in rules})
    of_two = [Rule.parse("g2 adam sign id mul"), find("adam")]
    assert merge(of_two).members == [[1, 0]]  # the simplest comes first
    firsts: dict[str, int] = {}
    expected = [firsts.setdefault(rule.fingerprint(), len(firsts)) for rule in rules]
    assert merging.classes.tolist() == expected
    for number, members in enumerate(merging.members):
        keys = [rules[i].key() for i in members]
        assert len(set(keys)) == len(keys)
        assert set(keys) == {r.key() for r, c in zip(rules, expected, strict=True) if c == number}


def test_a_build_holds_what_the_child_measures(tmp_path):
    """Through worker processes, in blocks, merged, saved and loaded."""
    table = build(2, 1, tmp_path, SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["micro.md", "micro.npz"]
    assert (tmp_path / "micro.md").read_text("utf-8") == card(table)
    texts = ["1 adam neg id mul", "m g id id add"]
    for seed in range(2):
        scores = micro.measure(texts, seed)
        for i, text in enumerate(texts):
            entry = table.lookup(text)
            assert entry.scores[seed] == scores.correct[i] / 2000
            assert entry.test[seed] == scores.test[i] / 2000
            assert entry.lr[seed] == micro.RATES[scores.rate[i]]
    with pytest.raises(TableError, match="there already"):
        build(2, 1, tmp_path, SMALL)


class Interrupted(BaseException):
    """Stands for a kill."""


def arithmetic(rules: list[str], seed: int) -> Scores:
    """A child without networks: a score from the fingerprint, so that merged rules have one."""
    n = np.array([int(Rule.parse(rule).fingerprint()[:4], 16) % 2001 for rule in rules], np.uint16)
    return Scores(n, n, (n % 7).astype(np.uint8), np.repeat(n[:, None], 7, 1) + np.uint16(seed))


@pytest.fixture
def instant(monkeypatch) -> SimpleNamespace:
    """The builder with that child, one thread in the workers' place, and small blocks."""
    child = SimpleNamespace(**vars(micro) | {"measure": arithmetic})

    class Threads(ThreadPoolExecutor):
        def __init__(self, *_, **__):
            super().__init__(1)

        def stop(self):
            self.shutdown(cancel_futures=True)

    monkeypatch.setattr(building, "micro", child)
    monkeypatch.setattr(building, "WorkerPool", Threads)
    monkeypatch.setattr(building, "BLOCK", 8)
    monkeypatch.setattr(building, "SAVE_EVERY_S", 0.0)
    return child


def test_interrupted_build_goes_on_to_the_same_table(instant, tmp_path):
    whole = build(2, 1, tmp_path / "whole", SMALL)
    calls = []

    def dies(rules, seed):
        calls.append(len(rules))
        if len(calls) == 5:
            raise Interrupted
        return arithmetic(rules, seed)

    instant.measure = dies
    with pytest.raises(Interrupted):
        build(2, 1, tmp_path / "broken", SMALL)
    with pytest.raises(TableError, match="other settings"):
        build(3, 1, tmp_path / "broken", SMALL)
    assert [path.name for path in (tmp_path / "broken").iterdir()] == ["micro.partial.npz"]

    measured = []
    instant.measure = lambda rules, seed: measured.append(len(rules)) or arithmetic(rules, seed)
    resumed = build(2, 1, tmp_path / "broken", SMALL)
    num_pairs = sum(len(members) > 1 for members in merge(list(SMALL)).members)
    assert 2 * len(whole.mean) + 2 * num_pairs - sum(measured) == 4 * 8  # four blocks were kept
    for name in ARRAYS[1:]:
        assert np.array_equal(getattr(whole, name), getattr(resumed, name))
    assert resumed.header["merging"]["all"]["equal"] == 1.0


def test_families_are_added_to_an_older_table_and_nothing_is_measured(instant, tmp_path, monkeypatch):
    whole = build(2, 1, tmp_path, SMALL)
    families = Families()
    assert whole.family.tolist() == [families(whole.rule(i)) for i in whole.measured.tolist()]
    text, (header, arrays) = (tmp_path / "micro.md").read_text("utf-8"), read(tmp_path / "micro.npz")
    old = arrays | {"header": json.dumps({**header, "version": 1})}
    del old["family"]
    np.savez(tmp_path / "micro.npz", **old)
    (tmp_path / "micro.md").unlink()
    instant.measure = None
    monkeypatch.setattr(building, "FOLDER", tmp_path)
    assert building.main(["--families"]) == 0
    again = read(tmp_path / "micro.npz")
    assert again[0] == header and (tmp_path / "micro.md").read_text("utf-8") == text
    for name in ARRAYS[1:]:
        assert np.array_equal(again[1][name], arrays[name])


def test_published_table_is_measured_again_the_same_and_its_numbers_are_told(table, monkeypatch, capsys):
    assert verify.main(["--sample", "5", "--seed", "1"]) == 0, capsys.readouterr().out
    assert (FOLDER / "micro.md").read_text("utf-8") == card(table)
    assert table.header["protocol"] == json.loads(json.dumps(micro.PROTOCOL))
    # Not so a table in which each learner has the scores of another one: the same distribution.
    correct, learn = table.correct.copy(), np.flatnonzero(table.mean > table.mean.max() / 2)
    correct[learn] = correct[np.roll(learn, 1)]
    wrong = dataclasses.replace(table, correct=correct)
    monkeypatch.setattr(verify.Table, "load", lambda tier: wrong)
    assert verify.main(["--sample", "8"]) == 1 and "does NOT agree" in capsys.readouterr().out


def test_show_says_what_the_table_holds(table):
    text = show(table, find("sign_m 1 id id mul"))
    entry = table.lookup(find("signum"))
    assert "also named signum" in text
    assert f"mean {entry.mean:.4f}, rank {table.rank(entry.number):,} of 61,979" in text
    rows = [line.split() for line in text.splitlines() if line.strip()[:2] in ("0 ", "1 ", "2 ")]
    assert len(rows) == 3
    for seed, row in enumerate(rows):
        values = [entry.scores[seed], entry.test[seed]]
        assert row[:3] == [str(seed), *(f"{x:.4f}" for x in values)]
        assert row[4:] == ["-" if x is None else f"{x:.4f}" for x in entry.sweep[seed]]
    family = table.lookup(find("adam")).family
    kin = show(table, find("adam")).split("\n\n")[-1].splitlines()
    assert f": {family.classes} classes of near-copies, mean {family.mean:.4f}, spread " in kin[0]
    best, *_, worst = table.near_copies(family.number)
    for line, i in zip((kin[1], kin[-1]), (best, worst), strict=True):
        assert line == f"  {table.mean[i]:.4f}  {table.rule(table.measured[i])}"
    lost = show(table, table.rule(table.measured[np.argwhere((table.correct == NONE).all(1))[0, 0]]))
    assert "mean 0.0000" in lost and f"{0:>4}{'-':>8}{'-':>8}{'-':>8}" in lost
    known, *_ = read_lines(CIFAR / "records.jsonl")
    assert f"CIFAR tier, one seed: {known['reward']:.4f}" in show(table, Rule.parse(known["rule"]))
    assert "CIFAR" not in lost
