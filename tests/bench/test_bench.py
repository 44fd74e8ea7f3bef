"""The benchmarks: what is compared is the same work, and the arithmetic of the tables."""

import itertools
import math
import re
import shutil
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from helpers import ROOT, killed, refusal

import data
import results
from bench import against, child, controller, kills, pool, probes, rule, show, textbook, timing
from bench.launch import report
from child import ChildConfig, ConvNet
from rules import NAMED_RULES
from training import evaluate_rule

TINY = "--downsample stride --seeds 1 --depth1 2 --depth2 1 --precision float32 --filters 2 "
TINY += f"--epoch-size 100 --num-validation 100 --dataset {data.SAMPLE}"


@pytest.fixture(scope="module")
def config():
    data.prepare(data.SAMPLE, data.HERE)
    sizes = {"filters": 4, "epoch_size": 600, "batch_size": 25, "num_validation": 300, "epochs": 2}
    how = {"downsample": "stride", "lr_exponents": (-2,), "precision": "float32"}
    return ChildConfig(dataset=data.SAMPLE, **sizes, **how)


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


def test_the_textbook_loop_scores_as_ours_up_to_the_seed_and_says_when_a_rule_diverges(config):
    adam = NAMED_RULES["adam"].rule
    plain = [textbook.textbook(adam, config, seed) for seed in range(3)]
    ours = [evaluate_rule(adam, config, seed).accuracy for seed in range(3)]
    assert min(plain + ours) > 0.6
    assert abs(np.mean(plain) - np.mean(ours)) < 0.06
    small = replace(config, lr_exponents=(-3, -1), epoch_size=200)
    assert textbook.textbook("1 1 id id sub | r1 r1 log id left", small, 0) is None


@pytest.fixture(scope="module")
def timed_child(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench") / "child"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "measure_step", partial(child.measure_step, rounds=5))
        assert child.main([*TINY.split(), "--out", str(folder)]) == 0
    return folder


def rows_of(text):
    """Return the cells of the rows of the tables, by their first column."""
    return {cells[0]: cells[1:] for line in text.splitlines() if len(cells := re.split("  +", line)) > 2}


def test_a_benchmark_shows_again_what_it_measured_however_far_it_came(timed_child, tmp_path, capsys):
    records = results.read_lines(timed_child / "records.jsonl")
    assert [record["part"] for record in records] == ["step"] * 2 + ["score"] * 5
    assert show.main([str(timed_child)]) == 0
    shown = capsys.readouterr().out
    assert shown == (timed_child / "summary.txt").read_text("utf-8") and "INTERRUPTED" not in shown
    assert "freed memory is kept\nstride child, epochs of 100 images, 100 for validation\n" in shown
    rows = rows_of(shown)
    samples = {"Adam", "Momentum", "random, depth 1", "random, depth 2"}
    assert rows.keys() >= {"float32", "bfloat16"} | samples
    [adam] = [record for record in records if record.get("sample") == "Adam"]
    s = f"{adam['textbook_s']:.1f}"
    assert rows["Adam"][:2] == ["1, 1", f"{s} [{s}-{s}]"]
    assert rows["Adam"][3] == f"{adam['textbook_s'] / adam['ours_s']:.1f}"
    for count in range(1, 7):
        text = report(killed(timed_child, tmp_path / str(count), count), show.SHOWS)
        assert f"INTERRUPTED after {count} measurements" in text


@pytest.mark.slow
def test_the_other_benchmarks_measure_what_they_show(tmp_path):
    assert rule.main(["--memory", "returned", "--out", str(tmp_path / "run")]) == 0
    shown = (tmp_path / "run" / "summary.txt").read_text()
    assert "memory is returned" in shown
    assert sys.modules["exported_adam"].Exported.__module__ == "exported_adam"  # torch looks there
    assert rows_of(shown)["torch Adam foreach"][1] == "1.00 [1.00-1.00]"
    pools = rows_of(pool.show(list(pool.measure(pool.Config(), rounds=1, num_tasks=4))))
    assert len(pools) == 6 and not any("-" in cells for cells in pools.values())  # with the head
    batches = list(itertools.islice(controller.measure(controller.Config(), rounds=2), 3))
    assert {"depth 1", "depth 2", "depth 3"} <= rows_of(controller.show(batches)).keys()


def score(rule, seed, plain, ours, status="ok"):
    return {"rule": rule, "seed": seed, "textbook": plain, "ours": ours, "status": status}


def test_turns_are_taken_in_order_and_a_spread_is_of_percentiles_or_of_the_ends_of_a_few():
    calls = []
    times = timing.take_turns({name: lambda name=name: calls.append(name) for name in "ab"}, 3)
    assert calls == ["a", "b"] * 4 and list(map(len, times.values())) == [3, 3]  # the first is a trial
    assert timing.spread([3.0, 1.0, 2.0]) == "2.0 [1.0-3.0]"
    assert timing.spread(list(range(101)), scale=2) == "100.0 [20.0-180.0]"


def test_compare_averages_the_seeds_of_rules_that_both_trained():
    scores = [score("a", 0, 0.2, 0.3), score("a", 1, 0.4, 0.4)]  # 0.3 on average, and 0.05 more
    scores += [score("b", 0, 0.5, 0.6), score("b", 1, None, 0.6)]  # diverged once on one side
    scores += [score("c", seed, x, None, "rejected") for seed, x in ((0, 0.1), (1, 0.3))]
    scores += [score("d", 0, 0.6, 0.9), score("d", 1, 0.8, 0.9)]  # 0.7, and 0.2 more
    assert child.compare(scores) == ["2", "0.500", "+0.1250 ± 0.0750", "0.300"]
    assert child.compare([score("c", 0, 0.1, None, "rejected")]) == ["0", "-", "-", "0.100"]
    # Of a single rule the error is over its seeds.
    alone = [score("d", seed, 0.5, ours) for seed, ours in enumerate((0.5, 0.6, 0.7))]
    assert child.compare(alone)[2] == f"+0.1000 ± {0.1 / 3**0.5:.4f}"
    # All over all counts what ours rejects, each over each does not.
    times = [(12.0, 4.0, "ok", 0.5), (9.0, 0.2, "rejected", None)]
    records = [
        {"part": "score", "sample": "random", "textbook_s": plain_s, "ours_s": ours_s}
        | score(status, 0, 0.3, accuracy, status) for plain_s, ours_s, status, accuracy in times
    ]  # fmt: skip
    said = "2, 2  10.5 [9.0-12.0]  2.10 [0.20-4.00]  5.0  1  3.00 [3.00-3.00]  1  0.300  +0.2000  0.300"
    assert rows_of(child.show(records))["random"] == said.split("  ")


STEP = {"data": [0.001], "forward": [0.003], "backward": [0.005], "rule": [0.001], "product": [0.002]}
STEP = {"precision": "float32", "products": 2.0, "times": STEP, "rules": [0.0001, 0.0002, 0.0003]}
ADAM = {"torch Adam foreach": [0.002, 0.004, 0.003], "exported adam": [0.004, 0.004, 0.009]}
ADAM = {"parameters": 2_500_000, "tensors": 3, "times": ADAM}
BATCH = {"part": "batch", "depth": 2, "times": {"trpo": [0.04], "ppo": [0.02], "reinforce": [0.01]}}


def test_rows_are_as_by_hand():
    """A step beside its products alone, a rule beside foreach Adam, controllers, pools."""
    step = rows_of(child.show_steps([STEP]))["float32"]
    assert step == ["10.0 [10.0-10.0]", "40%", "10%", "30%", "50%", "10%", "2.0% [1.0%-3.0%]"]
    assert rows_of(rule.show([ADAM]))["exported adam"] == ["4.00 [4.00-9.00]", "2.00 [1.00-3.00]"]
    feeding = {"part": "feeding", "workers": 128, "rule_s": 20.0, "rate": 3.2, "most": 6.4, "busy": 0.25}
    shown = controller.show([BATCH, feeding])
    assert "3.20 of 6.40 rules a second,\n50%; the parent is busy 25%" in shown
    assert rows_of(shown)["depth 2"] == ["40.0 [40.0-40.0]", "20.0 [20.0-20.0]", "10.0 [10.0-10.0]"]
    turns = ((1, 10.0), (2, 5.0), (1, 20.0), (2, 8.0))
    records = [{"part": "turn", "workers": n, "tasks": 10, "turn_s": seconds} for n, seconds in turns]
    records += [{"part": "start", "workers": n, "start_s": 0.1} for n in (1, 2)]
    records += [{"part": "server", "start_s": 2.0, "cores": 2}]
    records += [{"part": "memory", "workers": 1, "memory_mb": [30.0, None, 50.0]}]
    rows = rows_of(pool.show(records))
    assert rows["1 workers"] == ["0.1", "0.75 [0.50-1.00]", "0.45 [0.40-0.50]", "40"]
    assert rows["2 workers"][2:] == ["1.00 [1.00-1.00]", "-"]


@pytest.mark.slow
def test_a_search_that_is_killed_loses_nothing(tmp_path):
    folder = tmp_path / "kills"
    assert kills.main(["--kills", "20", "--out", str(folder)]) == 0
    rows = results.read_lines(folder / "records.jsonl")
    ends = [row for row in rows if row["what"] == "end"]  # several if a search ends between two kills
    assert len(rows) - len(ends) == 20 and {row["what"] for row in rows} <= {*kills.HERE, "end"}
    assert len({row["records"] for row in rows}) > 5 and sum(row["lost"] for row in rows) == 0
    assert {(end["code"], end["tracebacks"]) for end in ends} == {(0, 0)}
    before = {"records.jsonl": [b"a", b"b", b"c"], "humans.jsonl": [b"x"], "updates.jsonl": []}
    for after, lost in (([b"a", b"b", b"c", b"d"], 0), ([b"a", b"c"], 2), ([], 3)):
        assert kills.lost_lines(before, before | {"records.jsonl": after}) == lost


def test_beside_a_checkout_that_scores_higher_there_is_a_loss_and_what_it_does_not_know_is_said(
    tmp_path, capsys
):
    there = tmp_path / "there"
    there.mkdir()
    for path in ROOT.glob("*.py"):  # without rooms, so it has no NOS-Bench
        shutil.copy(path, there)
    with (there / "child.py").open("a") as file:
        file.write("\n\nPictures.score = lambda self, model: 0.9\n")
    tiny = f"--dataset {data.SAMPLE} --epoch-size 100 --num-validation 100 --rules 1 --micro-rules 1"
    tiny += f" --parts score,micro --rounds 2 --other {there} --out {tmp_path / 'run'}"
    assert against.main(tiny.split()) == 0
    records = results.read_lines(tmp_path / "run" / "records.jsonl")
    sides = ["here", "there"]
    assert [(r["part"], r["side"]) for r in records] == [
        (part, side) for order in (sides, sides[::-1]) for part in ("score", "micro") for side in order
    ]
    shown = capsys.readouterr().out
    rows = rows_of(shown)
    times = [r["found"]["score: a rule, s"] for r in records if r["part"] == "score"]
    ratios = sorted([times[0] / times[1], times[3] / times[2]])  # who is first alternates
    ratio = f"{sum(ratios) / 2:.3f} [{ratios[0]:.3f}-{ratios[1]:.3f}]"
    assert rows["score: a rule, s"][2:] == [ratio, "2"]
    assert rows["micro: a rule, ms"][1:] == ["-", "-", "0"]
    assert "micro, there: LookupError: no measure in nosbench.micro, micro" in shown
    scores = [[x or 0.0 for x in r["found"]["scores"].values()] for r in records if r["part"] == "score"]
    here, beside = np.mean([scores[0], scores[3]]), [*scores[1], *scores[2]]
    means = (np.array([*scores[0], *scores[3]]) + beside) / 2
    assert here < 0.9 and int(rows["better than 0.2 on average"][0]) == sum(means > 0.2) >= 2
    lost = np.mean(beside) - here
    assert rows["all"][:3] == ["4", f"{here:.4f}", f"{here + lost:.4f}"]
    assert rows["all"][3].startswith(f"+{lost:.4f} ± ")


def test_the_parts_that_need_no_search_find_in_this_checkout_what_they_time():
    data.prepare(data.SAMPLE, data.HERE)
    asked = {"dataset": data.SAMPLE, "data": str(data.HERE)}
    found = probes.step(asked) | probes.parent(asked)
    assert len(found) == 4 and min(found.values()) > 0


@pytest.mark.slow
def test_a_whole_search_costs_what_its_worker_and_the_parent_use(tmp_path, capsys):
    tiny = f"--dataset {data.SAMPLE} --epoch-size 100 --num-validation 100 --samples 10 --parts search"
    assert against.main(f"{tiny} --rounds 1 --other {ROOT} --out {tmp_path / 'run'}".split()) == 0
    for record in results.read_lines(tmp_path / "run" / "records.jsonl"):
        worker_s, all_s, best = record["found"].values()
        assert 0 < worker_s < all_s and 0.1 < best < 1
    assert rows_of(capsys.readouterr().out)["search: all, core-s"][3] == "1"


@pytest.mark.slow
def test_the_parts_that_look_at_a_search_from_outside_see_it_whole(tmp_path, capsys):
    tiny = f"--dataset {data.SAMPLE} --workers 2 --look-s 5 --records 10 --rounds 1 --other {ROOT}"
    parts = f"--parts start,first,memory,growth --out {tmp_path / 'run'}"
    assert against.main([*tiny.split(), *parts.split()]) == 0
    found = {}
    for record in results.read_lines(tmp_path / "run" / "records.jsonl"):
        found.setdefault(record["side"], {}).update(record["found"])
    here, there = found["here"], found["there"]
    assert here.keys() == there.keys() and min(*here.values(), *there.values()) > 0
    assert here["start: first task, s"] < here["start: first record, s"]
    figures = "learning_curve", "hall_of_fame", "timeline", "report"
    for what in ("search", "resume", *figures):
        assert here[f"growth: {what}, MB"] > 20  # an interpreter with numpy
    assert "-" not in {row[2] for row in rows_of(capsys.readouterr().out).values()}


def test_a_probe_says_why_it_failed(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for command, said in (
        (["-c", "raise ValueError('so')"], "so"),
        (["search.py", "--samples", "0"], "--samples"),
    ):
        with pytest.raises(RuntimeError, match=said):
            probes.spent(*command)
    (tmp_path / "needs.py").write_text("import nowhere_to_be_found")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        probes.find("x", "needs")
    with pytest.raises(LookupError, match="no x in gone, math"):
        probes.find("x", "gone", "math")


def test_what_stands_beside_a_checkout_is_another_or_a_commit(tmp_path, capsys):
    wrong = [("nonsense", "no commit"), (f"--other {tmp_path}", "folder of a checkout")]
    wrong += [("--epoch-size 1000000", "--epoch-size is 1000000")]
    for flags, said in wrong:
        assert said in refusal(against.main, [*flags.split(), "--out", str(tmp_path / "run")], capsys)
    assert "one of them" in refusal(against.main, ["HEAD~0", "--other", str(ROOT)], capsys)
    if (ROOT / ".git").exists():
        with against.checkouts(against.prepare(against.Config())) as folders:
            assert folders["here"] == ROOT and (folders["there"] / "search.py").exists()
        assert not folders["there"].exists()


@pytest.mark.parametrize("n", [2, 5, 6, 8, 9, 16])
def test_the_interval_of_a_median_misses_it_in_one_case_of_twenty_at_most(n):
    """Each value is as likely below the true median, here 0, as above: all 2^n cases."""
    sides = np.arange(1.0, n + 1)
    cases = (sides * signs for signs in itertools.product((-1, 1), repeat=n))
    missed = sum(not low <= 0 <= high for _, low, high in map(against.median_interval, cases)) / 2**n
    assert missed <= 0.05 or n < 6 and missed == 2 / 2**n
    k = 1 + [2, 5, 6, 8, 9, 16].index(n) // 4 if n < 16 else 4
    assert against.median_interval(list(sides)) == (np.median(sides), k, n + 1 - k)
    assert math.isclose(missed, 2 * sum(math.comb(n, i) for i in range(k)) / 2**n)
