"""Pauses queues: our workers begin no job of a paused queue. (A stock `rq worker` ignores pauses.)"""

from typing import cast

from redis import Redis

from taskqueue.errors import UnknownQueue
from taskqueue.settings import Settings
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import PAUSED, QUEUES, queue_key


def paused(connection: Redis) -> set[str]:
    """Return the names of the paused queues. Raises the driver's errors."""
    return {name.decode(errors="replace") for name in cast("set[bytes]", connection.smembers(PAUSED))}


class Pauses:
    """Pauses queues, and resumes them. Each method raises `UnknownQueue`, `QueueUnavailable`."""

    def __init__(self, connection: Redis, settings: Settings) -> None:
        self._connection = connection
        self._configured = settings.queues

    def pause(self, queue: str) -> None:
        """Pause a queue: no job of it begins from now on. Jobs that run go on."""
        with redis_errors():
            self._check(queue)
            self._connection.sadd(PAUSED, queue)

    def resume(self, queue: str) -> None:
        """Resume a queue: workers take its jobs again, within a second."""
        with redis_errors():
            self._check(queue)
            self._connection.srem(PAUSED, queue)

    def _check(self, queue: str) -> None:
        """Raise `UnknownQueue` unless the queue is in QUEUES, or another program has put a job on it."""
        if queue not in self._configured and not self._connection.sismember(QUEUES, queue_key(queue)):
            raise UnknownQueue(queue, self._configured)
