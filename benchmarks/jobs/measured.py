"""What the benchmarks run: nothing, and a note of when it began."""

from typing import Any

from drive import started

from taskqueue import job


@job("noop")
def noop(**payload: Any) -> None:
    """Nothing, whatever is asked."""


@job("stamp")
def stamp(at: float) -> None:
    """Note how long after `at` (seconds since 1970) it began."""
    started(at)
