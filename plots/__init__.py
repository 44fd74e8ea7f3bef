"""Figures: one file each, drawing from run folders only; run them as `python -m plots.NAME RUN ...`."""

import os
import sys

# Before anybody imports matplotlib, which refuses a notebook's setting where the notebook is not.
os.environ["MPLBACKEND"] = "Agg"  # figures go to files; no screen is needed
try:
    import matplotlib  # noqa: F401
except Exception as error:  # a matplotlibrc that is no text, a package that is broken
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    sys.exit(f"no figure, matplotlib or a matplotlibrc of yours is damaged or missing ({reason})")
