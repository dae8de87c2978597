"""Queues that are paused: their jobs wait, and our workers take none of them. (`rq worker` does not look.)"""

from typing import cast

from redis import Redis

from taskqueue.errors import UnknownQueue
from taskqueue.settings import Settings
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import PAUSED, QUEUES, queue_key


def paused(connection: Redis) -> set[str]:
    """The names of the queues that are paused. Raises the driver's errors."""
    return {name.decode(errors="replace") for name in cast("set[bytes]", connection.smembers(PAUSED))}


class Pauses:
    """Pauses queues, and resumes them. Raises `UnknownQueue`, `QueueUnavailable`."""

    def __init__(self, connection: Redis, settings: Settings) -> None:
        self._connection = connection
        self._configured = settings.queues

    def pause(self, queue: str) -> None:
        """No job of this queue is begun from now on. What runs goes on."""
        with redis_errors():
            self._check(queue)
            self._connection.sadd(PAUSED, queue)

    def resume(self, queue: str) -> None:
        """Its jobs are taken again, within a second."""
        with redis_errors():
            self._check(queue)
            self._connection.srem(PAUSED, queue)

    def _check(self, queue: str) -> None:
        """A queue that is configured, or that somebody else has put a job on."""
        if queue not in self._configured and not self._connection.sismember(QUEUES, queue_key(queue)):
            raise UnknownQueue(queue, self._configured)
