"""A task that another one waits for, as clients see it."""

from typing_extensions import TypedDict

from taskqueue.jobtypes.signature import Json
from taskqueue.store.keys import Status
from taskqueue.tasks.task import Task
from taskqueue.tasks.task_json import ErrorJson, task_json


class ParentJson(TypedDict):
    """A task that another one waits for. `type` and `status` are null if it ended so long ago that it is gone."""

    id: str
    type: str | None
    status: Status | None
    result: Json
    error: ErrorJson | None


def parent_json(task_id: str, task: Task | None) -> ParentJson:
    """Return a parent as clients see it; None: Redis keeps it no longer."""
    if task is None:
        return ParentJson(id=task_id, type=None, status=None, result=None, error=None)
    shown = task_json(task)
    return ParentJson(id=task_id, type=task.type, status=task.status, result=shown["result"], error=shown["error"])
