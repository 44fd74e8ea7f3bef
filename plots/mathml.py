"""Formulas for web pages: a rule's simplified expression as MathML, which browsers draw themselves.

    mathml(Rule.parse("m g2 id exp div"))     # <math ...: a fraction of m hat and e to the g squared

Nothing to run here. Read next: report.py, which shows these formulas; dsl.py for expressions.
"""

from dsl import CLIP, DROP, OPERANDS, Expression, Rule

# fmt: off
LETTERS = {  # operands that are not plain letters
    "g2": "<msup><mi>g</mi><mn>2</mn></msup>",
    "g3": "<msup><mi>g</mi><mn>3</mn></msup>",
    **{token: f"<mover><mi>{letter}</mi><mo>^</mo></mover>"
       for token, letter in {"m": "m", "v": "v", "gamma": "γ"}.items()},
    **{token: f"<mn>{token}</mn>" for token in ("1", "2")},
    "noise": "<mi>ε</mi>",
    "anoise": "<msub><mi>ε</mi><mi>t</mi></msub>",
    "adam": "<mi>Adam</mi>",
    "rmsprop": "<mi>RMSProp</mi>",
}
# fmt: on
SIGNS = {"add": "+", "sub": "−", "mul": "·"}
# How tightly a part binds, and how tightly each of its arguments must, so as to need no brackets.
STRENGTH = {"add": 1, "sub": 1, "mul": 2, "neg": 3, "exp": 4, "pow": 4}
NEEDS = {"sub": (1, 2), "mul": (2, 3), "neg": (3,), "pow": (5, 0)}


def mathml(rule: Rule) -> str:
    """Return a rule's simplified update as a <math> element, its fractions as tall as on a line."""
    return f'<math displaystyle="true">{_row(rule.expression)}</math>'


def _row(x: Expression, least: int = 0) -> str:
    """Return an expression as one element, in brackets if it binds weaker than `least`."""
    if isinstance(x, str):
        power = x in ("g2", "g3")
        element, strength = _operand(x), 2 if x.endswith("w") else 4 if power else 9
    else:
        element, strength = _function(x), STRENGTH.get(x[0], 9)
    return element if strength >= least else f"<mrow>{_brackets(element)}</mrow>"


def _brackets(inner: str) -> str:
    """Put brackets around, which grow with a fraction alone: small exponents need no tall ones."""
    stretchy = str("<mfrac>" in inner).lower()
    left, right = (f'<mo stretchy="{stretchy}">{bracket}</mo>' for bracket in "()")
    return f"{left}{inner}{right}"


def _operand(token: str) -> str:
    if token.endswith("w"):
        exponent = token[2:-1].replace("-", "−")
        return f"<mrow>{_ten(exponent)}<mo>·</mo><mi>w</mi></mrow>"
    assert token in OPERANDS
    return LETTERS.get(token, f"<mi>{token}</mi>")


def _ten(exponent: str) -> str:
    return f"<msup><mn>10</mn><mn>{exponent}</mn></msup>"


def _function(x: tuple) -> str:
    op, *arguments = x[:2] if x[0] in DROP else x
    needs = NEEDS.get(op, (0, 0))
    inner = [_row(argument, need) for argument, need in zip(arguments, needs, strict=False)]
    if op in SIGNS:
        return f"<mrow>{inner[0]}<mo>{SIGNS[op]}</mo>{inner[1]}</mrow>"
    if op == "neg":
        return f"<mrow><mo>−</mo>{inner[0]}</mrow>"
    if op == "div":
        return f"<mfrac>{inner[0]}<mrow>{inner[1]}<mo>+</mo><mi>δ</mi></mrow></mfrac>"
    if op == "exp":
        return f"<msup><mi>e</mi>{inner[0]}</msup>"
    if op == "pow":
        return f"<msup>{inner[0]}{inner[1]}</msup>"
    absolute = f"<mrow><mo>|</mo>{inner[0]}<mo>|</mo></mrow>"
    if op == "sqrt":
        return f"<msqrt>{absolute}</msqrt>"
    if op == "log":
        return f"<mrow><mi>log</mi>{absolute}</mrow>"
    number = ""
    if op in DROP:
        number = f"<mo>,</mo><mn>{op[4:]}</mn>"
    elif op in CLIP:
        number = f"<mo>,</mo>{_ten(op[6:].replace('-', '−'))}"
    name = "drop" if op in DROP else "clip" if op in CLIP else op
    return f"<mrow><mi>{name}</mi>{_brackets(inner[0] + number)}</mrow>"
