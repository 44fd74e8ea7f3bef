"""The benchmarks: what is compared is the same work, and the arithmetic of the tables."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import bench
import data
from child import ChildConfig, ChildResult, evaluate_rule
from rules import NAMED_RULES

TINY = {"downsample": "stride", "filters": 2, "epoch_size": 200, "num_validation": 200, "epochs": 2}


@pytest.fixture(scope="module")
def config():
    data.prepare(data.SAMPLE, data.HERE)
    return ChildConfig(data.SAMPLE, lr_exponents=(-3, -1), precision="float32", **TINY)


def result(accuracy, status="ok"):
    return ChildResult(status, None, accuracy, None, [], [], 0.0, 0.0, 0.0, "")


def test_both_sides_train_the_same_network():
    torch.manual_seed(0)
    plain = bench.TextbookNet((28, 28, 1), 4, "pool")
    ours = bench.ConvNet((28, 28, 1), 4, "pool")
    ours.load_state_dict(plain.state_dict())
    # The head reads the maps in another order, as the layouts have them.
    ours.head.weight.data = plain.head.weight.data.view(10, 4, 7, 7).permute(0, 2, 3, 1).flatten(1)
    images = torch.randn(5, 1, 28, 28)
    channels_last = images.to(memory_format=torch.channels_last)
    assert torch.allclose(plain(images), ours(channels_last), atol=1e-5)


def test_the_textbook_loop_scores_as_ours_up_to_the_seed(config):
    config = replace(config, filters=4, epoch_size=1_000, epochs=4, lr_exponents=(-2,))
    adam = NAMED_RULES["adam"].rule
    plain = [bench.textbook(adam, config, seed) for seed in range(3)]
    ours = [evaluate_rule(adam, config, seed).accuracy for seed in range(3)]
    assert min(plain + ours) > 0.5
    assert abs(np.mean(plain) - np.mean(ours)) < 0.08


def test_the_textbook_loop_says_when_a_rule_diverges(config):
    assert bench.textbook("1 1 id id sub | r1 r1 log id left", config, 0) is None


def test_compare_averages_the_seeds_of_rules_that_both_trained():
    plain = [0.2, 0.4, 0.5, None, 0.1, 0.3, 0.6, 0.8]
    ours = [result(0.3), result(0.4), result(0.6), result(0.6)]
    ours += [result(None, "rejected"), result(None, "rejected"), result(0.9), result(0.9)]
    # Rule 1: 0.3 and 0.05 more; rule 2 diverged once on one side; rule 3 rejected; rule 4: 0.7 and 0.2.
    accuracy, more, best = bench.compare(plain, ours, seeds=2)
    assert (accuracy, best) == ("0.500", "0.300")
    assert more == "+0.1250 ± 0.0750"
    assert bench.compare([0.1], [result(None, "rejected")], 1) == ["-", "-", "0.100"]


def test_turns_are_as_many_as_asked_for_and_in_order():
    calls = []
    times = bench.take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 4  # the first round does not count
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}


def test_bench_child_runs(capsys):
    flags = [
        "--dataset",
        data.SAMPLE,
        "--filters",
        "2",
        "--epoch-size",
        "100",
        "--num-validation",
        "100",
    ]
    flags += ["--downsample", "stride", "--epochs", "1", "--lr-exponents=-3", "--seeds", "1"]
    assert bench.main(["child", *flags, "--depth1", "2", "--depth2", "1"]) == 0
    printed = capsys.readouterr().out
    for name in ("stride bfloat16", "Adam", "Momentum", "random, depth 1", "random, depth 2"):
        assert name in printed
