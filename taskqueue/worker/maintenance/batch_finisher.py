"""Ends the batches whose tasks have all ended, and queues the task that waits for such a batch."""

from typing import Any

from redis import Redis
from redis.exceptions import ResponseError
from rq.defaults import RQ_KEY_PREFIX

from taskqueue.enqueue.batch_draft import MAX_TASKS
from taskqueue.store import scripts
from taskqueue.store.keys import OPEN_BATCHES, QUEUES, batch_key, batch_tasks_key, decoded
from taskqueue.store.times import rq_now

MAX_EXAMINED = 200  # open batches in one run, chosen at random


class BatchFinisher:
    """A chore of the scheduling worker, once a second."""

    def __init__(self, connection: Redis, ttl_seconds: int) -> None:
        self._connection = connection
        self._ttl_seconds = ttl_seconds
        self._script = scripts.register(connection, "wrong_types", "careful", "finish_batch")

    def run(self) -> None:
        """End the batches whose tasks have all ended. Raises the driver's errors."""
        batch_ids: Any = self._connection.zrandmember(OPEN_BATCHES, MAX_EXAMINED)
        if not batch_ids:
            return
        now = rq_now()
        with self._connection.pipeline(transaction=False) as pipeline:
            for batch_id in batch_ids:
                name = decoded(batch_id)
                keys = [batch_key(name), batch_tasks_key(name), OPEN_BATCHES, QUEUES]
                arguments = [RQ_KEY_PREFIX, batch_id, MAX_TASKS, self._ttl_seconds, now]
                self._script(keys=keys, args=arguments, client=pipeline)
            for answer in pipeline.execute(raise_on_error=False):
                if isinstance(answer, ResponseError):
                    raise answer  # after the other batches have had their turn
