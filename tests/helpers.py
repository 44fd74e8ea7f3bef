"""What tests of the scripts share: a tiny search, a killed run, a refusal, a script as it is started."""

import contextlib
import json
import shutil
import subprocess
import sys
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import hear_interrupts, processes, until

import data
import results
import search
from child import Child
from loop import SearchConfig
from nosbench.search import Here

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data"
# A child of a few milliseconds: two rates, two epochs of two hundred images.
TINY = {"samples": 24, "filters": 2, "epochs": 2, "epoch_size": 200, "num_validation": 200}
TINY |= {"lr_exponents": (-3, -1), "data": str(DATA)}
HERE = Here()
# As small as flags can make it.
SMALL = ["--preset", "smoke", "--data", str(DATA), "--samples", "24", "--filters", "2"]
SMALL += ["--epoch-size", "100", "--num-validation", "100"]


@dataclass(frozen=True)
class Config(Child, SearchConfig):
    """All settings of search.py, as a run's config.json has them."""


def tiny(executor: Executor | None = HERE, **settings) -> search.Script:
    """Return search.py with tiny defaults, or others, also those that have no flag.

    It trains in this process; with an executor of None in worker processes, as it does for a user.
    """
    preset = search.PRESETS["smoke"] | TINY | settings
    return search.SEARCH._replace(presets={"tiny": preset}, executor=executor)


def tiny_search(folder: Path, *flags: str, **settings) -> Path:
    """Run a tiny random search that starts from Adam; flags and settings win."""
    data.prepare(data.SAMPLE, DATA)
    first = ["--algorithm", "random", "--start-from", "adam"]
    with undrawn():
        assert search.main([*first, *flags, "--out", str(folder)], tiny(**settings)) == 0
    return folder


@contextlib.contextmanager
def undrawn():
    """Searches draw no learning curve at their end, which takes longer than all their trainings here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "draw", lambda folder: [])
        yield


def history(folder: Path) -> list[dict]:
    """Return the records of a run without what may differ between two equal runs."""
    times = {"start_s", "wall_s", "cpu_s", "worker"}
    rows = results.read_lines(folder / "records.jsonl")
    return [{name: value for name, value in row.items() if name not in times} for row in rows]


def killed(folder: Path, to: Path, lines: int, torn: str = "") -> Path:
    """Copy a finished run as it was when so many of its records had been written."""
    shutil.copytree(folder, to)
    kept = (folder / "records.jsonl").read_text().splitlines(keepends=True)[:lines]
    (to / "records.jsonl").write_text("".join(kept) + torn)
    meta = json.loads((folder / "meta.json").read_text()) | {"end": None}
    (to / "meta.json").write_text(json.dumps(meta))
    return to


def refusal(main, argv: list[str], capsys) -> str:
    """Return the one line with which a script refuses bad input, with exit code 2."""
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    return line


AVERAGED = """
import torch

class Averaged(torch.optim.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.all, self.n, self.trained = self.param_groups[0]["params"], 0, None
        self.means = [p.detach().clone() for p in self.all]
    def step(self):
        assert self.trained is None, "not in mode train"
        super().step()
        self.n += 1
        for p, mean in zip(self.all, self.means):
            mean += (p.detach() - mean) / self.n
    def eval(self):
        self.trained = self.trained or [p.detach().clone() for p in self.all]
        self.put(self.means)
    def train(self):
        self.put(self.trained or self.all)
        self.trained = None
    @torch.no_grad()
    def put(self, values):
        for p, value in zip(self.all, values):
            p.copy_(value)

class Late(Averaged):
    def step(self):
        super().step()
        if self.n > 11:
            raise ValueError("boom\\nand more")
"""


# --- a script as a user starts it -----------------------------------------------------------------


def start(*flags: str, program=("search.py",), **settings) -> subprocess.Popen:
    """Start search.py or another program in a process group of its own."""
    how = {"cwd": ROOT, "preexec_fn": hear_interrupts, **settings}
    how |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *program, *flags], start_new_session=True, **how)


def wait_for_records(process: subprocess.Popen, path: Path, more_than: int):
    def ready() -> bool:
        there = path.exists() and path.read_bytes().count(b"\n") > more_than
        return there or process.poll() is not None

    until(ready, f"record {more_than}", 120)


def wait_for_end(process: subprocess.Popen) -> str:
    """Return what a script printed, once it and all its workers have left."""
    output, _ = process.communicate(timeout=240)
    until(lambda: process.pid not in processes().values(), "workers to leave")
    return output
