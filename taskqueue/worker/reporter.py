"""Reports the state of a worker every second, for its /readyz and /metrics."""

import contextlib
import logging
from collections.abc import Callable

from taskqueue.telemetry.counters import Tally
from taskqueue.telemetry.report import Report
from taskqueue.worker.boundary import Rarely
from taskqueue.worker.horses import Horses
from taskqueue.worker.leases import Leases
from taskqueue.worker.maintenance.maintenance import Maintenance
from taskqueue.worker.status_server import StatusServer

log = logging.getLogger(__name__)

SUSPENDED = "`rq suspend` holds: no job is claimed."


class Reporter:
    """Reports one worker's state to its status server, and logs when `rq suspend` begins and ends."""

    def __init__(
        self,
        status_server: StatusServer,
        leases: Leases,
        horses: Horses,
        maintenance: Maintenance,
        tally: Tally,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._status_server = status_server
        self._leases = leases
        self._horses = horses
        self._maintenance = maintenance
        self._tally = tally
        self._is_stopping = is_stopping
        self._why_unready = ""
        self._rarely = Rarely()

    def run(self) -> None:
        """Write a report, and start the status server again if it has died."""
        before, self._why_unready = self._why_unready, self._find_why_unready()
        if SUSPENDED in (before, self._why_unready) and before != self._why_unready:
            log.warning("%s", self._why_unready or "`rq resume`: jobs are claimed again")
        refused = self._horses.refused
        if refused and self._rarely(refused):
            log.error("Redis refuses the work-horses, which try again: %s", refused)
        self._status_server.status.write(
            Report(
                self._why_unready,
                *self._horses.capacity,
                schedules=self._maintenance.is_scheduler,
                tally=self._tally.as_line(),
            )
        )
        with contextlib.suppress(OSError):  # its port may still be in use: the next report tries again
            self._status_server.keep()

    def _find_why_unready(self) -> str:
        """Return why the worker claims no jobs, as a sentence; "" if it does."""
        if self._is_stopping():
            return "The worker is stopping."
        if not self._leases.in_touch:
            return "Redis does not answer."
        if not self._horses.alive:
            return "The worker has no work-horse."
        if self._horses.refused:
            return f"Redis refuses the work-horses: {self._horses.refused}"
        if self._horses.are_all_suspended:
            return SUSPENDED
        return ""
