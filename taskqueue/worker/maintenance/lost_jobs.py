"""Gives the jobs of silent workers to other workers: their leases have run out."""

from collections.abc import Sequence
from typing import cast

from redis import Redis
from rq.queue import Queue

from taskqueue.store.keys import decoded, execution_key, registry_key
from taskqueue.worker.abandoned_runs import AbandonedRuns
from taskqueue.worker.decision import Ending, How
from taskqueue.worker.horse_channel import group_number, place_in_claim
from taskqueue.worker.leases import LEASE_SECONDS, Leases

MAX_LOST = 100  # jobs of one queue in one run
WORKER_LOST = Ending(
    How.WORKER_LOST, "Its worker was not heard of any more: it was killed, out of memory, or cut off."
)
MAY_HAVE_BEGUN = Ending(How.RETURNED, "It is put back to its queue, to run alone.", alone=True)
"""The ending of a short job that its worker had claimed in a group: nobody knows which of them had begun."""


class LostJobs:
    """A chore of every worker, once a second: the first worker that sees a lost job settles it."""

    def __init__(
        self, connection: Redis, queues: Sequence[Queue], abandoned_runs: AbandonedRuns, leases: Leases
    ) -> None:
        self._connection = connection
        self._queues = queues
        self._abandoned_runs = abandoned_runs
        self._leases = leases

    def run(self) -> None:
        """Settle the runs whose lease has run out. Raises the driver's errors."""
        # After an absence of Redis every lease is old: each worker gets the time to renew its own.
        if self._leases.in_touch_seconds < LEASE_SECONDS:
            return
        now = self._connection.time()[0]
        for queue in self._queues:
            key = registry_key("wip", queue.name)
            expired = cast("list[bytes]", self._connection.zrangebyscore(key, "-inf", now, 0, MAX_LOST))
            # The last of a claim first: a group's jobs go to the front of their queue.
            for member in sorted(expired, key=lambda each: -place_in_claim(decoded(each))):
                job_id, _, execution = decoded(member).rpartition(":")
                ending = WORKER_LOST
                # Of a group, only a job that lives for long gets a record, by a heartbeat.
                if group_number(execution) and not self._connection.exists(execution_key(decoded(member))):
                    ending = MAY_HAVE_BEGUN
                if not self._abandoned_runs.settle(job_id, execution, ending):
                    self._connection.zrem(key, member)
                    self._connection.delete(execution_key(decoded(member)))
