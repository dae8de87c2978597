"""What a client says of a task or a schedule, for type checkers and editors."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol, TypedDict  # noqa: TID251  there is no pydantic here


class HasId(Protocol):
    """A handle of a task."""

    @property
    def id(self) -> str:
        """The task's id."""


Parent = str | HasId


class TaskOptions(TypedDict, total=False):
    """The options of a task, as of `POST /tasks`. What is not given is decided by the task type."""

    queue: str
    """The queue, instead of the task type's own."""
    priority: Literal["front"]
    """`front`: the task runs before everything that waits in its queue."""
    attempts: int
    """How many times the task is tried at most, the first time included."""
    timeout: int
    """How many seconds one attempt may take."""
    expires_in: float
    """How many seconds the task may wait before it begins: then it is dropped."""
    tags: Sequence[str]
    """Names to find the task by."""
    callback_url: str
    """The URL that gets a POST when the task has ended."""
    delay: float
    """How many seconds the task waits before it may begin."""
    at: datetime
    """The time at which the task may begin, with its time zone."""
    depends_on: Sequence[Parent]
    """The tasks that must complete first, 100 at most: their handles or ids."""
    allow_failure: bool
    """Whether the tasks in `depends_on` may also fail."""
    dedupe: str
    """A key: while another task of this type with this key waits or runs, that one is the answer."""


class ScheduleDocument(TypedDict, total=False):
    """What `PUT /schedules/<name>` takes: a task, and either `interval` or `cron`."""

    task_type: str
    payload: Any
    interval: int
    """Seconds from one run to the next."""
    cron: str
    """Minute, hour, day, month, weekday."""
    timezone: str
    """The time zone of `cron`."""
    overlap: Literal["skip", "queue", "replace"]
    catch_up: Literal["skip", "once", "all"]
    queue: str
    priority: Literal["front"]
    attempts: int
    timeout: int
    expires_in: float
    tags: Sequence[str]
    callback_url: str


Item = Mapping[str, Any]
"""A task as `POST /tasks/bulk` takes it: {"task_type", "payload", …}."""
Action = Literal["requeue", "cancel", "delete"]
