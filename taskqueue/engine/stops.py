"""Runs that shall be stopped on request: by RQ's stop command, or because their task was canceled."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from taskqueue.engine.stall import Stall

STOPPED = "Stopped on request."
LOOKED_FOR_SECONDS = 2.0  # the command may come while the job is being claimed, before a horse is seen to run it


class Stop(NamedTuple):
    """What was asked for."""

    job: str
    execution: str  # "": whichever of the job's runs
    until: float  # on the monotonic clock


class Stops:
    """What was asked for, until it is done."""

    def __init__(self, stalls: Sequence[Stall]) -> None:
        self._stalls = stalls
        self._asked: list[Stop] = []

    def ask(self, job: str, execution: str) -> None:
        """Stop a run of this job: this execution of it, if one is named."""
        self._asked.append(Stop(job, execution, time.monotonic() + LOOKED_FOR_SECONDS))
        self.obey()

    def obey(self) -> None:
        """Stop what was asked for and runs now."""
        now = time.monotonic()
        self._asked = [stop for stop in self._asked if not self._stop(stop) and stop.until > now]

    def _stop(self, stop: Stop) -> bool:
        for stall in self._stalls:
            if stall.runs(stop.job, stop.execution):
                state = stall.slot.read()
                stall.stopped_job = state.job
                if stall.kill_if_still(state.execution, STOPPED):
                    return True
                stall.stopped_job = ""
        return False
