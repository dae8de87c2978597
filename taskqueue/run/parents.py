"""The results of the tasks that a task has waited for: those in its `depends_on`, or those of its batch."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from redis import Redis
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer

from taskqueue.errors import OutsideOfJob, TaskCanceled, TaskFailed, UnknownBatch, UnknownTask
from taskqueue.jobtypes.registry import registered
from taskqueue.jobtypes.signature import Json
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import ENDED, Field, Status, batch_tasks_key, decoded, job_key, results_key
from taskqueue.tasks.running import current_task
from taskqueue.tasks.task import Task, read_task

if TYPE_CHECKING:
    from taskqueue.direct.job_function import JobFunction

PAGE = 50  # parents are read at a time: a result may have MAX_RESULT_BYTES

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Parent(Generic[R]):
    """A task that another one has waited for, as it is now."""

    id: str
    type: str  # the name of its job type; "" if the task is gone
    status: Status | None  # None: it ended so long ago that Redis keeps it no longer
    result: R | None  # of a task that is complete
    error: Exception | None  # why there is no result: TaskFailed, TaskCanceled, UnknownTask


class Parents(Generic[R]):
    """The tasks that a task has waited for, in the order in which they were named or submitted.

    `for result in parents()` yields their results. They are read a few at a time, so there may be thousands.
    """

    def __init__(
        self, connection: Redis, task_id: str, types: frozenset[str] | None, read_result: Callable[[str, Json], R]
    ) -> None:
        self._connection = connection
        self._task_id = task_id
        self._types = types
        self._read_result = read_result

    def __iter__(self) -> Iterator[R]:
        """Yield the result of each parent.

        Raises `TaskFailed`, `TaskCanceled` or `UnknownTask` at the first parent that has none, where
        `allow_failure` or a batch's `then` let the task run all the same: `outcomes()` yields those, too.
        """
        for parent in self.outcomes():
            if parent.error:
                raise parent.error
            yield parent.result  # type: ignore[misc]  # a result that is None is one

    def outcomes(self) -> Iterator[Parent[R]]:
        """Yield each parent, with its result or the error that it ended with."""
        for ids in ParentIds(self._connection, self._task_id).pages():
            for task_id, task in zip(ids, read_tasks(self._connection, ids), strict=True):
                if self._types is None or (task and task.type in self._types):
                    yield self._parent(task_id, task)

    def _parent(self, task_id: str, task: Task | None) -> Parent[R]:
        if task is None:
            return Parent(id=task_id, type="", status=None, result=None, error=UnknownTask(task_id))
        is_complete = task.status == "complete"
        return Parent(
            id=task_id,
            type=task.type,
            status=task.status,
            result=self._read_result(task.type, task.result) if is_complete else None,
            error=None if is_complete else _error_of(task),
        )


@overload
def parents() -> Parents[Any]: ...
@overload
def parents(of: "JobFunction[..., R]", /) -> Parents[R]: ...
def parents(of: "JobFunction[..., Any] | None" = None, /) -> Parents[Any]:
    """Return the tasks that the current task has waited for: those in `depends_on`, or those of its batch.

        @job("album")
        def album(title: str) -> dict[str, int]:
            return {title: sum(parents())}

        for parent in parents(resize).outcomes():  # also those that failed
            print(parent.id, parent.result, parent.error)

    of: A job: only the tasks of its type. Type checkers then know the type of the results.

    Each result has the type that the parent's function returns, if that function is registered in this process;
    otherwise it is JSON. Raises `OutsideOfJob` unless a worker runs the calling code.
    """
    task = current_task()
    if task is None:
        raise OutsideOfJob("parents()")
    types = None
    if of is not None:
        types = frozenset((of.job_type.name,))
    return Parents(task.connection, task.id, types, _typed)


def _typed(task_type: str, result: Json) -> Any:
    job_type = registered.get(task_type)
    return job_type.signature.result_value(result) if job_type else result


def _error_of(task: Task) -> Exception:
    if task.status == "canceled":
        return TaskCanceled(task.id, task.type, task.error.message if task.error else "")
    if task.status in ENDED and task.error:
        return TaskFailed(task.id, task.type, task.error.type, task.error.message, task.error.traceback)
    return TaskFailed(task.id, task.type, "Exception", f"It has no result; it is {task.status}.")


class ParentIds:
    """The ids of the tasks that a task waits for, or has waited for. It raises `QueueUnavailable`."""

    def __init__(self, connection: Redis, task_id: str) -> None:
        """Raises `UnknownTask`."""
        self._connection = connection
        with redis_errors():
            names = ["created_at", "dependency_ids", "dependency_id", Field.BATCH]
            stored: Any = connection.hmget(job_key(task_id), names)
        created, several, one, batch = stored
        if created is None:
            raise UnknownTask(task_id)
        self._named: list[str] = json.loads(several) if several else [decoded(one)] if one else []
        self._batch = decoded(batch) if batch else ""

    def page(self, first: int, count: int) -> list[str]:
        """Return `count` ids from number `first` on, fewer at the end.

        Raises `UnknownBatch` if the batch has expired, `QueueUnavailable`.
        """
        if not self._batch:
            return self._named[first : first + count]
        with redis_errors():
            ids: Any = self._connection.lrange(batch_tasks_key(self._batch), first, first + count - 1)
        if not ids and first == 0:  # no batch is empty
            raise UnknownBatch(self._batch)
        return [decoded(task_id) for task_id in ids]

    def pages(self) -> Iterator[list[str]]:
        """Yield all ids, a few at a time."""
        first = 0
        while ids := self.page(first, PAGE):
            yield ids
            if len(ids) < PAGE:
                return
            first += PAGE


def read_tasks(connection: Redis, task_ids: list[str]) -> list[Task | None]:
    """Return these tasks with their last results, in one round trip; None for one that Redis keeps no longer.

    Raises `QueueUnavailable`.
    """
    with redis_errors(), connection.pipeline(transaction=False) as pipeline:
        for task_id in task_ids:
            pipeline.hgetall(job_key(task_id))
            pipeline.xrevrange(results_key(task_id), count=1)
        answers = pipeline.execute()
    return [
        _task(connection, task_id, stored, results)
        for task_id, stored, results in zip(task_ids, answers[::2], answers[1::2], strict=True)
    ]


def _task(connection: Redis, task_id: str, stored: dict[bytes, bytes], results: list[Any]) -> Task | None:
    if b"data" not in stored:
        return None
    job = Job(task_id, connection=connection, serializer=JSONSerializer)
    job.restore(stored)
    restored = [Result.restore(task_id, name.decode(), raw, connection, JSONSerializer) for name, raw in results]
    return read_task(job, stored, restored)
