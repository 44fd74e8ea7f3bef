"""Tables in plain text, as the scripts print them and write them to summary.txt.

Nothing to run here. Read next: progress.py.
"""

from collections.abc import Sequence


def number(value: float | None) -> str:
    """Return four decimals, or a dash for what there is not."""
    return "-" if value is None else f"{value:.4f}"


def aligned(rows: Sequence[Sequence[str]], figures: bool = False) -> list[str]:
    """Return a line a row, all columns to the left, or all but the first to the right for figures."""
    left, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pad = str.rjust if figures else str.ljust
    lines = ["  ".join([name.ljust(left), *map(pad, cells, others)]) for name, *cells in rows]
    return [line.rstrip() for line in lines]
