"""Receives RQ's commands to one worker (stop a job, shut down), also after Redis was away."""

import json
import logging
import selectors
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.connection import Connection
from redis.exceptions import RedisError
from rq.command import PUBSUB_CHANNEL_TEMPLATE

from taskqueue.worker.boundary import Rarely
from taskqueue.worker.sockets import socket_of

log = logging.getLogger(__name__)


class Commands:
    """Calls `handle` with each command that is published on the worker's channel."""

    def __init__(
        self,
        redis: Redis,
        worker: str,
        selector: selectors.BaseSelector,
        handle: Callable[[dict[str, Any]], None],
    ) -> None:
        self._pool = redis.connection_pool
        self._channel = PUBSUB_CHANNEL_TEMPLATE % worker
        self._selector = selector
        self._handle = handle
        self._subscribed: tuple[Connection, int] | None = None  # with its socket
        self._rarely = Rarely()

    def listen(self) -> None:
        """Subscribe unless subscribed: at first, and after Redis was away. Raises the driver's errors."""
        if self._subscribed:
            return
        connection = self._pool.get_connection()
        connection.send_command("SUBSCRIBE", self._channel)
        self._subscribed = connection, socket_of(connection)
        self._selector.register(self._subscribed[1], selectors.EVENT_READ, self._receive)

    def _receive(self) -> None:
        assert self._subscribed  # noqa: S101  the selector watches its socket
        connection, socket = self._subscribed
        try:
            while connection.can_read():
                kind, _, content = connection.read_response(push_request=True)
                if kind == b"message":
                    self._read(content)
        except RedisError:
            self._subscribed = None  # the next `listen` subscribes again
            self._selector.unregister(socket)
            connection.disconnect()
            self._pool.release(connection)
            raise

    def _read(self, content: bytes) -> None:
        """Handle one message; anybody may publish, so what is no command is left out."""
        try:
            command = json.loads(content)
            if not isinstance(command, dict):
                raise TypeError("it is no JSON object")
        except (ValueError, TypeError, RecursionError) as error:
            if self._rarely("message"):
                log.warning("A message on %s is no command and is left out: %s", self._channel, error)
            return
        self._handle(command)
