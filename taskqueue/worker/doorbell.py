"""Waits until a queue holds something, without taking anything from it.

`BLMOVE q q LEFT LEFT` blocks until the list q has an element, and then moves its first element to where it is. One
connection waits for each queue; the worker's selector hears them all.
"""

import selectors
import time
from collections.abc import Callable, Collection, Sequence

from redis import Redis
from redis.connection import Connection
from redis.exceptions import RedisError

BLOCK_SECONDS = 2  # the wait is begun anew after this
PAUSE_SECONDS = 1.0  # after an error: a Redis that is full refuses at once, again and again


class Doorbell:
    """Rings when one of the queues holds something."""

    def __init__(
        self, redis: Redis, queue_keys: Sequence[str], selector: selectors.BaseSelector, ring: Callable[[], None]
    ) -> None:
        self._pool = redis.connection_pool
        self._queue_keys = queue_keys
        self._selector = selector
        self._ring = ring
        self._waiting: dict[str, Connection] = {}  # by queue
        self._pauses_until = 0.0
        self.muted: Collection[str] = ()  # queues whose jobs nobody takes now: they would ring without an end

    def listen(self) -> None:
        """Wait for each queue that is neither waited for nor muted. Raises the driver's errors."""
        if time.monotonic() < self._pauses_until:
            return
        for key in self._queue_keys:
            if key in self._waiting or key in self.muted:
                continue
            connection = self._pool.get_connection()
            try:
                connection.send_command("BLMOVE", key, key, "LEFT", "LEFT", BLOCK_SECONDS)
            except RedisError:
                self._pauses_until = time.monotonic() + PAUSE_SECONDS
                self._pool.release(connection)
                raise
            self._waiting[key] = connection
            self._selector.register(socket_of(connection), selectors.EVENT_READ, lambda key=key: self._heard(key))

    def _heard(self, key: str) -> None:
        connection = self._waiting.pop(key)
        self._selector.unregister(socket_of(connection))
        try:
            came = connection.read_response()
        except RedisError:
            self._pauses_until = time.monotonic() + PAUSE_SECONDS
            connection.disconnect()
            raise
        finally:
            self._pool.release(connection)
        if came is not None:
            self._ring()


def socket_of(connection: Connection) -> int:
    """What a selector can hear."""
    return int(connection._sock.fileno())  # type: ignore[attr-defined]  # redis-py has no other way to ask
