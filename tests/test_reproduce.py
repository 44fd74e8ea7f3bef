"""Filling tables in: commands are really run, their output put in place, the rest left alone."""

import pytest

import reproduce
from progress import Progress

TEXT = """# Title

before
<!-- run: python -c "print('| a |\\n| --- |\\n| 1 |\\nWrote x')" -->
old
<!-- end -->
between
<!-- run: python -c "print('a   b  ')" -->
<!-- end -->
after
"""


def test_what_a_command_prints_takes_the_place_of_what_stood_there():
    filled = reproduce.fill(TEXT, Progress())
    assert "old" not in filled and "Wrote" not in filled.replace("Wrote x')", "")
    assert "-->\n| a |\n| --- |\n| 1 |\n<!-- end -->\nbetween" in filled
    assert "-->\n```text\na   b\n```\n<!-- end -->\nafter\n" in filled
    assert filled.startswith("# Title\n\nbefore\n")
    assert reproduce.fill(filled, Progress()) == filled


@pytest.mark.parametrize("command, what", [("python -c 1/0", "division by zero"), ("ls", "begin with")])
def test_a_command_that_fails_is_named(command, what):
    with pytest.raises(reproduce.CommandError, match=what):
        reproduce.fill(f"<!-- run: {command} -->\n<!-- end -->\n", Progress())


def test_check_changes_nothing_and_tells(tmp_path, monkeypatch, capsys):
    document = tmp_path / "RESULTS.md"
    document.write_text(TEXT)
    monkeypatch.setattr(reproduce, "RESULTS", document)
    assert reproduce.main(["--check"]) == 1
    assert document.read_text() == TEXT and "-old" in capsys.readouterr().out
    assert reproduce.main([]) == 0
    assert document.read_text() == reproduce.fill(TEXT, Progress())
    assert reproduce.main(["--check"]) == 0


@pytest.mark.slow
def test_results_says_what_the_records_say(capsys):
    """Figures are drawn again on the way; an unchanged record gives the same bytes."""
    assert reproduce.main(["--check"]) == 0, capsys.readouterr().out
