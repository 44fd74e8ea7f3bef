#!/bin/sh
# bayesian-optimization 3.4.0: by its docstring save_state() keeps the complete state of an optimizer, and load_state()
# loads it. The kind of kernel chosen with set_gp_params() is lost: the saved parameters make a Matern kernel, whatever
# they were of. Those of an RBF kernel fit without a word, even where the loading optimizer has an RBF kernel: that is
# replaced by a Matern kernel of nu=1.5, which is not the library's default either, and the next points are others.
# With Matern kernels of any nu the loaded run goes on as the saved one does.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet bayesian-optimization==3.4.0 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
cat >"$folder/load.py" <<'END'
import sys
from importlib.metadata import version
from pathlib import Path

import numpy
from bayes_opt import BayesianOptimization
from sklearn.gaussian_process.kernels import RBF, Matern

names = ("bayesian-optimization", "numpy", "scipy", "scikit-learn")
print(*(f"{name} {version(name)}" for name in names), file=sys.stderr)
STATE = Path(sys.argv[1])
KERNELS = {
    "default": lambda: None,
    "Matern(nu=0.5)": lambda: Matern(nu=0.5),
    "RBF()": RBF,
}


def hill(x, y):
    return -((x - 1.0) ** 2) - (y + 2.0) ** 2 + numpy.sin(3 * x)


def new(kernel, seed):
    optimizer = BayesianOptimization(hill, {"x": (-5, 5), "y": (-5, 5)}, random_state=seed, verbose=0)
    if kernel is not None:
        optimizer.set_gp_params(kernel=kernel)
    return optimizer


def word(optimizer):
    """Return the kind of kernel, by its values at some distances rather than by its name."""
    points = numpy.array([[0.0, 0.0], [0.3, 0.1], [1.0, -0.4], [2.0, 1.0]])
    values = optimizer._gp.kernel(points)
    kinds = {"RBF": RBF(), **{f"Matern, nu={nu}": Matern(nu=nu) for nu in (0.5, 1.5, 2.5)}}
    return next((name for name, kind in kinds.items() if numpy.allclose(values, kind(points))), "none of them")


for name, make in KERNELS.items():
    first = new(make(), seed=1)
    first.maximize(init_points=5, n_iter=3)
    first.save_state(STATE)
    second = new(make(), seed=2)
    given = word(second)
    second.load_state(STATE)
    print(f"{name}: {given} before loading, {word(second)} after", end=", ")
    same = []
    for _ in range(3):
        points = [optimizer.suggest() for optimizer in (first, second)]
        same.append(numpy.allclose(*(list(point.values()) for point in points), atol=1e-3))
        for optimizer, point in zip((first, second), points):
            optimizer.register(params=point, target=hill(**point))
    print("goes on the same" if all(same) else "goes on otherwise" if not any(same) else "some points the same")
END
"$folder/venv/bin/python" -W ignore "$folder/load.py" "$folder/state.json" | tee "$folder/seen"
cat >"$folder/expected" <<'END'
default: Matern, nu=2.5 before loading, Matern, nu=2.5 after, goes on the same
Matern(nu=0.5): Matern, nu=0.5 before loading, Matern, nu=0.5 after, goes on the same
RBF(): RBF before loading, Matern, nu=1.5 after, goes on otherwise
END
diff "$folder/expected" "$folder/seen" && echo "as we saw it"
