"""All that is known of a rule, as text: the command line of rules.py.

    python rules.py list | show RULE | export RULE

A card has the rule's faces, its state, rules that act alike, the learning rates that searches recorded
and the lines that train with it. Read next: code.py, which makes a file of a rule, and advice.py, which
reads the rates.
"""

import re
import sys
import textwrap
from pathlib import Path

from config import Parser

import dsl
import faces
import rules
from export.advice import NO_SWEEP, Sweeps, example_lr
from export.code import class_name, export
from results import aligned
from rules import NAMED_RULES, SOURCES, find

RUNS = Path(rules.__file__).parent / "runs"  # wherever this is called


def list_rules(sweeps: Sweeps) -> str:
    """Return the table of all named rules."""
    rows = [("name", "update", "source", "state", "lr", "to Adam's")]
    for name, named in NAMED_RULES.items():
        rule = find(name)
        found = sweeps.of(rule)
        rates = found[0].advice.rates() if found else ("-", "-")
        rows.append((name, rule.infix(), named.source, ", ".join(rule.kept) or "-", *rates))
    lines = aligned(rows)
    legend = [f"{source.ljust(16)}  {meaning}" for source, meaning in SOURCES.items()]
    legend += [
        "state             moving averages kept for each weight, a number each",
        "lr                best rate of the recorded sweeps and the range within 2 points of it;",
        "                  rates are a decade or half of one apart; >= and <= mark the ends tried",
        "to Adam's         how many times Adam's best rate on the same child that is",
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], "", *legend])


def show_rule(text: str, sweeps: Sweeps) -> str:
    """Return all about one rule: its faces, what it needs, rules that act alike, how to use it."""
    rule, name = find(text), text.strip().lower()
    named = NAMED_RULES.get(name)
    spelled = name if named else str(rule)
    decays, setting = "T" in rule.reads, "total_steps, where the decay ends"
    if {"cd", "rd"} & {*rule.operands}:
        setting += f"; num_periods, {dsl.NUM_PERIODS} unless given, the decay's periods until then"
    restarts = (
        "its restart decay has num_periods=1 by default: it falls to 0 and begins anew at total_steps"
    )
    same = {other for other in NAMED_RULES if find(other).fingerprint() == rule.fingerprint()} - {name}
    found = sweeps.of(rule)
    facts = {
        "tokens": str(rule),
        "as written": ";  ".join(faces.as_written(rule)),
        "simplified": rule.infix(),
        "LaTeX": rule.latex(),
        "key": f"{rule.key()} (of all rules with this very update)",
        "fingerprint": f"{rule.fingerprint()} (of all that behave alike to five digits)",
        "operands": " ".join(rule.operands),
        "dead": f"{', '.join(faces.dead(rule)) or 'none'} (operands that change nothing)",
        "averages": ", ".join(rule.kept) + " (kept for every weight)" if rule.kept else "none",
        "setting": setting if decays else "",
        "TensorFlow": restarts if "rd" in rule.operands else "",
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
    parser = Parser(prog="rules.py", description=rules.__doc__)
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
    try:
        wanted = list(NAMED_RULES) if args.command == "list" else [" ".join(args.rule)]
        sweeps = Sweeps(args.runs or [RUNS], list(map(find, wanted)))
        if args.command == "list":
            text = list_rules(sweeps)
        elif args.command == "show":
            text = show_rule(*wanted, sweeps)
        else:
            text = export_rule(*wanted, args.name, sweeps)
            if args.file is not None:
                write_new(args.file, text)
                [name] = re.findall(r"^class (\w+)\(", text, re.MULTILINE)
                text = f"Wrote {args.file} with the class {name}"
    except ValueError as error:
        command.error(str(error))
    for reason in sweeps.skipped:
        print(f"WARNING: {reason}", file=sys.stderr)
    print(text.removesuffix("\n"))
    return 0
