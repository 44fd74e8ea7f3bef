"""The benchmarks: what is compared is the same work, and the arithmetic of the tables."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import bench
import data
import results
import textbook
from child import ChildConfig, ConvNet, evaluate_rule
from rules import NAMED_RULES

TINY = {"downsample": "stride", "filters": 2, "epoch_size": 200, "num_validation": 200, "epochs": 2}


@pytest.fixture(scope="module")
def config():
    data.prepare(data.SAMPLE, data.HERE)
    return ChildConfig(data.SAMPLE, lr_exponents=(-3, -1), precision="float32", **TINY)


def score(rule, seed, plain, ours, status="ok"):
    return {"rule": rule, "seed": seed, "textbook": plain, "ours": ours, "status": status}


def test_both_sides_train_the_same_network():
    torch.manual_seed(0)
    plain = textbook.TextbookNet((28, 28, 1), 4, "pool")
    ours = ConvNet((28, 28, 1), 4, "pool")
    ours.load_state_dict(plain.state_dict())
    # The head reads the maps in another order, as the layouts have them.
    ours.head.weight.data = plain.head.weight.data.view(10, 4, 7, 7).permute(0, 2, 3, 1).flatten(1)
    images = torch.randn(5, 1, 28, 28)
    channels_last = images.to(memory_format=torch.channels_last)
    assert torch.allclose(plain(images), ours(channels_last), atol=1e-5)


def test_the_textbook_loop_scores_as_ours_up_to_the_seed(config):
    config = replace(config, filters=4, epoch_size=1_000, epochs=4, lr_exponents=(-2,))
    adam = NAMED_RULES["adam"].rule
    plain = [textbook.textbook(adam, config, seed) for seed in range(3)]
    ours = [evaluate_rule(adam, config, seed).accuracy for seed in range(3)]
    assert min(plain + ours) > 0.5
    assert abs(np.mean(plain) - np.mean(ours)) < 0.08


def test_the_textbook_loop_says_when_a_rule_diverges(config):
    assert textbook.textbook("1 1 id id sub | r1 r1 log id left", config, 0) is None


def test_compare_averages_the_seeds_of_rules_that_both_trained():
    scores = [score("a", 0, 0.2, 0.3), score("a", 1, 0.4, 0.4)]  # 0.3 on average, and 0.05 more
    scores += [score("b", 0, 0.5, 0.6), score("b", 1, None, 0.6)]  # diverged once on one side
    scores += [score("c", seed, x, None, "rejected") for seed, x in ((0, 0.1), (1, 0.3))]
    scores += [score("d", 0, 0.6, 0.9), score("d", 1, 0.8, 0.9)]  # 0.7, and 0.2 more
    accuracy, more, best = bench.compare(scores)
    assert (accuracy, best) == ("0.500", "0.300")
    assert more == "+0.1250 ± 0.0750"
    assert bench.compare([score("c", 0, 0.1, None, "rejected")]) == ["-", "-", "0.100"]


def test_turns_are_as_many_as_asked_for_and_in_order():
    calls = []
    times = bench.take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 4  # the first round does not count
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}


def test_bench_child_keeps_what_it_measures_and_shows_it_again(capsys, tmp_path):
    folder = tmp_path / "bench"
    flags = (
        f"--dataset {data.SAMPLE} --filters 2 --epoch-size 100 --num-validation 100 --downsample stride "
    )
    flags += f"--epochs 1 --lr-exponents=-3 --seeds 1 --depth1 2 --depth2 1 --out {folder}"
    assert bench.main(["child", *flags.split()]) == 0
    printed = capsys.readouterr().out
    for name in ("float32", "bfloat16", "Adam", "Momentum", "random, depth 1", "random, depth 2"):
        assert name in printed
    records = results.read_lines(folder / "records.jsonl")
    assert [record["part"] for record in records] == ["step"] * 2 + ["score"] * 5
    assert bench.main(["show", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert shown in printed and shown == (folder / "summary.txt").read_text("utf-8")
    adam = next(record for record in records if record.get("sample") == "Adam")
    assert f"{adam['textbook_s']:.1f}" in next(line for line in shown.splitlines() if line[:4] == "Adam")


def test_bench_rule_shows_ratios_of_neighbouring_rounds():
    times = {"torch Adam foreach": [0.002, 0.004, 0.003], "exported adam": [0.004, 0.004, 0.009]}
    record = {"part": "rule", "parameters": 2_500_000, "tensors": 3, "times": times}
    line = bench.show_rule([record]).splitlines()[-1].split()
    assert line[:2] == ["exported", "adam"] and (line[2], line[4]) == ("4.00", "2.00")


@pytest.mark.parametrize("argv", [["show"], ["rule", "runs"], ["show", "nowhere"]])
def test_bad_arguments_are_one_line_and_code_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        bench.main(argv)
    assert stop.value.code == 2 and len(capsys.readouterr().err.strip().splitlines()) == 1
