"""The ablations' figure: seeds paired as by hand, changes named, strangers refused."""

import json
import math
import statistics

import pytest
from helpers import refusal

from nosbench.figures import ablations
from nosbench.standings import COLUMNS, Setting

BASE = {"algorithm": "reinforce", "candidates": 16, "lag": 0, "constraints": ["a", "b"], "samples": 200}


def write(folder, name, found, best=(0.5, 0.7, 0.6), first=0, checkpoints=(100, 200), **config):
    """Write a study of as many searches as there are numbers of found rules."""
    file = folder / f"{name}.jsonl"
    with file.open("w") as lines:
        for seed, (rules, score) in enumerate(zip(found, best, strict=True), first):
            # What stands at the second checkpoint is right, what comes later must not be read.
            values = dict.fromkeys((*COLUMNS, "found_by_distinct"), 0.25)
            values |= {"found_fresh": rules, "top10_fresh": score, "latest": score}
            values["distinct"] = 10 * seed
            line = {column: [0.0, value, 99.0][: len(checkpoints)] for column, value in values.items()}
            line |= {"name": name, "seed": seed, "table_seed": 1, "checkpoints": list(checkpoints)}
            line["config"] = BASE | config | {"seed": seed, "table_seed": 1}
            lines.write(json.dumps(line) + "\n")
    return file


def test_a_change_is_compared_seed_by_seed_at_the_last_common_checkpoint(tmp_path):
    base = Setting(write(tmp_path, "base", [10, 20, 60], checkpoints=(100, 200, 500)))
    # Its seeds are 1 to 3, so 1 and 2 are the base's too.
    change = ablations.measured(
        Setting(write(tmp_path, "change", [40, 80, 5], best=(0.8, 0.9, 0.1), first=1, lag=20)), base
    )
    assert (change.label, change.searches, change.rules) == ("lag 20 (0)", 2, 200)
    assert change.distinct == 15  # of seeds 1 and 2
    ratio, low, high = change.effects["found_fresh"]
    assert ratio == pytest.approx((40 + 80) / (20 + 60))
    # t of one degree of freedom, times the error of the ratio's logarithm: seeds differ by 1/6 from it.
    assert high / ratio == pytest.approx(ratio / low) == pytest.approx(math.exp(12.7062 / 6), rel=1e-4)
    mean, low, high = change.effects["top10_fresh"]
    assert mean == pytest.approx(statistics.mean([0.8 - 0.7, 0.9 - 0.6]))
    assert high - mean == pytest.approx(12.706 * statistics.stdev([0.1, 0.3]) / 2**0.5, rel=1e-4)


def test_changes_are_named_and_each_has_a_dot_in_the_figure_and_a_line_in_the_table(tmp_path, capsys):
    base = write(tmp_path, "base", [10, 20, 60])
    none = Setting(write(tmp_path, "none", [1, 2, 3], constraints=[], candidates=1))
    other = Setting(write(tmp_path, "ppo-new", [1, 2, 3], algorithm="ppo"))
    assert ablations.changes(none, Setting(base)) == "candidates 1 (16), without a, without b"
    assert ablations.changes(other, Setting(base)) == "ppo-new"
    files = [write(tmp_path, f"lag-{lag}", [20, 40, 120], lag=lag) for lag in (1, 20)]
    assert ablations.main([*map(str, (base, *files)), "-o", str(tmp_path / "a.png")]) == 0
    rows = [row for row in capsys.readouterr().out.splitlines() if row.startswith("| lag")]
    labels, picture = ["lag 1 (0)", "lag 20 (0)"], (tmp_path / "a.svg").read_text()
    wanted = [[f"| {label}", "3", "2.00 [2.00, 2.00]"] for label in labels]
    assert [row.split(" | ")[:3] for row in rows] == wanted
    assert all(f'id="{label} {name}"' in picture for label in labels for name in ablations.PANELS)


@pytest.mark.parametrize("strangers", [None, {"first": 3}, {"checkpoints": (50, 500)}])
def test_what_cannot_be_compared_is_one_line(strangers, tmp_path, capsys):
    files = [write(tmp_path, "base", [10, 20, 60])]
    files += [] if strangers is None else [write(tmp_path, "other", [1, 2, 3], **strangers)]
    refusal(ablations.main, [*map(str, files), "-o", str(tmp_path / "a.png")], capsys)
    assert not (tmp_path / "a.png").exists()
