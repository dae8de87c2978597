"""What stands in the way of tasks: a queue without a worker, a pause, a Redis that forgets.

It is looked up now and then, aside: whoever submits a task is told what was seen last, and waits for nothing.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock, Thread
from typing import NamedTuple

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from taskqueue.store.keys import PAUSED, SUSPENDED, WorkerField, queue_workers_key, scheduler_lock_key
from taskqueue.store.liveness import lives

log = logging.getLogger(__name__)

FRESH_SECONDS = 2.0  # what was seen so lately is told as it is
STALE_SECONDS = 30.0  # what was seen before that is looked up first, by whoever asks
MAX_WORKERS = 1000  # looked at for one queue


class Obstacle(NamedTuple):
    """One thing that stands in the way: `code` for programs, `message` for people, with the mend."""

    code: str
    message: str


class Sight(NamedTuple):
    """What was seen of one queue."""

    workers: bool
    paused: bool
    scheduler: bool


class Lookout:
    """What stands in the way, as it was seen last. One instance serves all threads of a process."""

    def __init__(self, connection: Redis, queues: Sequence[str]) -> None:
        self._connection = connection
        self._queues = queues
        self._seen: dict[str, Sight] = {}
        self._everywhere: list[Obstacle] = []
        self._seen_at = float("-inf")
        self._looking = Lock()

    def obstacles(self, queue: str, *, delayed: bool = False) -> list[Obstacle]:
        """What stands in the way of a task on this queue."""
        age = time.monotonic() - self._seen_at
        if age > FRESH_SECONDS and self._looking.acquire(blocking=age > STALE_SECONDS):
            if age > STALE_SECONDS:
                self._look()
            else:
                Thread(target=self._look, name="lookout", daemon=True).start()
        seen = self._seen.get(queue)
        return [*(_of(queue, seen, delayed) if seen else ()), *self._everywhere]

    def _look(self) -> None:
        """Look, and let the next one look. What cannot be seen is no obstacle."""
        try:
            if time.monotonic() - self._seen_at > FRESH_SECONDS:  # nobody else has looked meanwhile
                self._look_at_redis()
        except RedisError as error:
            log.debug("Redis could not be looked at: %s", error)
        finally:
            self._seen_at = time.monotonic()
            self._looking.release()

    def _look_at_redis(self) -> None:
        with self._connection.pipeline(transaction=False) as pipeline:
            pipeline.smembers(PAUSED)
            pipeline.exists(SUSPENDED)
            pipeline.info("persistence")
            for queue in self._queues:
                pipeline.srandmember(queue_workers_key(queue), MAX_WORKERS)
                pipeline.exists(scheduler_lock_key(queue))
            paused, suspended, persistence, *by_queue = pipeline.execute()
        registered = dict(zip(self._queues, by_queue[::2], strict=True))
        scheduled = dict(zip(self._queues, by_queue[1::2], strict=True))
        alive = self._alive({key for keys in registered.values() for key in keys})
        self._seen = {
            queue: Sight(bool(alive.intersection(keys)), queue.encode() in paused, bool(scheduled[queue]))
            for queue, keys in registered.items()
        }
        self._everywhere = [
            *([WORKERS_SUSPENDED] if suspended else ()),
            *(() if self._keeps(persistence) else [FORGETS]),
        ]

    def _alive(self, workers: set[bytes]) -> set[bytes]:
        if not workers:
            return set()
        keys = sorted(workers)
        with self._connection.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.ttl(key)
                pipeline.hget(key, WorkerField.HORSES)
            answers = pipeline.execute()
        return {
            key for key, ttl, horses in zip(keys, answers[::2], answers[1::2], strict=True) if lives(ttl, horses)
        }

    def _keeps(self, persistence: dict[str, object]) -> bool:
        if persistence.get("aof_enabled"):
            return True
        with suppress(ResponseError):  # a hosted Redis does not tell its settings
            return bool(self._connection.config_get("save").get("save"))
        return True


WORKERS_SUSPENDED = Obstacle("suspended", "All workers are suspended; `rq resume` lets them go on.")
FORGETS = Obstacle(
    "not-persistent", "Redis keeps nothing on disk: its restart loses the task. Set appendonly yes."
)


def _of(queue: str, seen: Sight, delayed: bool) -> list[Obstacle]:
    found = []
    if not seen.workers:
        found.append(
            Obstacle("no-worker", f"No worker takes tasks from the queue {queue!r}. Start one: worker.py.")
        )
    if seen.paused:
        found.append(Obstacle("queue-paused", f"The queue {queue!r} is paused."))
    if delayed and not seen.scheduler:
        found.append(Obstacle("no-scheduler", f"Nobody moves what is due to the queue {queue!r}. Start a worker."))
    return found
