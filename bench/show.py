"""Print the tables of a benchmark's run folder again, of a finished run or of one in progress.

    python -m bench.show runs/published/bench-rule

A figure with brackets is a median with the 10th and 90th percentile, of fewer than ten values with
the lowest and highest. Read next: launch.py beside this file.
"""

import sys
from pathlib import Path

from config import Parser, as_program

from bench import against, child, controller, kills, own, pool, rule
from bench.launch import report
from results import RunError

SHOWS = {
    one.__name__.split(".")[-1]: one.show for one in (against, child, controller, kills, own, pool, rule)
}


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m bench.show", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="RUN", help="run folder of a benchmark")
    try:
        print(report(parser.parse_args(argv).folder, SHOWS), end="")
    except RunError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(as_program(main))
