"""`GET /series`: what happened in the last hour, day or week, for charts."""

from dataclasses import dataclass
from typing import Annotated, Literal

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.telemetry.series import Point, Series, Span
from taskqueue.web.http.access import caller, caller_sees, check_may_submit
from taskqueue.web.http.endpoint import Query, endpoint, read_query

Name = Annotated[str, Field(max_length=64)]


class SeriesQuery(Query):
    """Which counts."""

    span: Span = "hour"
    """The last hour by minutes, or the last day or week by hours."""
    task_type: Name | None = None
    """Only tasks of this type."""
    queue: Name | None = None
    """Only tasks of this queue."""
    by: Literal["task_type", "queue"] | None = None
    """One series for each task type or queue."""


@dataclass(frozen=True)
class SeriesJson:
    """The points of one series, oldest first; `name` is null for that of all."""

    name: str | None
    points: list[Point]


@dataclass(frozen=True)
class SpanJson:
    """One series, or one for each task type or queue."""

    step_seconds: int
    series: list[SeriesJson]


def views(series: Series, job_types: JobTypes) -> Blueprint:
    """Return the view of `/series`."""
    blueprint = Blueprint("series", __name__)

    @blueprint.get("/series")
    @endpoint(
        "Count what happened in the last hour, day or week",
        scope="read", query=SeriesQuery, answers={200: SpanJson}, problems=(400, 403, 422, 503), by_type=True,
    )  # fmt: skip
    def read() -> ResponseReturnValue:
        """Each point counts one minute or hour; the last one is not over. Workers add to it every five seconds.

        `submitted` counts tasks that were accepted; `complete`, `failed`, `retried` and `canceled` count runs. A
        key that is limited to task types needs `task_type`, or `by=task_type`.
        """
        asked = read_query(SeriesQuery)
        if asked.task_type is not None:
            job_types.find(asked.task_type)  # raises UnknownJobType
        key = caller()
        if key and key.job_types is not None and asked.by != "task_type":
            check_may_submit(asked.task_type or "")
        table = series.read(asked.span)
        by_name = table.series(asked.by, job_type=asked.task_type, queue=asked.queue)
        rows = [
            SeriesJson(name, points)
            for name, points in by_name.items()
            if asked.by != "task_type" or caller_sees(name or "")
        ]
        return jsonify(SpanJson(table.step_seconds, rows))

    return blueprint
