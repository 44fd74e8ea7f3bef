"""Of rules that were trained, which would screening have rejected, and were any of them good?

    python -m studies.screening RUN ...                  # runs made with --no-screen
    python -m studies.screening RUN ... --unlike RUN ... # without what the thresholds were chosen on

Read next: screen.py, whose tests these are.
"""

import sys
from collections import Counter
from pathlib import Path

from config import Parser, as_program

import torch

import results
from dsl import Rule
from screen import TESTS, screen


def audit(folders: list[Path], unlike: list[Path] = (), good_share: float = 0.1) -> str:
    """Return a table of what the tests reject among trained rules, one a key, and of the best tenth.

    Args:
        unlike: runs whose rules are left out, by key: a proof needs rules that had no part in a choice.

    Raises:
        RunError: a folder is no run, or its rules were screened, so that the bad ones are missing.
    """
    known = {r["key"] for folder in unlike for r in results.read_lines(folder / "records.jsonl")}
    rewards: dict[str, tuple[float, str]] = {}
    for folder in folders:
        if results.read_config(folder).get("screen", True):
            raise results.RunError(f"{folder} was screened already; make a run with --no-screen")
        for record in results.read_lines(folder / "records.jsonl"):
            # NOS-Bench has parts that were chosen, one of them by these very tests.
            if record["key"] in known or record.get("part", "sample") != "sample":
                continue
            if record.get("cached_from") is not None:  # a near-copy that was not trained itself
                continue
            rewards.setdefault(record["key"], (record["reward"], record["rule"]))
    ranked = sorted(rewards.values(), reverse=True)
    verdicts = [screen(Rule.parse(rule)) for _, rule in ranked]
    best = round(good_share * len(ranked))
    counts, lost = Counter(verdicts), Counter(verdicts[:best])
    lines = [
        f"{len(ranked):,} trained rules, one a key; the best {best:,} score {ranked[best - 1][0]:.4f}+"
    ]
    lines += [f"{'':24}{'rejected':>9}{'of the best':>13}"]
    lines += [f"{name:24}{counts[name]:9,}{lost[name]:13,}" for name in TESTS]
    rejected, false = len(ranked) - counts[None], best - lost[None]
    lines += [f"{'all':24}{rejected:9,}{false:13,}"]
    lines += [f"of the others {(rejected - false) / (len(ranked) - best):.1%} rejected"]
    if not false:  # the rate at which none of n would be lost with a probability of 5 %
        lines[-1] += f"; of the best at most {1 - 0.05 ** (1 / best):.1%} are lost, with 95 % confidence"
    first = next((i for i, verdict in enumerate(verdicts) if verdict), None)
    if first is not None:
        reward, rule = ranked[first]
        lines += [f"best rule rejected: {reward:.4f}, place {first + 1}, '{rule}' ({verdicts[first]})"]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m studies.screening", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="runs made with --no-screen")
    parser.add_argument(
        "--unlike", nargs="+", type=Path, default=[], metavar="RUN", help="runs whose rules do not count"
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # thirty times faster on tensors so small
    try:
        print(audit(args.runs, args.unlike))
    except results.RunError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(as_program(main))
