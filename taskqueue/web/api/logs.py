"""`GET /tasks/<id>/logs`: the log of a task: what its job has logged and printed."""

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.tasks.log_lines import StoredLine
from taskqueue.web.http.endpoint import Query, endpoint, read_query


@dataclass(frozen=True)
class LogJson:
    """The lines of all attempts, oldest first."""

    lines: list[StoredLine]


class LogQuery(Query):
    """Which lines to show."""

    attempt: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Only the lines of this attempt."""
    after: Annotated[str, Field(pattern=r"^\d{1,18}-\d{1,18}$")] = "0-0"
    """Only lines after the one with this id."""


def views(queue: TaskQueue) -> Blueprint:
    """Return the view of a task's log."""
    blueprint = Blueprint("logs", __name__)

    @blueprint.get("/tasks/<task_id>/logs")
    @endpoint(
        "Get the log of a task",
        scope="read",
        query=LogQuery,
        answers={200: LogJson},
        problems=(400, 404, 503),
    )
    def logs(task_id: str) -> ResponseReturnValue:
        """The log has what the job logged and printed, in all attempts: about the last thousand lines."""
        asked = read_query(LogQuery)
        _, lines = queue.get_with_lines(task_id, asked.after)
        return jsonify(LogJson([line for line in lines if asked.attempt in (None, line.attempt)]))

    return blueprint
