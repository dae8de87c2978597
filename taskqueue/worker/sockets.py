"""The sockets of redis-py's connections: for a selector, and to read answers without redis-py's bookkeeping."""

from typing import Any

import hiredis
from redis.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

READ_BYTES = 64 * 1024
INCOMPLETE = object()


def socket_of(connection: Connection) -> int:
    """Return the file descriptor of a connection's socket."""
    return int(connection._sock.fileno())  # type: ignore[attr-defined]  # redis-py has no other way to ask


class Answers:
    """Reads the answers on a connection, from when it was opened until it is closed."""

    def __init__(self, connection: Connection) -> None:
        self._socket: Any = connection._sock
        self._reader = hiredis.Reader(replyError=ResponseError, notEnoughData=INCOMPLETE)

    def read(self) -> Any:
        """Return the next answer; an error of Redis is returned, too. Raises the driver's `ConnectionError`."""
        while True:
            answer = self._reader.gets()
            if answer is INCOMPLETE:
                self._receive()
            elif not isinstance(answer, hiredis.PushNotification):  # Redis tells of its maintenance
                return answer

    def _receive(self) -> None:
        try:
            received = self._socket.recv(READ_BYTES)
        except OSError as error:
            raise RedisConnectionError(f"no answer could be read: {error}") from error
        if not received:
            raise RedisConnectionError("Redis has closed the connection")
        self._reader.feed(received)
