"""What this checkout costs beside another commit: time, memory, and accuracy lost.

    python -m bench.against                       # beside the last commit: what is not committed yet
    python -m bench.against v1.0 --parts step,score
    python -m bench.against --other ../another-checkout

Each part (probes.py beside this file) is a process of its own in the folder of a checkout, on one
thread; this one and the other take turns, and who is first alternates. A round of all parts but memory
takes three minutes; memory takes ten more with 100 workers on two cores. What a checkout does not
know is "-", and why stands below. Read next: probes.py.
"""

import contextlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from config import ConfigError, as_program, setting

import numpy as np

from bench.launch import launch
from bench.probes import PARTS
from bench.timing import spread, table
from child import ChildConfig, check_epoch
from data import NAMES, NUM_VALIDATION, choose
from data import prepare as prepare_data
from dsl import CONSTRAINTS, SUBSETS, SearchSpace
from rules import NAMED_RULES

HERE = Path(__file__).parent.parent
# With -c the folder that it runs in is the first that modules are looked for in.
PROBE = ["-c", "import runpy, sys; runpy.run_path(sys.argv[1])['main'](*sys.argv[2:])"]
PROBE += [str(Path(__file__).with_name("probes.py"))]
SIDES = ("here", "there")
LEARNS = 0.2  # twice the accuracy of guessing


@dataclass(frozen=True)
class Config:
    """What is compared, how often, and how large the parts are."""

    commit: str = setting("HEAD", "the other commit, of this repository", flag=False)
    other: str = setting("", "folder of another checkout, in the commit's place")
    parts: tuple[str, ...] = setting(tuple(PARTS), "what is measured", choices=tuple(PARTS), least=1)
    rounds: int = setting(6, "times that both are measured", low=1)
    seed: int = setting(0, "which rules are scored", low=0)
    dataset: str = setting("auto", "pictures; auto is CIFAR-10 if on disk", choices=("auto", *NAMES))
    data: str = setting("data", "folder that holds the data sets")
    rules: int = setting(4, "random rules of depth 2 that a round scores, beside Adam", low=0)
    epoch_size: int = setting(1_000, "training images in an epoch of a rule's score", low=100)
    num_validation: int = setting(1_000, "held-out images of it", low=1, high=NUM_VALIDATION)
    samples: int = setting(60, "rules that a search samples, with the same sizes", low=5)
    micro_rules: int = setting(64, "rules of NOS-Bench's child", low=1)
    workers: int = setting(100, "of the searches with many", low=1)
    look_s: int = setting(180, "seconds that the memory of those is looked at", low=1)
    records: int = setting(100_000, "of the searches that are long", low=5)


def git(*words: str) -> str:
    """Return what git says here; raise OSError if it cannot run or fails."""
    done = subprocess.run(["git", "-C", str(HERE), *words], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def prepare(config: Config) -> Config:
    """Return the config with the commit and the pictures told for good, the latter ready."""
    root = Path(config.data).absolute()
    config = replace(config, dataset=choose(config.dataset, root), data=str(root))
    check_epoch(ChildConfig(dataset=config.dataset, epoch_size=config.epoch_size))
    if config.other:
        if config.commit != Config.commit:
            raise ConfigError("--other takes the place of a commit; give one of them")
        if not (Path(config.other) / "search.py").is_file():
            raise ConfigError(f"--other is {config.other}; it must be the folder of a checkout")
        config = replace(config, other=str(Path(config.other).absolute()), commit="")
    else:
        try:
            commit = git("rev-parse", "--verify", "--end-of-options", f"{config.commit}^{{commit}}")
        except OSError:
            raise ConfigError(f"{config.commit} is no commit that git knows in {HERE}") from None
        config = replace(config, commit=commit)
    prepare_data(config.dataset, root)
    return config


@contextlib.contextmanager
def checkouts(config: Config) -> Iterator[dict[str, Path]]:
    """Make the other checkout, if it is none; yield the folders of both, ready to be imported."""
    with tempfile.TemporaryDirectory(prefix="against-") as temporary:
        folder = Path(config.other or temporary)
        if not config.other:
            git("clone", "--quiet", "--shared", "--no-checkout", str(HERE), temporary)
            git("-C", temporary, "checkout", "--quiet", config.commit)
        yield {"here": HERE, "there": folder}


def probe(folder: Path, part: str, asked: dict) -> dict:
    """Measure a part in a checkout; return what was found, or the last line of why it cannot be."""
    command = [sys.executable, *PROBE, part, json.dumps(asked)]
    how = {"cwd": folder, "env": os.environ | {"OMP_NUM_THREADS": "1"}, "start_new_session": True}
    how |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **how) as process:
        try:
            out, errors = process.communicate()
        finally:  # also a search that it has begun
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        lines = errors.strip().splitlines() or [f"it ended with {process.returncode}"]
        return {"fault": lines[-1]}
    return {"found": json.loads(out.splitlines()[-1])}


def measure(config: Config) -> Iterator[dict]:
    """Measure part after part, here and there in turns; yield a record for each measurement."""
    rng, constraints = random.Random(config.seed), tuple(CONSTRAINTS.values())
    deep = SearchSpace(2, **SUBSETS["compact"], constraints=constraints)
    flat = SearchSpace(1, constraints=constraints[:2])
    asked = asdict(config) | {"micro_rules": [str(flat.sample(rng)) for _ in range(config.micro_rules)]}
    with checkouts(config) as folders:
        for number in range(config.rounds):
            rules = [str(deep.sample(rng)) for _ in range(config.rules)]
            asked |= {"round": number, "rules": [NAMED_RULES["adam"].rule, *rules]}
            for part in config.parts:
                for side in SIDES[:: (-1) ** number]:
                    found = probe(folders[side], part, asked)
                    yield {"part": part, "round": number, "side": side} | found


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """Return the median of values and the interval of the sign test, which assumes no distribution.

    Its ends are the k-th lowest and highest value: the true median is below the former, or above the
    latter, with probability sum_{i<k} C(n, i) / 2^n each. k is the largest for which both together are
    at most 5 %, or 1 if there are too few values for that.
    """
    n, k = len(values), 1
    while 2 * sum(math.comb(n, i) for i in range(k + 1)) <= 0.05 * 2**n:
        k += 1
    ordered = sorted(values)
    return float(np.median(ordered)), ordered[k - 1], ordered[-k]


def show(records: list[dict]) -> str:
    """Return the tables: each quantity here and there with its ratio, accuracy lost, and what failed."""
    faults = {(r["part"], r["side"]): r["fault"] for r in records if "fault" in r}
    found: dict[str, dict[tuple, float]] = {}  # by name, and then by side and round
    scores: dict[tuple, dict[str, float]] = {}  # by rule and round, and then by side
    for record in (r for r in records if "found" in r):
        for name, value in record["found"].items():
            if name != "scores":
                found.setdefault(name, {})[record["side"], record["round"]] = value
        for rule, accuracy in record["found"].get("scores", {}).items():
            scores.setdefault((rule, record["round"]), {})[record["side"]] = accuracy or 0.0
    rows = []
    for name, mine in found.items():
        here, there = ({at: x for (who, at), x in mine.items() if who == side} for side in SIDES)
        cells = [spread(list(side.values()), digits=3) if side else "-" for side in (here, there)]
        ratios = [here[at] / there[at] for at in here.keys() & there.keys() if there[at]]
        ratio = "{:.3f} [{:.3f}-{:.3f}]".format(*median_interval(ratios)) if ratios else "-"
        rows.append([name, *cells, ratio, str(len(ratios))])
    known = {record["part"] for record in records if "found" in record}
    rows += [[part, "-", "-", "-", "0"] for part in {part: 0 for part, _ in faults} if part not in known]
    text = (
        "This checkout and the other: medians, and the ratio here / there of rounds that follow each\n"
        "other, its median with the interval of the sign test, 95 % from six rounds on\n\n"
    )
    text += table(["", *SIDES, "here / there", "rounds"], rows)
    if both := [pair for pair in scores.values() if len(pair) == 2]:
        text += f"\n\n{show_scores(both)}"
    return text + "".join(f"\n\n{part}, {side}: {why}" for (part, side), why in faults.items())


def show_scores(pairs: list[dict[str, float]]) -> str:
    """Return how accurate scored rules are here and there, those that failed counting 0."""
    here, there = (np.array([pair[side] for pair in pairs]) for side in SIDES)
    # By both sides: what luck alone lifts on one of them would count as lost on the other.
    groups = {"all": there >= 0, f"better than {LEARNS} on average": (here + there) / 2 > LEARNS}
    rows = []
    for name, some in groups.items():
        if not some.any():
            continue
        lost = (there - here)[some]
        error = f" ± {lost.std(ddof=1) / len(lost) ** 0.5:.4f}" if len(lost) > 1 else ""
        means = [f"{side[some].mean():.4f}" for side in (here, there)]
        rows.append([name, str(some.sum()), *means, f"{lost.mean():+.4f}{error}", f"{lost.max():+.4f}"])
    text = "Accuracy of the rules scored, 0 if training failed, and what is lost here (± standard error)"
    return f"{text}\n\n" + table(["", "rules", *SIDES, "lost", "most lost"], rows)


def main(argv: list[str] | None = None) -> int:
    return launch("against", __doc__, Config, measure, show, argv, prepare, operand="commit")


if __name__ == "__main__":
    sys.exit(as_program(main))
