"""Tests of rules.py: every named rule against its formula in plain torch, beside anybody's files."""

import json
import math
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from plain import average
from torch import exp, sign

import rules
from dsl import SUBSETS, Rule, RuleError
from export.code import export
from rosenbrock import descend
from rules import NAMED_RULES, RECALLED, find, make_optimizer

ROOT = Path(rules.__file__).parent
TENSORFLOW = json.loads((ROOT / "tests" / "data" / "tensorflow_steps.json").read_text())
STEPS, SIZE = 60, 500
TOTAL = 50  # steps of a schedule, which then stays where it ended
LD, CD, RD = (
    lambda t: 1 - min(t / TOTAL, 1),
    lambda t: (1 + math.cos(math.pi * min(t / TOTAL, 1))) / 2,
    lambda t: (1 + math.cos(math.pi * min(t / TOTAL, 1) / 2)) / 2,
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
        self.m = torch.as_tensor(average(np.stack(gradients), 0.9))
        self.v = torch.as_tensor(average(np.stack(gradients) ** 2, 0.999))
        self.adam = self.m / (self.v.sqrt() + 1e-8)
        self.agree = sign(self.g) * sign(self.m)


def gradients(steps, size, scale=0.3):
    generator = torch.Generator().manual_seed(1)
    return [scale * torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(steps)]


# --- the library ----------------------------------------------------------------------------------


def test_the_paper_reports_sixteen_rules_all_of_its_own_language():
    reported = [name for name, named in NAMED_RULES.items() if named.source == RECALLED]
    assert len(reported) == 16
    for name in reported:
        operands, unary, binary = map(set, SUBSETS["full"].values())
        for op1, op2, u1, u2, b in find(name).groups:
            assert {op1, op2} <= operands | {"r1", "r2"} and {u1, u2} <= unary and b in binary


@pytest.mark.parametrize("name", NAMED_RULES)
def test_rule_reads_as_its_formula_and_its_trajectory_follows_it(name):
    read, formula = FORMULAS[name]
    assert find(name).infix() == read and str(find(name)) == NAMED_RULES[name].rule
    w = torch.linspace(-2, 2, SIZE, dtype=torch.float64, requires_grad=True)
    optimizer, lr, dropped, seen = make_optimizer(name, [w], 0.01, total_steps=TOTAL), 0.01, 0, []
    for g in gradients(STEPS, w.shape):
        seen.append(g)
        before = w.detach().clone()
        wanted = before - lr * formula(Step(before, seen))
        w.grad = g.clone()
        optimizer.step()
        if wanted.dim() == 1:
            torch.testing.assert_close(w.detach(), wanted, rtol=1e-10, atol=1e-13)  # float64 rounding
        else:
            near = (w.detach() - wanted).abs() <= 1e-13 + 1e-10 * wanted.abs()
            assert near.any(dim=0).all()
            dropped += (near[1] & ~near[0]).sum().item()
    chances = re.findall(r"drop\(., (0\.\d)\)", read)
    chance = float(chances[0]) if chances else 0.0
    spread = math.sqrt(chance * (1 - chance) / (STEPS * SIZE))
    assert abs(dropped / (STEPS * SIZE) - chance) <= 5 * spread


def test_no_two_named_rules_act_alike():
    marks = [find(name).fingerprint() for name in NAMED_RULES]
    assert len(set(marks)) == len(marks)


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


# --- finding rules --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["adam", " Adam ", "adam  1 id\nid mul", find("adam")])
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
        ("drop(Adam, 0.3) * exp(g^2)", "is a formula, for people"),
        ("m + g", "hall_of_fame.csv has in column `rule`"),
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


# --- what it needs --------------------------------------------------------------------------------


def run(code: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)


TRAIN = """
import torch
from rules import make_optimizer

w = torch.ones(3, requires_grad=True)
w.grad = torch.tensor([1.0, -1.0, 0.0])
make_optimizer("signsgd", [w], lr=0.5).step()
print(w.tolist())
"""


def test_two_files_train_beside_foreign_files_of_the_same_names_as_ours(tmp_path):
    for name in ("dsl.py", "rules.py"):
        shutil.copy(ROOT / name, tmp_path)
    for path in {*ROOT.glob("*.py")} - {ROOT / "dsl.py", ROOT / "rules.py"}:
        (tmp_path / path.name).write_text("raise ImportError('this file is somebody else's')")
    done = run(TRAIN, tmp_path)
    assert done.stdout == "[0.5, 1.5, 1.0]\n", done.stderr


TEXT = """
import contextlib, sys
import export.tree, rules, search

for command in ("rules show adam", "rules show amda", "rules list", "rules export adam", "rules --help",
                "search --help", "search --sampels 5"):
    script, *words = command.split()
    with contextlib.suppress(SystemExit):
        sys.modules[script].main(words)
print([name for name in ("torch._dynamo", "matplotlib") if name in sys.modules], file=sys.stderr)
"""


def test_text_needs_neither_the_compiler_nor_figures():
    """Both take seconds to import."""
    done = run(TEXT, ROOT)
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
