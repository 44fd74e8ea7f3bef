"""Filling tables in: commands are really run, their output put in place, the rest left alone."""

import pytest

import rules
from reproduce import tables

SHOW = "python rules.py show powersign"
DRAW = "python -m reproduce.nothing"
PAGE = f"""# Title

before
<!-- run: {SHOW} -->
old
<!-- end -->
between
<!-- run: {DRAW} -->
<!-- end -->
after
"""


def test_what_a_command_prints_takes_the_place_of_what_stood_there_and_one_that_fails_is_named(capsys):
    rules.main(["show", "powersign"])
    said = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines()).strip("\n")
    printed = {SHOW: tables.output(SHOW), DRAW: "\n"}
    assert tables.commands(PAGE) == [SHOW, DRAW] and printed[SHOW] == f"{said}\n"
    filled = tables.fill(PAGE, printed)
    assert filled == PAGE.replace("old\n", f"```text\n{said}\n```\n")  # a figure alone leaves nothing
    assert tables.fill(filled, printed) == filled
    markdown = "| a |\n| --- |\n| 1 |\n"
    assert f"-->\n{markdown}<!-- end -->\nafter" in tables.fill(PAGE, printed | {DRAW: markdown})
    with pytest.raises(tables.CommandError, match="lacks"):
        tables.commands(PAGE.replace("<!-- end -->", "", 1))
    wrong = {"ls": "begin with", "python -m no_such_module": "no_such_module"}
    for command, what in (wrong | {"python rules.py show nonsense": "failed: .*nonsense"}).items():
        with pytest.raises(tables.CommandError, match=what):
            tables.output(command)


def test_wildcards_are_files_and_wrote_lines_are_left_out(tmp_path, monkeypatch):
    (tmp_path / "echo_words.py").write_text(
        "def main(argv):\n    print('Wrote a.png')\n    print(*argv, ' ')\n    return 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for seed in (1, 0):
        (tmp_path / f"run-s{seed}").touch()
    assert tables.output("python -m echo_words run-s[01] 'a b' none*") == "run-s0 run-s1 a b none*\n"


def test_check_changes_nothing_and_tells(tmp_path, monkeypatch, capsys):
    page = tmp_path / "RESULTS.md"
    page.write_text(PAGE.replace(DRAW, "python rules.py list"))
    monkeypatch.setattr(tables, "pages", lambda: [page])
    before = page.read_text()
    assert tables.main(["--check"]) == 1
    assert page.read_text() == before and "-old" in capsys.readouterr().out
    assert tables.main([]) == 0
    assert "-old" not in page.read_text() and "powersign" in page.read_text()
    assert tables.main(["--check"]) == 0 and "what the records say" in capsys.readouterr().out


@pytest.mark.slow
def test_the_pages_say_what_the_records_say(capsys):
    """Figures are drawn again on the way; an unchanged record gives the same bytes."""
    assert tables.main(["--check"]) == 0, capsys.readouterr().out
