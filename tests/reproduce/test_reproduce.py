"""Filling tables in: commands are really run, their output put in place, the rest left alone."""

import pytest

from reproduce import tables as reproduce
from results import Progress

TEXT = """# Title

before
<!-- run: python -c "print('| a |\\n| --- |\\n| 1 |\\nWrote x')" -->
old
<!-- end -->
between
<!-- run: python -c "print('a   b  ')" -->
<!-- end -->
after
<!-- run: python -c "print('Wr' + 'ote b.png')" -->
<!-- end -->
"""


def test_what_a_command_prints_takes_the_place_of_what_stood_there():
    filled = reproduce.fill(TEXT, Progress())
    assert "old" not in filled and "Wrote" not in filled.replace("Wrote x')", "")
    assert "-->\n| a |\n| --- |\n| 1 |\n<!-- end -->\nbetween" in filled
    assert "-->\n```text\na   b\n```\n<!-- end -->\nafter\n" in filled
    assert filled.endswith("""ote b.png')" -->\n<!-- end -->\n""")  # a figure alone
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


SECTION = """## Head of 1999

{typed}
In prose {prose}, as `--flag 0.25` says. CIFAR-10 has x^23.

| hand | 77 |

<!-- run: python -c "" -->
| a |
| --- |
| 0.5432 [-0.0069, 1,234] |
<!-- end -->
"""


@pytest.mark.parametrize(
    "prose, lost",
    [
        ("0.54 and 0.543 and 0.5432", []),
        ("0.545", ["0.545"]),  # rounded wrongly
        ("-0.007, 0.0069 and 1,234", []),
        ("+0.0069 and -0.54", ["+0.0069", "-0.54"]),
        ("1,235 or 1,230", ["1,235", "1,230"]),
        ("0.25 and 8 of 9", []),
        ("77", ["77"]),  # a table that nothing fills in proves nothing
        ("half a million, 0.5 million", []),
        ("12.5 %", ["12.5"]),
    ],
)
def test_numbers_of_the_prose_stand_in_the_sections_tables(prose, lost):
    text = SECTION.format(typed="<!-- typed: 1999 -->", prose=prose)
    assert reproduce.unproven(text) == [f"Head of 1999: {number}" for number in lost]


def test_a_number_counts_in_its_section_alone_and_can_be_declared_as_typed():
    proven, other = (SECTION.format(typed=t, prose="0.54") for t in ("<!-- typed: 1999 -->", ""))
    other = other.partition("<!-- run")[0]
    assert reproduce.unproven(proven + other) == ["Head of 1999: 1999", "Head of 1999: 0.54"]


def test_results_has_no_number_that_nothing_proves():
    assert reproduce.unproven(reproduce.RESULTS.read_text("utf-8")) == []


@pytest.mark.slow
def test_results_says_what_the_records_say(capsys):
    """Figures are drawn again on the way; an unchanged record gives the same bytes."""
    assert reproduce.main(["--check"]) == 0, capsys.readouterr().out
