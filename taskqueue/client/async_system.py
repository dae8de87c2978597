"""The part of the asynchronous client that is about no single task."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Literal

import httpx

from taskqueue.client import system_calls
from taskqueue.client.call import Call
from taskqueue.client.connection import AsyncConnection
from taskqueue.client.options import ScheduleDocument
from taskqueue.client.system_records import (
    Change,
    Failures,
    Findings,
    Queue,
    Schedule,
    SpanCounts,
    StoredFile,
    TaskType,
    TypeLimits,
    Worker,
)


class AsyncSystemClient:
    """The methods of `AsyncClient` about the whole: queues, workers, task types, schedules, changes, files."""

    _connection: AsyncConnection

    def changes(self, *, limit: int | None = None) -> AsyncIterator[Change]:
        """Yield who changed what, latest first, at most `limit`; the record has the latest 10,000 changes."""
        return self._connection.rows(system_calls.change_page, limit)

    async def failures(self) -> Failures:
        """Return the failed tasks, grouped by type and error, the largest group first."""
        return await self._connection.send(system_calls.FAILURES)

    async def queues(self) -> tuple[Queue, ...]:
        """Return all queues, the most important first."""
        return await self._connection.send(system_calls.QUEUES)

    async def pause(self, queue: str) -> None:
        """Pause a queue: workers start none of its tasks. Raises `UnknownQueue`."""
        await self._connection.send(system_calls.pause(queue, "pause"))

    async def resume(self, queue: str) -> None:
        """Resume a queue: workers start its tasks again within a second. Raises `UnknownQueue`."""
        await self._connection.send(system_calls.pause(queue, "resume"))

    async def limits(self) -> tuple[TypeLimits, ...]:
        """Return the limits of all task types, by name, and which types are paused."""
        return await self._connection.send(system_calls.LIMITS)

    async def pause_type(self, task_type: str) -> TypeLimits:
        """Pause a task type: workers start none of its tasks. Raises `UnknownJobType`."""
        return await self._connection.send(system_calls.pause_type(task_type, "pause"))

    async def resume_type(self, task_type: str) -> TypeLimits:
        """Resume a task type: workers start its tasks again, in their order. Raises `UnknownJobType`."""
        return await self._connection.send(system_calls.pause_type(task_type, "resume"))

    async def change_limits(
        self, task_type: str, *, concurrency: int | None = None, rate: str | None = None
    ) -> TypeLimits:
        """Let these limits of a task type hold instead of those of its code; None: no limit.

        Raises `UnknownJobType`, `ApiRefused` for limits that cannot be.
        """
        return await self._connection.send(system_calls.change_limits(task_type, concurrency, rate))

    async def reset_limits(self, task_type: str) -> TypeLimits:
        """Let the limits of the code hold again. Raises `UnknownJobType`."""
        return await self._connection.send(system_calls.reset_limits(task_type))

    async def workers(self) -> tuple[Worker, ...]:
        """Return the workers; one that was killed or cut off has the state `lost`."""
        return await self._connection.send(system_calls.WORKERS)

    async def task_types(self) -> tuple[TaskType, ...]:
        """Return the task types that this key may submit, by name."""
        return await self._connection.send(system_calls.TASK_TYPES)

    async def task_type(self, name: str) -> TaskType:
        """Return a task type. Raises `UnknownJobType`."""
        return await self._connection.send(system_calls.task_type(name))

    async def series(
        self,
        span: Literal["hour", "day", "week"] = "hour",
        *,
        task_type: str | None = None,
        queue: str | None = None,
        by: Literal["task_type", "queue"] | None = None,
    ) -> SpanCounts:
        """Return what happened in the last hour by minutes, or in the last day or week by hours.

        task_type, queue: Count only the tasks of this type, or of this queue.
        by: One series for each task type or queue, instead of one for all.
        """
        return await self._connection.send(system_calls.series(span, task_type, queue, by))

    async def findings(self) -> Findings:
        """Return what the doctor has found: what is wrong, and how to fix it."""
        return await self._connection.send(system_calls.FINDINGS)

    async def schedules(self) -> tuple[Schedule, ...]:
        """Return all schedules, by name."""
        return await self._connection.send(system_calls.SCHEDULES)

    async def schedule(self, name: str) -> Schedule:
        """Return a schedule. Raises `UnknownSchedule`."""
        return await self._connection.send(system_calls.schedule(name))

    async def put_schedule(self, name: str, document: ScheduleDocument) -> Schedule:
        """Create a schedule or replace it, and return it. One that is sent again unchanged keeps its next run.

            await client.put_schedule("nightly", {"task_type": "sync", "payload": {…}, "cron": "30 2 * * *"})

        Raises what `submit` raises, `InvalidScheduleName`, `TooManySchedules`, and `ApiRefused`, whose
        `errors` have pointers into the document.
        """
        return await self._connection.send(system_calls.put_schedule(name, document))

    async def delete_schedule(self, name: str) -> None:
        """Delete a schedule; tasks that it has queued stay. Raises `UnknownSchedule`."""
        await self._connection.send(system_calls.delete_schedule(name))

    async def pause_schedule(self, name: str) -> Schedule:
        """Stop a schedule from running until it is resumed, and return it. Raises `UnknownSchedule`."""
        return await self._connection.send(system_calls.pause_schedule(name, "pause"))

    async def resume_schedule(self, name: str) -> Schedule:
        """Let a paused schedule run again, and return it. Raises `UnknownSchedule`."""
        return await self._connection.send(system_calls.pause_schedule(name, "resume"))

    async def upload(self, file: bytes | Path, name: str | None = None) -> StoredFile:
        """Upload a file for a task to read: give the task the `filename` of what is returned.

        file: The content, or the path of a file. name: The name to store with it, by default that of the path.

        Raises `FileTooLarge`, `FilesUnavailable`; OSError if the path cannot be read.
        """
        return await self._connection.send(system_calls.upload(file, name))

    async def download(self, filename: str) -> bytes:
        """Return the content of a file. Raises `UnknownFile`, `FilesUnavailable`."""
        return await self._connection.send(system_calls.download(filename))

    async def request(self, method: str, path: str, *, params: Mapping[str, str] | None = None) -> httpx.Response:
        """Send a request to any address of the API, such as `/readyz`, and return its answer below 300."""
        return await self._connection.send(
            Call(method=method, path=path, params=params or {}, read=lambda answer: answer)
        )
