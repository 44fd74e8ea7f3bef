"""Verdicts on the claims of the paper: a row of claims.py a function, by records in runs/published."""
