"""The search loop on real children and real worker processes: same history, whatever happens."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import data
import results
import search
from progress import Progress
from rules import HUMAN, NAMED_RULES

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data"
TIMES = {"start_s", "wall_s", "cpu_s", "worker"}  # all that may differ between two equal runs
# A child of a few milliseconds: two rates, two epochs of two hundred images.
TINY = [
    *("--preset", "smoke", "--data", str(DATA), "--samples", "24", "--filters", "2", "--epochs", "2"),
    *("--epoch-size", "200", "--num-validation", "200", "--lr-exponents=-3,-1"),
]


@pytest.fixture(scope="module", autouse=True)
def sample_on_disk():
    data.prepare(data.SAMPLE, DATA)


def history(folder: Path) -> list[dict]:
    rows = results.read_lines(folder / "records.jsonl")
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def run(folder: Path, *flags: str) -> Path:
    assert search.main([*TINY, "--out", str(folder), *flags]) == 0
    return folder


def start(*flags: str) -> subprocess.Popen:
    """Start search.py as a user would, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "search.py", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(condition, what: str, timeout_s: float = 120.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting for {what}"
        time.sleep(0.01)


def wait_for_records(process: subprocess.Popen, path: Path, more_than: int):
    def ready() -> bool:
        return process.poll() is not None or (
            path.exists() and path.read_bytes().count(b"\n") > more_than
        )

    wait_for(ready, f"record {more_than}")


def group_is_empty(pgid: int) -> bool:
    """Whether no process but zombies is left of a process group."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == pgid and fields[0] != "Z":
            return False
    return True


# --- the history ----------------------------------------------------------------------------------


def test_records_do_not_depend_on_the_number_of_workers(tmp_path):
    one = run(tmp_path / "one", "--workers", "1", "--lag", "2")
    three = run(tmp_path / "three", "--workers", "3", "--lag", "2")
    assert history(one) == history(three)
    assert (one / "updates.jsonl").read_text() == (three / "updates.jsonl").read_text()
    assert len(history(one)) == 24


def test_lag_and_seeds_change_the_history(tmp_path):
    base = history(run(tmp_path / "base"))
    assert history(run(tmp_path / "seed", "--seed", "1")) != base
    # lag 0 and 1 share their first batch, then the second is sampled before or after an update
    lag0 = history(run(tmp_path / "lag", "--lag", "0"))
    assert [r["rule"] for r in lag0[:5]] == [r["rule"] for r in base[:5]]
    assert lag0 != base
    child = history(run(tmp_path / "child", "--child-seed", "1"))
    assert [r["rule"] for r in child[:10]] == [r["rule"] for r in base[:10]]
    assert [r["reward"] for r in child[:10]] != [r["reward"] for r in base[:10]]


@pytest.mark.parametrize("lag", [0, 1, 3, 9])
def test_batch_k_is_sampled_after_update_k_minus_1_minus_lag(tmp_path, lag):
    args = search.make_parser().parse_args([*TINY, "--algorithm", "random", "--lag", str(lag)])
    config = search.configure(args)
    events = []
    with results.Run.create(tmp_path / "run", {}, {}) as folder, ThreadPoolExecutor(1) as executor:
        loop = search.Search(config, executor, folder, Progress())
        ask, tell = loop.proposer.ask, loop.proposer.tell
        loop.proposer.ask = lambda n: (events.append("ask"), ask(n))[1]
        loop.proposer.tell = lambda rules, rewards: (events.append("tell"), tell(rules, rewards))[1]
        loop.run_to_end()
    batches = 5  # 24 rules: four of 5 and one of 4
    asks = [i for i, event in enumerate(events) if event == "ask"]
    assert events.count("tell") == batches == len(asks)
    for k, position in enumerate(asks):
        assert events[:position].count("tell") == max(0, k - lag)


def test_any_executor_gives_the_same_records(tmp_path):
    args = search.make_parser().parse_args(TINY)
    config = search.configure(args)
    with results.Run.create(tmp_path / "threads", {}, {}) as folder, ThreadPoolExecutor(1) as executor:
        search.Search(config, executor, folder, Progress()).run_to_end()
    assert history(tmp_path / "threads") == history(run(tmp_path / "pool"))


@pytest.mark.parametrize("algorithm", search.ALGORITHMS)
def test_every_algorithm_runs_and_samples_only_legal_rules(tmp_path, algorithm):
    folder = run(tmp_path / "run", "--algorithm", algorithm, "--population", "5", "--tournament", "3")
    updates = results.read_lines(folder / "updates.jsonl")
    assert [update["samples"] for update in updates] == [5, 10, 15, 20, 24]
    assert all(update["invalid"] == 0 for update in updates)
    if algorithm in ("trpo", "ppo", "reinforce"):
        assert all(len(update["entropy"]) == 5 for update in updates)
        assert (folder / "controller.pt").exists()
    for record in history(folder):
        group = record["rule"].split()
        assert group[0] != group[1] and group[4] != "add"  # the constraints, spelled out


def test_deeper_rules_search_too(tmp_path):
    folder = run(
        tmp_path / "deep", "--iterations", "3", "--constraints", "reuse-computed", "--samples", "10"
    )
    for record in history(folder):
        groups = [group.split() for group in record["rule"].split(" | ")]
        assert len(groups) == 3
        assert all({"r1", "r2"} & set(group[:2]) for group in groups[1:])


# The last one is the second, spelled otherwise.
KNOWN = ["adam", "m 1 id id mul", "momentum"]


@pytest.mark.parametrize("algorithm", ["trpo", "random", "evolution"])
def test_known_rules_are_scored_first_and_are_in_the_hall_of_fame(tmp_path, algorithm):
    flags = ["--algorithm", algorithm, "--tournament", "3"]
    folder = run(tmp_path / "run", *flags, "--start-from", *KNOWN)
    records = history(folder)
    assert [record["id"] for record in records] == list(range(24))  # they are samples as well
    assert [record["rule"] for record in records[:3]] == [str(search.find(text)) for text in KNOWN]
    assert [record["batch"] for record in records] == [None] * 3 + [i // 5 for i in range(21)]
    assert records[2]["cached_from"] == 1
    humans = {line["name"]: line["reward"] for line in results.read_lines(folder / "baselines.jsonl")}
    assert [record["reward"] for record in records[:2]] == [humans["adam"], humans["momentum"]]
    with (folder / "hall_of_fame.csv").open() as file:
        ids = [int(row["id"]) for row in csv.DictReader(file)]
    assert {0, 1} <= set(ids)
    updates = results.read_lines(folder / "updates.jsonl")
    assert [update["samples"] for update in updates] == [8, 13, 18, 23, 24]
    if algorithm == "evolution":  # bred from the known rules from the first batch on
        parents = [record["rule"].split() for record in records[:3]]
        for record in records[3:8]:
            tokens = record["rule"].split()
            assert 1 in [sum(a != b for a, b in zip(tokens, parent, strict=True)) for parent in parents]
    else:  # its own rules do not depend on rules that it did not sample
        without = history(run(tmp_path / "without", *flags))
        assert [r["rule"] for r in records[3:13]] == [r["rule"] for r in without[:10]]


def test_start_from_survives_resume_and_any_number_of_workers(tmp_path):
    flags = ["--algorithm", "evolution", "--population", "6", "--tournament", "3", "--samples", "30"]
    whole = run(tmp_path / "whole", *flags, "--start-from", *KNOWN, "--workers", "1")
    lines = (whole / "records.jsonl").read_text().splitlines(keepends=True)
    for kept in (2, 14):  # cut within and behind the known rules
        broken = tmp_path / f"broken{kept}"
        shutil.copytree(whole, broken)
        (broken / "records.jsonl").write_text("".join(lines[:kept]))
        assert search.main(["--resume", str(broken), "--workers", "3"]) == 0
        assert history(broken) == history(whole)


def test_short_known_rules_are_padded_to_the_spaces_length_and_keep_their_key(tmp_path):
    space = search.make_space(resolved("--data", str(DATA)))  # depth 2, compact, all constraints
    for text in ("adam", "powersign", "g m id exp mul"):
        fitted = search.fit(text, space)
        assert space.contains(fitted)
        assert fitted.key() == search.find(text).key()


def test_hall_of_fame_holds_learning_rate_advice(tmp_path):
    folder = run(tmp_path / "run", "--lr-exponents=-4,-3,-2,-1", "--start-from", "adam")
    records = {str(record["id"]): record for record in history(folder)}
    [adam] = [x for x in results.read_lines(folder / "baselines.jsonl") if x["name"] == "adam"]
    with (folder / "hall_of_fame.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        sweep = dict(records[row["id"]]["sweep"])
        low, best, high = (float(row[name]) for name in ("lr_low", "lr", "lr_high"))
        assert low <= best <= high and best == records[row["id"]]["lr"]
        inside = [y for rate, y in sweep.items() if low <= rate <= high]
        assert all(sweep[best] - y <= 0.02 + 1e-9 for y in inside)
        assert float(row["lr_to_adam"]) == pytest.approx(best / adam["lr"], rel=1e-5)


def test_equal_rules_are_trained_once(tmp_path):
    folder = run(tmp_path / "run", "--samples", "150", "--subset", "compact", "--max-kl", "0.3")
    first: dict[str, dict] = {}
    duplicates = 0
    for record in results.read_lines(folder / "records.jsonl"):
        original = first.setdefault(record["key"], record)
        if original is record:
            assert record["cached_from"] is None and record["worker"] is not None
        else:
            duplicates += 1
            assert record["cached_from"] == original["id"] and record["worker"] is None
            shared = ("status", "reward", "lr", "sweep", "curve")
            assert [record[name] for name in shared] == [original[name] for name in shared]
    assert duplicates > 0


def test_a_rule_past_its_cpu_limit_is_recorded_and_the_search_goes_on(tmp_path):
    folder = run(
        tmp_path / "run", "--samples", "5", "--cpu-limit-s", "0.001", "--failure-reward", "0.05"
    )
    for record in history(folder):
        assert (record["status"], record["reward"]) == ("timeout", 0.05)
    assert len(history(folder)) == 5


# --- what a run leaves behind ---------------------------------------------------------------------


def test_run_folder_holds_what_the_format_promises(tmp_path):
    folder = run(tmp_path / "run")
    names = "config.json meta.json records.jsonl updates.jsonl baselines.jsonl hall_of_fame.csv log.txt"
    assert all((folder / name).exists() for name in names.split())
    fields = (
        "id batch rule infix key seed status cached_from reward lr sweep curve error start_s wall_s "
        "cpu_s worker"
    )
    records = results.read_lines(folder / "records.jsonl")
    assert all(set(record) == set(fields.split()) for record in records)
    assert [record["id"] for record in records] == list(range(24))
    assert [record["batch"] for record in records] == [i // 5 for i in range(24)]
    trained = [record for record in records if record["status"] == "ok"]
    assert trained
    for record in trained:
        rates, accuracies = zip(*record["sweep"], strict=True)
        assert rates == (1e-3, 1e-1)
        assert record["curve"][0] == max(a for a in accuracies if a is not None)
        assert record["reward"] == record["curve"][-1] and len(record["curve"]) == 2

    with (folder / "hall_of_fame.csv").open() as file:
        table = list(csv.DictReader(file))
    rewards = [float(row["reward"]) for row in table]
    assert rewards == sorted(rewards, reverse=True)
    assert rewards[0] == max(record["reward"] for record in trained)
    assert len({row["rule"] for row in table}) == len(table)

    humans = results.read_lines(folder / "baselines.jsonl")
    assert [line["name"] for line in humans] == list(HUMAN)
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["end"] is not None and meta["threads"] == 1


def test_a_human_rule_scores_the_same_as_baseline_and_as_sample(tmp_path):
    folder = run(tmp_path / "run", "--algorithm", "random", "--samples", "200")
    humans = {line["rule"]: line for line in results.read_lines(folder / "baselines.jsonl")}
    by_update = {search.Rule.parse(rule).key(): line for rule, line in humans.items()}
    met = [record for record in history(folder) if record["key"] in by_update]
    assert met, "no human rule among the samples; choose another seed"
    for record in met:
        assert record["reward"] == by_update[record["key"]]["reward"]


def test_summary_ranks_found_and_human_rules_together(tmp_path, capsys):
    folder = run(tmp_path / "run")
    out = capsys.readouterr().out
    table = search.summary(folder).splitlines()[1:]
    scores = [float(line.split()[0]) for line in table]
    assert scores == sorted(scores, reverse=True)
    assert {line.split()[-1] for line in table if " human " in line} == {name.upper() for name in HUMAN}
    assert search.summary(folder) in out
    assert "learning_curve.png" in out and (folder / "learning_curve.png").stat().st_size > 5_000


# --- interruption ---------------------------------------------------------------------------------


def test_killed_and_resumed_run_has_the_records_of_an_undisturbed_one(tmp_path):
    kill_and_resume(tmp_path, kills=2)


@pytest.mark.slow
def test_run_killed_twenty_times_has_the_records_of_an_undisturbed_one(tmp_path):
    kill_and_resume(tmp_path, kills=20, more=["--samples", "120"])


def kill_and_resume(tmp_path: Path, kills: int, more: list[str] | None = None) -> None:
    flags = [*TINY, "--workers", "2", *(more or [])]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert search.main([*flags, "--out", str(whole)]) == 0
    total = len(history(whole))
    command = [*flags, "--out", str(broken)]
    for kill in range(kills):
        process = start(*command)
        goal = (kill + 1) * total // (kills + 2)
        records = broken / "records.jsonl"
        wait_for_records(process, records, more_than=goal)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        wait_for(lambda process=process: group_is_empty(process.pid), "workers to leave")
        with records.open("ab") as file:
            file.write(b'{"id": 7, "torn')  # as if the kill had hit the middle of a line
        command = ["--resume", str(broken), "--workers", str(1 + kill % 3)]
    assert search.main(command) == 0
    assert history(broken) == history(whole)
    for name in ("updates.jsonl", "hall_of_fame.csv"):
        assert (broken / name).read_text() == (whole / name).read_text()


def test_ctrl_c_keeps_what_is_done_and_prints_the_resume_command(tmp_path):
    folder = tmp_path / "run"
    process = start(*TINY, "--samples", "2000", "--out", str(folder))
    wait_for(lambda: len(results.read_lines(folder / "records.jsonl")) > 5, "some records")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"python search.py --resume {folder}" in output
    assert "Traceback" not in output
    wait_for(lambda: group_is_empty(process.pid), "workers to leave")
    assert len(history(folder)) > 5


def test_complete_run_resumes_to_nothing(tmp_path, capsys):
    folder = run(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert search.main(["--resume", str(folder)]) == 0
    assert "already complete" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_resume_refuses_records_that_do_not_replay(tmp_path, capfd):
    folder = run(tmp_path / "run")
    lines = (folder / "records.jsonl").read_text().splitlines()
    first = json.loads(lines[0]) | {"rule": str(NAMED_RULES["adam"].rule)}
    (folder / "records.jsonl").write_text("\n".join([json.dumps(first), *lines[1:10]]) + "\n")
    before = (folder / "records.jsonl").read_bytes()
    assert search.main(["--resume", str(folder)]) == 1
    assert "cannot go on" in capfd.readouterr().err
    assert (folder / "records.jsonl").read_bytes() == before


# --- settings and bad input -----------------------------------------------------------------------


def resolved(*flags: str) -> search.Config:
    return search.configure(search.make_parser().parse_args(["--dataset", data.SAMPLE, *flags]))


def test_defaults_are_the_papers_protocol():
    config = resolved("--data", str(DATA))
    assert config == resolved("--data", str(DATA), "--preset", "paper")
    assert (config.epoch_size, config.epochs, config.batch_size, config.num_validation) == (
        10_000,
        5,
        100,
        5_000,
    )
    assert config.lr_exponents == tuple(range(-5, 2))
    assert (config.iterations, config.samples, config.lag, config.rules_per_batch) == (2, 10_000, 20, 5)
    assert (config.algorithm, config.subset, len(config.constraints)) == ("trpo", "compact", 3)
    assert (config.max_kl, config.entropy_coeff, config.controller_lr) == (0.01, 0.0015, 1e-5)


def test_flags_win_over_the_preset():
    config = resolved("--data", str(DATA), "--samples", "7", "--preset", "laptop", "--seed", "3")
    assert (config.samples, config.seed, config.iterations, config.max_kl) == (7, 3, 1, 0.03)


WRONG = {
    "unknown flag": ["--sample", "5"],
    "zero workers": ["--workers", "0"],
    "negative workers": ["--workers", "-3"],
    "zero samples": ["--samples", "0"],
    "negative samples": ["--samples", "-1"],
    "no number": ["--samples", "many"],
    "not finite": ["--max-kl", "nan"],
    "unknown data set": ["--dataset", "imagenet"],
    "unknown preset": ["--preset", "huge"],
    "unknown algorithm": ["--algorithm", "sgd"],
    "unknown constraint": ["--constraints", "operands-differ,nothing"],
    "unknown subset": ["--subset", "tiny"],
    "too deep": ["--iterations", "5"],
    "too many images": ["--epoch-size", "10001"],
    "epoch smaller than a batch": ["--epoch-size", "50"],
    "no rates": ["--lr-exponents="],
    "resume of no run": ["--resume", "nowhere"],
    "resume with a flag": ["--resume", "nowhere", "--samples", "5"],
    "data root cannot be made": ["--data", "/dev/null/data"],
    "folder cannot be made": ["--out", "/dev/null/run"],
    "folder exists": ["--out", "."],
    "unknown rule to start from": ["--start-from", "adam", "powersing"],
    "damaged rule to start from": ["--start-from", "g 1 id plus mul"],
    "rule beyond the space": ["--start-from", "powersign"],
    "rule against a constraint": ["--start-from", "g g id id mul"],
    "more rules than samples": ["--samples", "1", "--start-from", "adam", "sgd"],
    "no rule to start from": ["--start-from"],
}


@pytest.mark.parametrize("flags", WRONG.values(), ids=WRONG.keys())
def test_bad_input_is_one_line_and_exit_code_2_and_creates_nothing(tmp_path, monkeypatch, capfd, flags):
    monkeypatch.chdir(tmp_path)
    tiny = [] if "--resume" in flags else TINY
    with pytest.raises(SystemExit) as exit:
        search.main([*tiny, *flags])
    assert exit.value.code == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1 and captured.err.startswith("search.py: error: ")
    assert list(tmp_path.iterdir()) == []


def test_damaged_data_is_refused_before_a_run_is_made(tmp_path, capfd):
    broken = tmp_path / "data" / data.SAMPLE
    broken.mkdir(parents=True)
    for file in data.FILES:
        (broken / f"{file}.npy").write_bytes((DATA / data.SAMPLE / f"{file}.npy").read_bytes())
    images = broken / "train_images.npy"
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(SystemExit) as exit:
        search.main([*TINY, "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")])
    assert exit.value.code == 2
    assert "train_images.npy is damaged" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


def test_second_search_on_a_run_folder_is_refused(tmp_path, capfd):
    folder = run(tmp_path / "run")
    lines = (folder / "records.jsonl").read_text().splitlines(keepends=True)
    (folder / "records.jsonl").write_text("".join(lines[:10]))
    with results.Run.reopen(folder), pytest.raises(SystemExit) as exit:
        search.main(["--resume", str(folder)])
    assert exit.value.code == 2
    assert "in use by another process" in capfd.readouterr().err
