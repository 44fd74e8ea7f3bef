"""The lines of CLUSTER.md on a real Slurm of one node: jobs are cancelled, the records are the same."""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import DATA, ROOT, SMALL, history, start, wait_for_records
from processes import until

import data
import search

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel")
CONF = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={port_of_node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Slurm with this machine as its one node, without control groups, on the loopback network."""
    if importlib.util.find_spec("dask_jobqueue") is None:
        pytest.skip("needs requirements-cluster.txt")
    if os.getuid() != 0:
        pytest.skip("needs to be root")
    if lacking := [program for program in PROGRAMS if shutil.which(program) is None]:
        pytest.skip(f"needs {lacking[0]}, of Debian's slurmctld, slurmd, munge and slurm-client")
    for name in ("state", "spool", "munge"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "munge" / "key").write_bytes(os.urandom(1024))
    (tmp_path / "munge" / "key").chmod(0o400)
    ports = {"port": free_port(), "port_of_node": free_port()}
    conf = CONF.format(host=socket.gethostname(), folder=tmp_path, **ports)
    (tmp_path / "slurm.conf").write_text(conf)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    places = {"key-file": "munge/key", "socket": "munge.socket", "pid-file": "munge/pid"}
    places |= {"log-file": "munge/log", "seed-file": "munge/seed"}
    munge = ["munged", "--force", *(f"--{name}={tmp_path / place}" for name, place in places.items())]
    try:
        for command in (munge, ["slurmctld", "-c"], ["slurmd"]):
            subprocess.run(command, check=True, capture_output=True)
        until(lambda: "idle" in told("sinfo", "-h", "-o", "%T"), "the node")
        yield
    finally:
        for file in ("slurmd.pid", "slurmctld.pid", "munge/pid"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((tmp_path / file).read_text()), signal.SIGTERM)


def told(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def running_jobs() -> list[str]:
    return told("squeue", "-h", "-t", "R", "-o", "%A").split()


@pytest.mark.slow
def test_the_lines_for_slurm_give_the_records_of_a_local_run(tmp_path, slurm):
    from distributed import Client

    data.prepare(data.SAMPLE, DATA)
    [lines] = re.findall(r"```python\n(.*?)```", (ROOT / "CLUSTER.md").read_text(), re.DOTALL)
    ours = {"PARTITION": "all", "2GB": "1GB", "eth0": "lo", "slurm-logs": str(tmp_path / "logs")}
    ours |= {"maximum_jobs=96": "maximum_jobs=2"}
    for theirs, value in ours.items():
        assert theirs in lines
        lines = lines.replace(theirs, value)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    session = subprocess.Popen([sys.executable, "-i"], cwd=ROOT, text=True, **pipes)
    try:
        session.stdin.write(f"{lines}\n")
        session.stdin.flush()
        address = next(line.strip() for line in session.stdout if line.startswith("tcp://"))
        flags = [*SMALL, "--samples", "100"]
        process = start(*flags, "--cluster", address, "--out", str(tmp_path / "slurm"))
        wait_for_records(process, tmp_path / "slurm" / "records.jsonl", more_than=20)

        def joined() -> list[str]:
            jobs = running_jobs()
            return jobs if len(jobs) <= len(client.nthreads()) else []

        with Client(address) as client:
            cancelled = until(joined, "the worker of each job")  # or its job is never replaced
        for job in cancelled:
            subprocess.run(["scancel", job], check=True)
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 0 and "Traceback" not in output, output
        assert not {*running_jobs()} & {*cancelled}  # others took their place
        assert any(Path(tmp_path / "logs").iterdir())
        session.stdin.write("slurm.close()\n")
        session.stdin.flush()
        until(lambda: not running_jobs(), "the jobs to end")
    finally:
        session.kill()
        session.communicate()
    assert search.main([*flags, "--out", str(tmp_path / "local")]) == 0
    assert history(tmp_path / "slurm") == history(tmp_path / "local")
