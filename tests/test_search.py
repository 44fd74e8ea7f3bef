"""Whole searches on real children and worker processes: one history, whatever happens."""

import contextlib
import csv
import gc
import json
import os
import re
import resource
import shlex
import shutil
import signal
import weakref
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from pathlib import Path

import helpers
import numpy as np
import pytest
from helpers import DATA, HERE, SMALL, history, killed, refusal, start, tiny
from processes import children, until

import data
import results
import search
from child import Child, open_pictures
from loop import BATCH, Search, SearchConfig, make_space
from nosbench import search as table_search
from pool import TaskError, WorkerDied, WorkerPool
from results import Progress
from rules import HUMAN, NAMED_RULES, find
from sameness import Families
from training import start_worker

DRAW = search.draw


@pytest.fixture(scope="module", autouse=True)
def sample_on_disk_and_no_figures():
    data.prepare(data.SAMPLE, DATA)
    with helpers.undrawn():
        yield


# search.py as `start` starts it with SMALL, but in this process.
SMOKE = search.SEARCH._replace(presets={"smoke": search.PRESETS["smoke"]}, executor=HERE)


def run(folder: Path, *flags: str, **settings) -> Path:
    assert search.main([*flags, "--out", str(folder)], tiny(**settings)) == 0
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A finished run with nothing special, to be copied rather than changed."""
    return run(tmp_path_factory.mktemp("runs") / "base")


def resolved(*flags: str, script=None) -> tuple[SearchConfig, Child]:
    script = script or tiny()
    return search.configure(search.make_parser(script).parse_args(flags), script)


def searched(folder: Path, *flags: str, executor: Executor = HERE, **settings) -> Path:
    """Search, or go on, without what search.py does around it; an executor may be shown the progress."""
    progress = executor if isinstance(executor, Progress) else Progress()
    opened = results.Run.reopen(folder) if folder.exists() else results.Run.create(folder, {}, {})
    with opened:
        config, scorer = resolved(*flags, script=tiny(**settings))
        Search(config, scorer, executor, opened, progress).run_to_end()
    return folder


def assert_same(one: Path, two: Path) -> None:
    """Assert that two runs are equal, but for times."""
    assert history(one) == history(two)
    for name in ("updates.jsonl", "hall_of_fame.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def table_of(folder: Path) -> list[dict]:
    with (folder / "hall_of_fame.csv").open() as file:
        return list(csv.DictReader(file))


def rules(records: list[dict]) -> list[str]:
    return [record["rule"] for record in records]


def rewards(records: list[dict]) -> list[float]:
    return [record["reward"] for record in records]


# --- the history ----------------------------------------------------------------------------------


def test_records_of_workers_are_those_of_one_process(tmp_path, base):
    assert_same(run(tmp_path / "three", "--workers", "3", executor=None), base)


@pytest.mark.slow
def test_records_are_the_same_with_one_to_a_hundred_workers_and_after_resume(tmp_path):
    flags = ["--lag", "20", "--samples", "210"]  # 105 rules in flight
    one = run(tmp_path / "1", *flags)
    for workers in ("2", "7", "100"):
        folder = run(tmp_path / workers, "--workers", workers, *flags, executor=None)
        assert_same(folder, one)
        broken = killed(folder, tmp_path / f"{workers} killed", 100)
        assert search.main(["--resume", str(broken), "--workers", str(101 - int(workers))]) == 0
        assert_same(broken, one)


def test_lag_and_each_seed_change_what_they_should(tmp_path, base):
    humans, base = rewards(results.read_humans(base)), history(base)
    known = ["--samples", "10", "--start-from", *HUMAN]
    other = searched(tmp_path / "seed", *known, "--seed", "1")
    assert rules(history(other)[4:]) != rules(base[:6])
    # The human optimizers' scores depend on the child's seed alone, and are those of samples.
    assert rewards(results.read_humans(other)) == humans == rewards(history(other)[: len(HUMAN)])
    # lag 0 and 1 share their first batch, then the second is sampled before or after an update
    lag0 = history(searched(tmp_path / "lag", "--lag", "0"))
    assert rules(lag0[:5]) == rules(base[:5]) and lag0 != base
    child = searched(tmp_path / "child", "--child-seed", "1", "--samples", "10")
    assert rules(history(child)) == rules(base[:10]) and rewards(history(child)) != rewards(base[:10])
    assert rewards(results.read_humans(child)) != humans


# The last one is the second, spelled otherwise.
KNOWN = ["adam", "m 1 id id mul", "momentum"]


@pytest.mark.parametrize("algorithm", ["trpo", "evolution"])
def test_known_rules_are_scored_first_and_survive_resume(tmp_path, algorithm):
    known = ["--start-from", *KNOWN]
    flags = ["--algorithm", algorithm, "--population", "6", "--tournament", "3"]
    folder = searched(tmp_path / "run", *flags, *known)
    records = history(folder)
    assert [record["id"] for record in records] == list(range(24))  # they are samples as well
    assert rules(records[:3]) == [str(find(text)) for text in KNOWN]
    assert [record["batch"] for record in records] == [None] * 3 + [i // 5 for i in range(21)]
    assert records[2]["cached_from"] == 1
    humans = {line["name"]: line["reward"] for line in results.read_humans(folder)}
    assert rewards(records[:2]) == [humans["adam"], humans["momentum"]]
    assert {0, 1} <= {records[int(row["id"])]["family"] for row in table_of(folder)}
    updates = results.read_lines(folder / "updates.jsonl")
    assert [update["samples"] for update in updates] == [8, 13, 18, 23, 24]
    assert all(update["invalid"] == 0 for update in updates)
    if algorithm == "evolution":  # bred from the known rules from the first batch on
        parents = [record["rule"].split() for record in records[:3]]
        for record in records[3:8]:
            tokens = record["rule"].split()
            assert 1 in [sum(a != b for a, b in zip(tokens, parent, strict=True)) for parent in parents]
    else:  # its own rules do not depend on rules that it did not sample
        assert {len(update["entropy"]) for update in updates} == {5}
        without = history(searched(tmp_path / "without", *flags, "--samples", "10"))
        assert rules(records[3:13]) == rules(without)
    for kept in (2, 14):  # cut within and behind the known rules
        broken = killed(folder, tmp_path / f"broken{kept}", kept)
        assert history(searched(broken, *flags, *known)) == records


def test_short_known_rules_are_padded_to_the_spaces_length_and_keep_their_key():
    space = make_space(SearchConfig())  # depth 2, compact, all constraints
    for text in ("adam", "powersign", "g m id exp mul"):
        fitted = search.fit(text, space)
        assert space.contains(fitted) and fitted.key() == find(text).key()


@pytest.mark.parametrize("algorithm, candidates", [("trpo", "4"), ("evolution", "1")])
def test_what_is_drawn_again_is_trained_again_and_gets_its_mean(tmp_path, algorithm, candidates):
    flags = ["--algorithm", algorithm, "--candidates", candidates, "--replicates", "3", "--rotate", "2"]
    flags += ["--population", "6", "--elite-coeff", "0.3", "--samples", "60", "--lag", "1"]
    space = {"constraints": (), "child_seed": 7}
    start = ["--start-from", "momentum", "sgd", "1 m id id mul"]
    folder = searched(tmp_path / "run", *flags, *start, **space)
    records, families, done = history(folder), Families(), {}
    for record in records:
        trainings = done.setdefault(families(find(record["rule"])), [])
        if len(trainings) < 3:
            first = trainings[0]["seed"] if trainings else 7 + (record["batch"] or 0) % 2
            assert (record["cached_from"], record["seed"]) == (None, first + len(trainings))
            trainings.append(record)
        else:
            assert record["cached_from"] == trainings[0]["id"]
        assert record["family"] == trainings[0]["id"]
        accuracies = [training["accuracy"] or 0.0 for training in trainings]
        assert record["reward"] == pytest.approx(sum(accuracies) / len(accuracies))
    counts = [len(trainings) for trainings in done.values()]
    assert {1, 3} <= set(counts) and (candidates == "4" or sum(counts) < len(records))
    scored = {results.Family(trainings).reward: trainings for trainings in done.values()}
    best = table_of(folder)[0]
    assert float(best["reward"]) == max(scored) and int(best["trainings"]) == len(scored[max(scored)])
    broken = killed(folder, tmp_path / "broken", 31)
    assert_same(searched(broken, *flags, *start, **space), folder)


def test_equal_rules_are_scored_once_and_families_counted_among_the_last_hundred(tmp_path):
    """In a run long enough to repeat itself, with the table in the child's place."""
    flags = ["--samples", "150", "--subset", "compact", "--max-kl", "0.3"]
    assert table_search.main([*flags, "--out", str(tmp_path / "run")]) == 0
    records, first = results.read_lines(tmp_path / "run" / "records.jsonl"), {}
    family_of = table_search.TableScorer().identity()
    shared = ("status", "reward", "lr", "sweep", "curve")
    for record in records:
        original = first.setdefault(family_of(find(record["rule"])), record)
        assert record["cached_from"] == (None if original is record else original["id"])
        assert (record["worker"] is None) == (original is not record)
        assert [record[name] for name in shared] == [original[name] for name in shared]
    assert len(first) < len(records)
    families = [record["family"] for record in records]
    for update in results.read_lines(tmp_path / "run" / "updates.jsonl"):
        recent = families[max(0, update["samples"] - 100) : update["samples"]]
        assert update["families"] == len(set(recent)) / len(recent)
    assert update["families"] != len(set(families)) / len(families)


# --- workers that fail ----------------------------------------------------------------------------


FAULTS = {  # what a worker does in a rule's place, and what the rule is then recorded as
    "raise": (lambda: 1 / 0, "error", "ZeroDivisionError"),
    "kill": (lambda: os.kill(os.getpid(), signal.SIGKILL), "crashed", "signal 9"),
    "number": (lambda: 7, "error", "returned 7, no score"),
}


def sabotage(fault: str | None, marker: Path, fn, *args):
    if fault is not None:
        return FAULTS[fault][0]()
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return fn(*args)


class Saboteur(Executor):
    """Real workers of which some misbehave: the n-th task meets the n-th fault; None is to die once."""

    def __init__(self, pool: Executor, faults: list[str | None], folder: Path):
        self.pool, self.faults, self.folder = pool, enumerate(faults), folder

    def submit(self, fn, *args):
        if number_and_fault := next(self.faults, None):
            number, fault = number_and_fault
            return self.pool.submit(sabotage, fault, self.folder / f"died{number}", fn, *args)
        return self.pool.submit(fn, *args)


def test_a_fault_of_every_kind_is_recorded_and_costs_no_other_rule_anything(tmp_path):
    # Behind the first batch come the human optimizers; some tasks die once and then do their work.
    pool = WorkerPool(2, initializer=start_worker, preload=("child", "torch._dynamo"))
    faults = [None] * (BATCH + len(HUMAN) + 1) + list(FAULTS)
    try:
        saboteur = Saboteur(pool, faults, tmp_path)
        records = history(searched(tmp_path / "faults", "--algorithm", "random", executor=saboteur))
    finally:
        pool.stop()
    undisturbed = history(searched(tmp_path / "undisturbed", "--algorithm", "random"))
    assert rules(records) == rules(undisturbed)
    tasks = [record for record in records if record["cached_from"] is None]
    hit = tasks[BATCH + 1 :]
    for record, (_, status, words) in zip(hit, FAULTS.values(), strict=False):
        assert (record["status"], record["reward"], record["lr"]) == (status, 0.0, None)
        assert words in record["error"]
    spared = {record["key"] for record in hit[: len(FAULTS)]}
    assert len(spared) == len(FAULTS)
    for record, expected in zip(records, undisturbed, strict=True):
        if record["key"] not in spared:
            assert record == expected


def test_a_rule_past_its_cpu_limit_is_recorded_and_the_search_goes_on(tmp_path):
    flags = ["--samples", "5", "--no-screen", "--cpu-limit-s", "0.001"]
    records = history(run(tmp_path / "run", *flags, executor=None))
    assert [(record["status"], record["reward"]) for record in records] == [("timeout", 0.0)] * 5
    assert all("CPU seconds" in record["error"] for record in records)


def test_records_do_not_wait_for_the_human_optimizers_which_are_counted(tmp_path):
    class Shown(ThreadPoolExecutor, Progress):
        lines: list[str] = []
        due, update = True, lines.append

    with Shown(1) as executor:
        searched(tmp_path / "run", "--samples", "6", executor=executor)
    assert Shown.lines[0] == "0/6 rules  human optimizers: 0 of 4 scored"
    assert any(line.startswith("4/6 rules  human optimizers: 0 of 4") for line in Shown.lines)


class LateHumans(Executor, Progress):
    """Rules fail at once, human optimizers when progress was shown three times."""

    due = True

    def __init__(self, error: Exception):
        Progress.__init__(self)
        self.error, self.futures, self.updates = error, [], 0

    def submit(self, fn, *args):
        self.futures.append(Future())
        if len(self.futures) <= BATCH:
            self.futures[-1].set_exception(self.error)
        return self.futures[-1]

    def update(self, line):
        self.updates += 1
        for future in self.futures[BATCH:] if self.updates == 3 else ():
            future.set_exception(self.error)


GONE = [ConnectionError("gone"), BrokenExecutor("gone"), CancelledError()]
BROKEN = [TaskError("Traceback\nMemoryError"), WorkerDied("signal 9")]


@pytest.mark.parametrize("error", [*GONE, *BROKEN], ids=repr)
def test_workers_out_of_reach_and_a_child_that_trains_with_nothing_are_no_rules_fault(tmp_path, error):
    words = "workers cannot go on" if error in GONE else "cannot even train with sgd"
    with pytest.raises(results.RunError, match=words):
        searched(tmp_path / "run", "--lag", "0", executor=LateHumans(error))
    assert not list((tmp_path / "run").glob("*.jsonl"))


# --- what a run leaves behind ---------------------------------------------------------------------


def test_run_folder_holds_what_the_format_promises(base):
    names = "config.json meta.json records.jsonl updates.jsonl humans.jsonl hall_of_fame.csv log.txt"
    assert {*names.split()} <= {path.name for path in base.iterdir()}
    records = results.read_records(base)  # with all fields and ids
    assert [record["batch"] for record in records] == [i // 5 for i in range(24)]
    trained = [record for record in records if record["status"] == "ok"]
    assert all(record["reward"] == record["curve"][-1] for record in trained)
    table = table_of(base)
    scores = [float(row["reward"]) for row in table]
    assert scores == sorted(scores, reverse=True) and scores[0] == max(rewards(trained))
    assert len({row["rule"] for row in table}) == len(table)
    humans = results.read_humans(base)
    assert [line["name"] for line in humans] == list(HUMAN)
    for row in table:
        advice = results.advise(records[int(row["id"])], humans)
        columns = {"lr_low": advice.low, "lr_high": advice.high}
        columns |= {"lr_open": advice.open, "lr_to_adam": advice.to_adam}
        assert row | {name: str(x or "") for name, x in columns.items()} == row
    assert any(row["lr_to_adam"] for row in table) and not all(row["lr_low"] for row in table)


def test_a_search_lets_go_of_the_records_it_replayed_and_can_be_let_go_itself(base, tmp_path):
    with results.Run.reopen(killed(base, tmp_path / "run", 30)) as opened:
        one = Search(*resolved(), HERE, opened, Progress())
        one.run_to_end()
        assert all(training.recorded is None for some in one.trainings.values() for training in some)
        one = weakref.ref(one)
        gc.collect()
        assert one() is None


@pytest.mark.parametrize(
    ("settings", "vain"),
    [
        ({"algorithm": "guided", "candidates": 2, "population": 9}, []),
        ({"algorithm": "guided", "candidates": 2}, ["--population is 50"]),
        ({"algorithm": "guided", "population": 9}, ["--candidates is 1"]),
        ({"algorithm": "evolution", "population": 10}, ["--population is 10"]),
        ({"algorithm": "evolution", "population": 10, "start_from": ("adam",)}, []),
        ({"algorithm": "random"}, []),
    ],
)
def test_what_is_asked_for_in_vain_is_said(settings, vain):
    said = list(search.idle(SearchConfig(**{"samples": 10} | settings)))
    assert len(said) == len(vain) and all(a in b for a, b in zip(vain, said, strict=True))


def test_a_run_says_what_differs_from_the_preset_what_it_found_and_what_is_next(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(search, "draw", DRAW)
    folder = run(tmp_path / "run", "--seed", "3", "--samples", "20", "--dataset", data.SAMPLE)
    said = capsys.readouterr()
    assert said.err.startswith("preset tiny, but samples=20, seed=3\n")
    assert f"{folder}: {data.SAMPLE}, " in said.err and "this process; 17,640 strings" in said.err
    lines = said.out.splitlines()
    head = lines.index("accuracy  spread  trainings  rules  lr     id     update")
    table = lines[head + 1 : lines.index("", head)]
    scores = [float(line.split()[0]) for line in table]
    assert scores == sorted(scores, reverse=True)
    assert {line.split()[-1] for line in table if " human " in line} == {name.upper() for name in HUMAN}
    [family] = results.best_families(results.read_records(folder), 1)
    best = family.best
    shown = f"Next: python rules.py show '{best['rule']}' --runs {folder} explains #{best['id']}, "
    assert lines[-1].startswith(shown)
    assert any(f" #{best['id']}  " in line for line in table)
    assert "learning_curve.png" in lines[-2] and (folder / "learning_curve.png").stat().st_size > 5_000


# --- interruption ---------------------------------------------------------------------------------


def test_killed_and_resumed_run_has_the_records_of_an_undisturbed_one(tmp_path, base):
    folder = tmp_path / "run"
    with children(search.main, ["--out", str(folder)], tiny()) as (process,):
        until(lambda: len(history(folder)) > 6, "records")
        process.kill()
        process.join()
    with (folder / "records.jsonl").open("ab") as file:
        file.write(b'{"id": 7, "torn')  # as if the kill had hit the middle of a line
    assert search.main(["--resume", str(folder), "--workers", "1"]) == 0
    assert_same(folder, base)


SEARCH = [*SMALL, "--samples", "2000", "--workers", "1"]
STUDY = ["random-new", "--seeds", "200", "--workers", "1"]
INTERRUPTED = [  # times that Ctrl-C is pressed, program, flags, records, what is said
    (5, ["search.py"], SEARCH, "records", "Go on with: python search.py --resume {} --workers 1\n"),
    (1, ["-m", "bench.controller"], [], "records", "python -m bench.show {}"),
    (1, ["-m", "nosbench.study"], STUDY, "random-new", "the same command goes on"),
]


@pytest.mark.parametrize(
    "times, program, flags, file, words",
    [INTERRUPTED[0], *(pytest.param(*row, marks=pytest.mark.slow) for row in INTERRUPTED[1:])],
)
def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path, times, program, flags, file, words):
    folder = tmp_path / "run"
    process = start(*flags, "--out", str(folder), program=program)
    helpers.wait_for_records(process, folder / f"{file}.jsonl", more_than=0)
    for _ in range(times):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    output = helpers.wait_for_end(process)
    assert process.returncode == 130
    assert output.count(words.format(folder)) == 1 and "Traceback" not in output
    assert 0 < len(results.read_lines(folder / f"{file}.jsonl")) < 200


def test_a_run_killed_between_its_last_record_and_its_end_is_completed_once(tmp_path, base, capsys):
    broken = killed(base, tmp_path / "run", 24)
    updates = (broken / "updates.jsonl").read_text().splitlines(keepends=True)
    (broken / "updates.jsonl").write_text("".join(updates[:-2]))
    for name in ("hall_of_fame.csv", "controller.pt"):
        (broken / name).unlink()
    assert search.main(["--resume", str(broken)], tiny()) == 0
    assert_same(broken, base)
    assert (broken / "controller.pt").exists()
    assert (broken / "records.jsonl").read_bytes() == (base / "records.jsonl").read_bytes()
    assert results.read_meta(broken)["end"] is not None
    before = {path.name: path.read_bytes() for path in broken.iterdir()}
    capsys.readouterr()
    assert search.main(["--resume", str(broken)]) == 0
    out = capsys.readouterr().out
    assert "already complete" in out and "core-seconds" in out and "Next: python rules.py show" in out
    assert {path.name: path.read_bytes() for path in broken.iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize("size", [3_000, 9_000, 100_000])
def test_a_full_disk_is_one_line_and_costs_nothing_that_was_written(tmp_path, size):
    """No file may grow longer: at first little more than a config fits, at last all but the weights."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert search.main([*SMALL[2:], "--out", str(whole)], SMOKE) == 0

    def fill_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    process = start(*SMALL, "--out", str(broken), preexec_fn=fill_disk)
    output = helpers.wait_for_end(process)
    assert "Traceback" not in output
    assert process.returncode == 1 and "File too large" in output
    assert f"python search.py --resume {broken}" in output
    assert search.main(["--resume", str(broken)]) == 0
    assert_same(broken, whole)


def test_resume_refuses_other_records_other_settings_and_a_folder_in_use(tmp_path, base, capsys):
    folder = killed(base, tmp_path / "run", 10)
    records = folder / "records.jsonl"
    base_records = first, *lines = records.read_text().splitlines()
    first = json.loads(first) | {"rule": str(NAMED_RULES["adam"].rule)}
    records.write_text("\n".join([json.dumps(first), *lines]) + "\n")
    before = records.read_bytes()
    assert search.main(["--resume", str(folder)], tiny()) == 1
    said = capsys.readouterr().err
    assert "cannot go on" in said and "go on with" not in said and records.read_bytes() == before
    records.write_text("\n".join([json.dumps(json.loads(base_records[0]) | {"cached_from": 0})]) + "\n")
    assert search.main(["--resume", str(folder)], tiny()) == 1
    assert "whose training it shares" in capsys.readouterr().err
    records.write_text("\n".join([*base_records[:5], "{torn", *base_records[5:]]) + "\n")
    damaged = records.read_bytes()
    assert "line 6 is damaged" in refusal(search.main, ["--resume", str(folder)], capsys)
    assert records.read_bytes() == damaged
    records.write_bytes(before)
    updates = folder / "updates.jsonl"
    told = updates.read_text()
    updates.write_text("{torn\n" + told)
    assert "line 1 is damaged" in refusal(search.main, ["--resume", str(folder)], capsys)
    updates.write_text(told)
    with results.Run.reopen(folder):
        assert "in use by another process" in refusal(search.main, ["--resume", str(folder)], capsys)
    config = json.loads((folder / "config.json").read_text())
    del config["screen"]
    (folder / "config.json").write_text(json.dumps(config | {"race": False}))
    said = refusal(search.main, ["--resume", str(folder)], capsys)
    assert "another version or script" in said and "race, screen" in said


def test_a_resumed_run_goes_on_with_its_own_pictures_or_not_at_all(tmp_path, monkeypatch, capsys):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder in (elsewhere, here):
        folder.mkdir()
    monkeypatch.chdir(here)
    assert search.main(["--out", "whole"], tiny(data="data", samples=10)) == 0
    whole, pictures = here / "whole", here / "data" / data.SAMPLE
    config = results.read_config(whole)
    assert config["data"] == str(here / "data")
    assert config["data_sha256"] == data.checksum(data.SAMPLE, DATA)
    monkeypatch.chdir(elsewhere)

    def broken(name: str, **changes) -> str:
        folder = killed(whole, elsewhere / name, 5)
        kept = {k: v for k, v in (config | changes).items() if v is not None}
        (folder / "config.json").write_text(json.dumps(kept))
        return name

    def resume(*how: str):  # as in a new process
        open_pictures.cache_clear()
        return search.main(["--resume", *how], tiny())

    def refused(*how: str) -> str:
        return refusal(lambda argv: resume(*argv), how, capsys)

    assert resume(broken("new")) == 0
    assert_same(elsewhere / "new", whole)
    capsys.readouterr()
    broken("old", data_sha256=None, data="data")
    assert "is missing" in refused("old") and not (elsewhere / "data").exists()  # none is made
    (elsewhere / "data").symlink_to(here / "data")
    assert resume("old") == 0
    assert "does not say which pictures" in capsys.readouterr().err
    assert_same(elsewhere / "old", whole)

    labels = np.load(pictures / "train_labels.npy")
    np.save(pictures / "train_labels.npy", labels[::-1])
    assert "holds other pictures" in refused(broken("run"))
    moved = elsewhere / ".." / "moved"
    shutil.move(pictures, moved / data.SAMPLE)
    assert "search.py --resume run --data DIR" in refused("run") and not pictures.exists()
    assert "holds other pictures" in refused("run", "--data", str(moved))
    assert len(history(elsewhere / "run")) == 5 and results.read_config(Path("run")) == config
    np.save(moved / data.SAMPLE / "train_labels.npy", labels)
    shutil.copytree(whole, "complete")
    meta = results.read_meta(Path("run")) | {"torch": "1.0"}
    (elsewhere / "run" / "meta.json").write_text(json.dumps(meta))
    for name in ("run", "complete"):
        assert resume(name, "--data", "../moved") == 0
        assert results.read_config(Path(name)) == config | {"data": str(moved)}
        assert_same(elsewhere / name, whole)
    log = (elsewhere / "run" / "log.txt").read_text()
    assert "another torch than at the start" in log and f"--data is {moved} from now on" in log


# --- settings and bad input -----------------------------------------------------------------------


def configured(*flags: str) -> tuple[SearchConfig, Child]:
    return resolved("--data", str(DATA), *flags, script=search.SEARCH)


def test_defaults_are_the_papers_protocol_and_flags_win_over_a_preset(tmp_path, capsys):
    config, child = configured("--dataset", data.SAMPLE)
    assert (config, child) == configured("--dataset", data.SAMPLE, "--preset", "paper")
    assert (child.epoch_size, child.epochs, child.num_validation) == (10_000, 5, 5_000)
    assert (config.iterations, config.samples, config.lag, config.algorithm) == (2, 10_000, 20, "trpo")
    config, child = configured(*"--samples 7 --preset laptop --seed 3 --filters 9".split())
    assert (config.samples, config.seed, config.iterations, config.max_kl) == (7, 3, 1, 0.1)
    assert (child.filters, child.epoch_size) == (9, 1_000)
    capsys.readouterr()
    configured("--preset", "smoke")
    assert capsys.readouterr().out == ""
    _, child = resolved("--preset", "laptop", "--data", str(tmp_path), script=search.SEARCH)
    assert (child.dataset, child.precision == "auto") == (data.SAMPLE, False)
    assert "python data.py cifar10" in capsys.readouterr().out  # without it there is a warning


# Settings, data, rules, folders and addresses; no run and no data are made for any of them.
OLDER = DATA.parent / "runs/published/tier-cifar10-trpo-s0"  # a folder of an older version
WRONG = f"""
--samples 0              --workers 0             --preset huge          --workers 2 --cluster tcp://host:1
--dataset imagenet       --constraints nothing   --race                  --resume nowhere --samples 5
--epoch-size 10001       --epoch-size 50         --epochs 2             --child-seed {2**63}
--cpu-limit-s 1e300      --resume nowhere        --start-from           --start-from adam powersing
--data /dev/null/data    --out .                 --resume {OLDER}       --out /dev/null/run --data {DATA}
--start-from powersign   --workers 10000000000 --data {DATA}            --start-from "g g id id mul"
--samples 1 --start-from adam sgd                --start-from "g 1 id plus mul"
--cluster '' --data {DATA}                       --cluster nonsense --data {DATA}
--cluster tcp://host --data {DATA}               --cluster tcp://:8786 --data {DATA}
--cluster http://host:8786 --data {DATA}
"""


@pytest.mark.parametrize("flags", re.split(r"\n|  +", WRONG.strip()), ids=lambda flags: flags[:50])
def test_bad_input_is_one_line_and_exit_code_2_and_creates_nothing(tmp_path, monkeypatch, capfd, flags):
    monkeypatch.chdir(tmp_path)
    flags = ["--preset", "smoke"] * ("--resume" not in flags) + shlex.split(flags)
    assert refusal(search.main, flags, capfd).startswith("python search.py: error: ")
    assert list(tmp_path.iterdir()) == []
