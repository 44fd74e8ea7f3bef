"""The library of named update rules: the optimizers people made and those that the paper reports.

Neural Optimizer Search, Bello et al., ICML 2017, section 4; PowerSign and AddSign with their decays
are named in the later arXiv text (1709.07417).

    python rules.py list                              # every name with its formula
    python rules.py show powersign                    # all about one rule
    python rules.py show sign_m 1 id id mul           # or about any string of the language

`make_optimizer("powersign", model.parameters(), lr=1e-2)` is an ordinary torch optimizer. Read next:
rosenbrock.py, which races these rules, and child.py, which trains a network with one.
"""

import difflib
import sys
import textwrap
from typing import NamedTuple

import torch

from config import Parser
from dsl import DECAYS, Rule, RuleError, RuleOptimizer

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
    if len(text.split()) > 1:
        return Rule.parse(text)
    close = difflib.get_close_matches(text.lower(), NAMED_RULES, n=3)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    known = "Known are the names that 'rules.py list' shows and tokens such as 'm 1 id id mul'"
    raise RuleError(f"unknown rule '{text}'. {hint}{known}")


def make_optimizer(name_or_rule: str | Rule, params, lr: float, **kw) -> RuleOptimizer:
    """Return an optimizer that trains `params` by a named rule or a rule string.

    Args:
        kw: settings of RuleOptimizer; rules with a decay (ld, cd, rd) require `total_steps`.
    Raises:
        RuleError: as `find`.
    """
    return RuleOptimizer(params, find(name_or_rule), lr, **kw)


def averages(rule: Rule) -> list[str]:
    """Return the moving averages that the optimizer keeps for each weight: m, v, gamma or none."""
    w = torch.ones(1, requires_grad=True)
    w.grad = torch.ones(1)
    optimizer = RuleOptimizer([w], rule, lr=0.0, total_steps=1)
    optimizer.step()  # asking the optimizer itself: what it has stored is what it needs
    return [name for name in ("m", "v", "gamma") if name in optimizer.state[w]]


# --- command line ---------------------------------------------------------------------------------


def list_rules() -> str:
    """Return the table of all named rules."""
    rows = [("name", "update", "source")]
    rows += [(name, find(name).infix(), named.source) for name, named in NAMED_RULES.items()]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    legend = [f"{source.ljust(widths[2])}  {meaning}" for source, meaning in SOURCES.items()]
    return "\n".join([lines[0], "-" * sum(widths, 4), *lines[1:], "", *legend])


def show_rule(text: str) -> str:
    """Return all about one rule: its faces, what it needs, rules that act alike, how to use it."""
    rule, name = find(text), text.strip().lower()
    named = NAMED_RULES.get(name)
    spelled = name if named else str(rule)
    decays = not DECAYS.isdisjoint(rule.operands)
    same = {other for other in NAMED_RULES if find(other).fingerprint() == rule.fingerprint()} - {name}
    facts = {
        "rule": str(rule),
        "infix": rule.infix(),
        "LaTeX": rule.latex(),
        "key": rule.key(),
        "fingerprint": rule.fingerprint(),
        "operands": " ".join(rule.operands),
        "averages": ", ".join(averages(rule)) + " (kept for every weight)" if averages(rule) else "none",
        "setting": "total_steps, where the decay ends" if decays else "",
        "acts like": ", ".join(sorted(same)) or "no other named rule",
    }
    wrap = textwrap.TextWrapper(90, "  ", " " * 15, break_long_words=False, break_on_hyphens=False)
    shown = "\n".join(wrap.fill(f"{fact:<13}{value}") for fact, value in facts.items() if value)
    title = f"{name}: {named.description} ({named.source})" if named else "a rule without a name"
    return f"""{title}

{shown}

  To train with it, after `from rules import make_optimizer` (try lr from 1e-5 to 10):

    optimizer = make_optimizer("{spelled}", model.parameters(), lr=1e-3{", total_steps=10_000" * decays})
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()"""


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="rules.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("list", help="the named rules with their formulas")
    show = commands.add_parser("show", help="all about one rule")
    show.add_argument("rule", nargs="+", metavar="RULE", help="a name, or a rule's tokens")
    args = parser.parse_args(argv)
    try:
        print(list_rules() if args.command == "list" else show_rule(" ".join(args.rule)))
    except RuleError as error:
        show.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
