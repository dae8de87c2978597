"""Submits many tasks in one transaction, as a batch."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, overload

from taskqueue.direct.by_name import discover_if_unknown, find, json_values
from taskqueue.direct.by_redis import ByRedis, current
from taskqueue.direct.handle import TaskHandle
from taskqueue.direct.job_function import NewTask
from taskqueue.direct.options import read_options
from taskqueue.enqueue.batch import Batch
from taskqueue.enqueue.batch_draft import Queued
from taskqueue.enqueue.job_fields import payload_text
from taskqueue.enqueue.options import TaskSpec
from taskqueue.errors import InvalidBatch, InvalidOptions, InvalidPayload, PayloadError
from taskqueue.jobtypes.registry import JobType
from taskqueue.jobtypes.signature import Json

R = TypeVar("R")
T = TypeVar("T")
Then = TypeVar("Then", bound=TaskHandle[Any] | None)

Item = Mapping[str, Any]
"""A task as `POST /tasks/bulk` takes it: {"task_type", "payload", …}."""


class BatchHandle(Generic[R, Then]):
    """Tasks that were submitted together."""

    def __init__(self, batch_id: str, tasks: list[TaskHandle[R]], then: Then, by_redis: ByRedis) -> None:
        self.id = batch_id
        """The id of the batch, as in `GET /batches/<id>`."""
        self.tasks = tasks
        """The handles of the tasks, in their order."""
        self.then = then
        """The handle of the task that runs when all others have ended; None if there is none."""
        self._by_redis = by_redis

    def refresh(self) -> Batch:
        """Return the batch as it is now, its tasks counted by status.

        Raises `UnknownBatch`, `QueueUnavailable`.
        """
        return self._by_redis.batches.get(self.id)

    async def arefresh(self) -> Batch:
        """Return the batch as it is now, as `refresh` does."""
        return await asyncio.to_thread(self.refresh)

    def __repr__(self) -> str:
        return f"<BatchHandle {self.id}, {len(self.tasks)} tasks>"


@overload
def submit_many(tasks: Iterable[NewTask[R] | Item]) -> BatchHandle[R, None]: ...
@overload
def submit_many(tasks: Iterable[NewTask[R] | Item], *, then: NewTask[T]) -> BatchHandle[R, TaskHandle[T]]: ...
@overload
def submit_many(tasks: Iterable[NewTask[R] | Item], *, then: Item) -> BatchHandle[R, TaskHandle[Any]]: ...
def submit_many(
    tasks: Iterable[NewTask[Any] | Item], *, then: NewTask[Any] | Item | None = None
) -> BatchHandle[Any, Any]:
    """Queue up to 10,000 tasks in one transaction: Redis takes all of them, or none.

        batch = submit_many(
            [resize.task(filename) for filename in filenames],
            then=album.task(title="Holidays"),
        )

    tasks: What `send_email.task(…)` returns, with options if it is `send_email.options(…).task(…)`; or dicts, as
        `POST /tasks/bulk` takes them: `{"task_type": "email", "payload": {…}, "tags": […]}`.
    then: One more task, which runs when all others have ended, with or without success. It reads their results
        with `parents()`.

    Raises `InvalidBatch`, which says what is wrong with each task; `BatchTooLarge`; for `then`, what `submit`
    raises; and then nothing is queued. `QueueUnavailable` if Redis did not acknowledge the batch.
    """
    by_redis = current()
    items = list(tasks)
    checked = _checked(by_redis, items)
    draft = by_redis.batches.prepare(checked, on_complete=_spec(by_redis, then) if then else None)
    queued = by_redis.submit_batch(draft)
    return _handle(by_redis, items, then, queued)


@overload
async def asubmit_many(tasks: Iterable[NewTask[R] | Item]) -> BatchHandle[R, None]: ...
@overload
async def asubmit_many(
    tasks: Iterable[NewTask[R] | Item], *, then: NewTask[T]
) -> BatchHandle[R, TaskHandle[T]]: ...
@overload
async def asubmit_many(tasks: Iterable[NewTask[R] | Item], *, then: Item) -> BatchHandle[R, TaskHandle[Any]]: ...
async def asubmit_many(
    tasks: Iterable[NewTask[Any] | Item], *, then: NewTask[Any] | Item | None = None
) -> BatchHandle[Any, Any]:
    """Queue tasks in one transaction, as `submit_many` does, without blocking the event loop."""
    return await asyncio.to_thread(_submit, tasks, then)


def _submit(tasks: Iterable[NewTask[Any] | Item], then: NewTask[Any] | Item | None) -> BatchHandle[Any, Any]:
    return submit_many(tasks, then=then) if then else submit_many(tasks)


def _checked(by_redis: ByRedis, tasks: list[NewTask[Any] | Item]) -> Iterator[Json]:
    """Yield the items of `POST /tasks/bulk`. Raises `InvalidBatch` for a payload that is no JSON, or too large."""
    for number, task in enumerate(tasks):
        try:
            yield _item(by_redis, task)
        except InvalidPayload as error:
            raise InvalidBatch(error.inside(f"/{number}/payload").errors, 1, len(tasks)) from error


def _item(by_redis: ByRedis, task: NewTask[Any] | Item) -> dict[str, Json]:
    """Return a task as an item of `POST /tasks/bulk`. Raises `InvalidPayload` if it is no JSON, or too large."""
    if not isinstance(task, NewTask):
        task_type = str(task.get("task_type", ""))
        discover_if_unknown(task_type)
        values, text = json_values(task_type, task.get("payload", {}))
        by_redis.check_size(task_type, text)
        return {**task, "payload": values}
    by_redis.check_size(task.job_type.name, payload_text(task.job_type.name, task.payload))
    options: dict[str, Any] = dict(task.options)
    if "depends_on" in options:
        options["depends_on"] = [getattr(parent, "id", parent) for parent in options["depends_on"]]
    return {"task_type": task.job_type.name, "payload": task.payload, **options}


def _spec(by_redis: ByRedis, task: NewTask[Any] | Item) -> TaskSpec:
    """Return the task that runs at the end. Raises `InvalidOptions`, `InvalidPayload`."""
    item = _item(by_redis, task)
    if wrong := [name for name in item if name not in TaskSpec.model_fields]:
        raise InvalidOptions(
            [PayloadError(f"/{name}", "`then` runs when the others have ended") for name in wrong]
        )
    return read_options(TaskSpec, item)


def _handle(
    by_redis: ByRedis, items: list[NewTask[Any] | Item], then: NewTask[Any] | Item | None, queued: Queued
) -> BatchHandle[Any, Any]:
    ids = zip(queued.results, map(_job_type, items), strict=True)
    return BatchHandle(
        queued.batch_id,
        [by_redis.handle(str(task_id), job_type) for task_id, job_type in ids],
        by_redis.handle(queued.on_complete, _job_type(then)) if then and queued.on_complete else None,
        by_redis,
    )


def _job_type(task: NewTask[Any] | Item) -> JobType:
    return task.job_type if isinstance(task, NewTask) else find(task["task_type"])
