"""Figures: one file each, drawing from run folders only; run them as `python -m plots.NAME RUN ...`."""
