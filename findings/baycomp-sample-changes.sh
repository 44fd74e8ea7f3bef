#!/bin/sh
# baycomp 1.0.3: by its docstring the `sample` of a posterior of CorrelatedTTest is always the same for an object, like
# that of the tests for several data sets. It is so only until another instance is asked for its sample: all share one
# cache with a single place. Then the same attribute of the same object has other numbers, and so has each share or
# quantile taken from it. SignTest and SignedRankTest do keep theirs.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet baycomp==1.0.3 numpy==2.4.6 scipy==1.17.1 matplotlib==3.11.2
cat >"$folder/compare.py" <<'END'
import sys
from importlib.metadata import version

import numpy
from baycomp import CorrelatedTTest, SignedRankTest, SignTest

print("baycomp", version("baycomp"), "numpy", numpy.__version__, file=sys.stderr)
scores = numpy.random.default_rng(0).normal([0.80, 0.81, 0.82], 0.02, size=(10, 3)).T
for make in (CorrelatedTTest, SignTest, SignedRankTest):
    first, second = make(scores[0], scores[1]), make(scores[0], scores[2])
    sample = numpy.array(first.sample)
    again = numpy.array_equal(sample, first.sample)
    second.sample
    later = numpy.array_equal(sample, first.sample)
    print(f"{make.__name__}: the same again {again}, the same after another's {later}")
END
MPLCONFIGDIR="$folder" "$folder/venv/bin/python" "$folder/compare.py" | tee "$folder/seen"
cat >"$folder/expected" <<'END'
CorrelatedTTest: the same again True, the same after another's False
SignTest: the same again True, the same after another's True
SignedRankTest: the same again True, the same after another's True
END
diff "$folder/expected" "$folder/seen" && echo "as we saw it"
