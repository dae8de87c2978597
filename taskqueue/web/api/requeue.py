"""`POST /requeue`: requeue many failed tasks."""

from typing import Annotated, Self

from flask import Blueprint, jsonify, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field, model_validator
from typing_extensions import TypedDict

from taskqueue.control.failed_tasks import FailedTasks, FailureFilter
from taskqueue.enqueue.options import Moment, SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.run.builtin.requeue import NAME
from taskqueue.tasks.task_json import TaskJson, task_json
from taskqueue.web.api.bulk import MAX_EXAMPLES, MAX_RATE, MIN_RATE
from taskqueue.web.http.change_record import note_dry_run
from taskqueue.web.http.endpoint import Query, endpoint, read_query

FILTERS = ("type", "queue", "tag", "failed_since", "group")
Name = Annotated[str, Field(max_length=64)]


class RequeueQuery(Query):
    """Which failed tasks to requeue, and how fast; at least one filter is needed."""

    type: Name | None = None
    """Only tasks of this type."""
    queue: Name | None = None
    """Only tasks of this queue."""
    tag: Name | None = None
    """Only tasks with this tag."""
    failed_since: Moment | None = None
    """Only tasks that failed at this time or later."""
    group: Annotated[str, Field(pattern="^[0-9a-f]{12}$")] | None = None
    """Only tasks of this group of `GET /failures`."""
    rate: Annotated[float, Field(ge=MIN_RATE, le=MAX_RATE)] | None = None
    """How many tasks to requeue in a second, at most."""
    dry_run: bool = False
    """Change nothing, and answer how many tasks match."""

    @model_validator(mode="after")
    def _at_least_one_filter(self) -> Self:
        if not any(getattr(self, name) is not None for name in FILTERS):
            raise ValueError(f"Say which failed tasks: {', '.join(FILTERS)}")
        return self


class DryRunJson(TypedDict):
    """How many tasks match, and the ids of some."""

    matching: int
    examples: list[str]


def views(queue: TaskQueue, failed: FailedTasks) -> Blueprint:
    """Return the view of `/requeue`."""
    blueprint = Blueprint("requeue", __name__)

    @blueprint.post("/requeue")
    @endpoint(
        "Requeue failed tasks",
        scope="operate",
        change="tasks-requeued",
        query=RequeueQuery,
        answers={200: DryRunJson, 202: TaskJson},
        problems=(400, 422, 503),
    )
    def requeue() -> ResponseReturnValue:
        """Queue a task that requeues the failed tasks which match all filters, and reports its progress (202).

        At least one of `type`, `queue`, `tag`, `failed_since` and `group` is needed. With `dry_run` nothing is
        changed: the answer says how many tasks match (200).
        """
        asked = read_query(RequeueQuery)
        wanted = FailureFilter(
            type=asked.type, queue=asked.queue, tag=asked.tag, since=asked.failed_since, group=asked.group
        )
        failed.check(wanted)
        if asked.dry_run:
            note_dry_run()
            ids = failed.find(wanted)
            return jsonify(DryRunJson(matching=len(ids), examples=ids[:MAX_EXAMPLES]))
        payload = asked.model_dump(mode="json", exclude={"dry_run"}, exclude_none=True)
        task = queue.submit_own(NAME, payload, SubmitOptions(queue=queue.settings.queues[0]))
        return jsonify(task_json(task)), 202, {"Location": url_for("tasks.get", task_id=task.id)}

    return blueprint
