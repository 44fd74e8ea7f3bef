import plots  # noqa: F401  (before matplotlib)
