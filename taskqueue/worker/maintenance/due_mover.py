"""Moves jobs to their queues whose time has come, and those that RQ left in its ready registry."""

from collections.abc import Sequence

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX
from rq.queue import Queue

from taskqueue.store import scripts
from taskqueue.store.keys import QUEUES, registry_key
from taskqueue.store.times import rq_now

MAX_DUE = 1000  # jobs of one queue in one run


class DueMover:
    """A chore of the scheduling worker, once a second."""

    def __init__(self, connection: Redis, queues: Sequence[Queue]) -> None:
        self._queues = queues
        self._script = scripts.register(connection, "wrong_types", "careful", "move_due")

    def run(self) -> None:
        """Move the due jobs of each queue. Raises the driver's errors."""
        for queue in self._queues:
            keys = [registry_key("scheduled", queue.name), queue.key, QUEUES]
            self._script(keys=keys, args=[RQ_KEY_PREFIX, rq_now(), MAX_DUE])
            # RQ's own code skips a job there when two of its parents end at once, or leaves it when it is killed.
            queue.ready_job_registry.cleanup()
