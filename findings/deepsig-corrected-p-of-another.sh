#!/bin/sh
# deepsig 1.2.8: by its docstring bonferroni_correction() returns the corrected p-values. It sorts them, corrects them
# and then, to make it easy to see which hypotheses can be rejected, "unsorts" them; but that applies the sorting order
# once more instead of undoing it. It is right only where twice changes nothing, as for two values or sorted ones. Else
# hypotheses get each other's values: of 0.02, 0.3 and 0.001 the 0.3 comes back as 0.003, below its own uncorrected
# value and the only one below 0.01. Of the 120 orders of five different p-values 26 come back right.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet deepsig==1.2.8 numpy==2.4.6 pandas==3.1.1 scipy==1.17.1
cat >"$folder/correct.py" <<'END'
import sys
from importlib.metadata import version
from itertools import permutations

import numpy
from deepsig import bonferroni_correction

print("deepsig", version("deepsig"), "numpy", numpy.__version__, file=sys.stderr)


def by_hand(values):
    """Holm's factors: the smallest p-value times their number, the next one times one less, and so on."""
    ranks = sorted(values)
    return [min(1.0, (len(values) - ranks.index(value)) * value) for value in values]


def words(values):
    return " ".join(f"{value:.3f}" for value in values)


for values in ([0.001, 0.02, 0.3], [0.02, 0.001, 0.3], [0.3, 0.001, 0.02], [0.02, 0.3, 0.001]):
    print(f"p {words(values)}: corrected {words(bonferroni_correction(values))}, by hand {words(by_hand(values))}")
for values in ([0.001, 0.3], [0.001, 0.02, 0.3], [0.001, 0.02, 0.1, 0.9], [0.001, 0.02, 0.1, 0.3, 0.9]):
    orders = list(permutations(values))
    right = [numpy.allclose(bonferroni_correction(list(order)), by_hand(order)) for order in orders]
    least = [numpy.argmin(bonferroni_correction(list(order))) == numpy.argmin(order) for order in orders]
    print(f"{len(values)} p-values: {sum(right)} of {len(orders)} orders right, the least stays it in {sum(least)}")
END
"$folder/venv/bin/python" "$folder/correct.py" | tee "$folder/seen"
cat >"$folder/expected" <<'END'
p 0.001 0.020 0.300: corrected 0.003 0.040 0.300, by hand 0.003 0.040 0.300
p 0.020 0.001 0.300: corrected 0.040 0.003 0.300, by hand 0.040 0.003 0.300
p 0.300 0.001 0.020: corrected 0.040 0.300 0.003, by hand 0.300 0.003 0.040
p 0.020 0.300 0.001: corrected 0.300 0.003 0.040, by hand 0.040 0.300 0.003
2 p-values: 2 of 2 orders right, the least stays it in 2
3 p-values: 4 of 6 orders right, the least stays it in 4
4 p-values: 10 of 24 orders right, the least stays it in 12
5 p-values: 26 of 120 orders right, the least stays it in 48
END
diff "$folder/expected" "$folder/seen" && echo "as we saw it"
