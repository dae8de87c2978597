"""`GET /tasks/<id>/logs`: what a task's job has logged and printed."""

from typing import Annotated

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.store.times import timestamp
from taskqueue.tasks.log_lines import StoredLine
from taskqueue.web.http.endpoint import Query, operation, read_query


class LineJson(TypedDict):
    """One line; `level` is INFO, … of what was logged, `stdout` or `stderr` of what was printed."""

    id: str
    attempt: int
    at: str | None
    level: str
    line: str


class LogJson(TypedDict):
    """The lines of all attempts, oldest first."""

    lines: list[LineJson]


class LogQuery(Query):
    """Which lines."""

    attempt: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    after: Annotated[str, Field(pattern=r"^\d{1,18}-\d{1,18}$")] = "0-0"


def views(queue: TaskQueue) -> Blueprint:
    """The view of a task's log."""
    blueprint = Blueprint("logs", __name__)

    @blueprint.get("/tasks/<task_id>/logs")
    @operation(
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
        return jsonify({"lines": [line_json(line) for line in lines if asked.attempt in (None, line.attempt)]})

    return blueprint


def line_json(line: StoredLine) -> LineJson:
    """A line as clients see it."""
    return {
        "id": line.id,
        "attempt": line.attempt,
        "at": timestamp(line.at),
        "level": line.level,
        "line": line.line,
    }
