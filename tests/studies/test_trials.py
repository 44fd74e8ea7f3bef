"""The resumable list of trainings: real workers, records as they come, killed and continued."""

import json
import time

import pytest
from helpers import HERE

import results
from pool import TaskError, WorkerPool
from results import Progress
from studies import trials
from studies.trials import Trials, read_trials

JOBS = [{"rule": f"rule {n}", "seed": n} for n in range(6)]


def slow_first(seed: int, records) -> int:
    """A training; that of seed 0 ends when all others are on record, or after a minute."""
    deadline = time.monotonic() + 60
    while seed == 0 and len(results.read_lines(records)) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    return seed * seed


def breaks_at_three(seed: int, records) -> int:
    if seed == 3:
        raise TaskError(
            'Traceback ...\n  File "mine.py", line 1, in step\n    x\nKeyError: three\nof many\n'
        )
    return seed


def run_in(folder) -> results.Run:
    return results.Run.create(folder, {"jobs": 6}, results.environment(1))


def do(run: results.Run, pool, task=slow_first, jobs=JOBS) -> tuple[Trials, list[dict]]:
    made = Trials(pool, run, Progress(run.folder / "log.txt"))
    return made, made.do(
        "test",
        jobs,
        task,
        lambda job: (job["seed"], run.folder / "records.jsonl"),
        lambda x: {"square": x},
    )


@pytest.fixture(scope="module")
def pool():
    pool = WorkerPool(2, preload=("trials",))
    yield pool
    pool.stop()


def test_records_are_written_as_they_come_and_returned_in_order(tmp_path, pool):
    with run_in(tmp_path / "run") as run:
        _, records = do(run, pool)
    assert [record["id"] for record in records] == list(range(6))
    assert [record["square"] for record in records] == [n * n for n in range(6)]
    written = results.read_lines(tmp_path / "run" / "records.jsonl")
    assert written[-1]["id"] == 0  # the slow one held nobody up
    assert read_trials(tmp_path / "run") == records


def test_what_has_ended_beside_a_failing_job_is_kept_and_another_machine_is_told_of(tmp_path):
    with (
        run_in(tmp_path / "run") as run,
        pytest.raises(results.RunError, match="'rule 3'.*: KeyError: three$"),
    ):
        do(run, HERE, breaks_at_three)  # all have ended when the first is waited for
    mine = [{"rule": "mine.py:Mine", "seed": 3}]
    with run_in(tmp_path / "mine") as run, pytest.raises(results.ReplayError, match="three; mend it"):
        do(run, HERE, breaks_at_three, mine)
    assert [record["id"] for record in read_trials(tmp_path / "run")] == [0, 1, 2, 4, 5]
    said = []
    trials.reopen(tmp_path / "run", said.append).close()
    assert said == []
    other = {"torch": "1.0", "processor": "Z80"}
    meta = json.loads((tmp_path / "run" / "meta.json").read_text()) | other
    (tmp_path / "run" / "meta.json").write_text(json.dumps(meta))
    trials.reopen(tmp_path / "run", said.append).close()
    assert said == ["WARNING: another processor, torch than at the start: scores may differ"]
