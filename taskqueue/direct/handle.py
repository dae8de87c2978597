"""The handle of a submitted task: its status, its result. Any way to reach the task can be behind it."""

from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from pydantic import ValidationError

from taskqueue.errors import InvalidResult, ResultTimeout, TaskCanceled, TaskFailed
from taskqueue.store.keys import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskqueue.jobtypes.signature import Json
    from taskqueue.store.keys import Status
    from taskqueue.tasks.task import Task

R_co = TypeVar("R_co", covariant=True)


class Reach(Protocol):
    """A way to reach tasks: over Redis, over HTTP. Each method raises what the handle's own says."""

    def get(self, task_id: str) -> "Task":
        """Return the task as it is now."""

    def wait(self, task_id: str, seconds: float | None) -> "Task":
        """Return the task when it has ended, or as it is after so many seconds."""

    def cancel(self, task_id: str) -> Literal["canceled", "stopping"]:
        """Cancel the task."""

    async def aget(self, task_id: str) -> "Task":
        """Return the task as it is now."""

    async def await_end(self, task_id: str, seconds: float | None) -> "Task":
        """Return the task when it has ended, or as it is after so many seconds."""

    async def acancel(self, task_id: str) -> Literal["canceled", "stopping"]:
        """Cancel the task."""


class TaskHandle(Generic[R_co]):
    """A submitted task. Keep its `id`: `send_email.handle(id)` gives the handle again, in any process.

    Methods that begin with `a` are for `await`. All raise `QueueUnavailable` if Redis does not answer, and
    `UnknownTask` if the task has expired.
    """

    __slots__ = ("_reach", "_read_result", "id")

    id: str
    """The id of the task, as in `GET /tasks/<id>`."""

    def __init__(self, task_id: str, reach: Reach, read_result: "Callable[[Json], R_co]") -> None:
        self.id = task_id
        self._reach = reach
        self._read_result = read_result

    def status(self) -> "Status":
        """Return the task's status now: queued, scheduled, deferred, processing, complete, failed or canceled."""
        return self._reach.get(self.id).status

    def refresh(self) -> "Task":
        """Return the task as it is now: with its status, progress, result, errors, times."""
        return self._reach.get(self.id)

    def result(self, timeout: float | None = None) -> R_co:
        """Wait until the task has ended, and return what its function returned, in the type of the function.

        timeout: How many seconds to wait at most; 0 does not wait; None waits without end.

        Raises `ResultTimeout` (a TimeoutError), `TaskFailed`, `TaskCanceled`; `InvalidResult` if what the function
        returned does not fit its return type.
        """
        return self._result(self._reach.wait(self.id, timeout), timeout)

    def cancel(self) -> "Literal['canceled', 'stopping']":
        """Cancel the task: return "canceled" if it waited, "stopping" if it runs.

        A running task is stopped by its worker within a second. Raises `WrongStatus` if it has ended.
        """
        return self._reach.cancel(self.id)

    async def astatus(self) -> "Status":
        """Return the task's status now, as `status` does."""
        return (await self._reach.aget(self.id)).status

    async def arefresh(self) -> "Task":
        """Return the task as it is now, as `refresh` does."""
        return await self._reach.aget(self.id)

    async def aresult(self, timeout: float | None = None) -> R_co:  # noqa: ASYNC109  as `result` has it
        """Wait until the task has ended, and return what its function returned, as `result` does."""
        return self._result(await self._reach.await_end(self.id, timeout), timeout)

    async def acancel(self) -> "Literal['canceled', 'stopping']":
        """Cancel the task, as `cancel` does."""
        return await self._reach.acancel(self.id)

    def _result(self, task: "Task", timeout: float | None) -> R_co:
        if task.status not in ENDED:
            raise ResultTimeout(task.id, task.status, timeout or 0)
        if task.status == "complete":
            try:
                return self._read_result(task.result)
            except ValidationError as error:
                count = f"{error.error_count()} errors"
                raise InvalidResult(
                    f"Task {task.id} ({task.type}) returned a value that does not fit its return type ({count});"
                    " its `refresh().result` has the value as JSON"
                ) from error
        if task.status == "failed":
            raise failure_of(task)
        raise TaskCanceled(task.id, task.type, task.error.message if task.error else "")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskHandle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"TaskHandle({self.id!r})"


def failure_of(task: "Task") -> TaskFailed:
    """Return the error for a task that has failed."""
    error = task.error
    if error is None:  # its results have expired, or another program has marked it as failed
        return TaskFailed(task.id, task.type, "Exception", "Its error is not known.")
    return TaskFailed(task.id, task.type, error.type, error.message, error.traceback)


def as_json(result: Any) -> Any:
    """Return a result as it is, for a task whose function is not known."""
    return result
