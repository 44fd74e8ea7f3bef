"""Kill searches at random moments, again and again: nothing that was recorded may be lost or changed.

    python -m bench.kills --kills 200                  # parents, workers, the server that forks them
    python -m bench.kills --kills 40 --cluster         # a Dask cluster's scheduler and workers too

A small search is killed, resumed and killed again until it is done; then comes one with another seed.
Lost or changed is a line of records.jsonl, humans.jsonl or updates.jsonl that was there at a kill and
is not, or is another one, later; and at the end a record that is not that of a search which nobody
disturbed. A rule whose worker dies twice is recorded as crashed, so between two kills of workers all
rules that were in flight are waited for. Only for Linux. Read next: pool.py in the folder above.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from config import as_program, setting

from bench.launch import launch
from bench.timing import table

ROOT = Path(__file__).parent.parent
FLAGS = "--preset smoke --filters 2 --epoch-size 100 --num-validation 100".split()
IN_FLIGHT = 15  # rules at most, with the preset's lag of 1, and some more
FILES = ("records.jsonl", "humans.jsonl", "updates.jsonl")
TIMES = {"start_s", "wall_s", "cpu_s", "worker"}
HERE = ("search killed", "search stopped", "all killed", "server", *["worker"] * 6)
THERE = ("search killed", "scheduler", *["worker"] * 4)  # on a cluster
DEADLINE_S = 3600.0  # for anything to go on, also at the lowest priority of a busy machine


@dataclass(frozen=True)
class Config:
    """How often, and what."""

    kills: int = setting(200, "kills in all", low=1)
    samples: int = setting(300, "rules of a search", low=40)
    pause_s: float = setting(3.0, "most seconds between two kills", low=0.1, high=600.0)
    seed: int = setting(0, "of the searches and the moments", low=0)
    cluster: bool = setting(False, "search on a Dask cluster that is started here")


def children(pid: int) -> list[int]:
    """Return the children of a process that fork workers or are such, and live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            ours = state != "Z" and int(parent) == pid
            if ours and b"forkserver" in (path.parent / "cmdline").read_bytes():
                found.append(int(path.parent.name))
    return found


def listens(pid: int) -> bool:
    """Return whether a process has said what SIGTERM shall do."""
    with contextlib.suppress(FileNotFoundError):
        [line] = [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigCgt" in x]
        return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def lines_of(folder: Path) -> dict[str, list[bytes]]:
    """Return the whole lines of a run's files."""
    texts = {name: (folder / name).read_bytes() if (folder / name).exists() else b"" for name in FILES}
    return {name: text.split(b"\n")[:-1] for name, text in texts.items()}


def lost_lines(before: dict[str, list[bytes]], after: dict[str, list[bytes]]) -> int:
    """Return how many of the lines before are not the same, in the same place, after."""
    return sum(
        line not in after[name][place : place + 1]
        for name in FILES
        for place, line in enumerate(before[name])
    )


def history(folder: Path) -> list[dict]:
    """Return the records of a run without what may differ."""
    rows = map(json.loads, lines_of(folder)["records.jsonl"])
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


class Dask:
    """A scheduler and two workers on this machine."""

    def __init__(self, folder: Path):
        self.folder, self.file = folder, folder / "address"
        self.log = (folder / "dask.log").open("a")
        self.start()

    def _run(self, *flags: str) -> subprocess.Popen:
        command = [
            sys.executable,
            "-m",
            "dask",
            *flags,
            "--host",
            "127.0.0.1",
            "--dashboard-address",
            "127.0.0.1:0",
        ]
        command += ["--scheduler-file", str(self.file)]
        return subprocess.Popen(command, cwd=ROOT, stdout=self.log, stderr=self.log)

    def start(self) -> None:
        self.file.unlink(missing_ok=True)
        self.scheduler = self._run("scheduler", "--port", "0")
        self.address = wait_for(self._read)
        self.workers = [self._work(), self._work()]

    def _read(self) -> str | None:
        with contextlib.suppress(OSError, ValueError):  # not there, or not written to its end
            return json.loads(self.file.read_text())["address"]
        return None

    def _work(self) -> subprocess.Popen:
        local = ["--local-directory", str(self.folder / "dask")]
        return self._run("worker", "--nthreads", "1", "--no-nanny", *local)

    def kill_worker(self, rng: random.Random) -> None:
        """Kill one and start another in its place."""
        place = rng.randrange(len(self.workers))
        kill(self.workers[place])
        self.workers[place] = self._work()

    def stop(self) -> None:
        for process in (self.scheduler, *self.workers):
            kill(process)


def kill(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()


def wait_for(condition):
    """Poll until there is a value and return it."""
    end = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"nothing happened for {DEADLINE_S:.0f} s")
        time.sleep(0.05)
    return value


class Search:
    """A search in a process group of its own, of which parts are killed."""

    def __init__(self, folder: Path, flags: list[str], dask: Dask | None):
        self.folder, self.flags, self.dask = folder, flags, dask
        self.process: subprocess.Popen | None = None

    def go_on(self) -> None:
        """Begin or resume, if it does not run."""
        if self.process is None or self.process.poll() is not None:
            how = (
                ["--resume", self.folder]
                if self.folder.exists()
                else [*self.flags, "--out", self.folder]
            )
            how += ["--cluster", self.dask.address] if self.dask else []
            with self.folder.with_suffix(".output").open("a") as output:
                streams = {"stdout": output, "stderr": output, "start_new_session": True}
                self.process = subprocess.Popen([sys.executable, "search.py", *how], cwd=ROOT, **streams)

    def kill(self, what: str, rng: random.Random) -> bool:
        """Kill a part of it, once there is such a part; return whether there was before the end."""
        if what == "search killed":
            kill(self.process)
        elif what == "search stopped":
            wait_for(lambda: self.ended() or listens(self.process.pid))  # until then Python does
            self.process.send_signal(rng.choice([signal.SIGTERM, signal.SIGINT]))
            self.process.wait()
        elif what == "all killed":
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        elif what == "scheduler":
            self.dask.stop()
            self.process.wait()  # it says so and ends
            self.dask.start()
        elif self.dask:
            self.dask.kill_worker(rng)
        else:
            while not self.ended():
                if chosen := self.parts(what):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(rng.choice(chosen), signal.SIGKILL)
                        return True
                time.sleep(0.05)
            return False
        return True

    def parts(self, what: str) -> list[int]:
        """Return the server that forks workers, or the workers that there are."""
        servers = children(self.process.pid)
        return servers if what == "server" else [pid for one in servers for pid in children(one)]

    def count(self) -> int:
        return len(lines_of(self.folder)["records.jsonl"])

    def ended(self) -> bool:
        return self.process.poll() is not None


def measure(config: Config) -> Iterator[dict]:
    """Kill searches of one seed after another; yield a record a kill, and one a search."""
    rng, done = random.Random(config.seed), 0
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        dask = Dask(Path(temporary)) if config.cluster else None
        if dask:
            stack.callback(dask.stop)
        for seed in count(config.seed):
            flags = [*FLAGS, "--samples", str(config.samples), "--seed", str(seed)]
            search = Search(Path(temporary) / f"killed-{seed}", flags, dask)
            before, waited_for = lines_of(search.folder), 0
            while True:
                search.go_on()
                pause_s = rng.uniform(0, config.pause_s)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    search.process.wait(pause_s)
                what = rng.choice(THERE if dask else HERE)
                if what in ("worker", "server"):
                    wait_for(lambda: search.ended() or search.count() >= waited_for)  # noqa: B023
                after = lines_of(search.folder)
                lost, before = lost_lines(before, after), after
                if search.ended() or done == config.kills:
                    break
                if search.kill(what, rng):
                    done += 1
                    waited_for = search.count() + IN_FLIGHT
                    yield {"what": what, "records": len(after["records.jsonl"]), "lost": lost}
            search.process.wait()
            code, whole = search.process.returncode, Path(temporary) / f"whole-{seed}"
            command = [sys.executable, "search.py", *flags, "--workers", "1", "--out", whole]
            subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
            ours, theirs = history(search.folder), history(whole)
            changed = sum(a != b for a, b in zip(ours, theirs, strict=False)) + abs(
                len(ours) - len(theirs)
            )
            said = search.folder.with_suffix(".output").read_text().count("Traceback")
            end = {"what": "end", "records": len(ours), "lost": lost + changed, "code": code}
            yield end | {"tracebacks": said}
            if done >= config.kills:
                return


def show(records: list[dict]) -> str:
    """Return the table: what was killed how often, and what that cost."""
    kills = Counter(record["what"] for record in records if record["what"] != "end")
    lost: Counter[str] = Counter()
    for record in records:
        lost[record["what"]] += record["lost"]
    ends = [record for record in records if record["what"] == "end"]
    rows = [[what, str(number), str(lost[what])] for what, number in sorted(kills.items())]
    rows.append(["in all", str(sum(kills.values())), str(sum(lost.values()))])
    compared, said = (sum(record[name] for record in ends) for name in ("records", "tracebacks"))
    text = f"{len(ends)} searches, {compared:,} records compared with those of undisturbed ones, "
    text += f"exit codes {sorted({record['code'] for record in ends})}, {said} tracebacks\n\n"
    return text + table(["what was killed", "times", "records lost or changed"], rows)


def main(argv: list[str] | None = None) -> int:
    return launch("kills", __doc__, Config, measure, show, argv)


if __name__ == "__main__":
    sys.exit(as_program(main))
