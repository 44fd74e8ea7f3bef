"""Tests of rules.py: every named rule is the formula that it is known by, beside anybody's files."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import pairs
from processes import children
from test_structure import PLACE

import rules
from dsl import SUBSETS, Rule, RuleError
from export.code import export
from rosenbrock import descend
from rules import NAMED_RULES, RECALLED, find, make_optimizer

ROOT = Path(rules.__file__).parent
TENSORFLOW = json.loads((ROOT / "tests" / "data" / "tensorflow_steps.json").read_text())


# Written from the formulas of papers and textbooks, not from the token strings.
READ = dict(
    pairs("""
sgd = g                                                 momentum = m
nesterov = (1 + 2)^2 * m + g                            rmsprop = RMSProp
adam = Adam                                             signsgd = sign(g)
signum = sign(m)                                        powersign = exp(sign(g) * sign(m)) * g
powersign-clip-g = (exp(sign(g) * sign(m)) + clip(g, 1e-4)) * g
powersign-drop10 = drop(g, 0.1) * exp(sign(g) * sign(m))
powersign-drop30 = drop(g, 0.3) * exp(sign(g) * sign(m))
powersign-adam = Adam * exp(sign(g) * sign(m))          adam-exp-m = Adam * exp(m)
m-exp-v = m * exp(v)                                    clip-m-exp-v = clip(m, 1e-4) * exp(v)
m-exp-g2 = m * exp(g^2)
m-over-exp-g2 = drop(m, 0.1) / (exp(g^2) + eps)         m-exp-g3 = drop(m, 0.1) * exp(g^3)
m-exp-w = drop(m, 0.3) * exp(1e-3*w)
rmsprop-plus-m = clip(RMSProp, 1e-5) + drop(m, 0.3)     g-plus-m = g + drop(m, 0.3)
g-minus-clip-g2 = g - clip(g^2, 1e-4)                   exp-difference = exp(g) - exp(m)
powersign-ld = exp(ld * sign(g) * sign(m)) * g
powersign-cd = exp(cd * sign(g) * sign(m)) * g
powersign-rd = exp(rd * sign(g) * sign(m)) * g          addsign = (1 + sign(g) * sign(m)) * g
addsign-ld = (1 + ld * sign(g) * sign(m)) * g
addsign-cd = (1 + cd * sign(g) * sign(m)) * g
addsign-rd = (1 + rd * sign(g) * sign(m)) * g
""")
)


def gradients(steps, size, scale=0.3):
    generator = torch.Generator().manual_seed(1)
    return [scale * torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(steps)]


def test_no_two_named_rules_act_alike_and_sixteen_are_the_papers_all_of_its_own_language():
    assert len({find(name).fingerprint() for name in NAMED_RULES}) == len(NAMED_RULES)
    reported = [name for name, named in NAMED_RULES.items() if named.source == RECALLED]
    assert len(reported) == 16
    for name in reported:
        operands, unary, binary = map(set, SUBSETS["full"].values())
        for op1, op2, u1, u2, b in find(name).groups:
            assert {op1, op2} <= operands | {"r1", "r2"} and {u1, u2} <= unary and b in binary


@pytest.mark.parametrize("name", NAMED_RULES)
def test_rule_reads_as_its_formula(name):
    """And computes it: the tests of faces.py and dsl.py prove that of any rule."""
    assert find(name).infix() == READ[name] and str(find(name)) == NAMED_RULES[name].rule
    for text in (f" {name.title()} ", NAMED_RULES[name].rule.replace(" ", "\n"), find(name)):
        assert find(text) == Rule.parse(NAMED_RULES[name].rule)


def test_nesterov_becomes_torchs_once_bias_correction_has_faded():
    ours, theirs = (torch.ones(50, dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = make_optimizer("nesterov", [ours], 0.05)
    reference = torch.optim.SGD([theirs], 0.05, momentum=0.9, nesterov=True)
    for t, g in enumerate(gradients(300, 50)):
        before = ours.detach().clone(), theirs.detach().clone()
        ours.grad, theirs.grad = g.clone(), g.clone()
        optimizer.step()
        reference.step()
        if t >= 250:  # 0.9**250 is 4e-12
            a, b = (x.detach() - y for x, y in zip((ours, theirs), before, strict=True))
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


NO_RULE = {"powersing": "powersign", "": "rules.py list", "zzz": "rules.py list", "g 1 id": "it lacks 2"}
NO_RULE |= {"g 1 id id plus": "unknown binary function 'plus'", "adam sgd": "one rule at a time"}
NO_RULE |= {"g g0 id id mul": "\n    ^^", "drop(Adam, 0.3) * exp(g^2)": "is a formula, for people"}
NO_RULE |= {"m + g": "hall_of_fame.csv has in column `rule`"}
NO_RULE |= {"torch.optim.AdamW(weight_decay=0.01)": "is an optimizer class, which has no tokens"}


@pytest.mark.parametrize("text, told", NO_RULE.items())
def test_what_is_no_rule_is_refused_helpfully(text, told):
    with pytest.raises(RuleError, match=re.escape(told)):
        find(text)


MINE = """
import torch
class Mine(torch.optim.SGD):
    def __init__(self, params, lr, mu=0.5):
        super().__init__(params, lr, momentum=mu)
class Empty(torch.optim.SGD):
    def step(self, closure=None):
        pass
class Picky(torch.optim.SGD):
    def step(self, closure):
        return super().step(closure)
"""


NO_CLASS = pairs("""
torch.optim.LBFGS = LBFGS(params, lr=0.001) and step() fail: TypeError       nowhere.py:Lion = no file
FILE:Picky = :Picky(params, lr=0.001) and step() fail: TypeError
torch.optim.AdamW(0.9) = stand names and plain values, as in (betas=(0.9, 0.99))
torch.optim.SGD(momentum=x) = plain values, as in (betas=(0.9, 0.99))       FILE:Empty = as they were
torch.optim.AdamW(foo=(1, 2)) = AdamW(params, lr=0.001, foo=(1, 2)) and step() fail
torch.optim.Nothing = no attribute 'Nothing'     no_such_module:Lion = No module named 'no_such_module'
torch.optim.AdamW(eps=print('evaluated')) = plain values       torch.optim.AdamW(lr=1) = leave lr out
torch.optim.AdamW(eps=1 = is a formula, for people
""")


@pytest.mark.parametrize("text, told", NO_CLASS)
def test_an_optimizer_that_cannot_be_is_refused_in_one_line(text, told, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    with pytest.raises(RuleError) as error:
        rules.named(text.replace("FILE", str(tmp_path / "mine.py")))
    assert told in str(error.value) and "\n" not in str(error.value)
    assert "evaluated" not in capsys.readouterr().out


def test_anybodys_optimizer_is_made_as_it_would_be_by_hand(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    name, mine = rules.named("mine.py:Mine(mu=0.25)")
    assert name == str(mine) == f"{tmp_path.resolve()}/mine.py:Mine(mu=0.25)"
    assert rules.rule_or_class(name) == mine and mine.key() == mine.infix() == name
    weights = [torch.nn.Parameter(torch.ones(2))]
    assert rules.make_optimizer(name, weights, 0.1).defaults["momentum"] == 0.25
    group = make_optimizer("adam", weights, lr=0.5, betas=(0.5, 0.6, 0.7), eps=1e-4).param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == (0.5, (0.5, 0.6, 0.7), 1e-4)
    adamw = rules.make_optimizer("torch.optim:AdamW(weight_decay=0.5)", weights, 0.1)
    assert type(adamw) is torch.optim.AdamW and adamw.defaults["weight_decay"] == 0.5
    for rule in ("drop0.1", "m 1 drop0.1 id mul", "powersign", "1e-3w 1 id id mul"):
        assert not rules.is_class(rule)


def train_in(folder: Path) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in PLACE]:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    w = torch.ones(3, requires_grad=True)
    w.grad = torch.tensor([1.0, -1.0, 0.0])
    importlib.import_module("rules").make_optimizer("signsgd", [w], lr=0.5).step()
    assert w.tolist() == [0.5, 1.5, 1.0]
    assert sys.modules["dsl"].__file__ == str(folder / "dsl.py")


def test_two_files_train_beside_foreign_files_of_the_same_names_as_ours(tmp_path):
    for name in ("dsl.py", "rules.py"):
        shutil.copy(ROOT / name, tmp_path)
    for path in {*ROOT.glob("*.py")} - {ROOT / "dsl.py", ROOT / "rules.py"}:
        (tmp_path / path.name).write_text("raise ImportError('this file is somebody else's')")
    with children(train_in, tmp_path) as (process,):
        process.join()
        assert process.exitcode == 0


TEXT = """
import contextlib, importlib, sys

loaded = []
for command in ("nosbench.show adam", "rules show adam", "rules show amda", "rules list", "rules --help",
                "rules export adam", "search --help", "search --sampels 5"):
    script, *words = command.split()
    with contextlib.suppress(SystemExit):
        importlib.import_module(script).main(words)
    slow = ["torch._dynamo", "matplotlib"] + ["child", "scipy"] * (script == "nosbench.show")
    loaded += [f"{name} for {command}" for name in slow if name in sys.modules]
print(loaded, file=sys.stderr)
"""


def test_text_needs_neither_the_compiler_nor_figures():
    """Both take seconds to import."""
    done = subprocess.run([sys.executable, "-c", TEXT], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]" and "Did you mean adam" in done.stderr


@pytest.mark.parametrize("name", [name for name in TENSORFLOW if "sign" in name])
@pytest.mark.parametrize("exported", [False, True])
def test_sixty_steps_are_those_of_tensorflows_kernels(name, exported):
    """Recorded by tests/data/tensorflow_steps.py; its restart decay has a period, beyond T it stays."""
    recorded = TENSORFLOW[name]
    settings = {"lr": recorded["settings"]["learning_rate"]}
    settings |= {"total_steps": recorded["settings"]["T"]} if name[-3:-2] == "-" else {}
    settings |= {"num_periods": 1} if name.endswith("-rd") else {}
    make = partial(make_optimizer, name)
    if exported:
        space = {}
        exec(export(find(name), "Exported", []), space)
        make = space["Exported"]
    path = descend(partial(make, **settings), [(-1.2, 1.0)], 60)[1:, 0, :2]
    np.testing.assert_allclose(path, recorded["points"], rtol=0, atol=4e-15)
    if name.endswith("-rd"):  # without a whole period it is another
        del settings["num_periods"]
        other = descend(partial(make, **settings), [(-1.2, 1.0)], 60)[1:, 0, :2]
        assert abs(other - recorded["points"]).max() > 1e-3
