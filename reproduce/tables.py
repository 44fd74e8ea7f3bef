"""Fill in RESULTS.md and the pages beside this file: their tables are what commands print.

    python -m reproduce.tables             # run every command again, rewrite its table and its figure
    python -m reproduce.tables --check     # only say what has changed; exit code 1 if something has

A table stands between `<!-- run: COMMAND -->` and `<!-- end -->`; what COMMAND prints from the records
of published runs, its "Wrote" line left out, takes the place of what stood there. Minutes in all, and
nothing is trained: scratch.sh makes the records themselves anew. Read next: RESULTS.md.
"""

import contextlib
import difflib
import importlib
import io
import os
import re
import shlex
import sys
from glob import glob
from pathlib import Path

from config import Parser, as_program

from results import Progress

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"(?<=<!-- run: )(?P<command>[^\n]+)( -->\n)(?P<table>.*?)(?=<!-- end -->)", re.S)


class CommandError(ValueError):
    """A command of a page failed."""


def pages() -> list[Path]:
    return [ROOT / "RESULTS.md", *sorted((ROOT / "reproduce").glob("*.md"))]


def output(command: str) -> str:
    """Return what a command prints, without its "Wrote" line; * ? [ ] are as the shell has them.

    It is called in this process, so that torch and matplotlib are imported once.

    Raises:
        CommandError: it failed.
    """
    python, *words = [path for word in shlex.split(command) for path in sorted(glob(word)) or [word]]
    if python != "python" or not words:
        raise CommandError(f"'{command}' does not begin with python")
    name, *argv = words[1:] if words[0] == "-m" else [words[0].removesuffix(".py"), *words[1:]]
    printed, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        try:
            code = importlib.import_module(name).main(argv)
        except SystemExit as stop:
            code = stop.code
        except Exception as error:
            raise CommandError(f"'{command}' failed: {type(error).__name__} {error}") from None
    if code:
        reason = (errors.getvalue().strip() or printed.getvalue().strip()).split("\n")[-1]
        raise CommandError(f"'{command}' failed: {reason}")
    lines = [line.rstrip() for line in printed.getvalue().splitlines() if not line.startswith("Wrote ")]
    return "\n".join(lines).strip("\n") + "\n"


def commands(text: str) -> list[str]:
    """Return the commands of a page.

    Raises:
        CommandError: a table has no end, so it would swallow the next.
    """
    found = [block["command"] for block in BLOCK.finditer(text)]
    if len(found) != text.count("<!-- run: ") or any("<!-- run: " in b[0] for b in BLOCK.finditer(text)):
        raise CommandError("a table lacks its <!-- end -->")
    return found


def fill(text: str, printed: dict[str, str]) -> str:
    """Return a page with its tables replaced by what their commands printed."""

    def renew(block: re.Match) -> str:
        table = printed[block["command"]]
        # Markdown as it is; what is aligned by blanks must keep its letters equally wide.
        shown = table if "| --- |" in table else f"```text\n{table}```\n"
        # A command that only draws leaves nothing between.
        return f"{block['command']} -->\n{shown if table.strip() else ''}"

    return BLOCK.sub(renew, text)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m reproduce.tables", description=__doc__)
    what = "leave the pages alone, say what would change; figures are drawn again all the same"
    parser.add_argument("--check", action="store_true", help=what)
    args = parser.parse_args(argv)
    os.chdir(ROOT)  # paths of the commands are relative to it
    before = {page: page.read_text("utf-8") for page in pages()}
    try:
        wanted = dict.fromkeys(command for text in before.values() for command in commands(text))
        printed, progress = {}, Progress()
        for number, command in enumerate(wanted, 1):
            progress.update(f"{number} of {len(wanted)}: {command}")
            printed[command] = output(command)
        progress.say()
    except (CommandError, OSError) as error:
        parser.error(str(error))
    changes = []
    for page, text in before.items():
        after = fill(text, printed)
        changes += difflib.unified_diff(
            text.splitlines(), after.splitlines(), page.name, "", n=0, lineterm=""
        )
        if not args.check and after != text:
            partial = page.with_name(f".{page.name}.{os.getpid()}")
            partial.write_text(after, "utf-8")
            os.replace(partial, page)
    if args.check:
        print("\n".join(changes) or "the pages say what the records say")
        return 1 if changes else 0
    print("RESULTS.md and reproduce/*.md are up to date. Next: git diff, which shows what has changed")
    return 0


if __name__ == "__main__":
    sys.exit(as_program(main))
