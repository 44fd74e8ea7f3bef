"""Does the table of NOS-Bench hold on this machine? Measures random rules again and compares.

    python -m nosbench.verify                    # 50 rules: seconds
    python -m nosbench.verify --sample 1500

Exit code 1 says that it does not. Read next: build.py, which measures all rules.
"""

import random
import sys

from config import ConfigError, Parser, as_program

import numpy as np

from nosbench import micro
from nosbench.table import NONE, TIER, Table
from results import Progress
from training import start_worker

# Scores are apart if one image in a hundred is. Start weights that differ by 1e-7 move one score in
# ten by more than that, since some rules are chaotic, but none of 80 that keep up.
FAR = 0.01
MOST_FAR = {"of all": 0.25, "that keep up": 0.05}


def verify(table: Table, sample: int, seed: int) -> tuple[str, bool]:
    """Measure random classes again, half of them of those that keep up with SGD.

    Returns:
        A report, and whether the table agrees.
    """
    rng = random.Random(seed)
    keep_up = np.flatnonzero(table.keeps_up).tolist()
    groups = {"that keep up": keep_up, "of all": range(len(table.mean))}
    lines, agrees, progress = [], True, Progress()
    for name, classes in groups.items():
        chosen = rng.sample(classes, min(-(-sample // 2), len(classes)))
        texts = [str(table.rule(table.measured[i])) for i in chosen]
        columns = []
        for s in range(table.num_seeds):
            progress.update(f"seed {s}: measuring {len(texts)} rules {name}")
            columns.append(micro.measure(texts, s).correct)
        new, old = np.stack(columns, 1), table.correct[chosen]
        flipped, apart = (new == NONE) != (old == NONE), np.abs(new.astype(int) - old)
        far = float((flipped | (apart > FAR * micro.NUM_VALIDATION)).mean())
        agrees &= far <= MOST_FAR[name]
        lines.append(
            f"{len(texts)} rules {name}, {new.size} scores: {(apart == 0).mean():.1%} equal, {far:.1%} "
            f"over {FAR:.0%} apart (rounding: {MOST_FAR[name]:.0%}), {flipped.sum()} diverged once"
        )
    progress.say()
    verdict = "agrees with this machine" if agrees else "does NOT agree with this machine"
    return "\n".join([*lines, f"The table {verdict}."]), agrees


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m nosbench.verify", description=__doc__)
    parser.add_argument(
        "--sample", type=int, default=50, metavar="N", help="rules to measure (default: 50)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the sample (default: 0)")
    args = parser.parse_args(argv)
    try:
        if args.sample < 1:
            raise ConfigError(f"--sample is {args.sample}; it must be at least 1")
        start_worker()
        text, agrees = verify(Table.load(TIER), args.sample, args.seed)
    except ValueError as error:
        parser.error(str(error))
    print(text)
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(as_program(main))
