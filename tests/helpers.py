"""What tests of the scripts after a search share: a tiny search, a killed run, a refusal."""

import json
import shutil
from pathlib import Path

import pytest

import data
import search

DATA = Path(__file__).parent.parent / "data"
# A child of a few milliseconds.
TINY = [
    *("--preset", "smoke", "--data", str(DATA), "--samples", "24", "--filters", "2", "--epochs", "2"),
    *("--epoch-size", "200", "--num-validation", "200", "--lr-exponents=-3,-1", "--workers", "1"),
    *("--algorithm", "random", "--start-from", "adam"),
]


def tiny_search(folder: Path, *flags: str) -> Path:
    """Run a tiny random search that starts from Adam; flags win."""
    data.prepare(data.SAMPLE, DATA)
    assert search.main([*TINY, *flags, "--out", str(folder)]) == 0
    return folder


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
