#!/bin/sh
# mealpy 3.0.3 (its numpy needs Python 3.9 to 3.12): by its docstring solve() returns the best agent, with the best
# solution and the best target; the example of each optimizer prints both. For some optimizers they do not belong
# together. OriginalSBO and OriginalHBO return, for the problem of their own examples, a solution whose sum of squares
# is not the fitness beside it. With bounds from 1 to 10 OriginalArchOA reports for a sum of 30 squares less than 30,
# which no point within them has: it takes the fitness of the point before that was put back into the bounds.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mealpy==3.0.3 numpy==1.26.0
cat >"$folder/solve.py" <<'END'
import math
import sys

import mealpy
import numpy
from mealpy import HBO, PSO, SBO, ArchOA, FloatVar

print("mealpy", mealpy.__version__, "numpy", numpy.__version__, file=sys.stderr)
SEEDS = range(5)


def squares(x):
    return float(numpy.sum(x**2))


for low in (-10.0, 1.0):
    least = 30 * max(low, 0.0) ** 2
    for make in (PSO.OriginalPSO, SBO.OriginalSBO, HBO.OriginalHBO, ArchOA.OriginalArchOA):
        fits = impossible = 0
        for seed in SEEDS:
            problem = {"obj_func": squares, "bounds": FloatVar(lb=(low,) * 30, ub=(10.0,) * 30), "minmax": "min"}
            best = make(epoch=50, pop_size=50).solve({**problem, "log_to": None}, seed=seed)
            solution, fitness = best.solution, best.target.fitness
            assert ((low <= solution) & (solution <= 10)).all()
            fits += math.isclose(squares(solution), fitness, rel_tol=1e-6)
            impossible += fitness < least * 0.999
        print(f"from {low:g} to 10, {make.__name__}: {fits} of 5 fit, {impossible} below the least possible")
        print(make.__name__, "last:", squares(solution), "reported:", fitness, file=sys.stderr)
END
"$folder/venv/bin/python" -W ignore "$folder/solve.py" | tee "$folder/seen"
cat >"$folder/expected" <<'END'
from -10 to 10, OriginalPSO: 5 of 5 fit, 0 below the least possible
from -10 to 10, OriginalSBO: 0 of 5 fit, 0 below the least possible
from -10 to 10, OriginalHBO: 0 of 5 fit, 0 below the least possible
from -10 to 10, OriginalArchOA: 5 of 5 fit, 0 below the least possible
from 1 to 10, OriginalPSO: 5 of 5 fit, 0 below the least possible
from 1 to 10, OriginalSBO: 0 of 5 fit, 0 below the least possible
from 1 to 10, OriginalHBO: 0 of 5 fit, 0 below the least possible
from 1 to 10, OriginalArchOA: 0 of 5 fit, 5 below the least possible
END
diff "$folder/expected" "$folder/seen" && echo "as we saw it"
