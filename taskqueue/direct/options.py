"""The options of a task: for type checkers, and as they are validated."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import ValidationError
from typing_extensions import TypedDict

from taskqueue.direct.handle import TaskHandle
from taskqueue.errors import InvalidOptions
from taskqueue.jobtypes.signature import option_errors

if TYPE_CHECKING:
    from taskqueue.enqueue.options import RunOptions

O = TypeVar("O", bound="RunOptions")  # noqa: E741


class TaskOptions(TypedDict, total=False):
    """The options of a task, as of `POST /tasks`. What is not given is decided by the job type."""

    queue: str
    """The queue, instead of the job type's own."""
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
    depends_on: Sequence[str | TaskHandle[Any]]
    """The tasks that must complete first, 100 at most: their handles or ids."""
    allow_failure: bool
    """Whether the tasks in `depends_on` may also fail."""
    dedupe: str
    """A key: while another task of this type with this key waits or runs, that one is the answer."""


def read_options(kind: type[O], options: Mapping[str, Any]) -> O:
    """Return validated options. Raises `InvalidOptions`."""
    depends_on = options.get("depends_on")
    if depends_on is not None and not isinstance(depends_on, str):
        ids = [parent.id if isinstance(parent, TaskHandle) else parent for parent in depends_on]
        options = {**options, "depends_on": ids}
    try:
        return kind(**options)
    except ValidationError as error:
        raise InvalidOptions(option_errors(error)) from None
