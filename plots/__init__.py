"""Figures: one file each, drawing from run folders only; run them as `python -m plots.NAME RUN ...`."""

import os

# Before anybody imports matplotlib, which refuses a notebook's setting where the notebook is not.
os.environ["MPLBACKEND"] = "Agg"  # figures go to files; no screen is needed
