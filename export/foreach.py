"""A rule as code: lines that compute its update with `torch._foreach_*`, on lists of tensors.

    Code(Rule.parse("m g2 id exp div")).lines
    # lerp_(exp_avg, g, 1 - beta1)
    # m = div(exp_avg, [1 - beta1**t for t in step])  # bias-corrected
    # x1 = mul(g, g)
    # x1 = _exp(x1, in_place=True)
    # add_(x1, eps)
    # div_(m, x1)
    # _descend(params, m, lr)

Two stages: `lower` spells the simplified expression out in operations that torch has, `Code` turns
these into lines and computes nothing twice. Read next: code.py, which makes a file of the lines.
"""

from collections import Counter

import torch

from dsl import BINARY, CLIP, DROP, UNARY, Expression, Rule

# A node is a name of lists of tensors ("g", "w", "keep1", ...), NUMBER and code for a number, or an
# operation and its arguments. Equal nodes are computed once.
Node = str | tuple
NUMBER = "number"
AVERAGES = {"m": "exp_avg", "v": "exp_avg_sq", "gamma": "exp_avg_cube"}  # operand -> name in `state`
EPS = (NUMBER, "eps")
DECAYS = {  # operand -> code of a number for a parameter, x being its progress
    "ld": "1 - x",
    "cd": "0.5 * (1 + _cos(2 * math.pi * num_periods * x))",
    "rd": "0.5 * (1 + _cos(math.pi * (num_periods * x % 1)))",
}
NOISES = {"noise": "0.01", "anoise": "step ** (-0.55 / 2)"}  # operand -> code of its spread


# --- from the language to operations of torch -----------------------------------------------------

G2 = ("mul", "g", "g")
G3 = ("mul", G2, "g")
ROOT = ("add", ("sqrt", ("average", "v")), EPS)
LOWERED: dict[str, Node] = {  # every operand that can be exported; a number is the second argument
    **{token: token for token in ("g", *NOISES)},
    "g2": G2,
    "g3": G3,
    **{token: ("average", token) for token in AVERAGES},
    **{f"{c}w": ("mul", "w", (NUMBER, c)) for c in ("1e-4", "1e-3", "1e-2", "1e-1")},
    "adam": ("div", ("average", "m"), ROOT),
    "rmsprop": ("div", "g", ROOT),
    **{token: (NUMBER, token) for token in ("1", "2", *DECAYS)},
}


def constant(x: Expression) -> float | None:
    """Return the value of an expression that is the same number in every step, else None.

    None too if it, or a part of it, is no normal float32: then the parameters' dtype decides where
    it overflows or vanishes, so that it is left to tensors of that dtype.
    """
    if isinstance(x, str):
        return float(x) if x in ("1", "2") else None
    values = [None] if x[0] in DROP or x[0] == "div" else [constant(y) for y in x[1:]]  # div has eps
    if None in values:
        return None
    numbers = [torch.tensor(value, dtype=torch.float64) for value in values]
    eps = (0.0,) if x[0] in BINARY else ()
    value = (UNARY | BINARY)[x[0]].value(*numbers, *eps).item()
    limits = torch.finfo(torch.float32)
    return value if value == 0 or limits.tiny <= abs(value) <= limits.max else None


def lower(x: Expression, rule: Rule) -> Node:
    """Spell an expression out: operands as formulas of g, w and averages, numbers as numbers.

    Raises:
        ValueError: dsl.py has an operand or a function for which there is no code here.
    """
    token, known = (x, LOWERED) if isinstance(x, str) else (x[0], TEMPLATES | CLIP)
    if token not in known:
        table = "LOWERED" if isinstance(x, str) else "TEMPLATES"
        raise ValueError(f"export does not know '{token}' yet: add it to {table} in export/foreach.py")
    if (value := constant(x)) is not None:
        return (NUMBER, f"{value:g}" if float(f"{value:g}") == value else repr(value))
    if isinstance(x, str):
        return LOWERED[x]
    if x[0] in DROP:
        return ("drop", f"keep{rule.draws.index(x[2]) + 1}", whole(lower(x[1], rule)))
    arguments = [lower(argument, rule) for argument in x[1:]]
    if x[0] in ("div", "pow"):  # takes one number, but a decay is one for each parameter
        arguments = [whole(node) if node[-1] in DECAYS else node for node in arguments]
    numbers = [node[0] == NUMBER for node in arguments]
    if all(numbers):  # a function of numbers that change or involve eps; rare, so spelled as tensors
        arguments, numbers = list(map(whole, arguments)), [False] * len(numbers)
    if x[0] in CLIP:
        return ("clip", arguments[0], (NUMBER, x[0].removeprefix("clip")))
    if x[0] in ("log", "sqrt"):
        return (x[0], ("absolute", arguments[0]))
    if len(arguments) == 1:
        return (x[0], arguments[0])
    left, right = arguments
    if x[0] == "div":
        divisor = (NUMBER, f"{right[1]} + eps") if numbers[1] else ("add", right, EPS)
        if left == (NUMBER, "1"):
            return ("reciprocal", divisor)
        return ("div", whole(left), divisor)
    if numbers[0] and x[0] in ("add", "mul"):
        return (x[0], right, left)
    if numbers[0] and x[0] == "sub":
        return ("add", ("neg", right), left)
    return (x[0], left, right)


def whole(node: Node) -> Node:
    """Return a number as tensors, and tensors as they are."""
    return ("full", node) if node[0] == NUMBER else node


# --- from operations to lines of code -------------------------------------------------------------

WIDTH = 70  # characters of code; arguments of what is longer get lines of their own
# fmt: off
FOREACH = {name: name for name in (  # name in the exported file -> what follows torch._foreach_
    "add", "add_", "clamp_max", "clamp_max_", "clamp_min", "clamp_min_", "div", "div_", "exp", "exp_",
    "lerp_", "log", "log_", "mul", "mul_", "neg", "neg_", "reciprocal", "reciprocal_", "sign", "sqrt",
    "sqrt_", "sub", "sub_",
)} | {"absolute": "abs", "absolute_": "abs_", "power": "pow", "power_": "pow_"}
TEMPLATES = {name: name + "({})" for name in ("absolute", "log", "neg", "reciprocal", "sqrt")} | {
    **{name: name + "({}, {})" for name in ("add", "div", "mul", "sub")},
    "pow":  "power({}, {})",
    "clip": "clamp_max(clamp_min({0}, -{1}), {1})",
    "exp":  "_exp({})",
    "sign": "_sign({})",
    **dict.fromkeys(("drop", *DROP), "_drop({}, {})"),
    "full": "[torch.full_like(x, {}) for x in g]",
    **{token: f"[torch.zeros_like(x) + y for x, y in zip(g, {token})]" for token in DECAYS},
}
IN_PLACE = {  # what changes the tensors of the first argument, where they are new
    **{name: [name + "_({})"] for name in ("absolute", "log", "neg", "reciprocal", "sqrt")},
    **{name: [name + "_({}, {})"] for name in ("add", "div", "mul", "sub")},
    "exp":  ["{0} = _exp({0}, in_place=True)"],
    "pow":  ["power_({}, {})"],
    "clip": ["clamp_min_({0}, -{1})", "clamp_max_({0}, {1})"],
}
# fmt: on


class Code:
    """The lines that compute a rule's update.

    Attributes:
        lines: the last one changes `params`.
        averages: the operands whose averages are kept, in the order m, v, gamma.
    """

    def __init__(self, rule: Rule):
        self.lines: list[str] = []
        self._names: dict[Node, str] = {G2: "g2", G3: "g3"}  # for nodes that get a line
        self._names |= {("average", token): token for token in AVERAGES}
        self._num_steps = 0  # lines x1, x2, ...
        self._written: set[Node] = set()
        self._counts: Counter[Node] = Counter()

        update = whole(lower(rule.expression, rule))
        self._count(update)
        self.averages = [token for token in AVERAGES if ("average", token) in self._counts]
        values = [{"m": "g", "v": G2, "gamma": G3}[token] for token in self.averages]
        for value in values:
            self._count(value)
        for token, value in zip(self.averages, values, strict=True):
            self.lines.append(f"lerp_({AVERAGES[token]}, {self._code(value)[0]}, 1 - {beta(token)})")
        code, _ = self._code(update)
        if not code.isidentifier():
            self.lines.append(f"update = {code}")
        self.lines.append(f"_descend(params, {code if code.isidentifier() else 'update'}, lr)")

    def _count(self, node: Node) -> None:
        """Count in how many places a node stands, those within equal nodes once."""
        self._counts[node] += 1
        if self._counts[node] == 1 and isinstance(node, tuple) and node[0] not in (NUMBER, "average"):
            for argument in node[1:]:
                self._count(argument)

    def _code(self, node: Node) -> tuple[str, bool]:
        """Return a node as code, and whether its tensors are new ones that nobody else reads.

        What stands in two places gets a line and a name; new tensors are changed in place.
        """
        if isinstance(node, str) or node[0] == NUMBER:
            return node if isinstance(node, str) else node[1], False
        if node in self._written:
            return self._names[node], False
        alone = self._counts[node] == 1
        if node[0] == "average":
            corrections = f"[1 - {beta(node[1])}**t for t in step]"
            code = f"div({AVERAGES[node[1]]}, {corrections})  # bias-corrected"
            return self._line(node, code), alone
        if node[0] == "sign" and node[1][0] == "average" and self._counts[node[1]] == 1:
            code = f"_sign({AVERAGES[node[1][1]]})"  # which bias correction would not change
        else:
            code = self._operation(node)
        if code.isidentifier():
            self._names[node] = code
            self._written.add(node)
            return code, alone
        return (code, True) if alone else (self._line(node, code), False)

    def _operation(self, node: Node) -> str:
        """Return the code of an operation, or the name of tensors that it has changed in place."""
        nodes = node[1:]
        arguments, new = map(list, zip(*map(self._code, nodes), strict=True))
        if node[0] in ("add", "mul") and new[-1] and not new[0]:
            nodes, arguments, new = nodes[::-1], arguments[::-1], new[::-1]
        if node[0] in IN_PLACE and new[0]:
            if nodes[0] in (G2, G3):  # which it is not for long
                del self._names[nodes[0]]
            name = arguments[0] if arguments[0].isidentifier() else self._line(nodes[0], arguments[0])
            for change in IN_PLACE[node[0]]:
                self.lines.append(change.format(name, *arguments[1:]))
            return name
        template = TEMPLATES[arguments[0] if arguments[0] in DECAYS and node[0] == "full" else node[0]]
        while len(code := template.format(*arguments)) > WIDTH:
            longest = max(range(len(arguments)), key=lambda k: len(arguments[k]))
            arguments[longest] = self._line(nodes[longest], arguments[longest])
        return code

    def _line(self, node: Node, code: str) -> str:
        """Compute a node in a line of its own; return its name."""
        if node not in self._names:
            self._num_steps += 1
            self._names[node] = f"x{self._num_steps}"
        name = self._names[node]
        self.lines.append(f"{name} = {code}")
        self._written.add(node)
        return name


def beta(token: str) -> str:
    """Return what the decay of an average is called: m's is beta1."""
    return f"beta{1 + list(AVERAGES).index(token)}"
