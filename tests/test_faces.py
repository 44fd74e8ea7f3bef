"""Tests of faces.py: what is printed is evaluated again, and must be the update."""

import random
import re

import numpy as np
import pytest
from matplotlib.mathtext import MathTextParser
from plain import NUMPY_UNARY, random_operands, random_rule

from dsl import Rule, apply_rule


def infix_to_python(text):
    for old, new in (("log|", "log("), ("sqrt|", "sqrt("), ("|", ")"), ("^", "**")):
        text = text.replace(old, new)
    return text


def latex_to_python(text):
    for old, new in (
        (r"\\log\\left\|", "log("),
        (r"\\left[|(]", "("),
        (r"\\right[|)]", ")"),
        (r"10\^\{(-\d)\} w", r"1e\1*w"),
        (r"10\^\{(-\d)\}", r"1e\1"),
        (r"\\(?:operatorname|mathrm)\{(\w+)\}", r"\1"),
        (r"\\hat ?\\?(\w+)", r"\1"),
        (r"\\epsilon_t", "anoise"),
        (r"\\epsilon", "noise"),
        (r"\\delta", "eps"),
        (r"\\cdot", "*"),
    ):
        text = re.sub(old, new, text)
    commands = {
        r"\\frac{}{}": r"((\1)/(\2))",
        r"\\sqrt{}": r"sqrt(\1)",
        r"(?<!\w)e\^{}": r"exp(\1)",
        r"\^{}": r"**(\1)",
    }
    patterns = {command.replace("{}", r"\{([^{}]*)\}"): new for command, new in commands.items()}
    while "{" in text:  # innermost braces first, e^{} before ^{}
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
        ("g m id id mul | v r1 id id mul", "v * (g * m)", None),
        ("m v id exp mul", "m * exp(v)", r"\hat m \cdot e^{\hat v}"),
        ("g v id sqrt div", "g / (sqrt|v| + eps)", r"\frac{g}{\sqrt{\left|\hat v\right|} + \delta}"),
        ("1e-4w g id neg sub", "1e-4*w + g", "10^{-4} w + g"),
        ("g g exp id left | r1 m id id pow", "exp(g)^m", r"\left(e^{g}\right)^{\hat m}"),
        ("g v id id div | r1 m id id pow", None, r"\left(\frac{g}{\hat v + \delta}\right)^{\hat m}"),
    ],
)
def test_printed_form_of_known_rules(rule, infix, latex):
    assert infix is None or Rule.parse(rule).infix() == infix
    assert latex is None or Rule.parse(rule).latex() == latex


def test_latex_is_accepted_by_a_latex_parser():
    parser, rng = MathTextParser("path"), random.Random(2)
    refused = []
    for i in range(60):
        latex = random_rule(rng, 1 + i % 3).latex()
        try:
            parser.parse(f"${latex}$")
        except ValueError as error:
            refused.append((latex, str(error).splitlines()[-1]))
    assert not refused
