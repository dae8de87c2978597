"""Health checks: whether Redis answers and accepts jobs. They answer within a second."""

from redis import Redis

from taskqueue.errors import QueueUnavailable
from taskqueue.store.connection import connect_for_probes, redis_errors


class Probe:
    """Checks Redis on a separate connection with short timeouts."""

    def __init__(self, redis_url: str) -> None:
        self._connection: Redis = connect_for_probes(redis_url)

    def check_answers(self) -> None:
        """Raises `QueueUnavailable` unless Redis answers."""
        with redis_errors():
            self._connection.ping()

    def check_takes_work(self) -> None:
        """Raises `QueueUnavailable` unless a job could be queued now."""
        with redis_errors():
            info = self._connection.info("memory", "replication")
        limit, policy = info["maxmemory"], info["maxmemory_policy"]
        if limit and info["used_memory"] >= limit and policy == "noeviction":
            raise QueueUnavailable(f"Redis is full: {info['used_memory']:,} of {limit:,} bytes are used.")
        if info["role"] != "master":
            raise QueueUnavailable("This Redis is a read-only replica.")
