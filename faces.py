r"""A rule for people: its formula in infix and in LaTeX, and what its string says as it is written.

    exp(sign(g) * sign(m)) * g                  # infix, in tables and on the terminal
    e^{\operatorname{sign}(g) ... } \cdot g     # latex, in figures
    r1 = sign(g) * sign(m);  r2 = exp(r1) * g   # as written, group by group

The first two print the simplified expression, with brackets only where its meaning needs them. How a
single token reads stands in the tables of dsl.py. Nothing to run here; `python rules.py show powersign`
shows all three, `python -m export.tree powersign` draws a tree. Read next: sameness.py.
"""

from dsl import BINARY, DROP, OPERANDS, UNARY, Expression, Rule

# How tightly a part binds, and how tightly each argument must bind, so as to need no brackets.
ATOM = 9
STRENGTH = {"add": 1, "sub": 1, "mul": 2, "div": 2, "neg": 3, "pow": 4}
NEEDS = {"sub": (1, 2), "mul": (2, 3), "div": (2, 2), "neg": (3,), "pow": (5, 5)}
# In LaTeX a fraction bar and raised letters set arguments apart; the base of a power alone needs more.
RAISED = {"div": (0, 0), "exp": (0,), "pow": (5, 0)}
FUNCTIONS = UNARY | BINARY


def infix(rule: Rule) -> str:
    """Return the simplified update for people, for example `exp(sign(g) * sign(m)) * g`."""
    return _print(rule.expression, "infix")


def latex(rule: Rule) -> str:
    r"""Return the simplified update in LaTeX; \delta is the optimizer's eps."""
    return _print(rule.expression, "latex")


def _print(x: Expression, face: str, least: int = 0) -> str:
    """Print for people, `face` "infix" or "latex"; bracket if x binds weaker than `least`."""
    if isinstance(x, str):
        infix, text = OPERANDS[x].infix, getattr(OPERANDS[x], face)
        strength = STRENGTH["mul"] if "*" in infix else STRENGTH["pow"] if "^" in infix else ATOM
    else:
        op, *arguments = x[:2] if x[0] in DROP else x
        strength, needs = STRENGTH.get(op, ATOM), NEEDS.get(op, (0, 0))
        if face == "latex" and op in RAISED:
            strength, needs = STRENGTH["pow"], RAISED[op]
        shown = [_print(a, face, need) for a, need in zip(arguments, needs, strict=False)]
        text = getattr(FUNCTIONS[op], face).format(*shown)
    if strength >= least:
        return text
    return f"({text})" if face == "infix" else rf"\left({text}\right)"


def as_written(rule: Rule) -> list[str]:
    """Return a rule group by group as its tokens say it, dead parts included."""
    shown = []
    for k, (*operands, u1, u2, b) in enumerate(rule.groups, 1):
        names = [OPERANDS[token].infix if token in OPERANDS else token for token in operands]
        left, right = (UNARY[u].infix.format(x) for u, x in zip((u1, u2), names, strict=True))
        value = f"left({left}, {right})" if b == "left" else BINARY[b].infix.format(left, right)
        shown.append(f"r{k} = {value}")
    return shown


def dead(rule: Rule) -> list[str]:
    """Return the operands in the string that the update does not depend on, with their groups."""
    places = [(k, side) for k in range(len(rule.groups)) for side in (0, 1)]
    return [f"{rule.groups[k][side]} of r{k + 1}" for k, side in places if (k, side) not in rule.live]
