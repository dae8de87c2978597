"""The handles of tasks and batches that were submitted over HTTP."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from taskqueue.client.records import Batch, Event, Status, Task
from taskqueue.errors import PayloadError, ResultTimeout, TaskCanceled, TaskFailed

if TYPE_CHECKING:
    from taskqueue.client.asynchronous import AsyncClient  # noqa: F401  ruff does not see it in the bases below
    from taskqueue.client.sync import Client  # noqa: F401  ruff does not see it in the bases below


C = TypeVar("C")  # the client that a handle asks
H = TypeVar("H")  # the handles of a batch's tasks


class _Handle(Generic[C]):
    """What both handles of a task are."""

    def __init__(self, client: C, task_id: str, accepted: Task | None = None) -> None:
        self.id = task_id
        """The id of the task, as in `GET /tasks/<id>`."""
        self.accepted = accepted
        """The task as it was answered when it was submitted, with `warnings`; None for the handle of an id."""
        self._client = client

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"


class TaskHandle(_Handle["Client"]):
    """A task. Keep its `id`: `client.handle(id)` gives the handle again, in any process.

    All methods raise `UnknownTask` if the task has expired, `ApiRefused` if the server does not answer.
    """

    def status(self) -> Status:
        """Return the task's status now: queued, scheduled, deferred, processing, complete, failed or canceled."""
        return self.refresh().status

    def refresh(self) -> Task:
        """Return the task as it is now: with its status, progress, result, errors, times."""
        return self._client.get(self.id)

    def result(self, timeout: float | None = None) -> Any:
        """Wait until the task has ended, and return what its function returned, as JSON values.

        timeout: How many seconds to wait at most; 0 does not wait; None waits without end.

        Raises `ResultTimeout` (a TimeoutError), `TaskFailed`, `TaskCanceled`.
        """
        if self.accepted and self.accepted.has_ended:
            return result_of(self.accepted, timeout)
        return result_of(self._client.wait(self.id, timeout), timeout)

    def cancel(self) -> Literal["canceled", "stopping"]:
        """Cancel the task: return "canceled" if it waited, "stopping" if it runs.

        A running task is stopped by its worker within a second. Raises `WrongStatus` if it has ended.
        """
        return outcome_of(self._client.cancel(self.id))

    def events(self) -> Iterator[Event]:
        """Yield each change and log line of the task until it has ended."""
        return self._client.events(self.id)


class AsyncTaskHandle(_Handle["AsyncClient"]):
    """A task, for `await`. Keep its `id`: `client.handle(id)` gives the handle again, in any process.

    All methods raise `UnknownTask` if the task has expired, `ApiRefused` if the server does not answer.
    """

    async def astatus(self) -> Status:
        """Return the task's status now: queued, scheduled, deferred, processing, complete, failed or canceled."""
        return (await self.arefresh()).status

    async def arefresh(self) -> Task:
        """Return the task as it is now: with its status, progress, result, errors, times."""
        return await self._client.get(self.id)

    async def aresult(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109  as `TaskHandle.result` has it
        """Wait until the task has ended, and return what its function returned, as JSON values.

        timeout: How many seconds to wait at most; 0 does not wait; None waits without end.

        Raises `ResultTimeout` (a TimeoutError), `TaskFailed`, `TaskCanceled`.
        """
        if self.accepted and self.accepted.has_ended:
            return result_of(self.accepted, timeout)
        return result_of(await self._client.wait(self.id, timeout), timeout)

    async def acancel(self) -> Literal["canceled", "stopping"]:
        """Cancel the task: return "canceled" if it waited, "stopping" if it runs.

        A running task is stopped by its worker within a second. Raises `WrongStatus` if it has ended.
        """
        return outcome_of(await self._client.cancel(self.id))

    def aevents(self) -> AsyncIterator[Event]:
        """Yield each change and log line of the task until it has ended."""
        return self._client.events(self.id)


class _BatchHandle(Generic[C, H]):
    """What both handles of a batch are."""

    def __init__(
        self,
        client: C,
        batch_id: str,
        tasks: tuple[H, ...],
        then: H | None,
        refused: Mapping[int, tuple[PayloadError, ...]],
    ) -> None:
        self.id = batch_id
        """The id of the batch, as in `GET /batches/<id>`."""
        self.tasks = tasks
        """The handles of the queued tasks, in their order."""
        self.then = then
        """The handle of the task that runs when all others have ended; None if there is none."""
        self.refused = refused
        """What is wrong with tasks that were not queued, by their place from 0 on; only with `atomic=False`."""
        self._client = client

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}, {len(self.tasks)} tasks>"


class BatchHandle(_BatchHandle["Client", TaskHandle]):
    """Tasks that were submitted together."""

    def refresh(self) -> Batch:
        """Return the batch as it is now, its tasks counted by status. Raises `UnknownBatch`, `ApiRefused`."""
        return self._client.batch(self.id)


class AsyncBatchHandle(_BatchHandle["AsyncClient", AsyncTaskHandle]):
    """Tasks that were submitted together, for `await`."""

    async def arefresh(self) -> Batch:
        """Return the batch as it is now, its tasks counted by status. Raises `UnknownBatch`, `ApiRefused`."""
        return await self._client.batch(self.id)


def result_of(task: Task, timeout: float | None) -> Any:
    """Return the result of a task. Raises `ResultTimeout`, `TaskFailed`, `TaskCanceled`."""
    if not task.has_ended:
        raise ResultTimeout(task.id, task.status, timeout or 0)
    if task.status == "complete":
        return task.result
    error = task.error
    if task.status == "canceled":
        raise TaskCanceled(task.id, task.type, error.message if error else "")
    if error is None:  # its results have expired, or another program has marked it as failed
        raise TaskFailed(task.id, task.type, "Exception", "Its error is not known.")
    raise TaskFailed(task.id, task.type, error.type, error.message, error.traceback)


def outcome_of(task: Task) -> Literal["canceled", "stopping"]:
    """Return what a cancellation did, by the task that it answered."""
    return "canceled" if task.status == "canceled" else "stopping"
