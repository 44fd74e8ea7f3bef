"""What all figures share: colours, fonts, and saving as PNG and SVG."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # figures go to files; no screen is needed
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

# One colour a thing, the same in every figure; a palette that colour-blind readers can tell apart
# (Okabe and Ito 2008).
CONTROLLER, RANDOM, DIVERGED = "#0072B2", "#8C8C8C", "#D55E00"
HUMAN = {"sgd": "#E69F00", "momentum": "#CC79A7", "rmsprop": "#009E73", "adam": "#56B4E9"}
FOUND = ["#0072B2", "#D55E00", "#332288", "#882255", "#117733", "#000000"]

plt.rcParams.update(
    {
        "figure.figsize": (7.2, 4.2),
        "figure.dpi": 100,
        "savefig.dpi": 200,
        "figure.constrained_layout.use": True,
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#4D4D4D",
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#E6E6E6",
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "0",  # the same figure, the same bytes
    }
)


def save(figure: Figure, path: Path) -> list[Path]:
    """Write the figure as PNG and as SVG beside it; return both paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    paths = [path.with_suffix(".png"), path.with_suffix(".svg")]
    figure.savefig(paths[0])
    figure.savefig(paths[1], metadata={"Date": None})
    plt.close(figure)
    return paths
