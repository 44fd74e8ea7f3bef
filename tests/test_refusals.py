"""Bad input to programs: one line that says what is wrong, exit code 2, nothing made."""

import importlib

import pytest
from helpers import ROOT, refusal

RESCORED = ROOT / "runs" / "published" / "tier-rescored"
REFUSED = f"""
data                |                                 | required
data                | imagenet                        | imagenet
data                | fashion-mnist-sample --dat x    | --dat
data                | fashion-mnist-sample cifar10    | cifar10
data                | fashion-mnist-sample --data {__file__}/x | Not a directory
rosenbrock          | --rules powersing               | powersign
rosenbrock          | --rules g                       | unknown rule
rosenbrock          | more                            | more
rosenbrock          | --out .                         | File exists
rosenbrock          | --library keras                 | choose from
bench.show          |                                 | RUN
bench.show          | nowhere                         | is not a run folder
bench.show          | {RESCORED}                      | no measurements of a benchmark
bench.rule          | --epochs 3                      | --epochs
bench.rule          | --memory lost                   | choose from
bench.rule          | --out {ROOT}                    | exists already
export.tree         |                                 | RULE
export.tree         | powersing                       | powersign
export.tree         | adam -o /proc/nothing/tree.png  | /proc/nothing
nosbench.build      | --seeds 1                       | --seeds is 1
nosbench.build      | --workers 0                     | --workers is 0
nosbench.build      |                                 | is there already
nosbench.cifar_tier | report --out nowhere            | nowhere
nosbench.cifar_tier | build --workers 0               | --workers and --limit must be
nosbench.search     | --iterations 2                  | --iterations 1 only
nosbench.search     | --subset arxiv                  | lacks
nosbench.search     | --table-seed 3                  | seeds 0 to 2
nosbench.search     | --cluster tcp://127.0.0.1:1     | --cluster
nosbench.search     | --workers 4                     | --workers
nosbench.search     | --epoch-size 9                  | --epoch-size
nosbench.show       |                                 | RULE
nosbench.show       | powersign                       | has 2 groups
nosbench.show       | adamm                           | adam
nosbench.study      | random --table-seeds 3          | seeds 0 to 2
nosbench.study      | random --table-seeds a          | --table-seeds
nosbench.study      | random --samples 50             | --samples
nosbench.study      | random --rotate 2               | --replicates and --rotate must be 1
nosbench.study      | random --seeds 0                | --seeds is 0
nosbench.study      | random --seed 3                 | --seed
nosbench.study      | random --subset=arxiv --iterations=2 | lacks
nosbench.verify     | --sample 0                      | --sample is 0
studies.valley      | --iterations 0                  | --iterations is 0
studies.valley      | --rates 0                       | --rates
studies.valley      | --rates ,                       | --rates
studies.valley      | --adam-eps ,                    | --adam-eps
studies.valley      | --start-x inf                   | --start-x
studies.valley      | --momentum 1.1                  | --momentum
studies.valley      | --starts 101                    | --starts
studies.valley      | --rules powersing               | powersign
studies.valley      | .                               | run folder
"""


@pytest.mark.parametrize("row", REFUSED.strip().splitlines())
def test_bad_input_is_one_line_and_leaves_nothing(row, tmp_path, monkeypatch, capsys):
    program, flags, why = map(str.strip, row.split("|"))
    monkeypatch.chdir(tmp_path)
    line = refusal(importlib.import_module(program).main, flags.split(), capsys)
    name = f"python -m {program}" if "." in program else f"{program}.py"
    assert line.startswith(f"{name}: error: ") and why in line
    assert list(tmp_path.iterdir()) == []
