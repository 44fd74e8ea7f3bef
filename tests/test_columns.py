"""Text tables: columns start or end where they should."""

from results import aligned, number


def test_columns_are_as_wide_as_their_widest_cell():
    rows = [["name", "a", "long head"], ["x", "1.25", "2"], ["a longer name", "-", ""]]
    assert aligned(rows) == [
        "name           a     long head",
        "x              1.25  2",
        "a longer name  -",
    ]
    assert aligned(rows, figures=True) == [
        "name              a  long head",
        "x              1.25          2",
        "a longer name     -",
    ]


def test_what_there_is_not_is_a_dash():
    assert [number(x) for x in (0.12345, 0.0, None)] == ["0.1235", "0.0000", "-"]
