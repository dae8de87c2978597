"""Waits until a queue holds a job, without taking it.

`BLMOVE q q LEFT LEFT` blocks until the list q has an element, and then moves its first element to where it is. One
connection waits for each queue; the worker's selector watches them all.
"""

import selectors
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

from redis import Redis
from redis.connection import Connection
from redis.exceptions import RedisError

BLOCK_SECONDS = 2  # of one wait; then the next one begins
PAUSE_SECONDS = 1.0  # after an error: a full Redis would refuse in a busy loop


class Doorbell:
    """Calls `ring` when one of the queues holds a job."""

    def __init__(
        self, redis: Redis, queue_keys: Sequence[str], selector: selectors.BaseSelector, ring: Callable[[], None]
    ) -> None:
        self._pool = redis.connection_pool
        self._queue_keys = queue_keys
        self._selector = selector
        self._ring = ring
        self._waiting: dict[str, Connection] = {}  # by queue
        self._pauses_until: dict[str, float] = {}  # by queue
        self.muted: Collection[str] = ()  # queues whose jobs nobody takes now: they would ring in a busy loop
        self.scouted: Collection[str] = ()  # queues that scout.py looks at: they would ring in a busy loop, too

    def listen(self) -> None:
        """Start to wait for each queue that is not muted. Raises the driver's errors."""
        now = time.monotonic()
        for key in self._queue_keys:
            if (
                key in self._waiting
                or key in self.muted
                or key in self.scouted
                or now < self._pauses_until.get(key, 0.0)
            ):
                continue
            connection = self._pool.get_connection()
            try:
                connection.send_command("BLMOVE", key, key, "LEFT", "LEFT", BLOCK_SECONDS)
            except RedisError:
                self._pauses_until[key] = now + PAUSE_SECONDS
                self._pool.release(connection)
                raise
            self._waiting[key] = connection
            answered = partial(self._receive, key)
            self._selector.register(socket_of(connection), selectors.EVENT_READ, answered)

    def _receive(self, key: str) -> None:
        connection = self._waiting.pop(key)
        self._selector.unregister(socket_of(connection))
        try:
            moved_job = connection.read_response()
        except RedisError:
            self._pauses_until[key] = time.monotonic() + PAUSE_SECONDS
            connection.disconnect()
            raise
        finally:
            self._pool.release(connection)
        if moved_job is not None:
            self._ring()


def socket_of(connection: Connection) -> int:
    """Return the file descriptor of a connection's socket, for a selector."""
    return int(connection._sock.fileno())  # type: ignore[attr-defined]  # redis-py has no other way to ask
