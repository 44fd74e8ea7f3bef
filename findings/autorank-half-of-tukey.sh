#!/bin/sh
# autorank 1.3.0: for three or more normal populations of equal variances its report tells, after an ANOVA, which
# differences are significant by Tukey's HSD test: by its own words those whose confidence intervals do not overlap. But
# it already takes two means for different if one lies outside the other's interval, at half of the distance that the
# test asks for. So it finds all differences significant where the intervals it gives overlap and where neither scipy
# nor statsmodels, from which it has the intervals, finds them so. Besides, by the docstring the intervals fulfil the
# level `alpha`: they are always those for 0.05, and plot_stats() writes 99 % over the same ones with alpha=0.01.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet autorank==1.3.0 numpy==2.4.6 pandas==3.1.1 scipy==1.17.1 statsmodels==0.15.0 \
    matplotlib==3.11.2
cat >"$folder/rank.py" <<'END'
import contextlib
import io
import sys
from importlib.metadata import version

import numpy
import pandas
from autorank import autorank, create_report, plot_stats
from scipy import stats
from statsmodels.stats.multicomp import pairwise_tukeyhsd

names = ("autorank", "numpy", "scipy", "statsmodels", "pandas")
print(*(f"{name} {version(name)}" for name in names), file=sys.stderr)
MEANS = {"a": 1.2, "b": 0.5, "c": 0.0}
ROWS = 20
generator = numpy.random.default_rng(0)
quantiles = stats.norm.ppf((numpy.arange(ROWS) + 0.5) / ROWS)
quantiles /= quantiles.std(ddof=1)
data = pandas.DataFrame({name: mean + generator.permutation(quantiles) for name, mean in MEANS.items()})
data["b"] += 0.05 * (data["b"] - MEANS["b"])


def quietly(make, *args, **options):
    """Return the result and what was printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        result = make(*args, **options)
    return result, printed.getvalue()


result, _ = quietly(autorank, data, alpha=0.05)
_, report = quietly(create_report, result)
word = "all differences" if "all differences between the populations are significant" in report else "not all"
print(f"{result.omnibus} and {result.posthoc}: the report finds {word} significant")
wanted = pairwise_tukeyhsd(data.to_numpy().T.ravel(), numpy.repeat(list(MEANS), ROWS), alpha=0.05)
matrix = stats.tukey_hsd(*(data[name] for name in MEANS)).pvalue
for (first, second), reject in zip((("a", "b"), ("a", "c"), ("b", "c")), wanted.reject):
    p = matrix[list(MEANS).index(first), list(MEANS).index(second)]
    overlap = result.rankdf.ci_lower[first] <= result.rankdf.ci_upper[second]
    print(f"{first} and {second}: statsmodels {reject}, scipy p = {p:.3f}, autorank's intervals overlap {overlap}")
for alpha in (0.05, 0.01):
    result, _ = quietly(autorank, data, alpha=alpha)
    half = (result.rankdf.ci_upper["a"] - result.rankdf.ci_lower["a"]) / 2
    deviation = numpy.sqrt(data.var().mean())
    tukey = stats.studentized_range.ppf(1 - alpha, 3, 3 * (ROWS - 1)) * deviation / numpy.sqrt(ROWS) / 2
    print(f"alpha={alpha}: half interval {half:.3f}, Tukey's {tukey:.3f}, {plot_stats(result).get_title()}")
END
MPLCONFIGDIR="$folder" MPLBACKEND=agg "$folder/venv/bin/python" -W ignore "$folder/rank.py" | tee "$folder/seen"
cat >"$folder/expected" <<'END'
anova and tukeyhsd: the report finds all differences significant
a and b: statsmodels False, scipy p = 0.084, autorank's intervals overlap True
a and c: statsmodels True, scipy p = 0.001, autorank's intervals overlap False
b and c: statsmodels False, scipy p = 0.274, autorank's intervals overlap True
alpha=0.05: half interval 0.387, Tukey's 0.387, 95.0% Confidence Intervals of the Mean
alpha=0.01: half interval 0.387, Tukey's 0.488, 99.0% Confidence Intervals of the Mean
END
diff "$folder/expected" "$folder/seen" && echo "as we saw it"
