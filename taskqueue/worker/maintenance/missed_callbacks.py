"""Queues the callbacks of tasks whose end none of our scripts has seen: RQ's own code has settled them."""

from redis import Redis
from rq.defaults import RQ_KEY_PREFIX

from taskqueue.store import scripts
from taskqueue.store.keys import MISSED_CALLBACKS
from taskqueue.store.times import rq_now


class MissedCallbacks:
    """A chore of the scheduling worker, once a second: looks at each task once a minute."""

    def __init__(self, connection: Redis) -> None:
        self._script = scripts.register(connection, "wrong_types", "careful", "callback", "missed_callbacks")

    def run(self, task_id: str = "") -> None:
        """Queue the callback of this task if it has ended; without an id, of all tasks that are due for a look.

        Raises the driver's errors.
        """
        self._script(keys=[MISSED_CALLBACKS], args=[RQ_KEY_PREFIX, rq_now(), task_id])
