"""Sends tasks to Redis and waits for them: what all handles of a process share."""

import asyncio
import math
import os
import time
from contextlib import suppress
from functools import cache, cached_property
from typing import Any, Literal
from urllib.parse import urlsplit

from redis import Redis

from taskqueue.control.operations import Operations
from taskqueue.direct.by_loop import LoopEvent, loop_script
from taskqueue.direct.handle import TaskHandle, as_json
from taskqueue.enqueue.batch import Batches
from taskqueue.enqueue.batch_draft import BatchDraft, Queued
from taskqueue.enqueue.job_fields import payload_text
from taskqueue.enqueue.options import DEFAULT_OPTIONS, SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.enqueue.submission import Submission, accepted_id
from taskqueue.errors import InvalidPayload, PayloadError
from taskqueue.jobtypes.registry import JobType, registered
from taskqueue.jobtypes.signature import Json
from taskqueue.monitor.result_waiter import wait_for_end
from taskqueue.monitor.subscriptions import Subscriptions
from taskqueue.settings import Settings, process_settings, process_target
from taskqueue.store.connection import connect_for_bulk, connect_for_worker, redis_errors
from taskqueue.store.keys import ENDED
from taskqueue.store.sentinel import SCHEMES as SENTINEL_SCHEMES
from taskqueue.tasks.running import running_job
from taskqueue.tasks.task import Task
from taskqueue.telemetry.spans import attribute

LOOK_SECONDS = 15.0  # a waiting coroutine reads its task so often, even if the subscription has told nothing


class ByRedis:
    """Submits and reads tasks over one connection pool, for threads, greenlets, event loops and after forks."""

    def __init__(self, connection: Redis, settings: Settings, url: str = "") -> None:
        self.connection = connection
        self.queue = TaskQueue(connection, settings, registered, is_shared=True)
        self.settings = settings
        # By which event loops connect; "": calls from coroutines take a thread.
        self._url = "" if urlsplit(url).scheme in SENTINEL_SCHEMES else url
        self._operations = Operations(connection, settings.failure_ttl_seconds)

    # To submit

    def submit(
        self, job_type: JobType, payload: Json, options: SubmitOptions | None, text: str | None = None
    ) -> TaskHandle[Any]:
        """Queue a task in one round trip. `Submitter.submit` says what it raises.

        `text`: what `payload_text` returns for the payload, if the caller has it.
        """
        with self.queue.span(job_type):
            return self.sent(self._prepare(job_type, payload, options, text))

    def sent(self, submission: Submission) -> TaskHandle[Any]:
        """Send a prepared task to Redis, and return its handle. Raises `UnknownParent`, `QueueUnavailable`."""
        answer = self.queue.submissions.send(submission)
        return self.handle(accepted_id(submission, answer), submission.job_type)

    async def asubmit(
        self, job_type: JobType, payload: Json, options: SubmitOptions | None, text: str | None = None
    ) -> TaskHandle[Any]:
        """Queue a task in one round trip, by a connection of the running event loop."""
        if not self._url:
            return await asyncio.to_thread(self.submit, job_type, payload, options, text)
        with self.queue.span(job_type):
            submission = self._prepare(job_type, payload, options, text)
            attribute("task.id", submission.id)
            with redis_errors(submission.id):
                script = await loop_script(self._url)
                answer = await script(submission.call)
            return self.handle(accepted_id(submission, answer), job_type)

    def _prepare(
        self, job_type: JobType, payload: Json, options: SubmitOptions | None, text: str | None
    ) -> Submission:
        text = text or payload_text(job_type.name, payload)
        self.check_size(job_type.name, text)
        return self.queue.submissions.prepare(job_type, payload, options or DEFAULT_OPTIONS, text=text)

    def handle(self, task_id: str, job_type: JobType | None) -> TaskHandle[Any]:
        """Return a task's handle, without asking Redis."""
        return TaskHandle(task_id, self, job_type.signature.result_value if job_type else as_json)

    @cached_property
    def batches(self) -> Batches:
        """What queues batches."""
        return Batches(connect_for_bulk(self.connection), self.queue.submissions, registered)

    def submit_batch(self, draft: BatchDraft) -> Queued:
        """Queue the tasks of a draft in one transaction. Raises `InvalidBatch`, `QueueUnavailable`."""
        return self.batches.submit(draft)

    def check_size(self, task_type: str, text: str) -> None:
        """Raise `InvalidPayload` for a payload whose JSON text has more than MAX_PAYLOAD_BYTES."""
        limit = self.settings.max_payload_bytes
        if len(text) > limit:  # it is ASCII
            message = (
                f"It is larger than {limit:,} bytes (MAX_PAYLOAD_BYTES); store it as a file, and send its name"
            )
            raise InvalidPayload(task_type, [PayloadError("", message)])

    # To follow: handle.Reach

    def get(self, task_id: str) -> Task:
        """Return the task as it is now. Raises `UnknownTask`, `QueueUnavailable`."""
        return self.queue.get(task_id)

    def wait(self, task_id: str, seconds: float | None) -> Task:
        """Return the task when it has ended, or as it is after so many seconds; Redis wakes the caller."""
        end = math.inf if seconds is None else time.monotonic() + seconds
        with redis_errors():
            return wait_for_end(self.connection, self.get, task_id, end)

    def cancel(self, task_id: str) -> Literal["canceled", "stopping"]:
        """Cancel the task. Raises `UnknownTask`, `WrongStatus`, `QueueUnavailable`."""
        return self._operations.cancel(task_id)

    async def aget(self, task_id: str) -> Task:
        """Return the task as it is now."""
        return await asyncio.to_thread(self.get, task_id)

    async def await_end(self, task_id: str, seconds: float | None) -> Task:
        """Return the task when it has ended, or as it is after so many seconds.

        However many coroutines wait, one thread and one connection of the process listen for them.
        """
        end = math.inf if seconds is None else time.monotonic() + seconds
        changed = LoopEvent()
        watching = _subscriptions(os.getpid(), self.connection).watch(task_id, changed)
        entering = asyncio.ensure_future(asyncio.to_thread(watching.__enter__))  # it may have to connect
        try:
            await asyncio.shield(entering)
        except asyncio.CancelledError:
            entering.add_done_callback(lambda _: watching.__exit__(None, None, None))
            raise
        try:
            while True:
                task, left = await self.aget(task_id), end - time.monotonic()
                if task.status in ENDED or left <= 0:
                    return task
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), min(left, LOOK_SECONDS))
                changed.clear()
        finally:
            await asyncio.shield(asyncio.to_thread(watching.__exit__, None, None, None))

    async def acancel(self, task_id: str) -> Literal["canceled", "stopping"]:
        """Cancel the task."""
        return await asyncio.to_thread(self.cancel, task_id)


class _Made:
    """Holds what was used last: it is nearly always the one to use next."""

    latest: ByRedis | None = None


class _Given:
    """Holds what a test has put in the place of Redis; None: there is nothing."""

    instead: ByRedis | None = None


def current() -> ByRedis:
    """Return what submits here: in a job over the worker's connection, elsewhere over the process's own."""
    if _Given.instead:
        return _Given.instead
    job = running_job()
    if job:
        return _of(job.connection, process_settings(), "")
    return _of(*process_target())


def replace_current(instead: ByRedis | None) -> None:
    """Submit by another way from now on; None: by Redis again."""
    _Given.instead = instead


def _of(connection: Redis, settings: Settings, url: str) -> ByRedis:
    latest = _Made.latest
    if latest is None or latest.connection is not connection or latest.settings is not settings:
        latest = _Made.latest = ByRedis(connection, settings, url)
    return latest


@cache
def _subscriptions(pid: int, connection: Redis) -> Subscriptions:
    # By process: a thread that listens does not survive a fork.
    return Subscriptions(connection, connect_for_worker(connection))
