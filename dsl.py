"""The language of update rules: tokens, rules, search spaces, and the optimizer that runs a rule.

Neural Optimizer Search, Bello et al., ICML 2017, section 3.2. A rule is a string of groups of five
tokens, `op1 op2 u1 u2 b`, and each group computes b(u1(op1), u2(op2)). Its result joins the operand
bank as r1, r2, ... for later groups; the last result, times the learning rate, is subtracted from
the weights. PowerSign, g * exp(sign(g) * sign(m)), is the two groups

    sign_g sign_m id id mul | r1 g exp id mul

Three tables say what each token means, `Rule` reads a string, `apply_rule` computes it,
`RuleOptimizer` trains with it and `SearchSpace` says which strings are legal. Needs torch alone, and
nothing to run here; try `python rules.py show powersign`. Read next: faces.py.
"""

import math
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import compress
from numbers import Integral, Real
from typing import NamedTuple

import torch
from torch import Tensor

GROUP = 5  # tokens in a group: op1 op2 u1 u2 b
BETAS = (0.9, 0.999, 0.999)  # decays of the moving averages of g, g^2 and g^3
AVERAGES = ("m", "v", "gamma")  # their names in an optimizer's state
EPS = 1e-8  # delta, added to what is divided by
SPREAD = 0x9E3779B1  # 2^32 / golden ratio, whose multiples lie far from each other: seeds of their own
NUM_PERIODS = 0.5  # n of the decays cd and rd, as the later text has it by other people's code
MAX_GROUPS = 4  # the ICML text goes to depth 3, the later arXiv text to 4


class RuleError(ValueError):
    """A string that is not a rule; the message names the token, what was allowed, and points."""


# --- operands -------------------------------------------------------------------------------------


class ParameterStep:
    """One parameter tensor at one training step: all that an operand can be computed from.

    The moving averages are updated the first time an operand asks for them, so a rule pays only for
    what it uses, and "the average is updated before its sign is taken" holds by itself.

    Args:
        w, g: weights and gradient, any shape, same dtype.
        state: dict that keeps `step` (a number or a tensor, 0 if missing) and tensors between steps.
        group: `betas`, `eps`, `total_steps`, `num_periods`, as in a parameter group of RuleOptimizer.
        generator: a CPU generator for random operands.
    """

    def __init__(self, w: Tensor, g: Tensor, state: dict, group: dict, generator: torch.Generator):
        self.w, self.g, self.state = w, g, state
        self.betas, self.eps, self.total_steps = (
            group["betas"],
            float(group["eps"]),
            group["total_steps"],
        )
        self.num_periods = group.get("num_periods", NUM_PERIODS)
        self.generator = generator
        self.completed = int(state.setdefault("step", 0))
        state["step"] += 1  # a tensor in place

    def kept(self, name: str, change: Callable[[Tensor], object]) -> Tensor:
        """Return the tensor kept under a name, 0 at first, after `change` has changed it in place."""
        if name not in self.state:
            self.state[name] = torch.zeros_like(self.g, memory_format=torch.preserve_format)
        change(self.state[name])
        return self.state[name]

    def _average(self, name: str, value: Tensor, beta: float) -> Tensor:
        average = self.kept(name, lambda x: x.lerp_(value, 1 - beta))
        return average / (1 - beta ** (self.completed + 1))  # Adam's bias correction

    @cached_property
    def m(self) -> Tensor:
        return self._average("m", self.g, self.betas[0])

    @cached_property
    def v(self) -> Tensor:
        return self._average("v", self.g2, self.betas[1])

    @cached_property
    def gamma(self) -> Tensor:
        return self._average("gamma", self.g3, self.betas[2])

    @cached_property
    def g2(self) -> Tensor:
        return self.g * self.g

    @cached_property
    def g3(self) -> Tensor:
        return self.g2 * self.g

    @cached_property
    def denominator(self) -> Tensor:
        """What Adam and RMSProp divide by, sqrt(v) + eps."""
        return self.v.sqrt() + self.eps

    @property
    def progress(self) -> float:
        """t / T for the decays, t = steps completed before this one."""
        # UNSPECIFIED: what a decay does beyond T; ours stays at its end, so that no sign flips.
        return min(self.completed / self.total_steps, 1.0)

    @property
    def periods(self) -> float:
        """n t / T, how many periods of cd and rd are behind this step."""
        return self.num_periods * self.progress

    def constant(self, value: float) -> Tensor:
        return torch.full_like(self.g, value)

    def normal(self, std: float) -> Tensor:
        """Fresh N(0, std) noise; drawn on the CPU so that a seed means the same on any device."""
        draw = torch.randn(self.g.shape, generator=self.generator, dtype=self.g.dtype)
        return beside(self.g, draw) * std

    def update(self, rule: "Rule") -> Tensor:
        """Return the update of a rule at this step; asks for each operand that it uses, once."""
        operands = {token: OPERANDS[token].value(self) for token in rule.operands}
        return apply_rule(rule, operands, self.eps, self.generator)


def beside(x: Tensor, draw: Tensor) -> Tensor:
    """Return a draw on the device of x; of a sharded x every rank has drawn all and keeps its shard."""
    draw = draw.to(x.device)
    if not hasattr(x, "device_mesh"):  # a DTensor has one
        return draw
    return type(x).from_local(draw, x.device_mesh, run_check=False).redistribute(placements=x.placements)


# Both are written without torch.where, which takes three times as long on a CPU.


def sign(x: Tensor) -> Tensor:
    """Sign of x; NaN stays NaN (torch.sign would return 0 and hide a diverged run)."""
    return x.sign().add_(x.clamp(-1, 1).mul_(0))  # adds 0, or NaN; the clamp is for infinity


def keep_where(keep: Tensor, x: Tensor) -> Tensor:
    """Return x where `keep` is True, else 0, whatever was there: times 1 or 0 as integers."""
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.itemsize]
    return (x.view(integer) * keep).view(x.dtype)


class Operand(NamedTuple):
    """All that training, printing and searching know of an operand: a new one is a line in the table.

    Export to a file refuses it until export/foreach.py has a line for it, too, and tests fail until
    tests/plain.py has.
    """

    infix: str  # only one that contains * or ^ is ever put in brackets
    latex: str
    reads: str  # words out of g, w, T (total_steps), and the names of what it keeps between steps
    value: Callable[[ParameterStep], Tensor]
    extra: bool = False  # of the later arXiv text, opt-in: in the subset "arxiv" alone


# fmt: off
# Names and order of the three tables are a file format: append, never reorder.
OPERANDS: dict[str, Operand] = {
    "g":       Operand("g",        "g",                           "g",     lambda s: s.g),
    "g2":      Operand("g^2",      "g^2",                         "g",     lambda s: s.g2),
    "g3":      Operand("g^3",      "g^3",                         "g",     lambda s: s.g3),
    "m":       Operand("m",        r"\hat m",                     "m",     lambda s: s.m),
    "v":       Operand("v",        r"\hat v",                     "v",     lambda s: s.v),
    "gamma":   Operand("gamma",    r"\hat\gamma",                 "gamma", lambda s: s.gamma),
    "sign_g":  Operand("sign(g)",  r"\operatorname{sign}(g)",      "g",     lambda s: sign(s.g)),
    "sign_m":  Operand("sign(m)",  r"\operatorname{sign}(\hat m)", "m",     lambda s: sign(s.m)),
    "1":       Operand("1",        "1",                           "",      lambda s: s.constant(1.0)),
    # UNSPECIFIED: how large the "small constant noise" is; N(0, 0.01) read as standard deviation.
    "noise":   Operand("noise",    r"\epsilon",                   "",      lambda s: s.normal(0.01)),
    "1e-4w":   Operand("1e-4*w",   "10^{-4} w",                   "w",     lambda s: 1e-4 * s.w),
    "1e-3w":   Operand("1e-3*w",   "10^{-3} w",                   "w",     lambda s: 1e-3 * s.w),
    "1e-2w":   Operand("1e-2*w",   "10^{-2} w",                   "w",     lambda s: 1e-2 * s.w),
    "1e-1w":   Operand("1e-1*w",   "10^{-1} w",                   "w",     lambda s: 1e-1 * s.w),
    "adam":    Operand("Adam",     r"\mathrm{Adam}",      "m v", lambda s: s.m / s.denominator),
    # UNSPECIFIED: RMSProp's decay and bias correction; it shares v with Adam.
    "rmsprop": Operand("RMSProp",  r"\mathrm{RMSProp}",   "g v", lambda s: s.g / s.denominator),
    "2":       Operand("2",        "2",                "",  lambda s: s.constant(2.0), extra=True),
    "ld":      Operand("ld",       r"\mathrm{ld}",     "T",
                       lambda s: s.constant(1 - s.progress), extra=True),
    # With half a period in T steps cd falls to 0 and rd to 0.5. TensorFlow's reference gives rd a whole
    # one by default: it falls to 0 and is 1 again at T.
    "cd":      Operand("cd",       r"\mathrm{cd}",     "T",
                       lambda s: s.constant(0.5 * (1 + math.cos(2 * math.pi * s.periods))), extra=True),
    "rd":      Operand("rd",       r"\mathrm{rd}",     "T",
                       lambda s: s.constant(0.5 * (1 + math.cos(math.pi * (s.periods % 1)))),
                       extra=True),
    # UNSPECIFIED: whether the annealed 1/(1+t)^0.55 is a standard deviation too; here a variance.
    "anoise":  Operand("anoise",   r"\epsilon_t",      "",
                       lambda s: s.normal((1 + s.completed) ** (-0.55 / 2)), extra=True),
}

# --- functions ------------------------------------------------------------------------------------

DROP = {"drop0.1": 0.1, "drop0.3": 0.3, "drop0.5": 0.5}
CLIP = {"clip1e-5": 1e-5, "clip1e-4": 1e-4, "clip1e-3": 1e-3}


class Function(NamedTuple):
    infix: str
    latex: str
    value: Callable[..., Tensor]
    extra: bool = False  # as in Operand


UNARY: dict[str, Function] = {
    "id":       Function("{}",            "{}",                    lambda x: x),
    "neg":      Function("-{}",           "-{}",                   torch.neg),
    "exp":      Function("exp({})",       "e^{{{}}}",              torch.exp),
    "log":      Function("log|{}|",       r"\log\left|{}\right|",  lambda x: x.abs().log()),
    **{f"clip1e{k}": Function("clip({}, 1e%d)" % k, r"\operatorname{{clip}}({}, 10^{{%d}})" % k,
                              lambda x, c=CLIP[f"clip1e{k}"]: x.clamp(-c, c)) for k in (-5, -4, -3)},
    # drop zeroes each element with probability p and does not rescale, unlike F.dropout.
    **{token: Function("drop({}, %s)" % p, r"\operatorname{{drop}}({}, %s)" % p,
                       lambda x, keep: keep_where(keep, x)) for token, p in DROP.items()},
    "sign":     Function("sign({})",      r"\operatorname{{sign}}({})", sign),
    "sqrt":     Function("sqrt|{}|",      r"\sqrt{{\left|{}\right|}}",  lambda x: x.abs().sqrt(),
                         extra=True),
}

BINARY: dict[str, Function] = {
    "add":  Function("{} + {}",         "{} + {}",                     lambda x, y, eps: x + y),
    "sub":  Function("{} - {}",         "{} - {}",                     lambda x, y, eps: x - y),
    "mul":  Function("{} * {}",         r"{} \cdot {}",                lambda x, y, eps: x * y),
    "div":  Function("{} / ({} + eps)", r"\frac{{{}}}{{{} + \delta}}", lambda x, y, eps: x / (y + eps)),
    "left": Function("{}",              "{}",                          lambda x, y, eps: x),
    "pow":  Function("{}^{}",           "{}^{{{}}}", lambda x, y, eps: x ** y, extra=True),
}
# fmt: on

# --- rules ----------------------------------------------------------------------------------------

# An expression is an operand token or a tuple (function token, argument, ...). A drop also carries
# its place in the string, (group, side): two drops of one tensor are two independent draws.
Expression = str | tuple


def _op(expression: Expression) -> str:
    return expression if isinstance(expression, str) else expression[0]


def _simplify_unary(u: str, x: Expression, place: tuple) -> Expression:
    """Build u(x), rewritten only where the result is equal bit for bit (see `Rule.key`)."""
    if u == "id" or (u == "sign" and x == "1") or (u == "sign" and _op(x) == "sign"):
        return x
    if u == "neg" and _op(x) == "neg":
        return x[1]
    if u in ("log", "sqrt") and _op(x) == "neg":  # both take |x| first
        return (u, x[1])
    if u == "sign" and _op(x) in CLIP:
        return _simplify_unary(u, x[1], place)
    if u in CLIP and _op(x) == "neg":
        return ("neg", _simplify_unary(u, x[1], place))
    if u in CLIP and _op(x) in CLIP:
        return (min(u, _op(x), key=CLIP.get), x[1])
    return (u, x, place) if u in DROP else (u, x)


def _simplify_binary(b: str, x: Expression, y: Expression) -> Expression:
    """Build b(x, y), rewritten only where the result is equal bit for bit (see `Rule.key`)."""
    x_neg, y_neg = _op(x) == "neg", _op(y) == "neg"
    if b == "left" or (b == "mul" and y == "1"):
        return x
    if b == "mul" and x == "1":
        return y
    if b == "mul" and x_neg and y_neg:
        return _simplify_binary("mul", x[1], y[1])
    if b in ("mul", "div") and x_neg:
        return _simplify_unary("neg", _simplify_binary(b, x[1], y), ())
    if b == "mul" and y_neg:
        return _simplify_unary("neg", _simplify_binary(b, x, y[1]), ())
    if b == "mul" and x == y == "g":
        return "g2"
    if b == "mul" and {x, y} == {"g", "g2"}:
        return "g3"
    if b == "add" and y_neg:
        return ("sub", x, y[1])
    if b == "add" and x_neg:
        return ("sub", y, x[1])
    if b == "sub" and x_neg and y_neg:
        return ("sub", y[1], x[1])
    if b == "sub" and y_neg:
        return ("add", x, y[1])
    return (b, x, y)


def _sort(x: Expression) -> Expression:
    """Put the arguments of + and * in one order (a + b and b + a are equal bit for bit)."""
    if isinstance(x, str) or _op(x) in DROP:
        return x if isinstance(x, str) else (x[0], _sort(x[1]), x[2])
    arguments = [_sort(argument) for argument in x[1:]]
    if x[0] == "sub" and _op(arguments[0]) == "neg":  # -a - b is -b - a
        a, b = sorted((arguments[0][1], arguments[1]), key=_prefix)
        return ("sub", ("neg", a), b)
    if x[0] in ("add", "mul"):
        arguments.sort(key=_prefix)
    return (x[0], *arguments)


def _prefix(x: Expression, draws: dict | None = None) -> str:
    """Print as f(x, y), numbering the drops by first appearance into `draws` if it is given."""
    if isinstance(x, str):
        return x
    if x[0] in DROP:
        number = "" if draws is None else f"#{draws.setdefault(x[2], len(draws))}"
        return f"{x[0]}{number}({_prefix(x[1], draws)})"
    return f"{x[0]}({','.join(_prefix(argument, draws) for argument in x[1:])})"


@dataclass(frozen=True)
class Rule:
    """An update rule: its tokens, with three faces (string, infix, LaTeX) and two identities."""

    tokens: tuple[str, ...]

    @staticmethod
    @lru_cache(maxsize=65536)
    def parse(text: str) -> "Rule":
        """Read a rule: tokens parted by white space, groups optionally parted by bars.

        Checks the language only; constraints belong to a SearchSpace.

        Raises:
            RuleError: an unknown, misplaced or missing token; the message points at it.
        """

        def fail(message: str, start: int, end: int):
            line = re.sub(r"\s", " ", text)  # one for one, so that the caret stays in place
            raise RuleError(f"{message}\n  {line}\n  {' ' * start}{'^' * max(1, end - start)}")

        tokens: list[str] = []
        token = "|"
        for match in re.finditer(r"\||[^\s|]+", text):
            previous, token, span = token, match.group(), match.span()
            if token == "|":
                if len(tokens) % GROUP or previous == "|":
                    fail(f"misplaced '|': it parts groups of {GROUP} tokens", *span)
                continue
            if len(tokens) == GROUP * MAX_GROUPS:
                fail(f"too long: a rule has at most {MAX_GROUPS} groups of {GROUP} tokens", *span)
            kind, allowed = vocabulary(len(tokens))
            if token not in allowed:
                what = f"unknown {kind} '{token}' at token {len(tokens) + 1}"
                fail(f"{what}; allowed: {' '.join(allowed)}", *span)
            tokens.append(token)
        if tokens and token == "|":
            fail("nothing follows the last '|'", *span)
        if not tokens or len(tokens) % GROUP:
            wrong = f"wrong length: {len(tokens)} tokens; a rule has 5, 10, 15 or 20"
            fail(f"{wrong}, so it lacks {GROUP - len(tokens) % GROUP}", len(text), 0)
        return Rule(tuple(tokens))

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The groups (op1, op2, u1, u2, b) in order."""
        return [self.tokens[i : i + GROUP] for i in range(0, len(self.tokens), GROUP)]

    def __str__(self) -> str:
        return " | ".join(" ".join(group) for group in self.groups)

    @cached_property
    def live(self) -> frozenset[tuple[int, int]]:
        """The places (group, side) that the update depends on; `left` makes its right side dead."""
        live, todo = set(), [len(self.groups) - 1]
        while todo:
            k = todo.pop()
            for side in (0,) if self.groups[k][4] == "left" else (0, 1):
                live.add((k, side))
                operand = self.groups[k][side]
                if operand not in OPERANDS:
                    todo.append(int(operand[1:]) - 1)
        return frozenset(live)

    @cached_property
    def operands(self) -> tuple[str, ...]:
        """The operands that the update reads, in table order."""
        used = {self.groups[k][side] for k, side in self.live}
        return tuple(token for token in OPERANDS if token in used)

    @property
    def reads(self) -> list[str]:
        """What the update is made from, in the words of the operands' table: g, w, T, m, ..."""
        words = (word for token in self.operands for word in OPERANDS[token].reads.split())
        return list(dict.fromkeys(words))

    @property
    def kept(self) -> list[str]:
        """What the optimizer keeps for every weight, such as the averages m and v."""
        return [word for word in self.reads if word not in ("g", "w", "T")]

    @cached_property
    def expression(self) -> Expression:
        """The update as a tree, simplified by the rewrites that are exact bit for bit."""
        # sign_g is the function sign of g, so sign(g) spelled either way is one expression.
        bank = {token: token for token in OPERANDS} | {"sign_g": ("sign", "g"), "sign_m": ("sign", "m")}
        for k, (op1, op2, u1, u2, b) in enumerate(self.groups):
            x = _simplify_unary(u1, bank[op1], (k, 0))
            y = _simplify_unary(u2, bank[op2], (k, 1))
            bank[f"r{k + 1}"] = _simplify_binary(b, x, y)
        return bank[f"r{len(self.groups)}"]

    @cached_property
    def _key_and_draws(self) -> tuple[str, list[tuple[int, int]]]:
        draws: dict[tuple[int, int], int] = {}
        return _prefix(_sort(self.expression), draws), list(draws)

    def key(self) -> str:
        """Return a name shared only by rules with the same update, bit for bit.

        So a score may be reused for an equal key. Merged are dead operands, id, double negation,
        1 * x, the order of + and *, signs pulled out of products, nested signs and clips. Random
        draws count too: they belong to their place in this canonical form.
        """
        return self._key_and_draws[0]

    @property
    def draws(self) -> list[tuple[int, int]]:
        """The live drops as places (group, side), in the order in which their masks are drawn."""
        return self._key_and_draws[1]

    # --- what other files tell of a rule, imported when asked for: training needs none of it ---

    def fingerprint(self) -> str:
        """Return a hash that rules share which behave alike, see sameness.py."""
        from sameness import fingerprint

        return fingerprint(self)

    def infix(self) -> str:
        """Return the simplified update for people, for example `exp(sign(g) * sign(m)) * g`."""
        from faces import infix

        return infix(self)

    def latex(self) -> str:
        r"""Return the simplified update in LaTeX; \delta is the optimizer's eps."""
        from faces import latex

        return latex(self)


def vocabulary(position: int) -> tuple[str, list[str]]:
    """Return what the language allows at a token position: its kind and the tokens."""
    group, slot = divmod(position, GROUP)
    if slot < 2:
        return "operand", [*OPERANDS, *(f"r{k + 1}" for k in range(group))]
    return ("unary function", [*UNARY]) if slot < 4 else ("binary function", [*BINARY])


def apply_rule(
    rule: Rule,
    operands: dict[str, Tensor],
    eps: float = EPS,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Compute a rule's update from its operands; this is the one definition of what a rule means.

    Args:
        operands: token -> tensor, at least those in `rule.operands`, all of one shape and dtype.
        eps: delta in x / (y + delta), >= 0.
        generator: source of the drops' masks, on the CPU; None takes torch's global one.
    Returns:
        The update before the learning rate, in the operands' shape and dtype. It is subtracted.
    """
    like = operands[rule.operands[0]]
    keep = {}
    for k, side in rule.draws:  # all masks first, so that equal keys see equal draws
        draw = torch.rand(like.shape, generator=generator, dtype=torch.float32)
        keep[k, side] = beside(like, draw >= DROP[rule.groups[k][2 + side]])

    bank = dict(operands)

    def argument(k: int, side: int) -> Tensor | None:
        if (k, side) not in rule.live:
            return None
        operand, unary = rule.groups[k][side], rule.groups[k][2 + side]
        masks = (keep[k, side],) if unary in DROP else ()
        return UNARY[unary].value(bank[operand], *masks)

    for k, group in enumerate(rule.groups):
        if (k, 0) in rule.live:
            bank[f"r{k + 1}"] = BINARY[group[4]].value(argument(k, 0), argument(k, 1), eps)
    return bank[f"r{len(rule.groups)}"]


# --- the optimizer --------------------------------------------------------------------------------

# Options of torch's optimizers that this one would have to ignore.
UNSUPPORTED = (
    *("fused", "foreach", "capturable", "differentiable", "amsgrad", "decoupled_weight_decay"),
    *("momentum", "dampening", "nesterov", "momentum_decay", "alpha", "centered", "rho", "lr_decay"),
    *("initial_accumulator_value", "lambd", "t0", "etas", "step_sizes", "beta2_decay", "d", "ns_steps"),
)


def widened(x: Tensor) -> Tensor:
    """Return x, in float32 if its own dtype is shorter: averages with a decay of 0.999 stall there."""
    return x.float() if x.itemsize < 4 else x


def as_reals(x: Tensor) -> Tensor:
    """Return complex numbers as the pairs of reals that they are in memory, others as they are."""
    return torch.view_as_real(x) if x.is_complex() else x


def is_number(x: object, below: float) -> bool:
    """Return whether x is a number, or a tensor with one, of at least 0 and below a limit."""
    if isinstance(x, Tensor):
        return x.numel() == 1 and not x.is_complex() and 0 <= x.item() < below
    return isinstance(x, Real) and 0 <= x < below


class RuleOptimizer(torch.optim.Optimizer):
    """Train with any rule: w <- w - lr * update(g, w, moving averages), section 3.2.

    Read `step` first: a loop over parameters around its last lines. The rest is what tools expect of
    torch's optimizers. Only the operands that the rule uses are computed and stored. NaN and infinity
    go through to the weights. For bfloat16 and float16 weights the averages and the update are float32;
    only the new weights round. Complex weights train as pairs of reals. Random operands and drops depend
    on the seed, the step and the place of a parameter alone, so training resumes bit for bit, sharded
    or not.
    Searches draw otherwise (training.Descent), so their scores of rules that draw are met but for luck.
    For torch.compile and foreach take the file that `python rules.py export` makes of a rule.

    Args:
        params: parameters or parameter groups; a group may have its own rule, lr, betas, eps, ...
        rule: a Rule or its string.
        lr: learning rate, >= 0.
        betas: decays of the moving averages of g, g^2 and g^3, each in [0, 1); the last ones may be left
            out if the rule needs none of them.
        eps: delta in divisions, in Adam and in RMSProp, >= 0.
        weight_decay: decoupled as in AdamW: first w <- w - lr * weight_decay * w, >= 0.
        maximize: go up instead of down.
        seed: of the random operands and drops.
        total_steps: T of the decays ld, cd, rd, required by rules with one; later they stay as then.
        num_periods: n of cd and rd, >= 0: periods in T steps; rd begins anew after each.
        foreach, fused, capturable, differentiable: not supported, so only False and None are taken.
    Raises:
        RuleError: the rule cannot be read.
        ValueError: another argument is out of range or unknown, or a decay has no total_steps.
    """

    def __init__(
        self,
        params,
        rule: Rule | str,
        lr: float | Tensor,
        betas: tuple[float, ...] = BETAS,
        eps: float = EPS,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        seed: int = 0,
        total_steps: int | None = None,
        num_periods: float = NUM_PERIODS,
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        settings |= {"maximize": maximize, "seed": seed, "total_steps": total_steps, "rule": str(rule)}
        settings |= {"num_periods": num_periods, "foreach": foreach, "fused": fused}
        settings |= {"capturable": capturable, "differentiable": differentiable}
        super().__init__(params, settings)

    def add_param_group(self, param_group: dict) -> None:
        """Add a group of parameters, checking its rule and settings; what tags it is carried along."""
        if not isinstance(param_group, dict):
            kind = type(param_group).__name__
            raise TypeError(f"a group is a dict with 'params' in it, not a {kind}")
        group = self.defaults | param_group
        rule, betas, total_steps = Rule.parse(str(group["rule"])), group["betas"], group["total_steps"]
        needed = max([1, *(AVERAGES.index(name) + 1 for name in AVERAGES if name in rule.reads)])
        for name in ("lr", "eps", "weight_decay", "num_periods"):
            if not is_number(group[name], math.inf):
                raise ValueError(f"{name} is {group[name]!r}; it must be finite and at least 0")
        fine = isinstance(betas, tuple | list) and all(is_number(beta, 1) for beta in betas)
        if not fine or not needed <= len(betas) <= len(AVERAGES):
            few = f"{needed} to " if needed < len(AVERAGES) else ""
            raise ValueError(f"betas is {betas}; it must be {few}{len(AVERAGES)} numbers in [0, 1)")
        if not isinstance(group["seed"], Integral):
            raise ValueError(f"seed is {group['seed']}; it must be a whole number")
        if not (total_steps is None or isinstance(total_steps, Real) and 1 <= total_steps < math.inf):
            raise ValueError(f"total_steps is {total_steps!r}; it must be finite and at least 1")
        if total_steps is None and "T" in rule.reads:
            raise ValueError(f"the rule '{rule}' uses a decay, so it needs total_steps")
        for name in UNSUPPORTED:
            if group.get(name):
                raise ValueError(f"{name} is {group[name]!r}; it has no effect: leave it out")
        super().add_param_group({**param_group, "rule": str(rule)})

    def load_state_dict(self, state_dict: dict) -> None:
        """Load a saved state; it must come from the same rules.

        Raises:
            ValueError: the state belongs to another rule, whose averages would be missing here.
        """
        rules, seen = [group["rule"] for group in self.param_groups], []

        def check(_, saved: dict) -> None:  # after the hooks of others, before anything changes
            theirs = [group.get("rule") for group in saved["param_groups"]]
            if theirs != rules:
                raise ValueError(f"the state is of rule {theirs}, this optimizer runs {rules}")
            if lost := self.defaults.keys() - set.intersection(*map(set, saved["param_groups"])):
                names = ", ".join(sorted(lost))
                raise ValueError(f"the state has no {names}; an older or an exported optimizer saved it")
            for group in saved["param_groups"]:
                kept = {"step", *Rule.parse(group["rule"]).kept}
                for state in (saved["state"].get(place, {}) for place in group["params"]):
                    if state and (lost := kept - state.keys()):
                        names = ", ".join(sorted(lost))
                        raise ValueError(f"the state has no {names}; no RuleOptimizer saved it")
            seen.append(saved)

        def restore(_) -> None:  # torch has cast averages to the dtype of the weights, or shares memory
            [saved] = seen
            places = [place for group in saved["param_groups"] for place in group["params"]]
            weights = [w for group in self.param_groups for w in group["params"]]
            for place, w in zip(places, weights, strict=True):
                for name, value in saved["state"].get(place, {}).items():
                    if isinstance(value, Tensor):
                        device = value.device if name == "step" else w.device
                        self.state[w][name] = value.to(device, copy=True)

        before = self.register_load_state_dict_pre_hook(check)
        after = self.register_load_state_dict_post_hook(restore, prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Take one step; parameters without gradient are left alone.

        Args:
            closure: recomputes and returns the loss, with gradients.
        Returns:
            The closure's loss, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()

        generator = torch.Generator()
        pairs = [(group, w) for group in self.param_groups for w in group["params"]]
        for place, (group, w) in enumerate(pairs):
            if w.grad is None:
                continue
            if w.grad.is_sparse:
                raise RuntimeError("RuleOptimizer does not support sparse gradients")
            g = widened(-w.grad if group["maximize"] else w.grad)
            if hasattr(g, "placements") and g.placements != w.placements:  # a sum that is still parted
                g = g.redistribute(placements=w.placements)
            rule, lr, state = Rule.parse(group["rule"]), float(group["lr"]), self.state[w]
            if "step" not in state:
                state["step"] = torch.zeros((), dtype=torch.float32)
                state.update({name: torch.zeros_like(w, dtype=g.dtype) for name in rule.kept})
            if group["weight_decay"]:
                w.mul_(1 - lr * float(group["weight_decay"]))
            # No two draws of a training share a number until a group is added: then some may, as places
            # are counted anew. Those of other seeds are far away.
            number = int(group["seed"]) * SPREAD + int(state["step"]) * len(pairs) + place
            generator.manual_seed(number % 2**32)
            reals = {name: as_reals(x) for name, x in state.items()}
            step = ParameterStep(as_reals(widened(w)), as_reals(g), reals, group, generator)
            update = step.update(rule)
            if lr:  # 0 * infinity is no step, not NaN
                as_reals(w).add_(lr * update, alpha=-1)
        return loss


# --- search spaces --------------------------------------------------------------------------------

# A constraint is a function (token, prefix, groups) -> bool: may `token` follow `prefix`, the tokens
# of the group so far, in group number `groups[0]` (from 0) of `groups[1]`? The controller gives
# forbidden tokens a logit of minus infinity, section 3.3.


def operands_differ(token: str, prefix: tuple[str, ...], groups: tuple[int, int]) -> bool:
    """The left and right operand of a group differ."""
    return len(prefix) != 1 or token != prefix[0]


def no_final_addition(token: str, prefix: tuple[str, ...], groups: tuple[int, int]) -> bool:
    """The last binary function is not addition."""
    return len(prefix) != 4 or groups[0] != groups[1] - 1 or token != "add"


def reuse_computed(token: str, prefix: tuple[str, ...], groups: tuple[int, int]) -> bool:
    """Each group after the first takes a computed operand, r1, r2, ..., on at least one side."""
    # UNSPECIFIED: one side or both; the paper says only that one must be reused.
    return len(prefix) != 1 or groups[0] == 0 or not {token, prefix[0]} <= OPERANDS.keys()


CONSTRAINTS = {
    "operands-differ": operands_differ,
    "no-final-addition": no_final_addition,
    "reuse-computed": reuse_computed,
}

FULL = {
    "operands": tuple(token for token in OPERANDS if not OPERANDS[token].extra),
    "unary": tuple(token for token in UNARY if not UNARY[token].extra),
    "binary": tuple(token for token in BINARY if not BINARY[token].extra),
}
SUBSETS = {
    "full": FULL,
    # UNSPECIFIED: which subsets the paper's experiments took; this one drops near copies.
    "compact": {
        "operands": ("g", "g2", "m", "v", "sign_g", "sign_m", "1", "1e-3w", "adam", "rmsprop"),
        "unary": ("id", "neg", "exp", "log", "clip1e-4", "drop0.3", "sign"),
        "binary": FULL["binary"],
    },
    "arxiv": {"operands": tuple(OPERANDS), "unary": tuple(UNARY), "binary": tuple(BINARY)},
}


@lru_cache(maxsize=64)
def count_ways(
    slots: tuple[tuple[str, ...], ...],
    constraints: tuple[Callable[..., bool], ...],
    groups: tuple[int, int],
) -> int:
    """Return how many strings a group has; constraints see one group alone, so groups multiply.

    Raises:
        ValueError: some prefix has no continuation.
    """
    if not constraints:
        return math.prod(map(len, slots))

    def count(prefix: tuple[str, ...]) -> int:
        choices = slots[len(prefix)]
        legal = [token for token in choices if all(c(token, prefix, groups) for c in constraints)]
        if not legal:
            raise ValueError(f"the constraints leave nothing to follow '{' '.join(prefix)}'")
        if len(prefix) == len(slots) - 1:
            return len(legal)
        return sum(count((*prefix, token)) for token in legal)

    return count(())


class SearchSpace:
    """The legal strings of one length over chosen tokens: says what may come next.

    Args:
        iterations: groups in a rule, 1 to 4: strings of 5, 10, 15 or 20 tokens.
        operands, unary, binary: tokens to choose from; computed operands join by themselves.
        constraints: functions such as those in CONSTRAINTS, all of which must allow a token.
    Raises:
        ValueError: an unknown token, or constraints that leave some prefix without a continuation.
    """

    def __init__(
        self,
        iterations: int = 1,
        operands: tuple[str, ...] = FULL["operands"],
        unary: tuple[str, ...] = FULL["unary"],
        binary: tuple[str, ...] = FULL["binary"],
        constraints: tuple[Callable[..., bool], ...] = (),
    ):
        if not 1 <= iterations <= MAX_GROUPS:
            raise ValueError(f"iterations is {iterations}; it must be 1 to {MAX_GROUPS}")
        for chosen, table in ((operands, OPERANDS), (unary, UNARY), (binary, BINARY)):
            unknown = [token for token in chosen if token not in table]
            if unknown or not chosen or len(set(chosen)) < len(chosen):
                raise ValueError(f"{list(chosen)}: expected distinct tokens out of {list(table)}")
        operands, unary, binary = tuple(operands), tuple(unary), tuple(binary)
        self.iterations, self.constraints = iterations, tuple(constraints)
        self.length = GROUP * iterations
        computed = [tuple(f"r{k + 1}" for k in range(group)) for group in range(iterations)]
        self._choices = [
            slot for r in computed for slot in (operands + r, operands + r, unary, unary, binary)
        ]
        self._legal = lru_cache(maxsize=None)(self._which_are_legal)
        self._group_sizes = [
            count_ways(
                tuple(self._choices[GROUP * k : GROUP * k + GROUP]), self.constraints, (k, iterations)
            )
            for k in range(iterations)
        ]

    def choices(self, position: int) -> tuple[str, ...]:
        """Return the tokens that a position chooses from, legal or not after a given prefix."""
        return self._choices[position]

    def mask(self, prefix: tuple[str, ...]) -> Tensor:
        """Return which of `choices(len(prefix))` may follow a legal prefix: bool [V], True = may."""
        return torch.tensor(self.legal(prefix))

    def legal(self, prefix: tuple[str, ...]) -> list[bool]:
        """Return the same as a list, which is not to be changed: it is made once."""
        group, slot = divmod(len(prefix), GROUP)
        return self._legal(group, tuple(prefix[len(prefix) - slot :]))

    def _which_are_legal(self, group: int, prefix: tuple[str, ...]) -> list[bool]:
        groups, choices = (group, self.iterations), self.choices(group * GROUP + len(prefix))
        return [all(c(token, prefix, groups) for c in self.constraints) for token in choices]

    def size(self) -> int:
        """Return the number of legal strings (many mean the same rule, see `Rule.fingerprint`)."""
        return math.prod(self._group_sizes)

    def contains(self, rule: Rule) -> bool:
        """Return whether the rule is a legal string of this space."""
        return len(rule.tokens) == self.length and all(
            token in compress(self.choices(i), self.legal(rule.tokens[:i]))
            for i, token in enumerate(rule.tokens)
        )

    def __iter__(self) -> Iterator[Rule]:
        """Enumerate all legal rules, in table order."""

        def extend(prefix: tuple[str, ...]) -> Iterator[Rule]:
            if len(prefix) == self.length:
                yield Rule(prefix)
                return
            for token in compress(self.choices(len(prefix)), self.legal(prefix)):
                yield from extend((*prefix, token))

        return extend(())

    def sample(self, rng: random.Random) -> Rule:
        """Draw a rule uniformly from all legal strings."""
        # By rejection, as token by token is not uniform: of the compact subset's second groups 1 in 11
        # would begin with r1, where half of the legal ones do.
        while True:
            rule = Rule(tuple(rng.choice(choices) for choices in self._choices))
            if self.contains(rule):
                return rule
