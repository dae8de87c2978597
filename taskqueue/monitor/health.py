"""Health checks: whether Redis answers and accepts jobs. They answer within a second."""

import time

from redis import Redis

from taskqueue.errors import QueueUnavailable
from taskqueue.store.connection import connect_for_probes, redis_errors
from taskqueue.store.server import info, why_unusable

CHECKED_SECONDS = 60.0  # rights may be taken away


class Probe:
    """Checks Redis on a separate connection with short timeouts."""

    def __init__(self, redis_url: str) -> None:
        self._connection: Redis = connect_for_probes(redis_url)
        self._checked_at = float("-inf")  # when the server was found usable

    def check_answers(self) -> None:
        """Raises `QueueUnavailable` unless Redis answers."""
        with redis_errors():
            self._connection.ping()

    def check_takes_work(self) -> None:
        """Raises `QueueUnavailable` unless a job could be queued now, and run."""
        with redis_errors():
            state = info(self._connection, "memory", "replication")
            if not state:  # the user may not ask, so nothing is known of these
                self._connection.ping()
            self._check_server()
        limit, policy = state.get("maxmemory", 0), state.get("maxmemory_policy")
        if limit and state["used_memory"] >= limit and policy == "noeviction":
            raise QueueUnavailable(f"Redis is full: {state['used_memory']:,} of {limit:,} bytes are used.")
        if state.get("role", "master") != "master":
            raise QueueUnavailable("This Redis is a read-only replica.")

    def _check_server(self) -> None:
        """Raises `QueueUnavailable` if this Redis cannot be used at all; looks once in CHECKED_SECONDS."""
        if time.monotonic() - self._checked_at < CHECKED_SECONDS:
            return
        if unusable := why_unusable(self._connection):
            raise QueueUnavailable(f"TASK_QUEUE_URL: {unusable.sentence}.")
        self._checked_at = time.monotonic()
