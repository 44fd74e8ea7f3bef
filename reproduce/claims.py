"""The claims of the paper one by one: what the published runs say of each, with a verdict by rule.

    python -m reproduce.claims              # a table
    python -m reproduce.claims --markdown   # as RESULTS.md has it
    python -m reproduce.claims --verdicts   # as verdicts.md has it: each rule, and all numbers behind it

Each function called below reads records from runs/published and returns one row. Its docstring is the
rule of the verdict: it says when a claim counts as reproduced; "partly" is some of that. What has no
records is "not run". Nothing is chosen by a test set. Read next: reading.py.
"""

import inspect
import sys
import textwrap
from collections.abc import Callable
from functools import partial

from config import Parser, as_program

from reproduce import convnet, elsewhere, searching
from reproduce.reading import Claim
from results import Progress

OTHERS = "to other data and tasks, not this"
TRANSFERS = "found rules transfer to "
CLAIMS: list[Callable[[], Claim]] = [
    searching.samples_improve,
    searching.many_do_well,
    searching.paper_setting_learns,
    searching.paper_setting_finds,
    searching.beats_random_search,
    searching.beats_careful_search,
    convnet.found_beat_human,
    partial(convnet.found_beat_human, convnet.COMPARISONS, "so do those found at depth 1"),
    partial(
        convnet.found_beat_human,
        convnet.DEEPER,
        "so do those found at depth 2, on a ConvNet half as wide after 50 steps",
        "real-pictures",
    ),
    convnet.reported_beat_human,
    convnet.last_for_long,
    partial(elsewhere.transfers, "wrn", f"{TRANSFERS}a Wide ResNet", "yes (recalled)"),
    elsewhere.reported_transfer,
    partial(elsewhere.transfers, "fashion", f"{TRANSFERS}Fashion-MNIST", OTHERS),
    partial(elsewhere.transfers, "text", f"{TRANSFERS}a language model", OTHERS),
    convnet.survives_changes,
    elsewhere.rosenbrock_valley,
]
WIDTHS = {"claim": 30, "number": 34, "n": 14, "verdict": 16}  # with two blanks between, 100 columns


def text(rows: list[Claim]) -> str:
    """Return the table for a terminal of 100 columns, long cells wrapped."""
    lines = []
    for row in [Claim(*Claim._fields), *rows]:
        cells = [textwrap.wrap(getattr(row, name), width) for name, width in WIDTHS.items()]
        for i in range(max(map(len, cells))):
            parts = [(cell[i : i + 1] or [""])[0] for cell in cells]
            line = "  ".join(part.ljust(w) for part, w in zip(parts, WIDTHS.values(), strict=True))
            lines.append(line.rstrip())
        lines.append("")
    return "\n".join(lines[:-1])


def markdown(rows: list[Claim]) -> str:
    lines = ["| claim | number | n | verdict | page |", f"|{' --- |' * 5}"]
    for row in rows:
        page = f"[{row.page}](reproduce/{row.page}.md)"
        lines.append(f"| {row.claim} | {row.number} | {row.n} | {row.verdict} | {page} |")
    return "\n".join(lines)


def verdicts(rows: list[Claim]) -> str:
    """Return each claim with the rule of its verdict and all numbers."""
    lines = ["| claim | the paper | verdict |", "| --- | --- | --- |"]
    lines += [f"| {row.claim} | {row.paper} | {row.verdict} |" for row in rows]
    for row, judge in zip(rows, CLAIMS, strict=True):
        rule = " ".join(inspect.getdoc(getattr(judge, "func", judge)).split())
        lines += [
            "",
            f"### {row.claim}",
            "",
            *textwrap.wrap(f"{rule} ([{row.page}]({row.page}.md))", 115),
        ]
        numbers = [*row.details, f"{row.number} ({row.n})", f"verdict: **{row.verdict}**"]
        lines += ["", *(f"- {one}" for one in numbers)]
    return "\n".join(lines)


def claims() -> list[Claim]:
    """Judge all claims; that takes a minute, as all records are read."""
    judged, progress = [], Progress()
    for number, judge in enumerate(CLAIMS, 1):
        progress.update(f"claim {number} of {len(CLAIMS)}")
        judged.append(judge())
    progress.say()
    return judged


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m reproduce.claims", description=__doc__)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--markdown", action="store_true", help="the table of RESULTS.md")
    how.add_argument("--verdicts", action="store_true", help="each rule, and all numbers behind it")
    args = parser.parse_args(argv)
    print((markdown if args.markdown else verdicts if args.verdicts else text)(claims()))
    return 0


if __name__ == "__main__":
    sys.exit(as_program(main))
