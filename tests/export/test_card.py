"""The command line of rules.py: what `list`, `show` and `export` print, and what they refuse."""

import re
from pathlib import Path

import pytest
import test_advice
import torch
from helpers import refusal
from test_advice import record

import rules
from export import card
from export.advice import NO_SWEEP
from rules import NAMED_RULES, find, make_optimizer


def make_run(folder: Path, child_seed: int = 0) -> None:
    """Write a run of a search that has scored Adam and PowerSign."""
    powersign = record([0.2, 0.49, 0.5, 0.481, 0.3], 0.1, str(find("powersign")))
    test_advice.make_run(folder, [powersign], child_seed=child_seed)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """Go to a folder without runs, where the default for runs is too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(card, "RUNS", tmp_path / "runs")
    return tmp_path


def test_list_shows_every_rule_in_aligned_columns_and_show_the_recorded_rates(elsewhere, capsys):
    make_run(elsewhere / "runs" / "one")
    assert rules.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 126
    names = ["update", "source", "state", "lr", "to Adam's"]
    starts = [0, *(re.search(rf"(?<= ){name}", lines[0]).start() for name in names), None]
    rows = [[line[a:b].strip() for a, b in zip(starts, starts[1:], strict=False)] for line in lines[2:]]
    shown = {row[0]: row[1:] for row in rows[: len(NAMED_RULES)]}
    assert shown.keys() == NAMED_RULES.keys()
    for name, named in NAMED_RULES.items():
        state = ", ".join(find(name).kept) or "-"
        assert shown[name][:3] == [find(name).infix(), named.source, state]
        known = {"adam": ["<=0.001 (<=0.001..<=0.001)", "<=1x"], "powersign": ["0.1 (0.01..1)", "100x"]}
        assert shown[name][3:] == known.get(name, ["-", "-"])
    make_run(elsewhere / "runs" / "broken")
    (elsewhere / "runs" / "broken" / "config.json").write_text("{")
    for command in (["list"], ["show", "powersign"], ["export", "powersign"]):
        assert rules.main(command) == 0
        out, err = capsys.readouterr()
        warned = re.findall(r"^WARNING: (\S+)", err, re.M)
        assert "0.1" in out and warned == [str(elsewhere / "runs" / "broken")]
    make_run(elsewhere / "some" / "where")
    make_run(elsewhere / "some" / "twin", child_seed=1)
    rules.main(["show", "powersign", "--runs", "some"])
    out = " ".join(capsys.readouterr().out.split())
    assert "rates lr 0.1, good from 0.01 to 1, 2 decades; Adam's best is 0.001, so this" in out
    assert "[cifar10, strided, 1,000 images an epoch; 2 seeds]" in out and "lr=0.1)" in out


@pytest.mark.parametrize("words", [["powersign"], ["PowerSign"], [NAMED_RULES["powersign"].rule]])
def test_show_tells_all_faces(words, elsewhere, capsys):
    rules.main(["show", *words])
    out, rule = capsys.readouterr().out, find("powersign")
    for fact in (str(rule), rule.infix(), rule.latex(), rule.key(), rule.fingerprint()):
        assert fact in out
    assert re.search(r"averages +m \(", out)
    assert re.search(r"as written +r1 = sign\(g\) \* sign\(m\);  r2 = exp\(r1\) \* g$", out, re.M)
    assert out.count(NO_SWEEP) == 2 and f"    # {NO_SWEEP}\n    optimizer = " in out


def test_show_takes_separate_words_and_tells_what_is_dead_what_acts_alike_and_of_periods(capsys):
    rules.main(["show", *"sign_g 1 sign id mul".split()])
    out = capsys.readouterr().out
    assert "a rule without a name" in out and re.search(r"acts like +signsgd$", out, re.M)
    rules.main(["show", *"g m id neg add | gamma v exp drop0.1 left".split()])
    out = capsys.readouterr().out
    assert re.search(r"as written +r1 = g \+ -m;  r2 = left\(exp\(gamma\), drop\(v, 0.1\)\)$", out, re.M)
    assert re.search(r"simplified +exp\(gamma\)$", out, re.M)
    assert re.search(r"dead +g of r1, m of r1, v of r2 \(operands", out, re.M)
    for told, decay in enumerate(("ld", "cd", "rd")):
        rules.main(["show", f"powersign-{decay}"])
        out = " ".join(capsys.readouterr().out.split())
        facts = "num_periods, 0.5 unless given", "TensorFlow its restart decay has num_periods=1 by"
        assert [fact in out for fact in facts] == [told > 0, told > 1]


def test_export_writes_a_file_that_trains_and_never_over_another(elsewhere, capsys):
    make_run(elsewhere / "runs" / "one")
    assert rules.main(["export", "powersign", "-o", "mine.py"]) == 0
    assert capsys.readouterr().out == "Wrote mine.py with the class PowerSign\n"
    text = (elsewhere / "mine.py").read_text()
    assert "lr 0.1, good from 0.01 to 1" in text and "PowerSign(model.parameters(), lr=0.1)" in text
    rules.main(["export", "powersign"])
    assert capsys.readouterr().out == text
    assert "exists already" in refusal(rules.main, ["export", "adam", "-o", "mine.py"], capsys)
    assert (elsewhere / "mine.py").read_text() == text
    wanted = {"addsign-rd": "AddSignRd", "sgd": "SGD", "m 1 id id mul --name Mine": "Mine"}
    for words, name in wanted.items():
        rules.main(["export", *(words.split() if "--" in words else [words])])
        assert f"class {name}(torch.optim.Optimizer)" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMED_RULES)
def test_printed_example_trains(name, capsys):
    rules.main(["show", name])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    example = [line.strip() for line in out.splitlines() if line.startswith("    ") and "o" in line][-4:]
    model = torch.nn.Linear(3, 1)
    names = {"make_optimizer": make_optimizer, "model": model, "loss": model(torch.ones(3)).square()}
    exec("\n".join(example), names)
    assert names["optimizer"].state[model.weight]["step"] == 1


BAD = ["", "shwo", "show", "show powersing", "show g 1 id", "list --all", "export"]
BAD += [f"export adam --name {name}" for name in ("class", "torch", "super")]
BAD += [f"{command} --runs /nowhere ." for command in ("list", "show adam", "export adam")]
BAD += ["export adam -o /proc/nothing/adam.py"]


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_message_and_exit_code_2(line, capsys):
    with pytest.raises(SystemExit) as stop:
        rules.main(line.split())
    captured = capsys.readouterr()
    assert stop.value.code == 2 and captured.out == ""
    assert captured.err.count("error:") == 1 and captured.err.startswith("rules.py")
