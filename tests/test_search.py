"""The search loop on real children and real worker processes: same history, whatever happens."""

import contextlib
import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import data
import results
import search
import search as proposer
from child import start_worker
from nosbench.table import Table
from pool import WorkerPool
from results import Progress
from rules import HUMAN, NAMED_RULES, find

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


def hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*flags: str, **settings) -> subprocess.Popen:
    """Start search.py as a user would, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "search.py", *flags],
        # preexec_fn undoes what nohup and background jobs of a shell pass on: an ignored SIGINT.
        **{"cwd": ROOT, "preexec_fn": hear_interrupts, **settings},
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


@pytest.mark.slow
def test_records_are_the_same_with_one_to_a_hundred_workers_and_after_resume(tmp_path):
    flags = ["--lag", "20", "--samples", "210"]  # 105 rules in flight
    one = run(tmp_path / "1", "--workers", "1", *flags)
    for workers in ("2", "7", "100"):
        folder = run(tmp_path / workers, "--workers", workers, *flags)
        assert history(folder) == history(one), f"{workers} workers"
        lines = (folder / "records.jsonl").read_text().splitlines(keepends=True)
        (folder / "records.jsonl").write_text("".join(lines[:100]))
        assert search.main(["--resume", str(folder), "--workers", str(101 - int(workers))]) == 0
        assert history(folder) == history(one), f"{workers} workers, resumed"
        for name in ("updates.jsonl", "hall_of_fame.csv"):
            assert (folder / name).read_text() == (one / name).read_text()


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


@pytest.mark.parametrize("algorithm", proposer.ALGORITHMS)
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
    assert [record["rule"] for record in records[:3]] == [str(find(text)) for text in KNOWN]
    assert [record["batch"] for record in records] == [None] * 3 + [i // 5 for i in range(21)]
    assert records[2]["cached_from"] == 1
    humans = {line["name"]: line["reward"] for line in results.read_humans(folder)}
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
    space = proposer.make_space(resolved("--data", str(DATA)))  # depth 2, compact, all constraints
    for text in ("adam", "powersign", "g m id exp mul"):
        fitted = proposer.fit(text, space)
        assert space.contains(fitted)
        assert fitted.key() == find(text).key()


def test_hall_of_fame_holds_learning_rate_advice(tmp_path):
    folder = run(tmp_path / "run", "--lr-exponents=-4,-3,-2,-1", "--start-from", "adam")
    records = {str(record["id"]): record for record in history(folder)}
    [adam] = [x for x in results.read_humans(folder) if x["name"] == "adam"]
    with (folder / "hall_of_fame.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        sweep = dict(records[row["id"]]["sweep"])
        if row["lr_low"] == "":  # a flat sweep tells no rate
            assert row["lr_high"] == row["lr_open"] == row["lr_to_adam"] == ""
            assert (
                max(filter(None, sweep.values())) <= 0.12
                or max(sweep.values()) - min(sweep.values()) <= 0.02
            )
            continue
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
        tmp_path / "run",
        *("--samples", "5", "--no-screen", "--cpu-limit-s", "0.001", "--failure-reward", "0.05"),
    )
    for record in history(folder):
        assert (record["status"], record["reward"]) == ("timeout", 0.05)
    assert len(history(folder)) == 5


# --- workers that fail ----------------------------------------------------------------------------


def exhaust_memory():
    """Ask for more than the address space that is left."""
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (in_use + 50_000_000, hard))
    try:
        return torch.zeros(10**9)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def burn():
    while True:
        pass


class Unreadable:
    def __reduce__(self):
        return open, ("/missing/file",)


def die_once(marker: Path):
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


FAULTS = {  # what a worker does in a rule's place, and what the rule is then recorded as
    "raise": (lambda: 1 / 0, "error", "ZeroDivisionError"),
    "exit": (lambda: os._exit(3), "crashed", "exit code 3"),
    "kill": (lambda: os.kill(os.getpid(), signal.SIGKILL), "crashed", "signal 9"),
    "hang": (burn, "timeout", "CPU seconds"),
    "number": (lambda: 7, "error", "returned 7, no score"),
    "unreadable": (Unreadable, "error", "unreadable answer"),
    "memory": (exhaust_memory, "error", "memory"),
}


def sabotage(fault: str | None, marker: Path, fn, *args):
    if fault is None:
        die_once(marker)
        return fn(*args)
    return FAULTS[fault][0]()


class Saboteur(Executor):
    """Real workers of which some misbehave: the n-th task meets the n-th fault."""

    def __init__(self, pool: Executor, faults: list[str | None], folder: Path):
        self.pool, self.faults, self.folder, self.count = pool, faults, folder, 0

    def submit(self, fn, *args):
        self.count += 1
        if self.count > len(self.faults):
            return self.pool.submit(fn, *args)
        marker = self.folder / f"died{self.count}"
        return self.pool.submit(sabotage, self.faults[self.count - 1], marker, fn, *args)


def test_a_fault_of_every_kind_is_recorded_and_costs_no_other_rule_anything(tmp_path):
    flags = [*TINY, "--algorithm", "random", "--failure-reward", "0.05"]
    config = search.configure(search.make_parser().parse_args(flags))
    faults = [None] * (len(HUMAN) + 1) + list(FAULTS)  # the first ones die once and then do their work
    preload = ("child", "torch._dynamo")
    pool = WorkerPool(2, cpu_limit_s=5, initializer=start_worker, preload=preload)
    with results.Run.create(tmp_path / "faults", {}, {}) as folder:
        try:
            executor = Saboteur(pool, faults, tmp_path)
            search.Search(config, executor, folder, Progress()).run_to_end()
        finally:
            pool.stop()
    undisturbed = history(run(tmp_path / "undisturbed", "--algorithm", "random"))
    records = history(tmp_path / "faults")
    assert [record["rule"] for record in records] == [record["rule"] for record in undisturbed]
    trained = [record for record in records if record["cached_from"] is None]
    for record, (_, status, words) in zip(trained[1:], FAULTS.values(), strict=False):
        assert (record["status"], record["reward"], record["lr"]) == (status, 0.05, None)
        assert words in record["error"]
    spared = {record["key"] for record in trained[1 : 1 + len(FAULTS)]}
    for record, expected in zip(records, undisturbed, strict=True):
        if record["key"] not in spared and expected["status"] == "ok":
            assert record == expected


@pytest.mark.parametrize("error", [ConnectionError("gone"), BrokenExecutor("gone"), CancelledError()])
def test_workers_out_of_reach_end_the_search_and_are_no_rules_fault(tmp_path, error):
    class OutOfReach(Executor):
        def submit(self, fn, *args):
            future = Future()
            future.set_exception(error)
            return future

    config = search.configure(search.make_parser().parse_args(TINY))
    with results.Run.create(tmp_path / "run", {}, {}) as folder:
        with pytest.raises(results.RunError, match="workers cannot go on"):
            search.Search(config, OutOfReach(), folder, Progress()).run_to_end()
        assert not (tmp_path / "run" / "baselines.jsonl").exists()


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

    humans = results.read_humans(folder)
    assert [line["name"] for line in humans] == list(HUMAN)
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["end"] is not None and meta["threads"] == 1


def test_human_scores_depend_on_the_child_seed_alone(tmp_path):
    runs = (
        run(tmp_path / "a", "--samples", "5"),
        run(tmp_path / "b", "--samples", "5", "--seed", "1"),
        run(tmp_path / "c", "--samples", "5", "--child-seed", "1"),
    )
    lines = [results.read_humans(folder) for folder in runs]
    a, b, c = ([line["reward"] for line in humans] for humans in lines)
    assert a == b != c


def test_distinct_keys_is_the_share_among_the_last_hundred_rules(tmp_path):
    folder = run(tmp_path / "run", "--samples", "150", "--max-kl", "0.3", "--epochs", "1")
    keys = [record["key"] for record in results.read_lines(folder / "records.jsonl")]
    updates = results.read_lines(folder / "updates.jsonl")
    for update in updates:
        recent = keys[max(0, update["samples"] - 100) : update["samples"]]
        assert update["distinct_keys"] == len(set(recent)) / len(recent)
    assert updates[-1]["distinct_keys"] != len(set(keys)) / len(keys)


def test_a_human_rule_scores_the_same_as_baseline_and_as_sample(tmp_path):
    folder = run(tmp_path / "run", "--algorithm", "random", "--samples", "200")
    humans = {line["rule"]: line for line in results.read_humans(folder)}
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


@pytest.mark.slow
def test_run_killed_at_twenty_random_moments_has_the_records_of_an_undisturbed_one(tmp_path):
    more = ["--samples", "600", "--lag", "3"]
    flags, whole, broken = [*TINY, *more], run(tmp_path / "whole", *more), tmp_path / "broken"
    moments, lengths = random.Random(0), [0]
    for kill in range(20):
        resumed = ["--resume", str(broken), "--workers", str(1 + kill % 3)]
        process = start(*(resumed if broken.exists() else [*flags, "--out", str(broken)]))
        if kill % 2:  # while rules are trained; else anywhere from the start on
            wait_for_records(process, broken / "records.jsonl", lengths[-1] + moments.randrange(25))
        with contextlib.suppress(subprocess.TimeoutExpired):  # a random moment, not a wait for anything
            process.communicate(timeout=moments.uniform(0, 0.2 if kill % 2 else 5))
        process.kill()
        process.communicate()
        wait_for(lambda process=process: group_is_empty(process.pid), "workers to leave")
        lengths.append(len(history(broken)) if broken.exists() else 0)
    assert len(set(lengths)) > 5 and lengths[-1] < 600, "kills that hit nothing prove nothing"
    print("records after each kill:", lengths)
    assert search.main(["--resume", str(broken)]) == 0
    assert history(broken) == history(whole)
    for name in ("updates.jsonl", "hall_of_fame.csv"):
        assert (broken / name).read_text() == (whole / name).read_text()


@pytest.mark.parametrize("times", [1, 2, 5])
def test_ctrl_c_keeps_what_is_done_and_prints_the_resume_command(tmp_path, times):
    folder = tmp_path / "run"
    process = start(*TINY, "--samples", "2000", "--out", str(folder))
    wait_for(lambda: len(results.read_lines(folder / "records.jsonl")) > 5, "some records")
    for _ in range(times):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output.count(f"python search.py --resume {folder}") == 1
    assert "Traceback" not in output
    wait_for(lambda: group_is_empty(process.pid), "workers to leave")
    assert len(history(folder)) > 5


def test_a_run_killed_between_its_last_record_and_its_end_is_finished_by_resume(tmp_path):
    whole = run(tmp_path / "run")
    expected = {p.name: p.read_bytes() for p in whole.iterdir() if p.name != "meta.json"}
    meta = json.loads((whole / "meta.json").read_text())
    (whole / "meta.json").write_text(json.dumps({**meta, "end": None}))
    updates = (whole / "updates.jsonl").read_text().splitlines(keepends=True)
    (whole / "updates.jsonl").write_text("".join(updates[:-1]))
    for name in ("hall_of_fame.csv", "controller.pt"):
        (whole / name).unlink()
    assert search.main(["--resume", str(whole)]) == 0
    assert json.loads((whole / "meta.json").read_text())["end"] is not None
    for name in ("records.jsonl", "updates.jsonl", "hall_of_fame.csv"):
        assert (whole / name).read_bytes() == expected[name]
    assert (whole / "controller.pt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 3_000, 9_000, 100_000])
def test_a_full_disk_is_one_line_and_costs_nothing_that_was_written(tmp_path, size):
    """No file may grow longer: at first not even a config fits, at last only the weights do not."""
    whole, broken = run(tmp_path / "whole"), tmp_path / "broken"

    def fill_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    process = start(*TINY, "--out", str(broken), preexec_fn=fill_disk)
    output, _ = process.communicate(timeout=120)
    assert "Traceback" not in output
    wait_for(lambda: group_is_empty(process.pid), "workers to leave")
    if size == 0:
        assert process.returncode == 2 and len(output.splitlines()) == 1
        assert list(tmp_path.iterdir()) == [whole]
        return
    assert (
        process.returncode == 1
        and "File too large" in output
        and f"python search.py --resume {broken}" in output
    )
    assert search.main(["--resume", str(broken)]) == 0
    assert history(broken) == history(whole)
    for name in ("updates.jsonl", "hall_of_fame.csv"):
        assert (broken / name).read_text() == (whole / name).read_text()


@pytest.mark.slow
def test_of_two_searches_on_one_folder_the_second_is_refused_and_the_first_goes_on(tmp_path):
    folder = tmp_path / "run"
    first = start(*TINY, "--samples", "100", "--out", str(folder))
    wait_for(folder.exists, "the run folder")
    for flags in (["--resume", str(folder)], [*TINY, "--out", str(folder)]):
        second = start(*flags)
        output, _ = second.communicate(timeout=120)
        assert second.returncode == 2 and len(output.splitlines()) == 1
        assert "in use by another process" in output or "exists already" in output
        wait_for(lambda second=second: group_is_empty(second.pid), "workers to leave")
    assert first.communicate(timeout=240) and first.returncode == 0
    assert history(folder) == history(run(tmp_path / "alone", "--samples", "100"))


def test_complete_run_resumes_to_nothing(tmp_path, capsys):
    folder = run(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert search.main(["--resume", str(folder)]) == 0
    assert "already complete" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_killed_between_its_last_record_and_its_end_is_completed(tmp_path):
    folder = run(tmp_path / "run")
    names = ("records.jsonl", "updates.jsonl", "hall_of_fame.csv")
    before = [(folder / name).read_text() for name in names]
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"end": None}))
    (folder / "updates.jsonl").write_text("".join(before[1].splitlines(keepends=True)[:-2]))
    (folder / "hall_of_fame.csv").unlink()
    (folder / "controller.pt").unlink()
    assert search.main(["--resume", str(folder)]) == 0
    assert [(folder / name).read_text() for name in names] == before
    assert (folder / "controller.pt").exists()
    assert results.read_meta(folder)["end"] is not None


def test_resume_refuses_a_run_whose_settings_are_not_all_there(tmp_path, capfd):
    folder = run(tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    del config["screen"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SystemExit) as exit:
        search.main(["--resume", str(folder)])
    assert exit.value.code == 2
    assert "lacks screen" in capfd.readouterr().err


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
    assert (config.samples, config.seed, config.iterations, config.max_kl) == (7, 3, 1, 0.1)


WRONG = {
    "unknown flag": ["--sample", "5"],
    "zero workers": ["--workers", "0"],
    "more workers than the system has files": ["--workers", "10000000000"],
    "workers of two kinds": ["--workers", "2", "--cluster", "tcp://localhost:1"],
    "more rules than anybody waits for": ["--samples", "1" + "0" * 400],
    "more lag than rules": ["--lag", "10000000"],
    "seed too large": ["--child-seed", str(2**63)],
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
    "huge seed": ["--seed", str(2**63)],
    "huge child seed": ["--child-seed", str(2**63)],
    "endless limit": ["--cpu-limit-s", "1e300"],
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


@pytest.mark.parametrize("flags", [["--out", "."], ["--epoch-size", "99999"], ["--samples", "0"]])
def test_nothing_is_unpacked_for_a_search_that_cannot_start(tmp_path, monkeypatch, capfd, flags):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        search.main(["--preset", "laptop", *flags])
    assert exit.value.code == 2
    assert len(capfd.readouterr().err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_auto_without_cifar10_warns_and_the_config_names_what_was_taken(tmp_path, capfd):
    args = search.make_parser().parse_args(["--preset", "laptop", "--data", str(tmp_path)])
    config = search.configure(args)
    assert (config.dataset, config.precision == "auto") == (data.SAMPLE, False)
    assert "python data.py cifar10" in capfd.readouterr().err
    search.configure(search.make_parser().parse_args([*TINY]))
    assert capfd.readouterr().err == ""  # asked for by name


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
