"""Queues the jobs that a limit of their type has held back and that may begin now."""

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX

from taskqueue.store import scripts
from taskqueue.store.keys import LIMITED_TYPES
from taskqueue.store.times import rq_now


class LimitReleaser:
    """A chore of the scheduling worker, once a second; each end of a job does it for the job's own type."""

    def __init__(self, connection: Redis) -> None:
        self._script = scripts.register(connection, "wrong_types", "careful", "limits", "release_limits")

    def run(self) -> None:
        """Queue the held jobs for which their limits have a free place. Raises the driver's errors."""
        self._script(keys=[LIMITED_TYPES], args=[RQ_KEY_PREFIX, rq_now()])
