"""Tests of results.py on real folders: whole or not at all, torn lines, locks, readers, full disks."""

import csv
import fcntl
import gc
import io
import json
import math
import os
import random
import re
import shutil
import struct
import sys
import termios
import time
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from processes import CONTEXT, DEADLINE_S, children, full_disk

import results
from pool import WorkerPool
from results import Progress, Run, RunError, read_config, read_lines, read_records

# Some Pythons warn of a fork beside threads; the children here only handle files.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
CONFIG = {"lr": 0.1, "name": "größe", "constraints": ["a", "b"], "seed": 3}
META = {"command": "python search.py", "threads": 1}


@pytest.fixture
def run(tmp_path):
    with Run.create(tmp_path / "run", CONFIG, META) as run:
        yield run


def hear(pipe):
    assert pipe.poll(DEADLINE_S)
    return pipe.recv()


def lines_of(run):
    return read_lines(run.folder / "records.jsonl")


def append(run, *records, name="records.jsonl"):
    for record in records:
        run.append(name, record)


def refused(words, use, *args):
    with pytest.raises(RunError, match=re.escape(words)):
        use(*args)


def test_a_new_folder_has_its_config_and_meta_and_nothing_beside_it(tmp_path):
    folder = tmp_path / "a" / "b" / "run"
    with Run.create(folder, CONFIG, META) as run:
        assert run.folder == folder
        assert [path.name for path in folder.parent.iterdir()] == ["run"]
        assert read_config(folder) == CONFIG
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
        run.finish()
        after = json.loads((folder / "meta.json").read_text("utf-8"))
    assert meta | META | {"format": results.FORMAT, "end": None} == meta
    assert after == {**meta, "end": after["end"]} and after["end"] >= after["start"]
    started = time.mktime(time.strptime(meta["start"][:19], "%Y-%m-%dT%H:%M:%S"))
    assert abs(time.time() - started) < 2 * DEADLINE_S


def test_runs_of_one_second_get_default_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(9):
        Run.create(results.default_folders("search", "laptop-trpo", 7), CONFIG, META).close()
    begin, half_made = Run.__init__, []

    def meanwhile(run, folder):  # another process of the same number makes the same
        if not half_made:
            half_made.append(folder)
            Run.create(results.default_folders("search", "laptop-trpo", 7), CONFIG, META).close()
        begin(run, folder)

    monkeypatch.setattr(Run, "__init__", meanwhile)
    Run.create(results.default_folders("search", "laptop-trpo", 7), CONFIG, META).close()
    names = [folder.name for folder in results.RUNS.iterdir()]
    assert len(names) == 11
    assert all(re.fullmatch(r"\d{8}-\d{6}-search-laptop-trpo-s7(-\d+)?", name) for name in names)


def state(folder):
    return [(path, path.lstat().st_mtime_ns, path.lstat().st_ino) for path in folder.rglob("*")]


FULL = lambda path: [path.mkdir(), (path / "records.jsonl").write_text("precious")]  # noqa: E731


@pytest.mark.parametrize("make", [FULL, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_an_existing_path_is_refused_and_untouched(tmp_path, make):
    path = tmp_path / "run"
    make(path)
    before = state(tmp_path)
    refused(f"{path} exists already", Run.create, path, CONFIG, META)
    assert state(tmp_path) == before


@pytest.mark.parametrize("bytes_left", [0, 20, len(json.dumps(CONFIG, indent=1)) + 2])
def test_a_folder_that_cannot_be_made_leaves_nothing_and_no_open_file(tmp_path, bytes_left):
    with pytest.raises(RunError, match="cannot create .*run: File too large"), full_disk(bytes_left):
        Run.create(tmp_path / "run", CONFIG, META)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for path in (tmp_path / "new" / "..", tmp_path / "file" / "run"):  # it cannot be moved into place
        refused(f"cannot create {path}", Run.create, path, CONFIG, META)
    gc.collect()  # an open file would be a warning, and an error here
    assert not [path for path in tmp_path.rglob("*") if path.name not in ("new", "file")]


RECORDS = [
    {"id": 0, "rule": "g m id id add", "infix": "g + m̂ · ∇ 🙂", "reward": 0.25, "cached_from": None},
    {"id": 1, "error": 'a "quote", a\nnew line, a\u2028separator, \r and \\', "curve": [0.1, [], {}]},
    {"id": 2, "rule": "größer 🙂", "ok": True, "lr": 1e-300, "many": list(range(5))},
]


def test_reopening_keeps_whole_lines_of_all_files_and_numbers_that_are_not_finite_are_null(run):
    for name in ("records.jsonl", "updates.jsonl", "humans.jsonl"):
        append(run, *RECORDS, name=name)
        assert read_lines(run.folder / name) == RECORDS  # at once: each line is flushed
    run.close()
    with (run.folder / "updates.jsonl").open("a") as file:
        file.write('{"torn": ')
    with Run.reopen(run.folder) as again:
        append(again, {"update": 3}, name="updates.jsonl")
    assert lines_of(run) == read_lines(run.folder / "humans.jsonl") == RECORDS
    assert read_lines(run.folder / "updates.jsonl") == [*RECORDS, {"update": 3}]
    assert read_config(run.folder) == CONFIG and gc.isenabled()  # which reading switches off
    nan, inf = math.nan, math.inf
    row = {"a": nan, "b": [1.5, -inf, (inf, 2)], "c": {"d": [{"e": nan}]}, "f": numpy.float64("nan")}
    with Run.reopen(run.folder) as again:
        append(again, row)
    written = {"a": None, "b": [1.5, None, [None, 2]], "c": {"d": [{"e": None}]}, "f": None}
    assert lines_of(run)[-1] == written
    assert "NaN" not in (run.folder / "records.jsonl").read_text()


def record(number, **values):
    return {**dict.fromkeys(results.FIELDS), "accuracy": None, "id": number, "reward": 0.5, **values}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=6),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=9)), max_size=4),
)
def test_cuts_anywhere_cost_only_what_was_cut_and_the_run_goes_on(tmp_path_factory, texts, cuts):
    """A run that is cut off again and again, each time with torn bytes at its end."""
    rows = [record(i, rule=text) for i, text in enumerate(texts)]
    folder = tmp_path_factory.mktemp("cut") / "run"
    path = folder / "records.jsonl"
    Run.create(folder, CONFIG, META).close()
    for share, torn in [*cuts, (1, b"")]:
        with Run.reopen(folder) as run:
            for row in rows[len(read_records(folder)) :]:
                run.append("records.jsonl", row)
        assert read_records(folder) == rows
        kept = path.read_bytes()[: round(share * path.stat().st_size)]
        path.write_bytes(kept + torn.replace(b"\n", b""))
        assert read_records(folder) == rows[: kept.count(b"\n")]


@settings(deadline=None)
@given(st.binary() | st.text().map(str.encode), st.integers(0, 3))
@example(b"[" * 100_000, 1)
@example(b"9" * 5_000, 1)
@example(b"{}{}", 1)
def test_a_foreign_line_is_refused_and_nothing_is_read_from_it(tmp_path_factory, line, place):
    folder = tmp_path_factory.mktemp("foreign")
    lines = [json.dumps(record(i)).encode() for i in range(3)]
    lines.insert(place, line)
    (folder / "records.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    refused(f"{folder / 'records.jsonl'}: line {place + 1} ", read_records, folder)


def test_records_may_be_cut_to_some_fields_or_only_counted(tmp_path):
    path, rows = tmp_path / "records.jsonl", [record(i, rule=f"rule {i}") for i in range(2_500)]
    assert results.count_lines(path) == 0 and read_records(tmp_path) == []
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"id": 2500, "torn')
    assert results.count_lines(path) == 2_500 and list(results.iterate_records(tmp_path)) == rows
    assert read_records(tmp_path, ("id", "rule")) == [{"id": x["id"], "rule": x["rule"]} for x in rows]


def test_records_that_are_missing_or_of_another_format_are_refused(tmp_path):
    for damage in (lambda r: r.pop(1), lambda r: r[2].pop("key"), lambda r: r[1].update(reward=None)):
        rows = [record(i) for i in range(4)]
        damage(rows)
        (tmp_path / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(RunError, match=r"line \d is not record \d"):
            read_records(tmp_path)


def test_a_full_disk_costs_the_line_in_flight_only_and_frees_the_run(run):
    append(run, RECORDS[0])
    size = (run.folder / "records.jsonl").stat().st_size
    with full_disk(size + 10):
        with pytest.raises(OSError):
            append(run, RECORDS[1])
        run.close()
    assert lines_of(run) == RECORDS[:1]
    with Run.reopen(run.folder) as again:
        append(again, RECORDS[2])
    assert lines_of(run) == [RECORDS[0], RECORDS[2]]


def hold(folder, pipe):
    with Run.reopen(folder):
        pipe.send("open")
        pipe.recv()


def test_a_second_writer_is_refused_until_the_first_has_closed_or_died(run):
    refused("in use", Run.reopen, run.folder)  # locked from its first moment
    run.close()
    ours, theirs = CONTEXT.Pipe()
    with children(hold, run.folder, theirs) as (holder,):
        assert hear(ours) == "open"
        refused(f"{run.folder} is in use by another process", Run.reopen, run.folder)
        assert read_config(run.folder) == CONFIG  # reading is free
        holder.kill()
        holder.join()
        with Run.reopen(run.folder) as mine:
            append(mine, *RECORDS)
    assert lines_of(run) == RECORDS
    with Run.reopen(run.folder) as mine, WorkerPool(1) as pool:  # nor do workers hold the lock
        assert pool.submit(abs, -1).result(DEADLINE_S) == 1
        mine.close()
        Run.reopen(run.folder).close()


def damage_run(name, content):
    return lambda folder: (folder / name).write_text(content, errors="surrogateescape")


NO_RUN = {  # what was done to a run folder, and the words with which it is refused
    "another format": (damage_run("meta.json", json.dumps(META | {"format": 99})), "has format 99"),
    "removed": (shutil.rmtree, "is not a run folder"),
    "empty": (lambda path: [shutil.rmtree(path), path.mkdir()], "is not a run folder"),
    "a file": (lambda path: [shutil.rmtree(path), path.touch()], "is not a run folder"),
}
for name in ("config.json", "meta.json"):
    NO_RUN[f"no {name}"] = (lambda path, name=name: (path / name).unlink()), ""
    for content in ("", "{", "[]", "null", "\udcff"):
        NO_RUN[f"{name} {content!r}"] = damage_run(name, content), ""


@pytest.mark.parametrize("damage, words", NO_RUN.values(), ids=NO_RUN)
def test_what_is_no_run_is_refused_and_stays_as_it_is(run, damage, words):
    run.close()
    damage(run.folder)
    before = state(run.folder.parent)
    for use in (read_config, Run.reopen):
        refused(f"{run.folder} {words}", use, run.folder)
    assert state(run.folder.parent) == before


def test_families_by_their_definition():
    """Means with failures as 0, the best training, counts; what never trained is left out."""
    rng, of = random.Random(0), {f"k{k}": k % 7 for k in range(20)}
    records, groups, once = [], {}, set()
    for i in range(90):
        key, cached = rng.choice(list(of)), 0 if rng.random() < 0.1 else None
        seed = rng.randrange(3)  # with which a key has one score, and may be trained by several searches
        accuracy = None if of[key] == 0 or int(key[1:]) * seed % 5 == 1 else (of[key] + seed) % 3 / 10
        record = {"id": i, "key": key, "family": of[key], "seed": seed, "accuracy": accuracy}
        status = "diverged" if accuracy is None else "ok"
        records.append(record | {"status": status, "cached_from": cached})
        one = key, seed, cached
        if cached is None and of[key] and one not in once:
            once.add(one)
            groups.setdefault(of[key], []).append(records[-1])
    values = {of: numpy.array([r["accuracy"] or 0.0 for r in some]) for of, some in groups.items()}
    order = sorted(groups, key=lambda family: (-values[family].mean(), groups[family][0]["id"]))
    families = results.best_families(records)
    for family, number in zip(families, order, strict=True):
        some, accuracies = groups[number], values[number]
        assert family.trainings == some and family.best is some[accuracies.argmax()]
        assert family.reward == pytest.approx(accuracies.mean())
        assert family.spread == pytest.approx(accuracies.std(ddof=1))
        assert family.num_rules == len({r["key"] for r in some})
        assert family.seeds == sorted({r["seed"] for r in some})
    assert len(families) == 6 and results.best_families(records, 2) == families[:2]
    assert len(results.best_families(records, name=lambda r: r["key"])) > 6


def read_often(path, pipe):
    seen = set()
    for _ in range(100):
        text = path.read_text()
        seen.add((text[:1], len(text), text.count(text[:1])))
    pipe.send(seen)


def test_a_concurrent_reader_never_sees_part_of_a_replaced_file(run):
    texts = ["a" * 3_000_000, "b" * 2_000_000]
    run.replace("table.csv", texts[0])
    ours, theirs = CONTEXT.Pipe()
    with children(read_often, run.folder / "table.csv", theirs) as (reader,):
        number, end = 0, time.monotonic() + DEADLINE_S
        while not ours.poll() and reader.is_alive() and time.monotonic() < end:
            number += 1
            run.replace("table.csv", texts[number % 2])
        assert hear(ours) == {("a", 3_000_000, 3_000_000), ("b", 2_000_000, 2_000_000)}
    files = {"config.json", "meta.json", "lock", "table.csv"}
    assert {path.name for path in run.folder.iterdir()} == files
    with pytest.raises(OSError), full_disk(10):
        run.replace("table.csv", "new" * 100)
    assert (run.folder / "table.csv").read_text() == texts[number % 2]  # one that fails leaves the old
    rows = [{"rank": "1", "infix": 'clip(g, 1e-4) * "m"'}, {"rank": "2", "infix": "a,b\nc\r\nd 'e' 🙂"}]
    for some in (rows, rows[:1], []):
        run.write_table("table.csv", some)
        with (run.folder / "table.csv").open(encoding="utf-8", newline="") as file:
            assert list(csv.DictReader(file)) == some


def test_environment_says_what_a_result_may_depend_on(tmp_path, monkeypatch):
    found = results.environment(threads=3)
    names = "command commit python torch numpy system processor capability cores threads"
    assert found.keys() == set(names.split()) and json.loads(json.dumps(found)) == found
    known = {"torch": torch.__version__, "numpy": numpy.__version__, "threads": 3}
    assert found.items() >= known.items() and found["processor"] and found["python"] in sys.version
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no git
    assert results.environment(threads=1)["commit"] is None


def test_columns_are_as_wide_as_their_widest_cell():
    rows = [["name", "a", "long head"], ["x", "1.25", "2"], ["longer", "-", ""]]
    assert results.aligned(rows) == ["name    a     long head", "x       1.25  2", "longer  -"]
    figures = ["name       a  long head", "x       1.25          2", "longer     -"]
    assert results.aligned(rows, figures=True) == figures
    assert [results.number(x) for x in (0.12345, 0.0, None)] == ["0.1235", "0.0000", "-"]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True

    def screen(self):
        """Return the lines that a person sees: a carriage return goes back and overwrites."""
        lines = [[] for _ in self.getvalue().split("\n")]
        for shown, line in zip(lines, self.getvalue().split("\n"), strict=True):
            for part in line.split("\r"):
                shown[: len(part)] = part
        return ["".join(shown).rstrip() for shown in lines]


def test_a_terminal_shows_the_last_state_on_one_line_and_what_is_said_stays():
    stream = Terminal()
    progress = Progress(stream=stream)
    for line in ["1/500 rules", "2/500 rules, left 00:10", "3/500", "", "4/500 rules"]:
        progress.update(line)
        assert stream.screen() == [line]
    for said in ("done", "two\nlines", ""):
        progress.update("a very long state indeed")
        progress.say(said)
    assert stream.screen() == ["done", "two", "lines", "", ""]


def test_terminal_line_never_wraps(monkeypatch):
    """A line longer than the terminal is wide would leave its first part behind at each update."""
    monkeypatch.setenv("COLUMNS", "40")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 40, 0, 0))
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours, "rb", buffering=0) as terminal:
        Progress(stream=stream).update("x" * 30 + "y" * 30)
        shown = terminal.read(1000).decode()
    assert shown.startswith("\r" + "x" * 30)
    assert max(map(len, re.split("[\r\n]", shown))) <= 40


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_log_or_a_pipe_gets_states_now_and_then_and_all_that_is_said(tmp_path, stream):
    log, shown = tmp_path / "log.txt", stream()
    progress = Progress(stream=shown)
    progress.say("start")  # before there is a log
    progress.begin_log(log)
    for number in range(100):
        if number in (50, 80):
            progress.last_s -= results.LOG_EVERY_S + 1  # time passes
        assert progress.due == (stream is Terminal or number in (50, 80))
        progress.update(f"{number}/100")
    progress.say("größer\nthan α")
    assert log.read_text("utf-8") == "start\n50/100\n80/100\ngrößer\nthan α\n"
    if stream is Terminal:  # is not told twice what the log gets
        assert shown.screen() == ["start", "größer", "than α", ""]
    else:
        assert shown.getvalue() == log.read_text("utf-8")
    Progress(log, stream()).say("resumed")
    assert log.read_text("utf-8").endswith("than α\nresumed\n")
