"""How well a cheap score ranks rules: on runs whose agreement is known."""

import pytest
from helpers import refusal
from made_runs import make_run
from scipy.stats import spearmanr

from plots.runs import read
from studies.figures import agreement


def test_a_run_agrees_with_itself_and_not_with_its_reverse(tmp_path, capsys):
    dear = make_run(tmp_path / "dear", samples=60)
    cheap = make_run(tmp_path / "cheap", samples=60, race=True)
    x, y, ratio = agreement.common(read(dear), read(cheap))
    assert len(x) > 20 and (x == y).all() and ratio == pytest.approx(1)
    assert agreement.main([str(dear), str(cheap), "-o", str(tmp_path / "a.png")]) == 0
    assert "race False and True" in (tmp_path / "a.svg").read_text()
    assert "1.000 [1.000, 1.000]. Regret of the cheap choice: 0.0000" in capsys.readouterr().out

    run = read(cheap)
    for record in run.records:
        record["reward"] = 1 - record["reward"]
    x, y, _ = agreement.common(read(dear), run)
    assert spearmanr(x, y).statistic == pytest.approx(-1)
    _, text = agreement.picture(read(dear), run)
    assert f"Regret of the cheap choice: {x.max() - x.min():.4f}" in text
    assert "two are compared" in refusal(agreement.main, [str(dear), str(dear)], capsys)
