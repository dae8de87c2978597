"""Waits for tasks to end, without asking Redis again and again: RQ's stream of a job's results tells."""

import time
from collections.abc import Callable
from contextlib import suppress
from threading import BoundedSemaphore
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from taskqueue.errors import TaskQueueError
from taskqueue.store.keys import ENDED, results_key
from taskqueue.tasks.task import Task

LOOK_SECONDS = 1.0  # a canceled task has no result; and no connection is silent for longer than it may be


class ResultWaiter:
    """At most so many wait at the same time: each holds a thread, and others want to be answered, too."""

    def __init__(self, connection: Redis, read: Callable[[str], Task], most: int) -> None:
        self._connection = connection
        self._read = read
        self._places = BoundedSemaphore(most) if most else None

    def wait(self, task: Task, seconds: float) -> Task | None:
        """The task when it has ended, or as it is after so many seconds; None: it was not waited for.

        It never raises: the task is queued, whatever happens here.
        """
        if seconds <= 0 or self._places is None or not self._places.acquire(blocking=False):
            return None
        try:
            with suppress(TaskQueueError, RedisError):
                return self._wait(task.id, time.monotonic() + seconds)
        finally:
            self._places.release()
        return None

    def _wait(self, task_id: str, end: float) -> Task:
        seen = b"0"  # the last entry of the stream that we know: each failed attempt is one, too
        while True:
            task, left = self._read(task_id), end - time.monotonic()
            if task.status in ENDED or left <= 0:
                return task
            block = max(1, int(min(left, LOOK_SECONDS) * 1000))
            found: Any = self._connection.xread({results_key(task_id): seen}, block=block)
            if found:
                seen = found[0][1][-1][0]
