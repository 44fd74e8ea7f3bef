"""A Dask cluster of real processes on this machine: the same records, whatever dies."""

import contextlib
import importlib.util
import json
import os
import pickle
import pickletools
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from multiprocessing import current_process
from pathlib import Path

import pytest
from helpers import DATA, ROOT, SMALL, history, refusal, start, wait_for_records
from processes import until
from test_pool import burn, fail

import data
import results
import search
from cluster import TLS, Cluster, ClusterError, carry
from pool import TaskError, WorkerDied


@pytest.fixture(scope="module", autouse=True)
def sample_on_disk():
    data.prepare(data.SAMPLE, DATA)


def test_cluster_without_dask_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    flags = [*SMALL, "--out", str(tmp_path / "run"), "--cluster", "tcp://localhost:1"]
    needs = "python search.py: error: --cluster needs Dask: pip install -r requirements-cluster.txt"
    assert refusal(search.main, flags, capsys) == needs
    assert not (tmp_path / "run").exists()


def test_what_dask_carries_is_plain_data_that_says_where_it_fails():
    sent = pickle.dumps(carry("nothing of this file", b"call"), protocol=3)
    assert [x for op, x, _ in pickletools.genops(sent) if op.name == "GLOBAL"] == ["builtins eval"]
    function, *args = carry("nothing of this file", b"call")
    what, _, why, where = function(*args)
    assert what == "unfit" and "AttributeError" in why
    assert where == f"{os.uname().nodename}, process {os.getpid()} in {os.getcwd()}"


@pytest.fixture
def dask_program(tmp_path):
    """Start `python -m dask ...` in the project's folder; all end with the test."""
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("needs requirements-cluster.txt")
    started = []

    def begin(*flags: str, folder: Path = ROOT) -> subprocess.Popen:
        log = (tmp_path / f"dask{len(started)}.log").open("w")
        command = [sys.executable, "-m", "dask", *flags, "--dashboard-address", "127.0.0.1:0"]
        command += ["--scheduler-file", str(tmp_path / "address")]
        command += ["--local-directory", str(tmp_path / "dask")] if flags[0] == "worker" else []
        command += ["--host", "127.0.0.1"] if flags[0] == "worker" else []
        path = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        how = {"cwd": folder, "env": path, "stdout": log, "stderr": log, "start_new_session": True}
        with log:
            started.append(subprocess.Popen(command, **how))
        return started[-1]

    yield begin
    for program in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()


def begin_scheduler(dask_program, tmp_path, folder: Path = ROOT) -> tuple[subprocess.Popen, str]:
    file = tmp_path / "address"
    file.unlink(missing_ok=True)
    scheduler = dask_program("scheduler", "--host", "127.0.0.1", "--port", "0", folder=folder)

    def address() -> str | None:  # None while it is not there, or not written to its end
        try:
            return json.loads(file.read_text())["address"]
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    return scheduler, until(address, "the scheduler")


def wait_for_workers(address: str, number: int):
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(number, timeout=120)


def kill_oneself(log: Path):
    with log.open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_tasks_fail_on_a_cluster_as_they_do_here(tmp_path, dask_program):
    _, address = begin_scheduler(dask_program, tmp_path)
    dask_program("worker", "--nthreads", "2", "--name", "ann")  # with a nanny, who restarts it
    prepared = tmp_path / "prepared"
    with_limit = Cluster(address, prepared.touch, cpu_limit_s=1.0)
    cluster = Cluster(address, prepared.touch)
    try:
        assert type(cluster.submit(fail, "not today").exception(60)) is TaskError
        assert "ValueError: not today" in str(cluster.submit(fail, "not today").exception(60))
        assert prepared.exists()
        assert isinstance(cluster.submit(kill_oneself, tmp_path / "log").exception(120), WorkerDied)
        assert (tmp_path / "log").read_text() == "x" * 4
        assert isinstance(with_limit.submit(burn).exception(120), WorkerDied)
        assert cluster.submit(worker_name).result(60) == "ann"
    finally:
        with_limit.stop()
        cluster.stop()
    with pytest.raises(ClusterError, match="cannot do this work: .* ValueError no data here"):
        Cluster(address, partial(fail, "no data here"))  # the machine's fault, not the tasks'


def worker_name():
    return current_process().name


def note(folder: Path, number: int) -> int:
    time.sleep(0.3)
    (folder / str(number)).touch()
    return number


@pytest.mark.slow
def test_leaving_drops_what_is_queued(tmp_path, dask_program):
    _, address = begin_scheduler(dask_program, tmp_path)
    dask_program("worker", "--nthreads", "1", "--no-nanny")
    (tmp_path / "notes").mkdir()
    cluster = Cluster(address, int)
    futures = [cluster.submit(note, tmp_path / "notes", number) for number in range(10)]
    assert futures[0].result(60) == 0
    cluster.stop()
    noted = len(list((tmp_path / "notes").iterdir()))
    time.sleep(2)  # enough for six more
    assert len(list((tmp_path / "notes").iterdir())) <= noted + 1  # the one that was running


@pytest.mark.slow
def test_every_task_ends_when_the_scheduler_is_lost(tmp_path, dask_program):
    """Those that are queued, running or just being fetched, and those that come later."""
    scheduler, address = begin_scheduler(dask_program, tmp_path)
    for _ in range(2):
        dask_program("worker", "--nthreads", "1", "--no-nanny")
    cluster = Cluster(address, int)
    futures = [cluster.submit(abs, -1)]
    assert futures[0].result(60) == 1
    end = time.monotonic() + 2
    while time.monotonic() < end:
        futures.append(cluster.submit(abs, -len(futures)))
        time.sleep(0.002)
        if len(futures) == 100:
            scheduler.kill()
    errors = [future.exception(20) for future in futures]
    cluster.stop()
    assert isinstance(errors[-1], ConnectionError) and len(errors) > 100
    for number, error in enumerate(errors[1:], 1):
        assert isinstance(error, ConnectionError) or futures[number].result() == number


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_records_of_a_local_run(tmp_path, dask_program):
    """A scheduler and three workers; one is killed, later the scheduler too, and the run is resumed."""

    def begin_cluster() -> tuple[str, list[subprocess.Popen]]:
        scheduler, address = begin_scheduler(dask_program, tmp_path)
        workers = [dask_program("worker", "--nthreads", "1", "--no-nanny") for _ in range(3)]
        wait_for_workers(address, 3)
        return address, [scheduler, *workers]

    flags = [*SMALL, "--samples", "300"]
    folder, records = tmp_path / "cluster", tmp_path / "cluster" / "records.jsonl"
    address, (scheduler, worker, *_) = begin_cluster()
    process = start(*flags, "--cluster", address, "--out", str(folder))
    wait_for_records(process, records, more_than=50)
    worker.kill()
    wait_for_records(process, records, more_than=150)
    scheduler.kill()
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 1 and "Traceback" not in output, output
    assert "the Dask scheduler is lost" in output
    assert f"python search.py --resume {folder} --cluster {address}" in output

    address, _ = begin_cluster()
    process = start("--resume", str(folder), "--cluster", address)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert search.main([*flags, "--out", str(tmp_path / "local")]) == 0
    assert history(folder) == history(tmp_path / "local")
    trained = {row["worker"] for row in results.read_lines(records) if row["worker"]}
    assert len(trained) > 3  # three at first, three others after the resume


HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "answer", "ca_file", "code", "why"),
    [
        ("tcp://127.0.0.1:1", b"", "", 2, "("),
        ("tcp://[::1]:1", b"", "", 2, "("),
        ("tcp://127.0.0.1:PORT", b"", "", 2, "does not speak Dask"),
        ("tcp://127.0.0.1:PORT", HTTP, "", 2, "("),
        ("tcp://127.0.0.1:PORT", b"", "", 143, "interrupted"),
        ("tls://127.0.0.1:1", b"", "", 2, "CA_FILE"),
        ("tls://127.0.0.1:1", b"", "/no/ca.pem", 2, "/no/ca.pem"),
    ],
)
def test_no_scheduler_is_one_line(tmp_path, dask_program, address, answer, ca_file, code, why):
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as open_till_end:
        address = address.replace("PORT", str(server.getsockname()[1]))
        env = os.environ | {f"{TLS}CA_FILE": ca_file} if ca_file else None
        process = start(*SMALL, "--cluster", address, "--out", str(tmp_path / "run"), env=env)
        if address.endswith(str(server.getsockname()[1])):
            open_till_end.enter_context(server.accept()[0]).sendall(answer)
        if code == 143:
            process.terminate()
        output, _ = process.communicate(timeout=120)
    what = "" if code == 143 else f"no Dask scheduler at {address} ("
    assert process.returncode == code and what in output and why in output, output
    assert len(output.splitlines()) == 1 and not (tmp_path / "run").exists(), output


@pytest.mark.slow
def test_strangers_spoil_nothing(tmp_path, dask_program):
    """The scheduler and some workers know nothing of the project; some of them join late."""
    _, address = begin_scheduler(dask_program, tmp_path, tmp_path)
    stranger = dask_program("worker", "--nthreads", "1", "--no-nanny", folder=tmp_path)
    wait_for_workers(address, 1)
    with pytest.raises(
        ClusterError, match=f"cannot do this work: .* in {tmp_path}: ModuleNotFoundError"
    ):
        Cluster(address, print)
    ann = dask_program("worker", "--nthreads", "1", "--no-nanny", "--name", "ann")
    wait_for_workers(address, 2)
    cluster, said = Cluster(address, print, say=(lines := []).append), stranger.wait(120)
    assert cluster.submit(worker_name).result(60) == "ann" and said is not None
    assert [f"sent away: {os.uname().nodename}" in line for line in lines] == [True]
    cluster.stop()
    ann.kill()
    ann.wait()

    log = tmp_path / "run" / "log.txt"
    said = lambda text: lambda: log.exists() and text in log.read_text()  # noqa: E731
    process = start(*SMALL, "--cluster", address, "--out", str(tmp_path / "run"))
    until(said(f"no Dask worker at {address}"), "what it waits for", 120)
    strangers = [dask_program("worker", "--nthreads", "1", folder=tmp_path) for _ in range(2)]
    until(said(f"was sent away: {os.uname().nodename}"), "a stranger to leave", 120)
    for one in strangers:
        one.wait(120)  # with its nanny
    older = tmp_path / "older"  # a copy that tells less of itself
    shutil.copytree(ROOT, older, ignore=lambda folder, names: [x for x in names if x[-3:] != ".py"])
    text = (older / "results.py").read_text()
    (older / "results.py").write_text(text.replace('"capability", ', "", 1))
    dask_program("worker", "--nthreads", "1", "--no-nanny", folder=older)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0 and "Traceback" not in output, output
    assert re.search(f"WARNING: a Dask worker has another .*capability None: .* in {older}\\)", output)
    assert search.main([*SMALL, "--out", str(tmp_path / "local")]) == 0
    assert history(tmp_path / "run") == history(tmp_path / "local")
