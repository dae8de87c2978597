"""The asynchronous client: the methods of `Client`, for `await`."""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any, Self, Unpack

import anyio
import httpx

from taskqueue.client import system_calls, task_calls
from taskqueue.client.async_system import AsyncSystemClient
from taskqueue.client.connection import AsyncConnection
from taskqueue.client.handle import AsyncBatchHandle, AsyncTaskHandle
from taskqueue.client.options import Action, Item, TaskOptions
from taskqueue.client.records import Batch, Event, Explanation, LogLine, Matching, Parent, Summary, Task
from taskqueue.client.sync import list_of


class AsyncClient(AsyncSystemClient):
    """A client of the HTTP API for asyncio and trio. Close it, or use it in `async with`.

        async with AsyncClient("https://jobs.example.com", key=os.environ["JOBS_KEY"]) as client:
            task = await client.submit("email", {"to": "ada@example.com", "subject": "Welcome", "body": "Hello"})
            await task.aresult(timeout=5)

    All methods raise `TaskQueueError`: the exception that says it best, such as `UnknownTask`; `ApiRefused` if the
    server does not answer, refuses the key, or has any other objection.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = 10.0,
        retry_seconds: float = 30.0,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Make a client. Nothing is sent yet. Raises `InvalidSetting` for a URL or a key that cannot be one.

        url: Where the API is, with its path if it is under one: `https://example.com/jobs`.
        key: An API key, if the server needs one.
        timeout: How many seconds to wait for a connection, and for the next bytes of an answer.
        retry_seconds: For how long a request is sent again after a broken connection, a 429 or a 503; 0: never.
        verify: An SSLContext that trusts your own authority, `ssl.create_default_context(cafile="ca.pem")`; True
            trusts those of the system; False trusts everybody.
        transport: What sends the requests, for tests: `httpx.ASGITransport(app)`.
        """
        self._connection = AsyncConnection(url, key, timeout, retry_seconds, verify, transport)
        self.url = self._connection.url

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    async def submit(
        self,
        task_type: str,
        payload: Any = None,
        *,
        wait: float = 0,
        idempotency_key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> AsyncTaskHandle:
        """Queue a task, and return its handle.

        payload: Its fields, as JSON values; None: no fields.
        wait: How many seconds the answer may wait for the task's end (20 at most), so that `result()` needs no
            further request.
        idempotency_key: A key of your own, up to 255 visible characters: within 24 hours the same submission with
            the same key takes effect once, also from another process. By default each call has a new key, which
            keeps its own retries from queuing the task twice.
        options: Those of `POST /tasks`: delay, at, queue, priority, attempts, timeout, expires_in, depends_on,
            allow_failure, dedupe, tags, callback_url.

        Raises `UnknownJobType`, `UnknownQueue`, `InvalidPayload` (whose `errors` have pointers), `InvalidOptions`,
        `UnknownParent`, `IdempotencyMismatch`, and then nothing is queued; `QueueUnavailable`, `ApiRefused`.
        """
        payload = {} if payload is None else payload
        task = await self._connection.send(
            task_calls.submit(task_type, payload, options, key=idempotency_key, wait=wait)
        )
        return AsyncTaskHandle(self, task.id, task)

    async def submit_many(
        self,
        tasks: Iterable[Item],
        *,
        then: Item | None = None,
        atomic: bool = True,
        idempotency_key: str | None = None,
    ) -> AsyncBatchHandle:
        """Queue up to 10,000 tasks in one transaction: all of them, or none. Return the handle of the batch.

        tasks: Dicts such as `{"task_type": "email", "payload": {…}, "tags": ["welcome"]}`, with the options of
            `submit`.
        then: One more task, which runs when all others have ended, with or without success.
        atomic: False queues the tasks that are right also if others are wrong: the handle's `refused` has those.

        Raises `InvalidBatch`, which says what is wrong with each task, `BatchTooLarge`, `QueueUnavailable`,
        `ApiRefused`; for `then`, what `submit` raises.
        """
        sent = await self._connection.send(
            task_calls.submit_many(list_of(tasks), then, atomic=atomic, key=idempotency_key)
        )
        return AsyncBatchHandle(
            self,
            sent.batch,
            tuple(AsyncTaskHandle(self, task_id) for task_id in sent.tasks),
            AsyncTaskHandle(self, sent.then) if sent.then else None,
            sent.refused,
        )

    def handle(self, task_id: str) -> AsyncTaskHandle:
        """Return the handle of a task that was submitted before. Nothing is asked."""
        return AsyncTaskHandle(self, task_id)

    async def get(self, task_id: str) -> Task:
        """Return a task as it is now. Raises `UnknownTask`."""
        return await self._connection.send(task_calls.get(task_id))

    async def wait(self, task_id: str, seconds: float | None = None) -> Task:
        """Return a task when it has ended, or as it is after so many seconds; None waits without end.

        The client follows the task's events; it does not poll. Raises `UnknownTask`.
        """
        if seconds is not None and seconds <= 0:
            return await self.get(task_id)
        following = self._connection.following(task_id)
        with anyio.move_on_after(seconds):
            async with aclosing(self._connection.follow(following)) as events:
                async for _ in events:
                    pass
        return following.task or await self.get(task_id)

    def events(self, task_id: str) -> AsyncGenerator[Event]:
        """Yield each change of a task's status and progress and each line of its log, until it has ended.

        When a connection breaks, the next one goes on after the last event. Raises `UnknownTask` if the task does
        not exist, or is deleted meanwhile.
        """
        return self._connection.follow(self._connection.following(task_id))

    async def cancel(self, task_id: str) -> Task:
        """Cancel a task, and return it; one that runs is stopped within a second.

        Raises `UnknownTask`, `WrongStatus`.
        """
        return await self._connection.send(task_calls.cancel(task_id))

    async def requeue(self, task_id: str) -> Task:
        """Queue a failed or canceled task again, and return it. Raises `UnknownTask`, `WrongStatus`."""
        return await self._connection.send(task_calls.requeue(task_id))

    async def delete(self, task_id: str) -> None:
        """Delete a task that does not run. Raises `UnknownTask`, `WrongStatus`."""
        await self._connection.send(task_calls.delete(task_id))

    async def explain(self, task_id: str) -> Explanation:
        """Return why a task does not run, or how it ended. Raises `UnknownTask`."""
        return await self._connection.send(task_calls.explain(task_id))

    async def logs(self, task_id: str, *, attempt: int | None = None) -> tuple[LogLine, ...]:
        """Return what a task's job logged and printed, oldest line first. Raises `UnknownTask`."""
        return await self._connection.send(task_calls.logs(task_id, attempt))

    def list(self, q: str = "", *, limit: int | None = None) -> AsyncIterator[Summary]:
        """Yield tasks, newest first, at most `limit`; the next page is asked for when it is needed.

        q: A search in words: `status:failed type:email tag:customer:7 ran:>10s failed:today`; "": all tasks.

        Raises `ApiRefused` for a search that cannot be read.
        """
        return self._connection.rows(lambda count, cursor: task_calls.task_page(q, count, cursor), limit)

    def parents(self, task_id: str) -> AsyncIterator[Parent]:
        """Yield the tasks that a task waits for, with their results, in their order. Raises `UnknownTask`."""
        return self._connection.rows(lambda _, first: task_calls.parent_page(task_id, first))

    async def batch(self, batch_id: str) -> Batch:
        """Return a batch as it is now. Raises `UnknownBatch`."""
        return await self._connection.send(task_calls.batch(batch_id))

    async def batches(self) -> tuple[Batch, ...]:
        """Return the latest 20 batches that are kept, latest first."""
        return await self._connection.send(task_calls.batches())

    async def bulk(
        self,
        action: Action,
        q: str,
        *,
        max: int | None = None,  # noqa: A002  as `POST /bulk` has it
        rate: float | None = None,
        delay: float | None = None,
    ) -> AsyncTaskHandle:
        """Requeue, cancel or delete all tasks that a search finds; return the handle of the task that does it.

        q: The search, as of `list`.
        max: How many tasks you have seen: if more match, none is changed.
        rate: How many tasks to change in a second, at most.
        delay: Seconds until it begins; until then `cancel()` undoes all of it.

        Raises `TooManyMatch`, `ApiRefused` for a search that cannot be read.
        """
        task = await self._connection.send(task_calls.bulk(action, q, {"max": max, "rate": rate, "delay": delay}))
        return AsyncTaskHandle(self, task.id, task)

    async def matching(self, action: Action, q: str) -> Matching:
        """Return how many tasks `bulk` would change: 10,000 are counted at most."""
        return await self._connection.send(task_calls.matching(action, q))

    async def bulk_actions(self) -> tuple[Task, ...]:
        """Return the latest 50 tasks that `bulk` has queued, latest first."""
        return await self._connection.send(task_calls.bulk_actions())

    async def run_schedule(self, name: str) -> AsyncTaskHandle:
        """Queue a schedule's task now, besides its times. Raises `UnknownSchedule`."""
        task = await self._connection.send(system_calls.run_schedule(name))
        return AsyncTaskHandle(self, task.id, task)
