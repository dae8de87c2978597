"""What `@job` returns: the function itself, which can also be submitted.

At run time the function gets a few attributes (`attach`) and stays a plain function, for RQ's own `enqueue`, for
`inspect` and for every other tool. `Job` and `AsyncJob` describe it for type checkers and editors.
"""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, overload

from typing_extensions import Unpack

if TYPE_CHECKING:
    from taskqueue.direct.handle import TaskHandle
    from taskqueue.direct.options import TaskOptions
    from taskqueue.enqueue.options import SubmitOptions
    from taskqueue.jobtypes.registry import JobType
    from taskqueue.jobtypes.signature import Json

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

# The other modules of this room are imported at the first submission: a worker that only registers job types, and
# `import taskqueue`, stay fast.


class NewTask(Generic[R_co]):
    """A task that is not submitted yet, for `submit_many`: its type, its payload, its options."""

    __slots__ = ("job_type", "options", "payload")

    def __init__(self, job_type: "JobType", payload: "Json", options: "TaskOptions") -> None:
        self.job_type = job_type
        self.payload = payload  # JSON values
        self.options = options

    def __repr__(self) -> str:
        return f"<NewTask {self.job_type.name}>"  # its payload may have secrets


class Submitter(Generic[P, R_co]):
    """Submits tasks of one job type, with the same options."""

    __slots__ = ("_job_type", "_options", "_validated")

    def __init__(self, job_type: "JobType", options: "TaskOptions", validated: "SubmitOptions | None") -> None:
        self._job_type = job_type
        self._options = options
        self._validated = validated  # None: there are none

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> "TaskHandle[R_co]":
        """Queue a task with these arguments, as `POST /tasks` does, and return its handle.

        The arguments are Python values, in the types of the function's parameters: a date, an enum, a pydantic
        model, a `SecretStr`. They travel as JSON, `MAX_PAYLOAD_BYTES` at most. The call takes one round trip to
        Redis, and returns after Redis has stored the task.

        Raises `InvalidPayload`, `UnknownQueue`, `UnknownParent`, and then nothing is queued; `QueueUnavailable`
        if Redis did not acknowledge the task.
        """
        from taskqueue.direct.by_redis import current

        return current().submit(self._job_type, self._job_type.payload(args, kwargs), self._validated)

    async def asubmit(self, *args: P.args, **kwargs: P.kwargs) -> "TaskHandle[R_co]":
        """Queue a task, as `submit` does, without blocking the event loop."""
        from taskqueue.direct.by_redis import current

        return await current().asubmit(self._job_type, self._job_type.payload(args, kwargs), self._validated)

    def task(self, *args: P.args, **kwargs: P.kwargs) -> NewTask[R_co]:
        """Return a task with these arguments that is not queued yet, for `submit_many`."""
        return NewTask(self._job_type, self._job_type.payload(args, kwargs), self._options)


class JobFunction(Protocol[P, R_co]):
    """What a job has besides being a function."""

    __name__: str
    __qualname__: str

    @property
    def job_type(self) -> "JobType":
        """The job type, with its name and its settings."""

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> "TaskHandle[R_co]":
        """Queue a task with these arguments, as `POST /tasks` does, and return its handle.

        The arguments are Python values, in the types of the function's parameters: a date, an enum, a pydantic
        model, a `SecretStr`. They travel as JSON, `MAX_PAYLOAD_BYTES` at most. The call takes one round trip to
        Redis, and returns after Redis has stored the task.

        Raises `InvalidPayload`, `UnknownQueue`, and then nothing is queued; `QueueUnavailable` if Redis did not
        acknowledge the task.
        """

    async def asubmit(self, *args: P.args, **kwargs: P.kwargs) -> "TaskHandle[R_co]":
        """Queue a task, as `submit` does, without blocking the event loop."""

    def task(self, *args: P.args, **kwargs: P.kwargs) -> NewTask[R_co]:
        """Return a task with these arguments that is not queued yet, for `submit_many`."""

    def options(self, **options: "Unpack[TaskOptions]") -> Submitter[P, R_co]:
        """Return what submits tasks with options: `send_email.options(delay=60, tags=["welcome"]).submit(…)`.

        Raises `InvalidOptions`.
        """

    def handle(self, task_id: str) -> "TaskHandle[R_co]":
        """Return the handle of a task of this job type that was submitted earlier. It does not ask Redis."""


class Job(JobFunction[P, R_co], Protocol[P, R_co]):
    """A function that `@job` has registered."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function here and now, as plain Python."""


class AsyncJob(JobFunction[P, R_co], Protocol[P, R_co]):
    """A coroutine function that `@job` has registered."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Call the coroutine function here and now, as plain Python."""


class Decorator(Protocol):
    """What `@job(…)` returns: it takes a function, and returns a job."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncJob[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Job[P, R]: ...


def attach(job_type: "JobType") -> None:
    """Give the function of a job type what `JobFunction` describes."""
    plain = Submitter[Any, Any](job_type, {}, None)

    def options(**options: "Unpack[TaskOptions]") -> Submitter[Any, Any]:
        from taskqueue.direct.options import read_options
        from taskqueue.enqueue.options import SubmitOptions

        return Submitter(job_type, options, read_options(SubmitOptions, options))

    def handle(task_id: str) -> "TaskHandle[Any]":
        from taskqueue.direct.by_redis import current

        return current().handle(task_id, job_type)

    function: Any = job_type.function
    function.submit, function.asubmit, function.task = plain.submit, plain.asubmit, plain.task
    function.options, function.handle, function.job_type = options, handle, job_type
