"""Waits for a task to end on RQ's stream of its results, so that Redis is not polled."""

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

LOOK_SECONDS = 1.0  # a canceled task has no result; and no connection may be silent for longer than its timeout


class ResultWaiter:
    """Waits for at most `most` tasks at a time: each waits in a thread, and other requests need threads, too."""

    def __init__(self, connection: Redis, read: Callable[[str], Task], most: int) -> None:
        self._connection = connection
        self._read = read
        self._threads = BoundedSemaphore(most) if most else None

    def wait(self, task: Task, seconds: float) -> Task | None:
        """Return the task when it has ended, or as it is after so many seconds; None if nothing was waited for.

        It never raises: the task is queued, whatever goes wrong here.
        """
        if seconds <= 0 or self._threads is None or not self._threads.acquire(blocking=False):
            return None
        try:
            with suppress(TaskQueueError, RedisError):
                return wait_for_end(self._connection, self._read, task.id, time.monotonic() + seconds)
        finally:
            self._threads.release()
        return None


def wait_for_end(connection: Redis, read: Callable[[str], Task], task_id: str, end: float) -> Task:
    """Return the task when it has ended, or as it is at `end`, a time of the monotonic clock.

    Raises what `read` raises, and the driver's errors.
    """
    last_id = b"0"  # of the entries already read; a failed attempt adds an entry, too
    while True:
        task, left = read(task_id), end - time.monotonic()
        if task.status in ENDED or left <= 0:
            return task
        block = max(1, int(min(left, LOOK_SECONDS) * 1000))
        streams: Any = connection.xread({results_key(task_id): last_id}, block=block)
        if streams:
            last_id = streams[0][1][-1][0]
