"""RQ's commands to one worker (stop a job, shut down), heard on its own channel, also after Redis was away."""

import json
import selectors
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.connection import Connection
from redis.exceptions import RedisError
from rq.command import PUBSUB_CHANNEL_TEMPLATE

from taskqueue.worker.doorbell import socket_of


class Commands:
    """Calls `obey` with each command."""

    def __init__(
        self,
        redis: Redis,
        worker: str,
        selector: selectors.BaseSelector,
        obey: Callable[[dict[str, Any]], None],
    ) -> None:
        self._pool = redis.connection_pool
        self._channel = PUBSUB_CHANNEL_TEMPLATE % worker
        self._selector = selector
        self._obey = obey
        self._subscribed: tuple[Connection, int] | None = None  # with its socket

    def listen(self) -> None:
        """Subscribe, where it is not: at first, and after Redis was away. Raises the driver's errors."""
        if self._subscribed:
            return
        connection = self._pool.get_connection()
        connection.send_command("SUBSCRIBE", self._channel)
        self._subscribed = connection, socket_of(connection)
        self._selector.register(self._subscribed[1], selectors.EVENT_READ, self._heard)

    def _heard(self) -> None:
        assert self._subscribed  # noqa: S101  its socket is heard
        connection, socket = self._subscribed
        try:
            while connection.can_read():
                kind, _, content = connection.read_response(push_request=True)
                if kind == b"message":
                    self._obey(json.loads(content))
        except RedisError:
            self._subscribed = None  # the next `listen` begins anew
            self._selector.unregister(socket)
            connection.disconnect()
            self._pool.release(connection)
            raise
