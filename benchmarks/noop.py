"""What the benchmarks of RQ's own workers run."""


def noop() -> dict[str, int]:
    """Nothing."""
    return {}
