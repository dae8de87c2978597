"""Requests to stop a run: by RQ's stop command, or because its task was canceled."""

import time
from collections.abc import Callable
from typing import NamedTuple

VALID_SECONDS = 2.0  # the command may come while the job is being claimed, before a horse is seen to run it


class StopRequest(NamedTuple):
    """A request to stop one run."""

    job: str
    execution: str  # "": any run of the job
    until: float  # on the monotonic clock


class StopRequests:
    """The requests that are open: each until its run is stopped, or for VALID_SECONDS.

    `stop_run` stops an execution of a job, or any of its executions, and returns whether there is one.
    """

    def __init__(self, stop_run: Callable[[str, str], bool]) -> None:
        self._stop_run = stop_run
        self._open: list[StopRequest] = []

    def add(self, job: str, execution: str) -> None:
        """Ask to stop a run of this job: this execution, or any if `execution` is ""."""
        self._open.append(StopRequest(job, execution, time.monotonic() + VALID_SECONDS))
        self.fulfil()

    def fulfil(self) -> None:
        """Stop the runs that are to be stopped."""
        now = time.monotonic()
        self._open = [
            request
            for request in self._open
            if request.until > now and not self._stop_run(request.job, request.execution)
        ]
