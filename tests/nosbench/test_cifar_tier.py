"""The second tier: an order of which every beginning is useful, and records that grow the same way."""

from collections import Counter
from itertools import islice

import pytest
from helpers import history

import data
import results
from dsl import Rule
from nosbench import cifar_tier
from rules import HUMAN, find
from screen import screen

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ordered(table):
    return cifar_tier.order(table)


def test_order_holds_every_distinct_rule_once_in_three_parts(table, ordered, monkeypatch):
    assert sorted(number for number, _, _ in ordered) == list(range(len(table.mean)))
    assert all(table.number(rule) == number for number, rule, _ in ordered[:3_000])
    parts = [part for _, _, part in ordered]
    assert parts == sorted(parts, key=["named", "sample", "passing"].index)
    named = {number for number, _, part in ordered if part == "named"}
    assert {table.number(find(name)) for name in HUMAN} <= named
    sample = [rule for _, rule, part in ordered if part == "sample"]
    counts = Counter(rule.tokens[4] for rule in sample)
    assert len(sample) == cifar_tier.SAMPLE and set(counts) == set(table.tokens[4])
    # Every beginning is stratified too.
    counts = Counter(rule.tokens[4] for rule in sample[:50])
    assert max(counts.values()) - min(counts.values()) <= 1
    assert any(map(screen, sample[:40]))  # trained whatever it says; of the last part what passes is
    monkeypatch.setattr(cifar_tier, "order", lambda table: ordered)
    first = parts.index("passing")
    for _, rule, part in islice(cifar_tier.candidates(table), first, first + 5):
        assert part == "passing" and screen(rule) is None


def test_a_build_that_was_stopped_goes_on_to_the_same_records(tmp_path, monkeypatch):
    child = {"dataset": data.SAMPLE, "filters": 2, "epoch_size": 200, "num_validation": 200}
    monkeypatch.setattr(cifar_tier, "CHILD", cifar_tier.CHILD | child)
    data.prepare(data.SAMPLE, data.HERE)
    histories = []
    for limits in ((1, 3), (3,)):
        folder = tmp_path / str(len(limits))
        for limit in limits:
            cifar_tier.build(folder, 1, limit)
            assert len(results.read_lines(folder / "records.jsonl")) == limit
        histories.append(history(folder))
    assert histories[0] == histories[1]
    assert [record["id"] for record in histories[0]] == list(range(3))
    assert all(Rule.parse(record["rule"]).key() == record["key"] for record in histories[0])


def test_report_counts_what_is_there_and_sees_agreement(tmp_path, table, ordered):
    run = results.Run.create(tmp_path / "run", {"screen": False}, {})
    chosen = ordered[:417]
    for id, (number, rule, part) in enumerate(chosen):
        record = {"id": id, "class": number, "part": part, "rule": str(rule)}
        run.append("records.jsonl", record | {"reward": table.mean[number]})
    run.close()
    text = cifar_tier.report(tmp_path / "run")
    assert f"417 of {len(table.mean):,} distinct rules" in text
    learns = [table.mean[n] >= cifar_tier.BAR for n, _, part in chosen if part == "sample"]
    assert f"{sum(learns):,} rules of the sample that do: 1.000 [1.000, 1.000]" in text
    assert "of the best 4 of the sample in both tiers, 4 are the same" in text
    # Weighted by binary function, the sample estimates the share in the whole space, 0.226; without
    # weights it would say 0.258.
    share = float(text.split("about ")[1].split("%")[0]) / 100
    assert abs(share - (table.mean >= cifar_tier.BAR).mean()) < 0.02
