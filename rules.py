"""The library of named update rules: the optimizers people made and those that the paper reports.

Neural Optimizer Search, Bello et al., ICML 2017, section 4; PowerSign and AddSign with their decays
are named in the later arXiv text (1709.07417).

    python rules.py list                              # every name with its formula
    python rules.py show powersign                    # all about one rule
    python rules.py show sign_m 1 id id mul           # or about any string of the language
    python rules.py export powersign -o powersign.py  # a file of its own, for any project

Learning rates come from the sweeps of the searches below runs/ beside this file, or below --runs.
`make_optimizer("powersign", model.parameters(), lr=1e-2)` is an ordinary torch optimizer. Read next:
rosenbrock.py, which races these rules, and child.py, which trains a network with one.
"""

import difflib
import signal
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import torch

from config import Parser
from dsl import BINARY, DECAYS, OPERANDS, UNARY, Rule, RuleError, RuleOptimizer
from export.advice import NO_SWEEP, Sweeps, example_lr
from export.code import class_name, export
from results import aligned

RUNS = Path(__file__).parent / "runs"  # wherever this is called

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
    # 9 m is 0.9 times torch's momentum buffer, while beta1 is 0.9. The 9 needs the later text's tokens.
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
    if len(words) > 1 and {*words} <= NAMED_RULES.keys() and {*words} - OPERANDS.keys():
        raise RuleError(f"{len(words)} names, '{text}'; one rule at a time")
    if len(words) > 1:
        return Rule.parse(text)
    close = difflib.get_close_matches(text.lower(), NAMED_RULES, n=3)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    known = "Known are the names that 'rules.py list' shows and tokens such as 'm 1 id id mul'"
    raise RuleError(f"unknown rule '{text}'. {hint}{known}")


def named(text: str) -> tuple[str, Rule]:
    """Return what to call a rule, its name or else its formula, and the rule; raise as `find` does."""
    rule, name = find(text), text.strip().lower()
    return (name if name in NAMED_RULES else rule.infix()), rule


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


def list_rules(sweeps: Sweeps) -> str:
    """Return the table of all named rules."""
    rows = [("name", "update", "source", "state", "lr", "to Adam's")]
    for name, named in NAMED_RULES.items():
        rule = find(name)
        found = sweeps.of(rule)
        rates = found[0].advice.rates() if found else ("-", "-")
        rows.append((name, rule.infix(), named.source, ", ".join(averages(rule)) or "-", *rates))
    lines = aligned(rows)
    legend = [f"{source.ljust(16)}  {meaning}" for source, meaning in SOURCES.items()]
    legend += [
        "state             moving averages kept for each weight, a number each",
        "lr                best rate of the recorded sweeps and the range within 2 points of it; rates",
        "                  are a decade apart, >= and <= mark the largest and smallest ones tried",
        "to Adam's         how many times Adam's best rate on the same child that is",
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], "", *legend])


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


def show_rule(text: str, sweeps: Sweeps) -> str:
    """Return all about one rule: its faces, what it needs, rules that act alike, how to use it."""
    rule, name = find(text), text.strip().lower()
    named = NAMED_RULES.get(name)
    spelled = name if named else str(rule)
    decays = not DECAYS.isdisjoint(rule.operands)
    same = {other for other in NAMED_RULES if find(other).fingerprint() == rule.fingerprint()} - {name}
    found = sweeps.of(rule)
    facts = {
        "tokens": str(rule),
        "as written": ";  ".join(as_written(rule)),
        "simplified": rule.infix(),
        "LaTeX": rule.latex(),
        "key": rule.key(),
        "fingerprint": rule.fingerprint(),
        "operands": " ".join(rule.operands),
        "dead": ", ".join(dead(rule)) or "none",
        "averages": ", ".join(averages(rule)) + " (kept for every weight)" if averages(rule) else "none",
        "setting": "total_steps, where the decay ends" if decays else "",
        "acts like": ", ".join(sorted(same)) or "no other named rule",
        "rates": "" if found else NO_SWEEP,
    }
    wrap = textwrap.TextWrapper(90, "  ", " " * 15, break_long_words=False, break_on_hyphens=False)
    lines = [wrap.fill(f"{fact:<13}{value}") for fact, value in facts.items() if value]
    lines += [wrap.fill(f"{'rates' if k == 0 else '':<13}{one}") for k, one in enumerate(found)]
    shown = "\n".join(lines)
    title = f"{name}: {named.description} ({named.source})" if named else "a rule without a name"
    lr, remark = example_lr(found)
    remark = f"    {remark}\n" if remark else ""
    settings = f"lr={lr:g}" + ", total_steps=10_000" * decays
    quoted = name if named else f"'{rule}'"
    return f"""{title}

{shown}

  To train with it, after `from rules import make_optimizer`:

{remark}    optimizer = make_optimizer("{spelled}", model.parameters(), {settings})
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

  Elsewhere:   python rules.py export {quoted} -o FILE.py
  Its tree:    python -m export.tree {quoted}"""


def export_rule(text: str, name: str | None, sweeps: Sweeps) -> str:
    """Return the file of `export`, the class called after the rule unless it has another name."""
    rule, key = find(text), text.strip().lower()
    found = sweeps.of(rule)
    named = NAMED_RULES.get(key)
    about = f"{named.description}; {SOURCES[named.source]}" if named else ""
    name = name or (class_name(key) if named else "FoundOptimizer")
    return export(rule, name, list(map(str, found)), *example_lr(found), about)


def write_new(file: Path, text: str) -> None:
    """Write a file, never over somebody's work; raise ValueError if that cannot be."""
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise ValueError(f"{file} exists already; nothing was changed, choose another -o") from None
    except OSError as error:
        raise ValueError(f"cannot write {file}: {error.strerror}") from None


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="rules.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("list", help="the named rules: formula, state and learning rates")
    for command, what in (("show", "all about one rule"), ("export", "a rule as a file of its own")):
        taking = commands.add_parser(command, help=what)
        taking.add_argument("rule", nargs="+", metavar="RULE", help="a name, or a rule's tokens")
    taking.add_argument("--name", metavar="CLASS", help="name of the class (default: the rule's)")
    taking.add_argument(
        "-o", type=Path, metavar="FILE.py", dest="file", help="file to write (default: print)"
    )
    for command in commands.choices.values():
        runs_help = f"folders with searches, for learning rates (default: {RUNS})"
        command.add_argument("--runs", nargs="+", type=Path, metavar="DIR", help=runs_help)
    args = parser.parse_args(argv)
    command = commands.choices[args.command]
    missing = [str(folder) for folder in args.runs or () if not folder.is_dir()]
    if missing:
        command.error(f"--runs: {', '.join(missing)} is no folder")
    sweeps = Sweeps(args.runs or [RUNS])
    for reason in sweeps.skipped:
        print(f"WARNING: {reason}", file=sys.stderr)
    try:
        if args.command == "list":
            print(list_rules(sweeps))
        elif args.command == "show":
            print(show_rule(" ".join(args.rule), sweeps))
        else:
            text = export_rule(" ".join(args.rule), args.name, sweeps)
            if args.file is None:
                print(text, end="")
            else:
                write_new(args.file, text)
                print(f"Wrote {args.file}")
    except ValueError as error:
        command.error(str(error))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so that `... | head` ends it quietly
    sys.exit(main())
