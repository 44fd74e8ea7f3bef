"""Fill in RESULTS.md: its tables with a command are what this prints from the records of published runs.

    python -m reproduce.tables             # run every command again, rewrite its table and its figure
    python -m reproduce.tables --check     # only say what has changed or is unproven; exit code 1 if so

A table stands between `<!-- run: COMMAND -->` and `<!-- end -->`; what COMMAND prints, its "Wrote" line
left out, takes the place of what stood there. Minutes in all, and nothing is trained: scratch.sh makes
the records themselves anew, in a day or two. The prose is people's, but a number in it must stand in a
table or a command of its section, or be named as typed. Read next: RESULTS.md.
"""

import difflib
import os
import re
import shlex
import subprocess
import sys
from glob import glob
from pathlib import Path

from config import Parser
from results import Progress

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "RESULTS.md"
# What stands in a section beside prose: commands, code and tables that nothing fills in.
OTHER = re.compile(
    r"^```.*?^```|^    .*?$|^\|.*?$|`[^`\n]*`|\]\([^)\n]*\)|<!-- typed: .*?-->", re.S | re.M
)
NUMBER = re.compile(r"(?<![\w.^])(?<![A-Za-z]-)(?:(?<![\d\w])[+-])?\d[\d,]*(?:\.\d+)?(?!\w)")
BLOCK = re.compile(r"(?<=<!-- run: )(?P<command>[^\n]+)( -->\n)(?P<table>.*?)(?=<!-- end -->)", re.S)


class CommandError(ValueError):
    """A command of RESULTS.md failed."""


def output(command: str) -> str:
    """Return what a command prints, without its "Wrote" line; * ? [ ] are as the shell has them.

    Raises:
        CommandError: it failed.
    """
    words = [
        match for word in shlex.split(command) for match in sorted(glob(word, root_dir=ROOT)) or [word]
    ]
    if words[0] != "python":
        raise CommandError(f"'{command}' does not begin with python")
    done = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).split("\n")[-1]
        raise CommandError(f"'{command}' failed: {reason}")
    lines = [line.rstrip() for line in done.stdout.splitlines() if not line.startswith("Wrote ")]
    return "\n".join(lines).strip("\n") + "\n"


def fill(text: str, progress: Progress) -> str:
    """Return a document with all its tables printed anew."""
    number, count = 0, len(BLOCK.findall(text))
    if count != text.count("<!-- run: "):  # one without an end swallows the next
        raise CommandError("a table of RESULTS.md lacks its <!-- end -->")

    def renew(block: re.Match) -> str:
        nonlocal number
        number += 1
        progress.update(f"{number} of {count}: {block['command']}")
        printed = output(block["command"])
        # Markdown as it is; what is aligned by blanks must keep its letters equally wide.
        shown = printed if "| --- |" in printed else f"```text\n{printed}```\n"
        # A command that only draws leaves nothing between.
        return f"{block['command']} -->\n{shown if printed.strip() else ''}"

    return BLOCK.sub(renew, text)


def numbers(text: str) -> list[str]:
    """Return the numbers of a text as they are written, those below 10 left out unless broken."""
    found = [match.rstrip(",") for match in NUMBER.findall(text)]
    return [number for number in found if "." in number or len(number.lstrip("+-")) > 1]


def unproven(text: str) -> list[str]:
    """Return numbers of the prose that stand in no table and no command of their section, rounded.

    What no record proves, such as a setting or a year, is named in `<!-- typed: 0.03 5,000 -->`. It
    finds what has gone stale, not every error: a short number stands in many a long table by chance.
    """
    lost = []
    for section in re.split(r"^(?=##+ )", text, flags=re.M):
        title = section.partition("\n")[0].lstrip("# ")
        prose = BLOCK.sub("", section)
        tables = [block[0] for block in BLOCK.finditer(section)]
        others = [match[0] for match in OTHER.finditer(prose) if not match[0].startswith("|")]
        proof = [float(number.replace(",", "")) for number in numbers(" ".join(tables + others))]
        for number in numbers(OTHER.sub("", prose)):
            digits = len(number.partition(".")[2])
            value, slack = float(number.replace(",", "")), 0.5 * 10**-digits + 1e-9
            signed = number[0] in "+-"
            if not any(abs(value - (p if signed else abs(p))) <= slack for p in proof):
                lost.append(f"{title}: {number}")
    return lost


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="reproduce.py", description=__doc__)
    what = "leave RESULTS.md alone, say what would change; figures are drawn again all the same"
    parser.add_argument("--check", action="store_true", help=what)
    args = parser.parse_args(argv)
    progress, before = Progress(), RESULTS.read_text("utf-8")
    try:
        after = fill(before, progress)
    except (CommandError, OSError) as error:
        parser.error(str(error))
    progress.say()
    lost = [f"in no table: {number}" for number in unproven(after)]
    if args.check:
        changes = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0))
        print("\n".join(changes + lost) or f"{RESULTS.name} says what the records say")
        return 1 if changes + lost else 0
    partial = RESULTS.with_name(f".{RESULTS.name}.{os.getpid()}")
    partial.write_text(after, "utf-8")
    os.replace(partial, RESULTS)
    print("\n".join(lost) + "\n" * bool(lost), end="")
    print(f"{RESULTS} is up to date. Next: git diff shows what has changed, figures included")
    return 0


if __name__ == "__main__":
    sys.exit(main())
