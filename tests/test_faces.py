"""Tests of faces.py: what is printed is evaluated again, and must be the update."""

import random
import re

import numpy as np
import pytest
from plain import NUMPY_UNARY, pairs, random_operands, random_rule

from dsl import Rule, apply_rule


def infix_to_python(text):
    for old, new in (("log|", "log("), ("sqrt|", "sqrt("), ("|", ")"), ("^", "**")):
        text = text.replace(old, new)
    return text


LATEX = r"""
\\log\\left\| = log(        \\left[|(] = (        10\^\{(-\d)\} w = 1e\1*w        \\cdot = *
\\right[|)] = )             \\delta = eps         10\^\{(-\d)\} = 1e\1
\\(?:operatorname|mathrm)\{(\w+)\} = \1           \\hat ?\\?(\w+) = \1
\\epsilon_t = anoise        \\epsilon = noise
"""
COMMANDS = {  # with arguments in braces; e^{} before ^{}
    r"\\frac{}{}": r"((\1)/(\2))",
    r"\\sqrt{}": r"sqrt(\1)",
    r"(?<!\w)e\^{}": r"exp(\1)",
    r"\^{}": r"**(\1)",
}


def latex_to_python(text):
    for old, new in pairs(LATEX):
        text = re.sub(old, new, text)
    patterns = {command.replace("{}", r"\{([^{}]*)\}"): new for command, new in COMMANDS.items()}
    while "{" in text:  # innermost braces first
        pattern = next((p for p in patterns if re.search(p, text)), None)
        assert pattern, f"unbalanced braces or an unknown command in {text}"
        text = re.sub(pattern, patterns[pattern], text)
    return text.replace("^", "**")


@pytest.mark.parametrize("face, to_python", [("infix", infix_to_python), ("latex", latex_to_python)])
def test_printed_rule_evaluates_to_the_update(face, to_python):
    rng, operands = random.Random(1), random_operands()
    names = {token: value.numpy() for token, value in operands.items()}
    names |= {"w": 1e4 * names["1e-4w"], "Adam": names["adam"], "RMSProp": names["rmsprop"], "eps": 1e-8}
    functions = {"exp": np.exp, "clip": lambda x, c: np.clip(x, -c, c)}
    functions |= {"log": NUMPY_UNARY["log"], "sign": np.sign, "sqrt": NUMPY_UNARY["sqrt"]}
    for i in range(1000):
        rule = random_rule(rng, 1 + i % 3, unary=list(NUMPY_UNARY))
        code = to_python(getattr(rule, face)())
        # 1 and 2 as arrays, so that 1 / 0 is inf as in torch
        code = re.sub(r"(?<![\w.])(?<!1e-)([12])(?![\w.])", r"np.float64(\1)", code)
        with np.errstate(all="ignore"):
            value = np.broadcast_to(eval(code, {"np": np, **functions, **names}), 32)
        # a + (b - c) is printed without brackets, hence rounding
        update = apply_rule(rule, operands).numpy()
        np.testing.assert_allclose(value, update, rtol=1e-6, atol=1e-9, err_msg=f"{rule}: {code}")


@pytest.mark.parametrize(
    "rule, infix, latex",
    [
        ("m v id exp mul", "m * exp(v)", r"\hat m \cdot e^{\hat v}"),
        ("g v id sqrt div", "g / (sqrt|v| + eps)", r"\frac{g}{\sqrt{\left|\hat v\right|} + \delta}"),
        ("1e-4w g id neg sub", "1e-4*w + g", "10^{-4} w + g"),
        ("g g exp id left | r1 m id id pow", "exp(g)^m", r"\left(e^{g}\right)^{\hat m}"),
    ],
)
def test_printed_form_of_known_rules(rule, infix, latex):
    assert (Rule.parse(rule).infix(), Rule.parse(rule).latex()) == (infix, latex)
