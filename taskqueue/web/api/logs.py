"""`GET /tasks/<id>/logs`: what a task's job has logged and printed."""

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
    """Which lines."""

    attempt: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    after: Annotated[str, Field(pattern=r"^\d{1,18}-\d{1,18}$")] = "0-0"


def views(queue: TaskQueue) -> Blueprint:
    """The view of a task's log."""
    blueprint = Blueprint("logs", __name__)

    @blueprint.get("/tasks/<task_id>/logs")
    @endpoint(
        "Read what a task has logged and printed",
        scope="read",
        query=LogQuery,
        answers={200: LogJson},
        problems=(400, 404, 503),
    )
    def logs(task_id: str) -> ResponseReturnValue:
        """About the last thousand lines are kept; `after` is the id of the last line that is known."""
        asked = read_query(LogQuery)
        _, lines = queue.get_with_lines(task_id, asked.after)
        return jsonify(LogJson([line for line in lines if asked.attempt in (None, line.attempt)]))

    return blueprint
