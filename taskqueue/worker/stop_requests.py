"""Runs that shall be stopped on request: by RQ's stop command, or because their task was canceled."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from taskqueue.worker.horse_process import HorseProcess

STOPPED = "Stopped on request."
LOOKED_FOR_SECONDS = 2.0  # the command may come while the job is being claimed, before a horse is seen to run it


class StopRequest(NamedTuple):
    """What was asked for."""

    job: str
    execution: str  # "": whichever of the job's runs
    until: float  # on the monotonic clock


class StopRequests:
    """What was asked for, until it is done."""

    def __init__(self, horses: Sequence[HorseProcess]) -> None:
        self._horses = horses
        self._asked: list[StopRequest] = []

    def ask(self, job: str, execution: str) -> None:
        """StopRequest a run of this job: this execution of it, if one is named."""
        self._asked.append(StopRequest(job, execution, time.monotonic() + LOOKED_FOR_SECONDS))
        self.obey()

    def obey(self) -> None:
        """StopRequest what was asked for and runs now."""
        now = time.monotonic()
        self._asked = [stop for stop in self._asked if not self._stop(stop) and stop.until > now]

    def _stop(self, stop: StopRequest) -> bool:
        for horse in self._horses:
            if horse.runs(stop.job, stop.execution):
                state = horse.channel.read()
                horse.stopped_job = state.job
                if horse.kill_if_still(state.execution, STOPPED):
                    return True
                horse.stopped_job = ""
        return False
