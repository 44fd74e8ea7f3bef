"""Anybody's optimizer in the studies: it is swept, seeded and tested like everybody."""

import pytest
import torch
from helpers import refusal
from made import MadeTrials, made_result, plan_of, write_run
from torch.optim import lr_scheduler

from rules import make_optimizer
from studies import compare, longrun, others, robustness, transfer
from studies.figures import compare as compare_figure
from studies.figures import longrun as longrun_figure
from studies.figures import robustness as robustness_figure
from studies.trials import to_dict
from training import best_rate, train_curve

ADAMW = "torch.optim.AdamW(weight_decay=0.01)"


def test_compare_tests_it_with_the_others_and_corrects_for_it(searched, tmp_path):
    few = ("--top", 2, "--seeds", 2, "--finalists", 1)
    plan = plan_of(compare, searched, *few, "--also", ADAMW, "adam")

    def outcome(task, *job):
        return made_result(*job) if task is compare.evaluate_rule else (made_result(*job), 0.5)

    trials = MadeTrials(compare, plan, outcome)
    rows, text = compare.report(plan, trials.records)
    [mine] = [row for row in rows if row["kind"] == "named"]
    assert (mine["rule"], mine["n"]) == (ADAMW, plan.config.final_seeds)
    assert {record["stage"] for record in trials.records if record["rule"] == ADAMW} == {"final"}
    assert len([row for row in rows if row["p"] is not None]) == 2
    assert f"{ADAMW}" in text and "Holm-corrected for 2" in text.replace("\n", " ")
    untested = [{**r, **dict.fromkeys(r.keys() & {"test_accuracy"})} for r in trials.records]
    alone, text = compare.report(plan, untested)  # of a task that has no test
    assert "test" not in alone[0] and " test " not in text.split("\n")[0] + text[-300:]
    assert [row["p"] for row in alone] == [row["p"] for row in rows]
    assert "in validation minus loss (p =" in compare.conclusion(alone, "minus loss")
    for number, records in enumerate((trials.records, untested)):
        folder = write_run(compare, plan, records, tmp_path / f"run{number}")
        picture = compare_figure.draw([folder], tmp_path / f"{number}.png")[1].read_text()
        assert ("AdamW test" in picture) == (records is not untested) and "AdamW validation" in picture
    inner = {"adam": "Adam, scheduled", "torch.optim.SGD(momentum=0.9)": "SGD, scheduled"}
    for text, name in inner.items():
        assert compare_figure.class_name(f"mine.py:Scheduled(optimizer={text!r})") == name


def test_longrun_sweeps_it_first_and_never_stops_it_and_robustness_changes_what_it_has(searched):
    plan = plan_of(
        longrun, searched, "--top", 2, "--epochs", 4, "--seeds", 2, "--also", ADAMW, "torch.optim.SGD"
    )

    def outcome(task, rule, *job):
        if task is best_rate:
            return (None if "SGD" in rule else 0.01), [(0.01, 0.3)]
        assert task is train_curve
        return [0.4] * job[-1], [0.1] * job[-1], 1.0

    trials = MadeTrials(longrun, plan, outcome)
    mine = [record for record in trials.records if record["rule"] == ADAMW]
    assert [record["epochs"] for record in mine] == [0, 4, 4] and mine[-1]["lr"] == 0.01
    assert [r["epochs"] for r in trials.records if r["rule"] == "torch.optim.SGD"] == [0]  # diverged
    rows, text = longrun.report(plan, trials.records)
    assert [row["kind"] for row in rows if row["rule"] == ADAMW] == ["named"] and ADAMW in text
    figure = longrun_figure.picture(to_dict(longrun, plan), trials.records)
    longrun_figure.plt.close(figure)
    plan = plan_of(robustness, searched, "--top", 1, "--seeds", 2, "--also", ADAMW)
    trials = MadeTrials(robustness, plan)
    assert {r["what"] for r in trials.records if r["rule"] == ADAMW} == {None, "batch_size"}
    [mine] = [row for row in robustness.report(plan, trials.records)[0] if row["rule"] == ADAMW]
    assert mine["eps x 2"] is None and mine["batch_size x 2"] is not None
    figure = robustness_figure.picture(to_dict(robustness, plan), trials.records)
    robustness_figure.plt.close(figure)


@pytest.mark.parametrize("study, what", [(compare, "RUN"), (longrun, "RUN"), (transfer, "text")])
def test_what_cannot_be_is_refused_before_anything_is_made(study, what, searched, tmp_path, capsys):
    where = str(searched) if what == "RUN" else what
    flags = [where, "--also", "torch.optim.LBFGS", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stop:
        study.main(flags)
    assert stop.value.code == 2 and not (tmp_path / "out").exists()
    assert "torch.optim.LBFGS(params, lr=0.001) and step() fail" in capsys.readouterr().err


def test_a_study_goes_on_with_the_file_that_it_began_with_alone(searched, tmp_path, capsys):
    mine = tmp_path / "mine.py"
    mine.write_text("import torch\nclass Mine(torch.optim.SGD):\n    pass\n")
    plan = plan_of(compare, searched, "--also", f"{mine}:Mine")
    folder = write_run(compare, plan, [], tmp_path / "run")
    mine.write_text(mine.read_text() + "# other\n")
    line = refusal(compare.main, ["--resume", str(folder)], capsys)
    assert f"{mine} is not what it was when {folder} began" in line


def test_muon_takes_hidden_matrices_and_filters_and_adam_the_rest_the_last_one_too():
    torch.manual_seed(0)
    hidden = torch.nn.Conv2d(2, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4, 3)
    net = torch.nn.Sequential(*hidden, torch.nn.Linear(3, 2))
    start = [p.detach().clone() for p in net.parameters()]
    optimizer = make_optimizer(f"{others.__file__}:Muon", net.parameters(), 0.01)
    images, gradients = torch.randn(5, 2, 3, 3), []
    for _ in range(3):
        optimizer.zero_grad()
        net(images).square().sum().backward()
        gradients.append([p.grad.clone() for p in net.parameters()])
        optimizer.step()
    for place, (before, after) in enumerate(zip(start, net.parameters(), strict=True)):
        matrix = before.dim() > 1 and place < 4
        alone = torch.nn.Parameter((before.flatten(1) if matrix else before).clone())
        how = {"weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw"}
        torchs = torch.optim.Muon([alone], 0.01, **how) if matrix else torch.optim.Adam([alone], 0.01)
        for step in gradients:
            alone.grad = step[place].view_as(alone)
            torchs.step()
        assert torch.equal(alone.view_as(after), after) and not torch.equal(before, after)


def test_a_scheduled_optimizer_has_torchs_warm_up_and_half_cosine():
    who = "studies.others:Scheduled(optimizer='torch.optim.SGD', total_steps=30, warmup_steps=10)"
    weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    ours, theirs = make_optimizer(who, weights[:1], 0.3), torch.optim.SGD(weights[1:], 0.3)
    parts = lr_scheduler.LinearLR(theirs, 0.1, total_iters=9), lr_scheduler.CosineAnnealingLR(theirs, 20)
    schedule = lr_scheduler.SequentialLR(theirs, [*parts], [10])
    for _ in range(30):
        for optimizer, p in ((ours, weights[0]), (theirs, weights[1])):
            optimizer.zero_grad()
            p.sum().backward()
            optimizer.step()
        schedule.step()
        torch.testing.assert_close(*weights)
    assert weights[0][0].item() == pytest.approx(-0.3 * (5.5 + 10.5), rel=1e-5)
