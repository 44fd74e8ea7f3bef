#!/bin/sh
# matplotlib 3.11.2: a lower limit of 0 on an axis that is logarithmic already is ignored, with a warning. The same limit
# on an axis that becomes logarithmic afterwards is kept, without any: 0 is then taken for 10^-1000 or so, and lines of
# several decades shrink to a stroke at the upper edge. So the order of two settings decides whether data can be seen.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet matplotlib==3.11.2
cat >"$folder/draw.py" <<'END'
import warnings

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SETTINGS = {"limit": lambda axes: axes.set_ylim(0, None), "log": lambda axes: axes.set_yscale("log")}


def share(order):
    """Return how much of the axis' height three decades of data take, and how many warnings came."""
    figure, axes = plt.subplots()
    axes.plot([1, 2, 3, 4], [1, 10, 100, 1000])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for name in order:
            SETTINGS[name](axes)
        figure.canvas.draw()
    low, high = axes.transData.transform([(1, 1), (4, 1000)])[:, 1]
    return (high - low) / axes.bbox.height, len(warned)


for order in ("log", "limit"), ("limit", "log"):
    height, warned = share(order)
    print(f"{order[0]}, then {order[1]}: {height:.2f} of the height, {warned} warning")
END
cd "$folder"
MPLCONFIGDIR="$folder" venv/bin/python draw.py | tee seen
cat >expected <<'END'
log, then limit: 0.91 of the height, 1 warning
limit, then log: 0.00 of the height, 0 warning
END
diff expected seen && echo "as we saw it"
