"""Adds the counts of each minute that is over to its hour."""

import time

from redis import Redis

from taskqueue.store import scripts
from taskqueue.store.keys import ROLLED_UP
from taskqueue.telemetry.series import HOURS_KEPT_SECONDS, MINUTE, MINUTES_KEPT_SECONDS, SETTLED_SECONDS

MINUTES_AT_ONCE = 60  # in one run, after an absence of all workers: about a millisecond of Redis


class MinuteRoller:
    """A chore of the scheduling worker, once a minute."""

    def __init__(self, connection: Redis) -> None:
        self._script = scripts.register(connection, "roll_up_minutes")
        self._rolled = 0  # the last minute that this worker knows to be added

    def run(self) -> None:
        """Add the minutes that are over. Raises the driver's errors."""
        now = time.time()
        until = int(now - SETTLED_SECONDS) // MINUTE
        if until <= self._rolled:
            return
        oldest = int(now - MINUTES_KEPT_SECONDS) // MINUTE
        left = self._script([ROLLED_UP], [until, oldest, MINUTES_AT_ONCE, HOURS_KEPT_SECONDS])
        self._rolled = 0 if left else until
