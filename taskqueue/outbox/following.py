"""Follows a task of an outbox, which Redis does not know before the commit and the relay."""

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal

from taskqueue.direct.by_redis import ByRedis
from taskqueue.direct.handle import TaskHandle, as_json
from taskqueue.errors import NotRelayed, UnknownTask
from taskqueue.jobtypes.registry import JobType
from taskqueue.tasks.task import Task

FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.01, 0.5


def handle_of(by_redis: ByRedis, task_id: str, job_type: JobType | None) -> TaskHandle[Any]:
    """Return the handle of a task that was written into an outbox."""
    return TaskHandle(task_id, _Reach(by_redis), job_type.signature.result_value if job_type else as_json)


class _Reach:
    """Reaches tasks over Redis: `taskqueue.direct.handle.Reach`. What Redis does not know yet is `NotRelayed`."""

    def __init__(self, by_redis: ByRedis) -> None:
        self._by_redis = by_redis
        self._is_known = False  # Redis has known the task: if it does not any more, the task has expired

    def get(self, task_id: str) -> Task:
        try:
            task = self._by_redis.get(task_id)
        except UnknownTask:
            if self._is_known:
                raise
            raise NotRelayed(task_id) from None
        self._is_known = True
        return task

    def wait(self, task_id: str, seconds: float | None) -> Task:
        end = math.inf if seconds is None else time.monotonic() + seconds
        for pause in _pauses(end):
            with suppress(NotRelayed):
                self.get(task_id)
                return self._by_redis.wait(task_id, None if seconds is None else max(0.0, end - time.monotonic()))
            time.sleep(pause)
        return self.get(task_id)

    def cancel(self, task_id: str) -> Literal["canceled", "stopping"]:
        self.get(task_id)
        return self._by_redis.cancel(task_id)

    async def aget(self, task_id: str) -> Task:
        return await asyncio.to_thread(self.get, task_id)

    async def await_end(self, task_id: str, seconds: float | None) -> Task:
        end = math.inf if seconds is None else time.monotonic() + seconds
        for pause in _pauses(end):
            with suppress(NotRelayed):
                await self.aget(task_id)
                left = None if seconds is None else max(0.0, end - time.monotonic())
                return await self._by_redis.await_end(task_id, left)
            await asyncio.sleep(pause)
        return await self.aget(task_id)

    async def acancel(self, task_id: str) -> Literal["canceled", "stopping"]:
        return await asyncio.to_thread(self.cancel, task_id)


def _pauses(end: float) -> Iterator[float]:
    """Yield how long to wait until the next look: Redis does not announce that it gets to know a task."""
    pause = FIRST_LOOK_SECONDS
    while (left := end - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(pause * 2, LONGEST_LOOK_SECONDS)
