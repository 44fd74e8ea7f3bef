"""Benchmarks: a file each, of which bench.py runs `measure` and prints `show`; timing.py is theirs."""
