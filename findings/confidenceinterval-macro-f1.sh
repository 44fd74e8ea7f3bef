#!/bin/sh
# confidenceinterval 1.0.5: f1_score(..., average="macro") returns the score and by default an interval by the method of
# Takahashi et al., which is the delta method for the table of all classes. Its formula has two sums for products and
# counts for shares. For two classes, 95 % of them right, the interval is over three times as wide as it should be, and
# without any error it is not zero; for 50 classes it is so narrow that 44 % of the "95 %" intervals have the true
# score. By hand the delta method agrees with the deviations of simulated scores, and with the package's own bootstrap.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet confidenceinterval==1.0.5 numpy==2.4.6 pandas==3.1.1 scipy==1.17.1 \
    scikit-learn==1.9.1 statsmodels==0.15.0
cat >"$folder/interval.py" <<'END'
import sys
from importlib.metadata import version

import numpy
from confidenceinterval import f1_score

names = ("confidenceinterval", "numpy", "scipy", "scikit-learn", "statsmodels")
print(*(f"{name} {version(name)}" for name in names), file=sys.stderr)
ROWS, TIMES = 3000, 200
generator = numpy.random.default_rng(0)


def score(table):
    return numpy.mean(2 * numpy.diag(table) / (table.sum(axis=0) + table.sum(axis=1)))


def labels(table):
    """Return the classes and the predicted ones, with as many rows of each pair as the table says."""
    return numpy.repeat(numpy.indices(table.shape).reshape(2, -1), table.ravel(), axis=1)


def half(table, **options):
    value, (low, high) = f1_score(*labels(table), average="macro", **options)
    assert abs(value - score(table)) < 1e-6
    return (high - low) / 2


def half_by_hand(table):
    """Return half of the 95 % interval by the delta method for a multinomial table."""
    shares = table / table.sum()
    sums = shares.sum(axis=0) + shares.sum(axis=1)
    parts = 2 * numpy.diag(shares) / sums / sums
    slopes = (numpy.diag(2 / sums) - parts[:, None] - parts) / len(table)
    variance = (shares * slopes**2).sum() - (shares * slopes).sum() ** 2
    return 1.96 * numpy.sqrt(variance / table.sum())


for classes, right in ((2, 0.95), (3, 0.95), (10, 0.95), (50, 0.7)):
    shares = numpy.full((classes, classes), (1 - right) / classes / (classes - 1))
    numpy.fill_diagonal(shares, right / classes)
    tables = generator.multinomial(ROWS, shares.ravel(), TIMES).reshape(TIMES, classes, classes)
    scores = numpy.array([score(table) for table in tables])
    halves = [half(table) for table in tables]
    others = [half_by_hand(table) for table in tables]
    hits = [numpy.mean(abs(scores - score(shares)) <= width) for width in (halves, others)]
    own = half(tables[0], method="bootstrap_percentile", n_resamples=1000, random_state=0)
    widths = [numpy.mean(halves), numpy.mean(others), 1.96 * scores.std(), own]
    names = ("half interval", "by hand", "1.96 deviations", "its own bootstrap")
    print(f"{classes} classes, {right:.0%} right:", ", ".join(f"{n} {w:.3f}" for n, w in zip(names, widths)))
    print(f"{classes} classes: {hits[0]:.0%} of the intervals have the true score, {hits[1]:.0%} by hand")
table = numpy.diag((1000, 1000))
print(f"2 classes, all right: half interval {half(table):.3f}, by hand {half_by_hand(table):.3f}")
END
"$folder/venv/bin/python" -W ignore "$folder/interval.py" | tee "$folder/seen"
cat >"$folder/expected" <<'END'
2 classes, 95% right: half interval 0.026, by hand 0.008, 1.96 deviations 0.008, its own bootstrap 0.008
2 classes: 100% of the intervals have the true score, 94% by hand
3 classes, 95% right: half interval 0.021, by hand 0.008, 1.96 deviations 0.007, its own bootstrap 0.007
3 classes: 100% of the intervals have the true score, 95% by hand
10 classes, 95% right: half interval 0.012, by hand 0.008, 1.96 deviations 0.008, its own bootstrap 0.007
10 classes: 100% of the intervals have the true score, 93% by hand
50 classes, 70% right: half interval 0.006, by hand 0.016, 1.96 deviations 0.018, its own bootstrap 0.017
50 classes: 44% of the intervals have the true score, 92% by hand
2 classes, all right: half interval 0.031, by hand 0.000
END
diff "$folder/expected" "$folder/seen" && echo "as we saw it"
