"""What tests of the scripts after a search share: a tiny search, a killed run, a refusal."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

import data
import results
import search
from child import Child

DATA = Path(__file__).parent.parent / "data"
# A child of a few milliseconds: two rates, two epochs of two hundred images.
TINY = {"samples": 24, "filters": 2, "epochs": 2, "epoch_size": 200, "num_validation": 200}
TINY |= {"lr_exponents": (-3, -1), "data": str(DATA)}


@dataclass(frozen=True)
class Config(Child, search.SearchConfig):
    """All settings of search.py, as a run's config.json has them."""


def tiny(**settings) -> search.Script:
    """Return search.py with tiny defaults, or others, also those that have no flag."""
    preset = search.PRESETS["smoke"] | TINY | settings
    return search.SEARCH._replace(presets={"tiny": preset})


def tiny_search(folder: Path, *flags: str, **settings) -> Path:
    """Run a tiny random search that starts from Adam; flags and settings win."""
    data.prepare(data.SAMPLE, DATA)
    first = ["--algorithm", "random", "--start-from", "adam", "--workers", "1"]
    assert search.main([*first, *flags, "--out", str(folder)], tiny(**settings)) == 0
    return folder


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
