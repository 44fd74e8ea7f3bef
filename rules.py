"""The library of named update rules: the optimizers people made and those that the paper reports.

Neural Optimizer Search, Bello et al., ICML 2017, section 4; PowerSign and AddSign with their decays
are named in the later arXiv text (1709.07417).

    python rules.py list                              # every name with its formula
    python rules.py show powersign                    # all about one rule
    python rules.py show sign_m 1 id id mul           # or about any string of the language
    python rules.py export powersign -o powersign.py  # a file of its own, for any project

`make_optimizer("powersign", model.parameters(), lr=1e-2)` is an ordinary torch optimizer; this file and
dsl.py, copied into any project, are enough for it. Learning rates come from the sweeps of the searches
below runs/ beside this file, or below --runs. Read next: data.py, the pictures to try them on.
"""

import ast
import difflib
import functools
import importlib
import importlib.util
import re
import signal
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

if __name__ == "__main__":  # before torch, which takes seconds: what ends it quietly
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader who leaves, as in `... | head`

import torch

from dsl import OPERANDS, Rule, RuleError, RuleOptimizer

# Where a formula comes from. None was checked against the paper's own text.
HAND = "human"
RECALLED, ARXIV = "paper, recalled", "arXiv, via code"
SOURCES = {
    HAND: "made by people; averages are bias-corrected here",
    RECALLED: "reported in the ICML 2017 text; from memory, not checked",
    ARXIV: "of the later arXiv text; as other people's code has it",
}


class NamedRule(NamedTuple):
    rule: str
    source: str
    description: str


# fmt: off
NAMED_RULES: dict[str, NamedRule] = {name: NamedRule(*entry) for name, *entry in [
    ("sgd",      "g 1 id id mul",       HAND, "stochastic gradient descent"),
    ("momentum", "m 1 id id mul",       HAND, "momentum with dampening and bias correction"),
    # Momentum with a look ahead is g + 0.9 buffer. But for bias correction torch's buffer is m / 0.1, so
    # 0.9 buffer is 9 m; the 9 is (1 + 2)^2, of the later text's tokens.
    ("nesterov", "1 2 id id add | r1 2 id id pow | r2 m id id mul | r3 g id id add",
     HAND, "Nesterov's momentum, bias-corrected, for a beta1 of 0.9 alone"),
    ("rmsprop",  "rmsprop 1 id id mul", HAND, "RMSProp with bias correction"),
    ("adam",     "adam 1 id id mul",    HAND, "Adam"),
    ("signsgd",  "sign_g 1 id id mul",  HAND, "the sign of the gradient"),
    ("signum",   "sign_m 1 id id mul",  HAND, "the sign of the momentum"),

    ("powersign",        "sign_g sign_m id id mul | r1 g exp id mul",
     RECALLED, "larger steps where gradient and average agree, smaller where not"),
    ("powersign-clip-g", "sign_g sign_m id id mul | r1 g exp clip1e-4 add | r2 g id id mul",
     RECALLED, "PowerSign plus a gradient squared where it is small"),
    ("powersign-drop10", "sign_g sign_m id id mul | g r1 drop0.1 exp mul",
     RECALLED, "PowerSign that drops 10 % of the gradient"),
    ("powersign-drop30", "sign_g sign_m id id mul | g r1 drop0.3 exp mul",
     RECALLED, "PowerSign that drops 30 % of the gradient"),
    ("powersign-adam",   "sign_g sign_m id id mul | adam r1 id exp mul",
     RECALLED, "PowerSign's factor on Adam's step"),
    ("adam-exp-m",       "adam m id exp mul",          RECALLED, "Adam, scaled by the momentum"),
    ("m-exp-v",          "m v id exp mul",             RECALLED, "momentum that grows with v"),
    ("clip-m-exp-v",     "m v clip1e-4 exp mul",       RECALLED, "clipped momentum that grows with v"),
    ("m-exp-g2",         "m g2 id exp mul",            RECALLED, "momentum that grows with g^2"),
    ("m-over-exp-g2",    "m g2 drop0.1 exp div",       RECALLED, "momentum that shrinks with g^2"),
    ("m-exp-g3",         "m g3 drop0.1 exp mul",       RECALLED, "momentum, scaled by g^3"),
    ("m-exp-w",          "m 1e-3w drop0.3 exp mul",    RECALLED, "momentum, scaled by the weight"),
    ("rmsprop-plus-m",   "rmsprop m clip1e-5 drop0.3 add", RECALLED, "momentum with a touch of RMSProp"),
    ("g-plus-m",         "g m id drop0.3 add",         RECALLED, "gradient plus thinned momentum"),
    ("g-minus-clip-g2",  "g g2 id clip1e-4 sub",       RECALLED, "gradient with a small drift upwards"),
    ("exp-difference",   "g m exp exp sub",            RECALLED, "gradient against momentum"),

    ("powersign-ld",     "ld sign_g id id mul | r1 sign_m id id mul | r2 g exp id mul",
     ARXIV, "PowerSign that fades into SGD, linear decay"),
    ("powersign-cd",     "cd sign_g id id mul | r1 sign_m id id mul | r2 g exp id mul",
     ARXIV, "PowerSign, cyclical decay"),
    ("powersign-rd",     "rd sign_g id id mul | r1 sign_m id id mul | r2 g exp id mul",
     ARXIV, "PowerSign, restart decay"),
    ("addsign",          "sign_g sign_m id id mul | 1 r1 id id add | r2 g id id mul",
     ARXIV, "twice the gradient where it agrees with the average, else nothing"),
    ("addsign-ld",       "ld sign_g id id mul | r1 sign_m id id mul | 1 r2 id id add | r3 g id id mul",
     ARXIV, "AddSign that fades into SGD, linear decay"),
    ("addsign-cd",       "cd sign_g id id mul | r1 sign_m id id mul | 1 r2 id id add | r3 g id id mul",
     ARXIV, "AddSign, cyclical decay"),
    ("addsign-rd",       "rd sign_g id id mul | r1 sign_m id id mul | 1 r2 id id add | r3 g id id mul",
     ARXIV, "AddSign, restart decay"),
]}
# fmt: on

# DEVIATION: bias-corrected averages, so Momentum is dampened, unlike TensorFlow's optimizers.
HUMAN = ("sgd", "momentum", "rmsprop", "adam")  # those that the paper compares with


def find(name_or_rule: str | Rule) -> Rule:
    """Return the rule of that name, or the rule that the text spells.

    Raises:
        RuleError: neither a known name nor a rule; the message suggests names, or points at a token.
    """
    text = str(name_or_rule).strip()
    if text.lower() in NAMED_RULES:
        return Rule.parse(NAMED_RULES[text.lower()].rule)
    words = text.lower().split()
    if is_class(text):
        raise RuleError(f"'{text}' is an optimizer class, which has no tokens and no formula")
    if re.search(r"[()*+/^]", text):
        what = f"'{text}' is a formula, for people; a rule is told by its name or its tokens"
        raise RuleError(f"{what}, which hall_of_fame.csv has in column `rule`")
    if len(words) > 1 and {*words} <= NAMED_RULES.keys() and {*words} - OPERANDS.keys():
        raise RuleError(f"{len(words)} names, '{text}'; one rule at a time")
    if len(words) > 1:
        return Rule.parse(text)
    close = difflib.get_close_matches(text.lower(), NAMED_RULES, n=3)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    known = "Known are the names that 'rules.py list' shows and tokens such as 'm 1 id id mul'"
    raise RuleError(f"unknown rule '{text}'. {hint}{known}")


def named(text: str) -> tuple[str, "Rule | OptimizerClass"]:
    """Return what to call a rule, its name or else its formula, and the rule; raise as `find` does.

    It may be an optimizer class too, such as `torch.optim.AdamW(weight_decay=0.01)`.
    """
    if is_class(text):
        other = OptimizerClass.parse(text)
        if other.place.endswith(".py"):  # workers, and who goes on later, may stand elsewhere
            other = other._replace(place=str(Path(other.place).resolve()))
        other.check()
        return str(other), other
    rule, name = find(text), text.strip().lower()
    return (name if name in NAMED_RULES else rule.infix()), rule


def make_optimizer(name_or_rule: str | Rule, params, lr: float, **kw) -> torch.optim.Optimizer:
    """Return an optimizer that trains `params` by a named rule, a rule string or an optimizer class.

    Args:
        kw: settings of RuleOptimizer; rules with a decay (ld, cd, rd) require `total_steps`, and
            `num_periods=1` makes a restart decay (rd) TensorFlow's.
    Raises:
        RuleError: as `find`.
    """
    if is_class(str(name_or_rule)):
        return OptimizerClass.parse(str(name_or_rule))(params, lr)
    return RuleOptimizer(params, find(name_or_rule), lr, **kw)


def turn(mode: str, *ones) -> None:
    """Put a network, or an optimizer that knows such modes too, into mode "train" or "eval"."""
    for one in ones:
        getattr(one, mode, lambda: None)()


# --- other people's optimizers --------------------------------------------------------------------

# torch.optim.AdamW(weight_decay=0.01), lion_pytorch:Lion, my_optimizer.py:Mine(betas=(0.9, 0.99))
IN_FILE = r"(?P<file>[^:()]+\.py):(?P<c1>\w+)(?P<a1>\(.*\))?"
IN_MODULE = r"(?P<module>[A-Za-z_][\w.]*)[:.](?P<c2>[A-Za-z_]\w*)(?P<a2>\(.*\))?"
CLASS = re.compile(f"{IN_FILE}|{IN_MODULE}", re.DOTALL)
ALSO = (  # what --also says of itself
    "more rules by name or string, or optimizers, such as 'torch.optim.AdamW(weight_decay=0.01)', "
    "lion_pytorch:Lion, 'mine.py:Mine(betas=(0.9, 0.99))'"
)


def is_class(text: str) -> bool:
    """Return whether a text names an optimizer class, and no rule."""
    return CLASS.fullmatch(text.strip()) is not None


def rule_or_class(text: str) -> "Rule | OptimizerClass":
    """Return what a string in a record stands for, a rule or an optimizer class."""
    return OptimizerClass.parse(text) if is_class(text) else Rule.parse(text)


class OptimizerClass(NamedTuple):
    """An optimizer class with its arguments; it has the standard constructor, (params, lr=..., ...)."""

    place: str  # a module's name, or a file
    name: str
    arguments: tuple[tuple[str, object], ...]

    draws = False

    @staticmethod
    def parse(text: str) -> "OptimizerClass":
        """Read one; its arguments are literals, and nothing is imported or evaluated.

        Raises:
            RuleError: they are not.
        """
        found = CLASS.fullmatch(text.strip())
        arguments = found["a1"] or found["a2"] or "()"
        try:
            call = ast.parse(f"f{arguments}", mode="eval").body
            values = tuple((one.arg, ast.literal_eval(one.value)) for one in call.keywords)
        except (ValueError, SyntaxError, AttributeError):  # its words are of nodes of Python's syntax
            call = None
        if call is None or call.args or any(name is None for name, _ in values):
            what = "in brackets stand names and plain values, as in (betas=(0.9, 0.99))"
            raise RuleError(f"'{text}': {what}")
        if "lr" in dict(values):
            raise RuleError(f"'{text}': leave lr out, learning rates are swept")
        return OptimizerClass(found["file"] or found["module"], found["c1"] or found["c2"], values)

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.arguments)
        return f"{self._path}({told})" if told else self._path

    @property
    def _path(self) -> str:
        return f"{self.place}{':' if self.place.endswith('.py') else '.'}{self.name}"

    def key(self) -> str:
        return str(self)

    def infix(self) -> str:
        return str(self)

    def __call__(self, params, lr: float) -> torch.optim.Optimizer:
        return load(self.place, self.name)(params, lr=lr, **dict(self.arguments))

    def check(self) -> None:
        """Construct one and take ten steps.

        Raises:
            RuleError: it cannot be, or moves nothing; the message shows how it was called.
        """
        called = ", ".join(["params", "lr=0.001", *(f"{k}={v!r}" for k, v in self.arguments)])
        weights = [torch.nn.Parameter(torch.ones(shape)) for shape in ((4, 3), (3,))]
        try:
            with torch.random.fork_rng(devices=[]):
                optimizer = self(weights, 1e-3)
                for _ in range(10):  # the first may only warm up
                    optimizer.zero_grad()
                    (weights[0].square().sum() + weights[1].square().sum()).backward()
                    turn("train", optimizer)
                    optimizer.step()
        except Exception as error:  # whatever other people's code raises
            raise RuleError(f"{self._path}({called}) and step() fail: {first_line(error)}") from None
        if all((p == 1).all() for p in weights):
            raise RuleError(f"{self._path}({called}) and step() leave all weights as they were")


def first_line(error: Exception) -> str:
    """Return other people's exception in one line."""
    return f"{type(error).__name__}: {error}".split("\n")[0]


def load(place: str, name: str) -> object:
    """Return what a module, or a file of Python, calls by that name."""
    return getattr(load_file(place) if place.endswith(".py") else importlib.import_module(place), name)


@functools.cache
def load_file(place: str) -> ModuleType:
    """Return a file of Python as a module, loaded once a process; it may import what is beside it."""
    path = Path(place).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"no file {place}")
    spec = importlib.util.spec_from_file_location(f"file_{zlib.crc32(bytes(path)):x}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # or dataclasses and pickling would not find it
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def main(argv: list[str] | None = None) -> int:
    """Run the command line, whose texts are made in export/: make_optimizer does without."""
    try:
        from export.card import main as tell
    except ModuleNotFoundError as error:  # the file was taken elsewhere
        print(f"rules.py: error: the command line needs the whole project ({error})", file=sys.stderr)
        return 2
    return tell(argv)


if __name__ == "__main__":
    sys.exit(main())
