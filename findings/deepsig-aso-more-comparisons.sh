#!/bin/sh
# deepsig 1.2.8: aso() takes `num_comparisons` for a Bonferroni correction, which by the README divides alpha by that
# number; multi_aso() corrects by itself. What is divided is something else, the step by which the confidence level goes
# up. So it is right for two comparisons (97.5 %), and each further one brings the level down again, to nearly the 95 %
# of none: the more is compared, the sooner one model is found better. With two models multi_aso() has one comparison
# and a level of 100 %: the bound is 1, the highest there is, where aso() has 0.22 for the same scores.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet deepsig==1.2.8 numpy==2.4.6 pandas==3.1.1 scipy==1.17.1
cat >"$folder/compare.py" <<'END'
import sys
from importlib.metadata import version

import numpy
from deepsig import aso, multi_aso
from scipy.stats import norm

print("deepsig", version("deepsig"), "numpy", numpy.__version__, file=sys.stderr)
OPTIONS = {"num_bootstrap_iterations": 100, "seed": 1, "show_progress": False}
generator = numpy.random.default_rng(0)
better, worse = generator.normal(0.8, 1.0, 20), generator.normal(0.0, 1.0, 20)

# A bound is linear in the normal quantile of its confidence level, so two of them tell the level of any other one.
low, high = (aso(better, worse, confidence_level=level, **OPTIONS) for level in (0.95, 0.99))
slope = (high - low) / (norm.ppf(0.99) - norm.ppf(0.95))
for count in (1, 2, 3, 10, 100):
    bound = aso(better, worse, num_comparisons=count, **OPTIONS)
    level = norm.cdf(norm.ppf(0.95) + (bound - low) / slope)
    wanted = aso(better, worse, confidence_level=1 - 0.05 / count, **OPTIONS)
    print(f"{count} comparisons: level {level:.2%}, Bonferroni {1 - 0.05 / count:.2%}; bound {bound:.3f}, {wanted:.3f}")
for corrected in (True, False):
    matrix = multi_aso(numpy.array([better, worse]), use_bonferroni=corrected, **OPTIONS)
    print(f"multi_aso of two models, use_bonferroni={corrected}: bound {matrix[0, 1]:.3f}")
END
"$folder/venv/bin/python" -W ignore "$folder/compare.py" | tee "$folder/seen"
cat >"$folder/expected" <<'END'
1 comparisons: level 95.00%, Bonferroni 95.00%; bound 0.217, 0.217
2 comparisons: level 97.50%, Bonferroni 97.50%; bound 0.253, 0.253
3 comparisons: level 96.67%, Bonferroni 98.33%; bound 0.238, 0.272
10 comparisons: level 95.50%, Bonferroni 99.50%; bound 0.223, 0.322
100 comparisons: level 95.05%, Bonferroni 99.95%; bound 0.218, 0.403
multi_aso of two models, use_bonferroni=True: bound 1.000
multi_aso of two models, use_bonferroni=False: bound 0.217
END
diff "$folder/expected" "$folder/seen" && echo "as we saw it"
