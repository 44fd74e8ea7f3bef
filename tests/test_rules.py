"""Tests of rules.py: every named rule against its formula in plain torch, and the command line."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import exp, sign

import results
import rules
from dsl import EXTRAS, Rule, RuleError
from export.advice import NO_SWEEP
from rules import HUMAN, NAMED_RULES, RECALLED, find, make_optimizer

STEPS, SIZE = 60, 500
TOTAL = 50  # steps of a schedule, which then stays where it ended
LD, CD, RD = (
    lambda t: 1 - min(t / TOTAL, 1),
    lambda t: (1 + math.cos(math.pi * min(t / TOTAL, 1))) / 2,
    lambda t: (1 + math.cos(math.pi * ((min(t, TOTAL) / 2) % TOTAL) / TOTAL)) / 2,
)


def drop(x, p):
    """Both outcomes of each element, kept and dropped; `p` is checked by counting."""
    return torch.stack([x, torch.zeros_like(x)])


# Written from the formulas, not from the token strings: name -> (what people read, the update).
FORMULAS = {
    "sgd": ("g", lambda s: s.g),
    "momentum": ("m", lambda s: s.m),
    "nesterov": ("(1 + 2)^2 * m + g", lambda s: s.g + 0.9 * 10 * s.m),
    "rmsprop": ("RMSProp", lambda s: s.g / (s.v.sqrt() + 1e-8)),
    "adam": ("Adam", lambda s: s.adam),
    "signsgd": ("sign(g)", lambda s: sign(s.g)),
    "signum": ("sign(m)", lambda s: sign(s.m)),
    "powersign": ("exp(sign(g) * sign(m)) * g", lambda s: math.e**s.agree * s.g),
    "powersign-clip-g": (
        "(exp(sign(g) * sign(m)) + clip(g, 1e-4)) * g",
        lambda s: (exp(s.agree) + s.g.clip(-1e-4, 1e-4)) * s.g,
    ),
    "powersign-drop10": (
        "drop(g, 0.1) * exp(sign(g) * sign(m))",
        lambda s: drop(s.g, 0.1) * exp(s.agree),
    ),
    "powersign-drop30": (
        "drop(g, 0.3) * exp(sign(g) * sign(m))",
        lambda s: drop(s.g, 0.3) * exp(s.agree),
    ),
    "powersign-adam": ("Adam * exp(sign(g) * sign(m))", lambda s: s.adam * exp(s.agree)),
    "adam-exp-m": ("Adam * exp(m)", lambda s: s.adam * exp(s.m)),
    "m-exp-v": ("m * exp(v)", lambda s: s.m * exp(s.v)),
    "clip-m-exp-v": ("clip(m, 1e-4) * exp(v)", lambda s: s.m.clip(-1e-4, 1e-4) * exp(s.v)),
    "m-exp-g2": ("m * exp(g^2)", lambda s: s.m * exp(s.g**2)),
    "m-over-exp-g2": (
        "drop(m, 0.1) / (exp(g^2) + eps)",
        lambda s: drop(s.m, 0.1) / (exp(s.g**2) + 1e-8),
    ),
    "m-exp-g3": ("drop(m, 0.1) * exp(g^3)", lambda s: drop(s.m, 0.1) * exp(s.g**3)),
    "m-exp-w": ("drop(m, 0.3) * exp(1e-3*w)", lambda s: drop(s.m, 0.3) * exp(s.w / 1000)),
    "rmsprop-plus-m": (
        "clip(RMSProp, 1e-5) + drop(m, 0.3)",
        lambda s: (s.g / s.v.sqrt()).clip(-1e-5, 1e-5) + drop(s.m, 0.3),
    ),
    "g-plus-m": ("g + drop(m, 0.3)", lambda s: s.g + drop(s.m, 0.3)),
    "g-minus-clip-g2": ("g - clip(g^2, 1e-4)", lambda s: s.g - (s.g**2).clip(max=1e-4)),
    "exp-difference": ("exp(g) - exp(m)", lambda s: exp(s.g) - exp(s.m)),
    "powersign-ld": ("exp(ld * sign(g) * sign(m)) * g", lambda s: exp(LD(s.t) * s.agree) * s.g),
    "powersign-cd": ("exp(cd * sign(g) * sign(m)) * g", lambda s: exp(CD(s.t) * s.agree) * s.g),
    "powersign-rd": ("exp(rd * sign(g) * sign(m)) * g", lambda s: exp(RD(s.t) * s.agree) * s.g),
    "addsign": ("(1 + sign(g) * sign(m)) * g", lambda s: (1 + s.agree) * s.g),
    "addsign-ld": ("(1 + ld * sign(g) * sign(m)) * g", lambda s: (1 + LD(s.t) * s.agree) * s.g),
    "addsign-cd": ("(1 + cd * sign(g) * sign(m)) * g", lambda s: (1 + CD(s.t) * s.agree) * s.g),
    "addsign-rd": ("(1 + rd * sign(g) * sign(m)) * g", lambda s: (1 + RD(s.t) * s.agree) * s.g),
}


class Step:
    """What a formula may use at step t (from 0): averages as explicit sums over all gradients."""

    def __init__(self, w, gradients):
        self.w, self.g, self.t = w, gradients[-1], len(gradients) - 1
        self.m = self.average(gradients, 0.9)
        self.v = self.average([g**2 for g in gradients], 0.999)
        self.adam = self.m / (self.v.sqrt() + 1e-8)
        self.agree = sign(self.g) * sign(self.m)

    @staticmethod
    def average(values, beta):
        weights = [beta**age for age in range(len(values))][::-1]
        return sum(a * x for a, x in zip(weights, values, strict=True)) / sum(weights)


def gradients(steps, size, scale=0.3):
    generator = torch.Generator().manual_seed(1)
    return [scale * torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(steps)]


# --- the library ----------------------------------------------------------------------------------


def test_every_named_rule_has_a_formula_here():
    assert FORMULAS.keys() == NAMED_RULES.keys()


def test_the_paper_reports_sixteen_rules_all_of_its_own_language():
    reported = [name for name, named in NAMED_RULES.items() if named.source == RECALLED]
    assert len(reported) == 16
    for name in reported:
        assert EXTRAS.isdisjoint(find(name).tokens)


@pytest.mark.parametrize("name", NAMED_RULES)
def test_names_are_kebab_case_and_rules_read_back(name):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert str(Rule.parse(NAMED_RULES[name].rule)) == NAMED_RULES[name].rule
    assert NAMED_RULES[name].source in rules.SOURCES


@pytest.mark.parametrize("name", FORMULAS)
def test_infix_is_the_formula_listed(name):
    assert find(name).infix() == FORMULAS[name][0]


@pytest.mark.parametrize("name", FORMULAS)
def test_trajectory_follows_the_formula(name):
    w = torch.linspace(-2, 2, SIZE, dtype=torch.float64, requires_grad=True)
    optimizer, lr, dropped, seen = make_optimizer(name, [w], 0.01, total_steps=TOTAL), 0.01, 0, []
    for g in gradients(STEPS, w.shape):
        seen.append(g)
        before = w.detach().clone()
        wanted = before - lr * FORMULAS[name][1](Step(before, seen))
        w.grad = g.clone()
        optimizer.step()
        if wanted.dim() == 1:
            torch.testing.assert_close(w.detach(), wanted, rtol=1e-10, atol=1e-13)  # float64 rounding
        else:
            near = (w.detach() - wanted).abs() <= 1e-13 + 1e-10 * wanted.abs()
            assert near.any(dim=0).all()
            dropped += (near[1] & ~near[0]).sum().item()
    chances = re.findall(r"drop\(., (0\.\d)\)", FORMULAS[name][0])
    chance = float(chances[0]) if chances else 0.0
    spread = math.sqrt(chance * (1 - chance) / (STEPS * SIZE))
    assert abs(dropped / (STEPS * SIZE) - chance) <= 5 * spread


def test_no_two_named_rules_act_alike():
    marks = [find(name).fingerprint() for name in NAMED_RULES]
    assert len(set(marks)) == len(marks)


TORCH = {
    "sgd": lambda w: torch.optim.SGD(w, 0.05),
    "rmsprop": lambda w: torch.optim.Adam(w, 0.05, betas=(0.0, 0.999)),
    "adam": lambda w: torch.optim.Adam(w, 0.05),
}


@pytest.mark.parametrize("name", TORCH)
def test_human_rules_equal_torch_optimizers(name):
    ours = torch.ones(50, dtype=torch.float64, requires_grad=True)
    theirs = torch.ones(50, dtype=torch.float64, requires_grad=True)
    optimizers = make_optimizer(name, [ours], 0.05), TORCH[name]([theirs])
    for g in gradients(200, 50):
        ours.grad, theirs.grad = g.clone(), g.clone()
        for optimizer in optimizers:
            optimizer.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_momentum_equals_torch_with_dampening_and_bias_correction():
    ours = torch.ones(50, dtype=torch.float64, requires_grad=True)
    theirs = torch.ones(50, dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer("momentum", [ours], 0.05)
    reference = torch.optim.SGD([theirs], 0.05, momentum=0.9, dampening=0.9)
    theirs.grad = torch.zeros_like(theirs)  # torch does not dampen its first step: make that one empty
    reference.step()
    for t, g in enumerate(gradients(10, 50), 1):
        ours.grad, theirs.grad = g.clone(), g.clone()
        reference.param_groups[0]["lr"] = 0.05 / (1 - 0.9**t)
        optimizer.step()
        reference.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
def test_momentum_becomes_torchs_once_bias_correction_has_faded(name):
    """m is a tenth of torch's buffer, so momentum runs at ten times the rate."""
    ours = torch.ones(50, dtype=torch.float64, requires_grad=True)
    theirs = torch.ones(50, dtype=torch.float64, requires_grad=True)
    lr = 0.05 if name == "nesterov" else 0.5
    optimizer = make_optimizer(name, [ours], lr)
    reference = torch.optim.SGD([theirs], 0.05, momentum=0.9, nesterov=name == "nesterov")
    for t, g in enumerate(gradients(300, 50)):
        before = ours.detach().clone(), theirs.detach().clone()
        ours.grad, theirs.grad = g.clone(), g.clone()
        optimizer.step()
        reference.step()
        if t >= 250:  # 0.9**250 is 4e-12
            a, b = (x.detach() - y for x, y in zip((ours, theirs), before, strict=True))
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_the_four_baselines_are_named_rules():
    assert HUMAN == ("sgd", "momentum", "rmsprop", "adam")
    assert all(NAMED_RULES[name].source == rules.HAND for name in HUMAN)


# --- finding rules --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["adam", " Adam ", "adam 1 id id mul", "adam  1 id\nid mul", find("adam")]
)
def test_find_takes_names_strings_and_rules(text):
    assert find(text) == Rule.parse("adam 1 id id mul")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("powersing", "powersign"),
        ("", "rules.py list"),
        ("zzz", "rules.py list"),
        ("g 1 id", "it lacks 2"),
        ("g 1 id id plus", "unknown binary function 'plus'"),
        ("g g0 id id mul", "\n    ^^"),
        ("adam sgd", "one rule at a time"),
    ],
)
def test_what_is_no_rule_is_refused_helpfully(text, told):
    with pytest.raises(RuleError, match=re.escape(told)):
        find(text)


def test_make_optimizer_passes_settings_on():
    w = torch.ones(3, requires_grad=True)
    group = make_optimizer("adam", [w], lr=0.5, betas=(0.5, 0.6, 0.7), eps=1e-4).param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == (0.5, (0.5, 0.6, 0.7), 1e-4)
    with pytest.raises(ValueError, match="needs total_steps"):
        make_optimizer("powersign-ld", [w], lr=0.1)


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("sgd", []),
        ("powersign", ["m"]),
        ("rmsprop", ["v"]),
        ("adam", ["m", "v"]),
        ("gamma m id id add", ["m", "gamma"]),
        ("g adam id id left", []),
    ],
)
def test_averages_are_those_that_the_formula_reads(rule, kept):
    assert rules.averages(find(rule)) == kept


# --- command line ---------------------------------------------------------------------------------


def make_run(folder: Path, child_seed: int = 0) -> None:
    """Write a run of a search that has scored Adam and PowerSign."""

    def line(rule: str, lr: float, *scores: float | None) -> dict:
        sweep = [[10.0**k, y] for k, y in zip(range(-3, 2), scores, strict=True)]
        key = find(rule).key()
        return {"rule": str(find(rule)), "key": key, "status": "ok", "lr": lr, "sweep": sweep}

    child = {"dataset": "cifar10", "downsample": "stride", "filters": 16, "epoch_size": 1000}
    child |= {
        "batch_size": 100,
        "num_validation": 2000,
        "precision": "float32",
        "child_seed": child_seed,
    }
    with results.Run.create(folder, {"algorithm": "trpo", **child}, {}) as run:
        run.append("baselines.jsonl", {"name": "adam", **line("adam", 0.001, 0.5, 0.4, 0.1, 0.1, None)})
        run.append("records.jsonl", line("powersign", 0.1, 0.2, 0.49, 0.5, 0.481, 0.3))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """Go to a folder without runs, where the default for runs is too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rules, "RUNS", tmp_path / "runs")
    return tmp_path


def test_list_shows_every_rule_with_its_formula_in_aligned_columns(elsewhere, capsys):
    make_run(elsewhere / "runs" / "one")
    assert rules.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 126
    names = ["update", "source", "state", "lr", "to Adam's"]
    starts = [0, *(re.search(rf"(?<= ){name}", lines[0]).start() for name in names), None]
    rows = [[line[a:b].strip() for a, b in zip(starts, starts[1:], strict=False)] for line in lines[2:]]
    shown = {row[0]: row[1:] for row in rows[: len(NAMED_RULES)]}
    assert shown.keys() == NAMED_RULES.keys()
    for name, (infix, _) in FORMULAS.items():
        state = ", ".join(rules.averages(find(name))) or "-"
        assert shown[name][:3] == [infix, NAMED_RULES[name].source, state]
        known = {"adam": ["<=0.001 (<=0.001..<=0.001)", "<=1x"], "powersign": ["0.1 (0.01..1)", "100x"]}
        assert shown[name][3:] == known.get(name, ["-", "-"])


@pytest.mark.parametrize("words", [["powersign"], ["PowerSign"], [NAMED_RULES["powersign"].rule]])
def test_show_tells_all_faces(words, elsewhere, capsys):
    rules.main(["show", *words])
    out, rule = capsys.readouterr().out, find("powersign")
    for fact in (str(rule), rule.infix(), rule.latex(), rule.key(), rule.fingerprint()):
        assert fact in out
    assert re.search(r"averages +m \(", out)
    assert re.search(r"as written +r1 = sign\(g\) \* sign\(m\);  r2 = exp\(r1\) \* g$", out, re.M)
    assert out.count(NO_SWEEP) == 2 and f"    # {NO_SWEEP}\n    optimizer = " in out


def test_show_tells_what_is_dead_and_how_the_string_reads(capsys):
    rules.main(["show", *"g m id neg add | gamma v exp drop0.1 left".split()])
    out = capsys.readouterr().out
    assert re.search(r"as written +r1 = g \+ -m;  r2 = left\(exp\(gamma\), drop\(v, 0.1\)\)$", out, re.M)
    assert re.search(r"simplified +exp\(gamma\)$", out, re.M)
    assert re.search(r"dead +g of r1, m of r1, v of r2$", out, re.M)


def test_show_gives_the_recorded_rates(elsewhere, capsys):
    make_run(elsewhere / "some" / "where")
    make_run(elsewhere / "some" / "twin", child_seed=1)
    rules.main(["show", "powersign", "--runs", "some"])
    out = " ".join(capsys.readouterr().out.split())
    assert (
        "rates lr 0.1, good from 0.01 to 1, 2 decades; Adam's best is 0.001, so this is 100 times "
        in out
    )
    assert "[cifar10, strided, 1,000 images an epoch; 2 seeds]" in out and "lr=0.1)" in out


@pytest.mark.parametrize("command", [["list"], ["show", "powersign"], ["export", "powersign"]])
def test_damaged_runs_are_skipped_with_a_line_each(command, elsewhere, capsys):
    for name in ("broken", "foreign", "whole"):
        make_run(elsewhere / "runs" / name)
    (elsewhere / "runs" / "broken" / "config.json").write_text("{")
    (elsewhere / "runs" / "foreign" / "records.jsonl").write_text("[]\n")
    assert rules.main(command) == 0
    out, err = capsys.readouterr()
    assert "0.1" in out and re.findall(r"^WARNING: (\S+)", err, re.M) == [
        str(elsewhere / "runs" / name) for name in ("broken", "foreign")
    ]


def test_runs_lie_beside_the_code_or_where_they_are_said_to(elsewhere, monkeypatch, capsys):
    monkeypatch.undo()
    assert Path(rules.__file__).parent / "runs" == rules.RUNS
    for command in (["list"], ["show", "adam"], ["export", "adam"]):
        with pytest.raises(SystemExit) as stop:
            rules.main([*command, "--runs", str(elsewhere / "nowhere"), str(elsewhere)])
        out, err = capsys.readouterr()
        assert stop.value.code == 2 and out == ""
        assert err == f"rules.py {command[0]}: error: --runs: {elsewhere / 'nowhere'} is no folder\n"


def test_a_reader_that_hangs_up_is_no_file_that_cannot_be_written(monkeypatch):
    def hang_up(*args, **kw):
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", hang_up)
    with pytest.raises(BrokenPipeError):
        rules.main(["show", "adam"])


def test_exported_file_says_what_a_named_rule_is_and_where_it_is_from(capsys):
    for name, what in (
        ("nesterov", "for a beta1 of 0.9 alone"),
        ("powersign", "from memory, not checked"),
    ):
        rules.main(["export", name])
        doc = " ".join(capsys.readouterr().out.split('"""')[1].split())
        assert NAMED_RULES[name].description in doc and what in doc


def test_show_takes_separate_words_and_finds_rules_that_act_alike(capsys):
    rules.main(["show", *"sign_g 1 sign id mul".split()])
    out = capsys.readouterr().out
    assert "a rule without a name" in out and re.search(r"acts like +signsgd$", out, re.M)


def test_export_writes_a_file_that_trains_and_never_over_another(elsewhere, capsys):
    make_run(elsewhere / "runs" / "one")
    assert rules.main(["export", "powersign", "-o", "mine.py"]) == 0
    assert capsys.readouterr().out == "Wrote mine.py\n"
    text = (elsewhere / "mine.py").read_text()
    assert "lr 0.1, good from 0.01 to 1" in text and "PowerSign(model.parameters(), lr=0.1)" in text
    rules.main(["export", "powersign"])
    assert capsys.readouterr().out == text
    with pytest.raises(SystemExit) as stop:
        rules.main(["export", "adam", "-o", "mine.py"])
    assert stop.value.code == 2 and "exists already" in capsys.readouterr().err
    assert (elsewhere / "mine.py").read_text() == text


def test_export_names_the_class(elsewhere, capsys):
    for words, wanted in ((["addsign-rd"], "AddSignRd"), ("m 1 id id mul --name Mine".split(), "Mine")):
        rules.main(["export", *words])
        assert f"class {wanted}(torch.optim.Optimizer)" in capsys.readouterr().out


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


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["shwo"],
        ["show"],
        ["show", "powersing"],
        ["show", "g", "1", "id"],
        ["list", "--all"],
        ["export"],
        ["export", "adam", "--name", "class"],
        ["export", "adam", "--name", "torch"],
        ["export", "adam", "--name", "super"],
        ["export", "adam", "-o", "/proc/nothing/adam.py"],
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        rules.main(argv)
    captured = capsys.readouterr()
    assert stop.value.code == 2 and captured.out == ""
    assert captured.err.count("error:") == 1 and captured.err.startswith("rules.py")


def test_a_reader_that_has_enough_ends_the_list_quietly():
    command = [sys.executable, rules.__file__, "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as listing:
        listing.stdout.close()  # as `| head` does, but before anything is written
        assert listing.stderr.read() == ""
