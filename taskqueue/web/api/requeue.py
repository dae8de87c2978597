"""`POST /requeue`: send many failed tasks again."""

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
from taskqueue.web.http.endpoint import Query, endpoint, read_query

MIN_RATE, MAX_RATE = 0.001, 1000  # tasks a second
MAX_EXAMPLES = 10
FILTERS = ("type", "queue", "tag", "failed_since", "group")
Name = Annotated[str, Field(max_length=64)]


class RequeueQuery(Query):
    """Which failed tasks, and how fast."""

    type: Name | None = None
    queue: Name | None = None
    tag: Name | None = None
    failed_since: Moment | None = None
    group: Annotated[str, Field(pattern="^[0-9a-f]{12}$")] | None = None
    rate: Annotated[float, Field(ge=MIN_RATE, le=MAX_RATE)] | None = None
    dry_run: bool = False

    @model_validator(mode="after")
    def _not_everything(self) -> Self:
        if not any(getattr(self, name) is not None for name in FILTERS):
            raise ValueError(f"Say which failed tasks: {', '.join(FILTERS)}")
        return self


class DryRunJson(TypedDict):
    """What would be sent again."""

    matching: int
    examples: list[str]


def views(queue: TaskQueue, failed: FailedTasks) -> Blueprint:
    """The view of `/requeue`."""
    blueprint = Blueprint("requeue", __name__)

    @blueprint.post("/requeue")
    @endpoint(
        "Send failed tasks again",
        scope="operate",
        query=RequeueQuery,
        answers={200: DryRunJson, 202: TaskJson},
        problems=(400, 422, 503),
    )
    def requeue() -> ResponseReturnValue:
        """Those that fit all of the parameters. A task does it, and tells its progress (202).

        With `dry_run` nothing is done: it tells how many fit (200).
        """
        asked = read_query(RequeueQuery)
        wanted = FailureFilter(
            type=asked.type, queue=asked.queue, tag=asked.tag, since=asked.failed_since, group=asked.group
        )
        failed.check(wanted)
        if asked.dry_run:
            found = failed.find(wanted)
            return jsonify(DryRunJson(matching=len(found), examples=found[:MAX_EXAMPLES]))
        payload = asked.model_dump(mode="json", exclude={"dry_run"}, exclude_none=True)
        task = queue.submit_own(NAME, payload, SubmitOptions(queue=queue.settings.queues[0]))
        return jsonify(task_json(task)), 202, {"Location": url_for("tasks.get", task_id=task.id)}

    return blueprint
