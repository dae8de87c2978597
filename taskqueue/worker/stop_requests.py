"""Requests to stop a run: by RQ's stop command, or because its task was canceled."""

import time
from collections.abc import Iterable
from typing import NamedTuple

from taskqueue.worker.decision import Ending, How
from taskqueue.worker.horse_process import HorseProcess

STOPPED = Ending(How.STOPPED, "Stopped on request.")
VALID_SECONDS = 2.0  # the command may come while the job is being claimed, before a horse is seen to run it


class StopRequest(NamedTuple):
    """A request to stop one run."""

    job: str
    execution: str  # "": any run of the job
    until: float  # on the monotonic clock


class StopRequests:
    """The requests that are open: each until its run is killed, or for VALID_SECONDS."""

    def __init__(self, horses: Iterable[HorseProcess]) -> None:
        self._horses = horses
        self._open: list[StopRequest] = []

    def add(self, job: str, execution: str) -> None:
        """Ask to stop a run of this job: this execution, or any if `execution` is ""."""
        self._open.append(StopRequest(job, execution, time.monotonic() + VALID_SECONDS))
        self.fulfil()

    def fulfil(self) -> None:
        """Kill the horses that run what is to be stopped."""
        now = time.monotonic()
        self._open = [request for request in self._open if not self._stop(request) and request.until > now]

    def _stop(self, request: StopRequest) -> bool:
        return any(
            horse.kill_if_still(horse.channel.read().execution, STOPPED)
            for horse in self._horses
            if horse.runs(request.job, request.execution)
        )
