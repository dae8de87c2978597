"""The benchmarks' jobs: one does nothing, one reports when it began."""

from typing import Any

from drive import started

from taskqueue import job


@job("noop")
def noop(**payload: Any) -> None:
    """Do nothing, whatever the payload."""


@job("stamp")
def stamp(at: float) -> None:
    """Report how long after `at` (seconds since 1970) the job began."""
    started(at)
