"""Warnings about queues for clients that submit: no worker, a pause, a Redis that keeps nothing on disk.

A background thread looks at Redis now and then. A submit answers with what was last seen, and does not wait.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock, Thread
from typing import NamedTuple

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from taskqueue.enqueue.submission import Accepted
from taskqueue.monitor.finding import (
    Finding,
    duplicate,
    no_scheduler,
    no_worker,
    not_persistent,
    parent_ended,
    queue_paused,
    suspended,
    type_paused,
)
from taskqueue.store.keys import PAUSED, SUSPENDED, WorkerField, decoded, queue_workers_key, scheduler_lock_key
from taskqueue.store.liveness import lives
from taskqueue.store.server import info

log = logging.getLogger(__name__)

FRESH_SECONDS = 2.0  # younger states are used without another look
STALE_SECONDS = 30.0  # older states are read again first: the caller waits for it
MAX_WORKERS = 1000  # read for one queue


class QueueState(NamedTuple):
    """A queue as it was last seen."""

    has_worker: bool
    is_paused: bool
    has_scheduler: bool


class QueueWarnings:
    """Warnings by queue, from the last look at Redis. One instance serves all threads of a process."""

    def __init__(self, connection: Redis, queues: Sequence[str]) -> None:
        self._connection = connection
        self._queues = queues
        self._states: dict[str, QueueState] = {}
        self._for_all_queues: list[Finding] = []
        self._paused_types: set[str] = set()
        self._read_at = float("-inf")
        self._reading = Lock()

    def of(self, queue: str, task_type: str = "", *, delayed: bool = False) -> list[Finding]:
        """Return what keeps tasks of this queue and type from running; `delayed`: or from becoming due."""
        age = time.monotonic() - self._read_at
        if age > FRESH_SECONDS and self._reading.acquire(blocking=age > STALE_SECONDS):
            if age > STALE_SECONDS:
                self._read()
            else:
                Thread(target=self._read, name="queue-warnings", daemon=True).start()
        state = self._states.get(queue)
        return [
            *(_findings(queue, state, delayed) if state else ()),
            *([type_paused(task_type)] if task_type in self._paused_types else ()),
            *self._for_all_queues,
        ]

    def of_accepted(self, accepted: Accepted) -> list[Finding]:
        """Return why a task that was just accepted may not run soon, or is another task."""
        task = accepted.task
        return [
            *self.of(task.queue, task.type, delayed=task.status == "scheduled"),
            *([duplicate()] if accepted.outcome == "duplicate" else ()),
            *([parent_ended(accepted.blocked_by)] if accepted.blocked_by else ()),
        ]

    def _read(self) -> None:
        """Read the states, and release the lock. Without an answer of Redis the old ones stay."""
        try:
            if time.monotonic() - self._read_at > FRESH_SECONDS:  # no other thread has read them meanwhile
                self._read_redis()
        except RedisError as error:
            log.debug("Cannot read the states of the queues for warnings: %s", error)
        finally:
            self._read_at = time.monotonic()
            self._reading.release()

    def _read_redis(self) -> None:
        with self._connection.pipeline(transaction=False) as pipeline:
            pipeline.smembers(PAUSED)
            pipeline.exists(SUSPENDED)
            for queue in self._queues:
                pipeline.srandmember(queue_workers_key(queue), MAX_WORKERS)
                pipeline.exists(scheduler_lock_key(queue))
            paused, is_suspended, *by_queue = pipeline.execute()
        persistence = info(self._connection, "persistence")
        registered = dict(zip(self._queues, by_queue[::2], strict=True))
        scheduled = dict(zip(self._queues, by_queue[1::2], strict=True))
        alive = self._alive({key for keys in registered.values() for key in keys})
        self._states = {
            queue: QueueState(bool(alive.intersection(keys)), queue.encode() in paused, bool(scheduled[queue]))
            for queue, keys in registered.items()
        }
        names = (decoded(name).partition(":") for name in paused)
        self._paused_types = {job_type for what, _, job_type in names if what == "type"}
        self._for_all_queues = [
            *([suspended()] if is_suspended else ()),
            *(() if self._is_persistent(persistence) else [not_persistent()]),
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

    def _is_persistent(self, persistence: dict[str, object]) -> bool:
        if not persistence or persistence["aof_enabled"]:  # without INFO it is not known, and not said
            return True
        with suppress(ResponseError):  # a hosted Redis refuses CONFIG GET
            return bool(self._connection.config_get("save").get("save"))
        return True


def _findings(queue: str, state: QueueState, delayed: bool) -> list[Finding]:
    return [
        *(() if state.has_worker else [no_worker(queue)]),
        *([queue_paused(queue)] if state.is_paused else ()),
        *([no_scheduler(queue)] if delayed and not state.has_scheduler else ()),
    ]
