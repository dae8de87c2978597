"""Runs the chores of the scheduling worker: the one worker that holds RQ's scheduler lock."""

from collections.abc import Callable, Sequence
from secrets import token_hex

from redis import Redis
from rq.queue import Queue
from rq.scripts import acquire_or_refresh_lock, release_lock

from taskqueue.jobtypes.registry import known_types, registered
from taskqueue.settings import Settings
from taskqueue.store.keys import scheduler_lock_key
from taskqueue.worker.maintenance.batch_finisher import BatchFinisher
from taskqueue.worker.maintenance.due_mover import DueMover
from taskqueue.worker.maintenance.index_pruner import IndexPruner
from taskqueue.worker.maintenance.limit_releaser import LimitReleaser
from taskqueue.worker.maintenance.lost_workers import LostWorkers
from taskqueue.worker.maintenance.minute_roller import MinuteRoller
from taskqueue.worker.maintenance.missed_callbacks import MissedCallbacks
from taskqueue.worker.maintenance.schedule_runner import ScheduleRunner

LOCK_SECONDS = 4  # after so long without a word of the scheduling worker, another one takes over


class Maintenance:
    """One worker's part in the chores: it runs them while it holds the lock of one of its queues, or more."""

    def __init__(
        self,
        connection: Redis,
        queues: Sequence[Queue],
        settings: Settings,
        attempt: Callable[[Callable[[], object]], bool],
        worker_name: str,
    ) -> None:
        self._connection = connection
        self._attempt = attempt  # calls a chore that may fail; False: Redis does not answer
        self._locks = [scheduler_lock_key(queue.name) for queue in queues]
        self._token = token_hex(8)
        self.is_scheduler = False
        self._chores = (  # what they queue can run in this second: so what is due comes last
            ScheduleRunner(connection, settings, registered),
            BatchFinisher(connection, settings.result_ttl_seconds),
            MissedCallbacks(connection),
            LimitReleaser(connection),
            DueMover(connection, queues),
        )
        self._tidying = (
            IndexPruner(connection, known_types()),
            MinuteRoller(connection),
            LostWorkers(connection, worker_name),
        )

    def run(self) -> None:
        """Take or keep the lock; run all chores if this worker holds it. Raises the driver's errors."""
        taken = [self._takes(lock) for lock in self._locks]  # a list, so that each lock is refreshed
        self.is_scheduler = any(taken)
        if self.is_scheduler:
            self.queue_due()
            for chore in self._tidying:
                self._attempt(chore.run)

    def queue_due(self) -> None:
        """Queue all that is due, with or without the lock: each chore is safe to run on two workers at once.

        A chore that fails keeps no other from its turn.
        """
        for chore in self._chores:
            if not self._attempt(chore.run):
                return

    def give_up(self) -> None:
        """Release the lock, so that another worker can take over at once."""
        for lock in self._locks:
            release_lock(self._connection, lock, self._token)

    def _takes(self, lock: str) -> bool:
        return acquire_or_refresh_lock(self._connection, lock, self._token, LOCK_SECONDS) != "taken"
