"""Tests of pool.py with real processes: tasks that raise, die, hang, burn CPU or are interrupted."""

import contextlib
import gc
import itertools
import math
import os
import platform
import re
import resource
import signal
import subprocess
import sys
import time
from collections import deque
from concurrent.futures import Executor, as_completed, wait
from functools import partial
from pathlib import Path

import pytest
from processes import DEADLINE_S, hear_interrupts, processes, until

from pool import TaskError, TimeLimit, WorkerDied, WorkerPool, cpu_quota

FOREVER_S = 600.0
ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def alive(pids):
    return set(pids) & processes().keys()


def is_file(folder, *names):
    return lambda: all((Path(folder) / str(name)).is_file() for name in names)


# --- tasks, which run in the workers --------------------------------------------------------------


def add(a, b=0):
    return a + b


def logged(log, fn, *args):
    append(log)
    return fn(*args)


def append(path, text="x", returned=None):
    with open(path, "a") as file:
        file.write(f"{text}\n")
    return returned


def append_pid(path):
    return append(path, os.getpid(), os.getpid())


def wait_for(folder, name="go"):
    """Say in `folder` that we run, wait there for a file, and return our process."""
    (Path(folder) / str(os.getpid())).touch()
    until(is_file(folder, name))
    return os.getpid()


def sleep_on(folder, label, ignore=None):
    if ignore is not None:
        signal.signal(ignore, signal.SIG_IGN)
    partial = Path(folder) / f"{label}.partial"
    partial.write_text(str(os.getpid()))
    partial.rename(Path(folder) / f"{label}")  # whole from the start
    time.sleep(FOREVER_S)


def fail(message):
    raise ValueError(message)


DEATHS = {
    "exit code 3": lambda: os._exit(3),
    "exit code 5": lambda: sys.exit(5),
    "signal 9, Killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "signal 11, Segmentation fault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "signal 40": lambda: os.kill(os.getpid(), 40),  # one of those without a name
}


def die(how, log, times=FOREVER_S):
    """Die of the first `times` calls."""
    append(log)
    if len(Path(log).read_text()) <= 2 * times:
        DEATHS[how]()
    return "survived"


def burn(cpu_s=FOREVER_S):
    start = time.process_time()
    while time.process_time() - start < cpu_s:
        pass
    return os.getpid()


def burn_in_c():
    deque(itertools.repeat(0), maxlen=0)  # holds the interpreter and never comes back


KEPT = []


def fragment_memory():
    """Free all but the last of many small blocks, which the allocator therefore holds on to."""
    blocks = [b"x" * 60_000 for _ in range(4_000)]
    KEPT.append(blocks[-1])
    return os.getpid()


class Unpickled(tuple):
    """A function and its arguments, whose pickle calls it where it is read."""

    def __reduce__(self):
        return self[0], self[1:]


@contextlib.contextmanager
def pool_of(workers, **settings):
    """A pool that is killed at the end, so that a failing test cannot hang."""
    pool = WorkerPool(workers, preload=("pytest",), **{"at_once": workers, **settings})
    try:
        yield pool
    finally:
        pool.stop()


@pytest.fixture
def one():
    with pool_of(1) as single:
        yield single


HOW = {"text": True, "start_new_session": True, "preexec_fn": hear_interrupts}
HOW |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@pytest.fixture
def script(tmp_path):
    """Start a program in a session of its own; everything it left behind is killed at the end."""
    started, file = [], tmp_path / "script.py"
    path = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests", tmp_path)))}

    def start(text):
        file.write_text(f"import sys\nfrom test_pool import *\nfolder = {str(tmp_path)!r}\n{text}")
        started.append(subprocess.Popen([sys.executable, str(file)], env=os.environ | path, **HOW))
        return started[-1]

    yield start
    for program in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.communicate()


def wait_for_end(program, code=0, printed="", timeout_s=DEADLINE_S):
    """Check how a program ends, and that no process of its group is left then."""
    out, err = program.communicate(timeout=timeout_s)
    assert (program.returncode, out, err) == (code, printed, "")
    until(lambda: program.pid not in processes().values(), "the end of all processes")


# --- the Executor interface -----------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
def test_it_is_a_standard_executor_that_runs_each_task_once_in_order(workers, tmp_path):
    log, large = tmp_path / "log", b"x" * 8_000_000
    with pool_of(20, at_once=1) as pool:
        # The oldest is the one that is waited for, so no later one may overtake it at a turn's end.
        wait([pool.submit(append, tmp_path / "order", number) for number in range(200)])
    assert list(map(int, (tmp_path / "order").read_text().split())) == list(range(200))
    with pool_of(workers) as pool:
        assert isinstance(pool, Executor)
        assert pool.submit(add, 1, b=2).result(DEADLINE_S) == 3
        assert pool.submit(bytes, large).result(DEADLINE_S) == large
        assert list(pool.map(append, [log] * 100, range(100), range(100))) == list(range(100))
        futures = {pool.submit(add, i): i for i in range(6)}
        done = {futures[future]: future.result() for future in as_completed(futures, DEADLINE_S)}
    assert done == {i: i for i in range(6)}
    assert sorted(map(int, log.read_text().split())) == list(range(100))


def test_workers_start_when_needed_prepare_once_and_leave_with_the_with_statement(tmp_path):
    log = tmp_path / "started"
    with WorkerPool(3, initializer=partial(append_pid, log)):
        pass
    assert not log.exists()
    with pool_of(5, initializer=partial(append_pid, log)) as pool, pool:
        futures = [pool.submit(wait_for, tmp_path) for _ in range(2)]
        until(lambda: log.exists() and len(log.read_text().split()) == 2)
        (tmp_path / "go").touch()
        futures += [pool.submit(os.getpid) for _ in range(8)]
    assert all(future.done() for future in futures)
    pids = {future.result() for future in futures}
    assert sorted(map(int, log.read_text().split())) == sorted(pids) and not alive(pids)


# --- tasks that fail ------------------------------------------------------------------------------

TROUBLES = {
    "it raises": (["ValueError: not today", "in fail"], fail, "not today"),
    "a result that cannot be pickled": (["pickle"], eval, "lambda: 0"),
    # results that cannot be read here
    "ValueError": (["unreadable", "ValueError"], Unpickled, (int, "seven")),
    "StopIteration": (["unreadable", "StopIteration"], Unpickled, (next, iter(()))),
    "own function": (["unreadable", "on reading"], Unpickled, (fail, "on reading")),
    "the program's end": (["unreadable", "SystemExit"], Unpickled, (sys.exit, 3)),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_task_that_fails_gives_its_error_and_the_worker_lives_on(one, tmp_path, trouble):
    words, *task = TROUBLES[trouble]
    before = one.submit(os.getpid).result(DEADLINE_S)
    error = one.submit(logged, tmp_path / "log", *task).exception(DEADLINE_S)
    assert type(error) is TaskError and all(word in str(error) for word in words)
    assert (tmp_path / "log").read_text() == "x\n"
    assert one.submit(os.getpid).result(DEADLINE_S) == before
    for unpicklable in ((add, lambda: 0), (lambda: 0,)):  # is refused at once
        with pytest.raises(Exception, match="pickle"):
            one.submit(*unpicklable)


@pytest.mark.parametrize("how", DEATHS)
def test_a_task_that_kills_its_worker_is_tried_twice_and_the_death_named(one, tmp_path, how):
    log, once = tmp_path / "log", tmp_path / "once"
    error = one.submit(die, how, log).exception(DEADLINE_S)
    assert type(error) is WorkerDied and how in str(error)
    assert one.submit(die, how, once, times=1).result(DEADLINE_S) == "survived"
    assert log.read_text() == once.read_text() == "x\nx\n"
    assert one.submit(add, 1, 2).result(DEADLINE_S) == 3


def test_many_deaths_at_once_are_named_correctly_and_harm_nobody_elses_task(tmp_path):
    with pool_of(5) as pool:
        innocent = pool.submit(wait_for, tmp_path)
        pid = int(until(lambda: [p.name for p in tmp_path.iterdir() if p.name.isdigit()])[0])
        guilty = [pool.submit(die, "signal 9, Killed", tmp_path / f"log{i}") for i in range(16)]
        assert {str(future.exception(DEADLINE_S)).split()[-1] for future in guilty} == {"Killed"}
        (tmp_path / "go").touch()
        assert innocent.result(DEADLINE_S) == pid


def test_tasks_survive_the_death_of_the_process_that_forks_the_workers(script, tmp_path):
    program = script("""
if __name__ == "__main__":
    from multiprocessing import forkserver
    with WorkerPool(2) as pool:
        running = [pool.submit(wait_for, folder) for _ in range(2)]
        until(lambda: len(list(Path(folder).glob("[0-9]*"))) == 2)
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
        (Path(folder) / "go").touch()
        print(len(wait(running).done), sorted(pool.map(add, range(6))))
        assert all(future.exception() is None for future in running)
""")
    wait_for_end(program, 0, "2 [0, 1, 2, 3, 4, 5]\n")


def test_a_worker_whose_last_words_nobody_reads_ends_quietly(script):
    program = script("""
if __name__ == "__main__":
    import multiprocessing, pool
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=pool._work, args=(theirs, 0.0, None))
    process.start()
    until(ours.poll)
    theirs.close(), ours.close()
    process.join()
    print(process.exitcode)
""")
    wait_for_end(program, 0, "0\n")


# --- many workers on few cores --------------------------------------------------------------------


@pytest.fixture
def one_core():
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(cores)])
    yield
    os.sched_setaffinity(0, cores)


@pytest.mark.parametrize("may, are", [(2, 2), (None, 1)])
def test_no_more_run_at_once_than_may_and_what_is_cancelled_never_does(tmp_path, one_core, may, are):
    with pool_of(6, at_once=may) as pool:
        futures = [pool.submit(wait_for, tmp_path) for _ in range(7)]
        doomed = pool.submit(append, tmp_path / "log")
        until(lambda: len(list(tmp_path.glob("[0-9]*"))) == are, "the first tasks")
        assert sum(future.running() for future in futures) == are and doomed.cancel()
        (tmp_path / "go").touch()
        for future in futures:
            future.result(DEADLINE_S)
    assert not (tmp_path / "log").exists()


BEGIN = [(partial(os._exit, 7), "exit code 7 before it was ready; .*__main__")]
BEGIN += [(partial(os.listdir, "/nowhere"), "FileNotFoundError .*No such file or directory: '/nowhere'")]


@pytest.mark.parametrize("begin, why", BEGIN)
def test_a_worker_that_cannot_start_is_not_the_tasks_fault_and_names_why(begin, why, capfd):
    with pool_of(1, initializer=begin) as pool:
        error = pool.submit(add, 1).exception(DEADLINE_S)
    assert type(error) is OSError and re.search(f"no worker can start: .*{why}", str(error))
    assert capfd.readouterr().err == ""


QUOTAS = {  # (own group, root of the mount, its groups' files) -> cores
    "no limit": (2, "/job/in", "/", {"": {}, "job/in": {"cpu.max": "max 100000"}}, math.inf),
    "above its own": (2, "/job/in", "/", {"job": {"cpu.max": "50000 100000"}, "job/in": {}}, 0.5),
    "the least": (2, "/a/b", "/", {"a": {"cpu.max": "3 1"}, "a/b": {"cpu.max": "2 1"}}, 2.0),
    "another's": (2, "/a", "/", {"b": {"cpu.max": "1 2"}}, math.inf),
    "container": (2, "/docker/7", "/docker/7", {"": {"cpu.max": "150 100"}}, 1.5),
    "version 1": (1, "/a", "/", {"a": {"cpu.cfs_quota_us": "25", "cpu.cfs_period_us": "100"}}, 0.25),
    "none in 1": (1, "/a", "/", {"a": {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "1"}}, math.inf),
}


@pytest.mark.parametrize("case", QUOTAS)
def test_quota_is_the_least_of_the_own_control_group_and_those_above(tmp_path, case):
    version, own, root, groups, cores = QUOTAS[case]
    for group, files in groups.items():
        (tmp_path / "cpu" / group).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / "cpu" / group / name).write_text(text + "\n")
    kind, names = ("cgroup2", "rw") if version == 2 else ("cgroup", "rw,cpu,cpuacct")
    mounts = "24 1 0:1 / /a rw - tmpfs  rw\n25 1 0:1 / / rw - ext4 /dev/a rw\n"
    mounts += f"26 25 0:2 {root} {tmp_path}/cpu rw - {kind} {kind} {names}"
    (tmp_path / "mountinfo").write_text(mounts)
    lines = f"0::{own}\n" if version == 2 else f"4:memory:/no\n3:cpu,cpuacct:{own}\n0::/no\n"
    (tmp_path / "cgroup").write_text(lines)
    assert cpu_quota(tmp_path) == cores


def test_a_worker_that_died_while_idle_leaves_the_next_task_both_tries(one, tmp_path):
    idle = one.submit(os.getpid).result(DEADLINE_S)
    os.kill(idle, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{idle}").exists())  # a zombie's other threads may hold its pipe
    error = one.submit(die, "signal 9, Killed", tmp_path / "log").exception(DEADLINE_S)
    assert type(error) is WorkerDied
    assert (tmp_path / "log").read_text() == "x\nx\n"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory")
def test_a_worker_that_is_done_gives_its_memory_back(one):
    def resident(pid: int) -> int:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()

    before = resident(one.submit(os.getpid).result(DEADLINE_S))
    pid = one.submit(fragment_memory).result(DEADLINE_S)
    until(lambda: resident(pid) < before + 100_000_000)  # of 240 MB
    # What the server has imported, pytest here, is no garbage to look for: its pages stay shared.
    assert one.submit(gc.get_freeze_count).result(DEADLINE_S) > 10_000


@pytest.mark.parametrize("task", [burn, burn_in_c])
def test_a_task_past_its_cpu_limit_is_stopped_and_not_tried_again(tmp_path, task):
    with pool_of(1, cpu_limit_s=0.3, initializer=partial(add, 0)) as pool:
        error = pool.submit(logged, tmp_path / "log", task).exception(DEADLINE_S)
        assert type(error) is TimeLimit and "CPU" in str(error)
        assert (tmp_path / "log").read_text() == "x\n"
        assert pool.submit(add, 1, 2).result(DEADLINE_S) == 3
        if task is burn:  # each task has the whole limit to itself, and sleep does not count
            pids = {pool.submit(burn, 0.12).result(DEADLINE_S) for _ in range(4)}
            assert pool.submit(time.sleep, 0.5).result(DEADLINE_S) is None
            assert pids == {pool.submit(os.getpid).result(DEADLINE_S)}


# --- the end --------------------------------------------------------------------------------------


def test_stop_ends_running_tasks_cancels_queued_ones_and_leaves_no_process(tmp_path):
    pool = WorkerPool(2, preload=("pytest",))
    running = [pool.submit(sleep_on, tmp_path, i) for i in range(2)]
    queued = [pool.submit(append, tmp_path / "log") for _ in range(5)]
    until(is_file(tmp_path, 0, 1))
    pids = {int((tmp_path / name).read_text()) for name in "01"}
    start = time.monotonic()
    pool.stop()
    assert wait([*running, *queued], 10).not_done == set()  # those cancelled count as done
    assert time.monotonic() - start < FOREVER_S / 20
    until(lambda: not alive(pids), "the workers' end")
    assert all(isinstance(future.exception(0), WorkerDied) for future in running)
    assert all(future.cancelled() for future in queued)
    assert not (tmp_path / "log").exists()
    pool.stop()  # once more does no harm
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(add, 1)
    with pytest.raises(ValueError, match="0"):
        WorkerPool(0)


@pytest.mark.parametrize("already", [False, True], ids=["at once", "after a first shutdown"])
def test_shutdown_with_cancel_finishes_the_running_task_only(tmp_path, already):
    with pool_of(1) as pool:
        running = pool.submit(wait_for, tmp_path)
        queued = [pool.submit(append, tmp_path / "log") for _ in range(3)]
        pid = int(until(lambda: [p.name for p in tmp_path.iterdir()])[0])
        if already:
            pool.shutdown(wait=False)
        pool.shutdown(wait=False, cancel_futures=True)
        (tmp_path / "go").touch()
        pool.shutdown()
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(add, 1)
        assert running.result(0) == pid and not alive({pid})
        assert all(future.cancelled() for future in queued)
    assert not (tmp_path / "log").exists()


# --- signals from outside, on whole programs ------------------------------------------------------


@pytest.mark.parametrize("where", ["in a worker", "in the fork server"])
def test_interrupt_while_processes_start_is_also_the_parents_alone(script, tmp_path, where):
    (tmp_path / "heavy.py").write_text(f"from test_pool import *\nwait_for({str(tmp_path)!r})")
    preload = ("heavy",) if where == "in the fork server" else ()
    program = script(f"""
if __name__ == "__mp_main__" and not {preload}:  # in a worker that is being started
    wait_for(folder)
if __name__ == "__main__":
    with WorkerPool(1, preload={preload}) as pool:
        future = pool.submit(add, 1, 2)
        try:
            until(future.done)
        except KeyboardInterrupt:
            (Path(folder) / "go").touch()
        print(future.result())
""")
    until(lambda: list(tmp_path.glob("[0-9]*")), "a process that starts")
    os.killpg(program.pid, signal.SIGINT)
    wait_for_end(program, 0, "3\n")
    assert len(list(tmp_path.glob("[0-9]*"))) == 1  # it was not started again


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_leave_in_the_middle_of_a_task_when_the_parent_dies(script, tmp_path, how):
    program = script("""
if __name__ == "__main__":
    pool = WorkerPool(2)
    wait([pool.submit(sleep_on, folder, 0), pool.submit(logged, f"{folder}/1", burn)])
""")
    until(is_file(tmp_path, 0, 1))
    assert len(alive(pid for pid, group in processes().items() if group == program.pid)) >= 3
    program.send_signal(how)
    wait_for_end(program, -how)


def test_a_program_that_forgets_its_pool_ends_all_the_same(script):
    program = script("""
if __name__ == "__main__":
    pool = WorkerPool(2)
    for number in range(4):
        pool.submit(sleep_on, folder, number, ignore=signal.SIGTERM)
    until(is_file(folder, 0, 1))
    print("done")
""")
    wait_for_end(program, 0, "done\n", DEADLINE_S / 4)
