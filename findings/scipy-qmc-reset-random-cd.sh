#!/bin/sh
# scipy 1.17.1, scipy.stats.qmc: by its docstring reset() puts an engine back to its base state, and in the example of
# QMCEngine the same points are drawn after it. With optimization="random-cd" they are others, for each engine, even
# one without scrambling: the permutations use a generator that reset() leaves as it is. A new engine of the same `rng`
# does draw the same points, and so does reset() with optimization=None or "lloyd".
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scipy==1.17.1 numpy==2.4.6
cat >"$folder/reset.py" <<'END'
import sys

import numpy
import scipy
from scipy.stats import qmc

print("scipy", scipy.__version__, "numpy", numpy.__version__, file=sys.stderr)
ENGINES = {
    "LatinHypercube": qmc.LatinHypercube,
    "Halton": qmc.Halton,
    "Halton, not scrambled": lambda **options: qmc.Halton(scramble=False, **options),
    "Sobol": qmc.Sobol,
}


def word(one, other):
    return "the same" if numpy.array_equal(one, other) else "others"


for optimization in (None, "lloyd", "random-cd"):
    for name, make in ENGINES.items():
        engine = make(d=2, rng=1, optimization=optimization)
        points = engine.random(8)
        after = word(points, engine.reset().random(8))
        fresh = word(points, make(d=2, rng=1, optimization=optimization).random(8))
        print(f"{optimization}, {name}: after reset {after}, from a new engine {fresh}")
END
"$folder/venv/bin/python" "$folder/reset.py" | tee "$folder/seen"
cat >"$folder/expected" <<'END'
None, LatinHypercube: after reset the same, from a new engine the same
None, Halton: after reset the same, from a new engine the same
None, Halton, not scrambled: after reset the same, from a new engine the same
None, Sobol: after reset the same, from a new engine the same
lloyd, LatinHypercube: after reset the same, from a new engine the same
lloyd, Halton: after reset the same, from a new engine the same
lloyd, Halton, not scrambled: after reset the same, from a new engine the same
lloyd, Sobol: after reset the same, from a new engine the same
random-cd, LatinHypercube: after reset others, from a new engine the same
random-cd, Halton: after reset others, from a new engine the same
random-cd, Halton, not scrambled: after reset others, from a new engine the same
random-cd, Sobol: after reset others, from a new engine the same
END
diff "$folder/expected" "$folder/seen" && echo "as we saw it"
