"""The synchronous client."""

import ssl
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, Unpack

import httpx

from taskqueue.client import calls
from taskqueue.client.calls import MAX_PAGE, Call
from taskqueue.client.connection import Connection
from taskqueue.client.following import Deadline
from taskqueue.client.handle import BatchHandle, TaskHandle
from taskqueue.client.options import Action, Item, ScheduleDocument, TaskOptions
from taskqueue.client.records import (
    Batch,
    Change,
    Event,
    Explanation,
    Failures,
    LogLine,
    Matching,
    Parent,
    Queue,
    Schedule,
    StoredFile,
    Summary,
    Task,
    TaskType,
    TypeLimits,
    Worker,
)

list_of = list  # `list` is a method of the client


class Client:
    """A client of the HTTP API. One instance serves all threads of a process; close it, or use it in `with`.

        with Client("https://jobs.example.com", key=os.environ["JOBS_KEY"]) as client:
            task = client.submit("email", {"to": "ada@example.com", "subject": "Welcome", "body": "Hello"})
            task.result(timeout=5)

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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Make a client. Nothing is sent yet. Raises `InvalidSetting` for a URL or a key that cannot be one.

        url: Where the API is, with its path if it is under one: `https://example.com/jobs`.
        key: An API key, if the server needs one.
        timeout: How many seconds to wait for a connection, and for the next bytes of an answer.
        retry_seconds: For how long a request is sent again after a broken connection, a 429 or a 503; 0: never.
        verify: An SSLContext that trusts your own authority, `ssl.create_default_context(cafile="ca.pem")`; True
            trusts those of the system; False trusts everybody.
        transport: What sends the requests, for tests: `httpx.WSGITransport(app)`.
        """
        self._connection = Connection(url, key, timeout, retry_seconds, verify, transport)
        self.url = self._connection.url

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def submit(
        self,
        task_type: str,
        payload: Any = None,
        *,
        wait: float = 0,
        idempotency_key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> TaskHandle:
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
        task = self._connection.send(calls.submit(task_type, payload, options, key=idempotency_key, wait=wait))
        return TaskHandle(self, task.id, task)

    def submit_many(
        self, tasks: Iterable[Item], *, then: Item | None = None, idempotency_key: str | None = None
    ) -> BatchHandle:
        """Queue up to 10,000 tasks in one transaction: all of them, or none. Return the handle of the batch.

        tasks: Dicts such as `{"task_type": "email", "payload": {…}, "tags": ["welcome"]}`, with the options of
            `submit`.
        then: One more task, which runs when all others have ended, with or without success.

        Raises `InvalidBatch`, which says what is wrong with each task, `BatchTooLarge`, `QueueUnavailable`,
        `ApiRefused`; for `then`, what `submit` raises.
        """
        sent = self._connection.send(calls.submit_many(list_of(tasks), then, key=idempotency_key))
        return BatchHandle(
            self,
            sent.batch,
            tuple(TaskHandle(self, task_id) for task_id in sent.tasks),
            TaskHandle(self, sent.then) if sent.then else None,
        )

    def handle(self, task_id: str) -> TaskHandle:
        """Return the handle of a task that was submitted before. Nothing is asked."""
        return TaskHandle(self, task_id)

    def get(self, task_id: str) -> Task:
        """Return a task as it is now. Raises `UnknownTask`."""
        return self._connection.send(calls.get(task_id))

    def wait(self, task_id: str, seconds: float | None = None) -> Task:
        """Return a task when it has ended, or as it is after so many seconds; None waits without end.

        The client follows the task's events; it does not poll. Raises `UnknownTask`.
        """
        if seconds is not None and seconds <= 0:
            return self.get(task_id)
        following = self._connection.following(task_id)
        for _ in self._connection.follow(following, Deadline(seconds)):
            pass
        return following.task or self.get(task_id)

    def events(self, task_id: str) -> Iterator[Event]:
        """Yield each change of a task's status and progress and each line of its log, until it has ended.

        When a connection breaks, the next one goes on after the last event. Raises `UnknownTask` if the task does
        not exist, or is deleted meanwhile.
        """
        return self._connection.follow(self._connection.following(task_id), Deadline(None))

    def cancel(self, task_id: str) -> Task:
        """Cancel a task, and return it; one that runs is stopped within a second.

        Raises `UnknownTask`, `WrongStatus`.
        """
        return self._connection.send(calls.cancel(task_id))

    def requeue(self, task_id: str) -> Task:
        """Queue a failed or canceled task again, and return it. Raises `UnknownTask`, `WrongStatus`."""
        return self._connection.send(calls.requeue(task_id))

    def delete(self, task_id: str) -> None:
        """Delete a task that does not run. Raises `UnknownTask`, `WrongStatus`."""
        self._connection.send(calls.delete(task_id))

    def explain(self, task_id: str) -> Explanation:
        """Return why a task does not run, or how it ended. Raises `UnknownTask`."""
        return self._connection.send(calls.explain(task_id))

    def logs(self, task_id: str, *, attempt: int | None = None) -> tuple[LogLine, ...]:
        """Return what a task's job logged and printed, oldest line first. Raises `UnknownTask`."""
        return self._connection.send(calls.logs(task_id, attempt))

    def list(self, q: str = "", *, limit: int | None = None) -> Iterator[Summary]:
        """Yield tasks, newest first, at most `limit`; the next page is asked for when it is needed.

        q: A search in words: `status:failed type:email tag:customer:7 ran:>10s failed:today`; "": all tasks.

        Raises `ApiRefused` for a search that cannot be read.
        """
        left, cursor = limit, None
        while left is None or left > 0:
            page = self._connection.send(calls.task_page(q, min(left or MAX_PAGE, MAX_PAGE), cursor))
            yield from page.rows
            left = None if left is None else left - len(page.rows)
            cursor = page.next
            if cursor is None:
                return

    def parents(self, task_id: str) -> Iterator[Parent]:
        """Yield the tasks that a task waits for, with their results, in their order. Raises `UnknownTask`."""
        first = None
        while True:
            page = self._connection.send(calls.parent_page(task_id, first))
            yield from page.rows
            first = page.next
            if first is None:
                return

    def changes(self, *, limit: int | None = None) -> Iterator[Change]:
        """Yield who changed what, latest first, at most `limit`; the record has the latest 10,000 changes."""
        left, below = limit, None
        while left is None or left > 0:
            page = self._connection.send(calls.change_page(min(left or MAX_PAGE, MAX_PAGE), below))
            yield from page.rows
            left = None if left is None else left - len(page.rows)
            below = page.next
            if below is None:
                return

    def bulk(
        self,
        action: Action,
        q: str,
        *,
        max: int | None = None,  # noqa: A002  as `POST /bulk` has it
        rate: float | None = None,
        delay: float | None = None,
    ) -> TaskHandle:
        """Requeue, cancel or delete all tasks that a search finds; return the handle of the task that does it.

        q: The search, as of `list`.
        max: How many tasks you have seen: if more match, none is changed.
        rate: How many tasks to change in a second, at most.
        delay: Seconds until it begins; until then `cancel()` undoes all of it.

        Raises `TooManyMatch`, `ApiRefused` for a search that cannot be read.
        """
        task = self._connection.send(calls.bulk(action, q, {"max": max, "rate": rate, "delay": delay}))
        return TaskHandle(self, task.id, task)

    def matching(self, action: Action, q: str) -> Matching:
        """Return how many tasks `bulk` would change: 10,000 are counted at most."""
        return self._connection.send(calls.matching(action, q))

    def failures(self) -> Failures:
        """Return the failed tasks, grouped by type and error, the largest group first."""
        return self._connection.send(calls.failures())

    def queues(self) -> tuple[Queue, ...]:
        """Return all queues, the most important first."""
        return self._connection.send(calls.queues())

    def pause(self, queue: str) -> None:
        """Pause a queue: workers start none of its tasks. Raises `UnknownQueue`."""
        self._connection.send(calls.pause(queue, "pause"))

    def resume(self, queue: str) -> None:
        """Resume a queue: workers start its tasks again within a second. Raises `UnknownQueue`."""
        self._connection.send(calls.pause(queue, "resume"))

    def limits(self) -> tuple[TypeLimits, ...]:
        """Return the limits of all task types, by name, and which types are paused."""
        return self._connection.send(calls.limits())

    def pause_type(self, task_type: str) -> TypeLimits:
        """Pause a task type: workers start none of its tasks. Raises `UnknownJobType`."""
        return self._connection.send(calls.pause_type(task_type, "pause"))

    def resume_type(self, task_type: str) -> TypeLimits:
        """Resume a task type: workers start its tasks again, in their order. Raises `UnknownJobType`."""
        return self._connection.send(calls.pause_type(task_type, "resume"))

    def change_limits(
        self, task_type: str, *, concurrency: int | None = None, rate: str | None = None
    ) -> TypeLimits:
        """Let these limits of a task type hold instead of those of its code; None: no limit.

        Raises `UnknownJobType`, `ApiRefused` for limits that cannot be.
        """
        return self._connection.send(calls.change_limits(task_type, concurrency, rate))

    def reset_limits(self, task_type: str) -> TypeLimits:
        """Let the limits of the code hold again. Raises `UnknownJobType`."""
        return self._connection.send(calls.reset_limits(task_type))

    def workers(self) -> tuple[Worker, ...]:
        """Return the workers; one that was killed or cut off has the state `lost`."""
        return self._connection.send(calls.workers())

    def task_types(self) -> tuple[TaskType, ...]:
        """Return the task types that this key may submit, by name."""
        return self._connection.send(calls.task_types())

    def batch(self, batch_id: str) -> Batch:
        """Return a batch as it is now. Raises `UnknownBatch`."""
        return self._connection.send(calls.batch(batch_id))

    def schedules(self) -> tuple[Schedule, ...]:
        """Return all schedules, by name."""
        return self._connection.send(calls.schedules())

    def schedule(self, name: str) -> Schedule:
        """Return a schedule. Raises `UnknownSchedule`."""
        return self._connection.send(calls.schedule(name))

    def put_schedule(self, name: str, document: ScheduleDocument) -> Schedule:
        """Create a schedule or replace it, and return it. One that is sent again unchanged keeps its next run.

            client.put_schedule("nightly", {"task_type": "sync", "payload": {…}, "cron": "30 2 * * *"})

        Raises what `submit` raises, `InvalidScheduleName`, `TooManySchedules`, and `ApiRefused`, whose
        `errors` have pointers into the document.
        """
        return self._connection.send(calls.put_schedule(name, document))

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule; tasks that it has queued stay. Raises `UnknownSchedule`."""
        self._connection.send(calls.delete_schedule(name))

    def run_schedule(self, name: str) -> TaskHandle:
        """Queue a schedule's task now, besides its times. Raises `UnknownSchedule`."""
        task = self._connection.send(calls.run_schedule(name))
        return TaskHandle(self, task.id, task)

    def pause_schedule(self, name: str) -> Schedule:
        """Stop a schedule from running until it is resumed, and return it. Raises `UnknownSchedule`."""
        return self._connection.send(calls.pause_schedule(name, "pause"))

    def resume_schedule(self, name: str) -> Schedule:
        """Let a paused schedule run again, and return it. Raises `UnknownSchedule`."""
        return self._connection.send(calls.pause_schedule(name, "resume"))

    def upload(self, file: bytes | Path, name: str | None = None) -> StoredFile:
        """Upload a file for a task to read: give the task the `filename` of what is returned.

        file: The content, or the path of a file. name: The name to store with it, by default that of the path.

        Raises `FileTooLarge`, `FilesUnavailable`; OSError if the path cannot be read.
        """
        return self._connection.send(calls.upload(file, name))

    def download(self, filename: str) -> bytes:
        """Return the content of a file. Raises `UnknownFile`, `FilesUnavailable`."""
        return self._connection.send(calls.download(filename))

    def request(self, method: str, path: str, *, params: Mapping[str, str] | None = None) -> httpx.Response:
        """Send a request to any address of the API, such as `/readyz`, and return its answer below 300."""
        return self._connection.send(
            Call(method=method, path=path, params=params or {}, read=lambda answer: answer)
        )
