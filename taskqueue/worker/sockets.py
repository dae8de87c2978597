"""The sockets of redis-py's connections, for a selector."""

from redis.connection import Connection


def socket_of(connection: Connection) -> int:
    """Return the file descriptor of a connection's socket."""
    return int(connection._sock.fileno())  # type: ignore[attr-defined]  # redis-py has no other way to ask
