"""What the benchmarks run: nothing, and a note of when it began."""

from drive import started

from taskqueue import job


@job("noop")
def noop() -> None:
    """Nothing."""


@job("stamp")
def stamp(at: float) -> None:
    """Note how long after `at` (seconds since 1970) it began."""
    started(at)
