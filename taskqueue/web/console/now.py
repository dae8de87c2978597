"""The page Now: a verdict first, then what happened, what waits and what runs."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import cast

from flask import Blueprint, Response, render_template, request, url_for
from flask.typing import ResponseReturnValue
from redis import Redis

from taskqueue.monitor.checks import Check, task_types
from taskqueue.monitor.usual import Usual, usual_runs
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import TOTALS
from taskqueue.tasks.task_filter import Summary, TaskFilter
from taskqueue.telemetry.series import STEPS, Point, Series, Span, Table
from taskqueue.telemetry.totals import read_totals
from taskqueue.web.console import Services
from taskqueue.web.console.charts import chart, sparkline
from taskqueue.web.console.guard import sees_all
from taskqueue.web.http.access import caller_sees, caller_types
from taskqueue.web.http.browsers import SAFE_METHODS

RUNNING_SHOWN = 50
CHANGES_MARKED = 100
CHANGES_SHOWN = 8


@dataclass(frozen=True)
class TypeRow:
    """A task type in the last hour or day."""

    name: str
    complete: int
    failed: int
    retried: int
    wait_seconds: float | None
    run_seconds: float | None
    line: str  # of a sparkline


@dataclass(frozen=True)
class RunningRow:
    """A task that runs, and how long its type usually takes."""

    task: Summary
    seconds: float
    usual: Usual | None

    @property
    def is_slow(self) -> bool:
        """Whether it has run for longer than nineteen of twenty runs of its type."""
        return self.usual is not None and self.seconds > self.usual.most_seconds


@dataclass(frozen=True)
class Wrong:
    """A check that is not ok, the page that shows more of it, and what its button posts to; "": there is none."""

    check: Check
    page: str = ""
    resume: str = ""


def register(blueprint: Blueprint, services: Services) -> None:
    """Add the page."""

    @blueprint.get("/")
    def now() -> ResponseReturnValue:
        span = cast("Span", request.args.get("span") if request.args.get("span") in STEPS else "hour")
        table = services.series.read(span)
        names = [name for name in table.job_types() if caller_sees(name)]
        points = table.points() if sees_all() else _merged([table.points(job_type=name) for name in names or [""]])
        changes = services.changes.since(points[0].at, CHANGES_MARKED) if sees_all() else []
        checks = services.checkup.latest() if sees_all() else _checks_of_types(services)
        return render_template(
            "console/now.html",
            span=span,
            wrong=[_wrong(check) for check in checks if check.ok is False],
            checks=checks,
            last_minute=_last_minute(services.series, names),
            chart=chart(points, table.step_seconds, changes),
            totals=_total(points),
            types=[_type_row(table, name) for name in names],
            queues=services.cluster_state.queues() if sees_all() else [],
            running=running_rows(services),
            changes=changes[:CHANGES_SHOWN],
        )

    @blueprint.after_request
    def look_again(response: Response) -> Response:
        if request.method not in SAFE_METHODS:
            services.checkup.forget()  # the page after a button shows what the button has done
        return response


def running_rows(services: Services) -> list[RunningRow]:
    """Return the tasks that run, longest first, of the types that the caller sees."""
    page = services.listing.page(TaskFilter(status=("processing",)), RUNNING_SHOWN, job_types=caller_types())
    usual = usual_of(services.connection)
    now = datetime.now().astimezone()
    rows = [
        RunningRow(task, max(0.0, (now - task.started_at).total_seconds()), usual.get(task.type))
        for task in page.tasks
        if task.started_at
    ]
    return sorted(rows, key=lambda row: row.seconds, reverse=True)


def usual_of(connection: Redis) -> dict[str, Usual]:
    """Return how long the runs of each task type usually take. Raises `QueueUnavailable`."""
    with redis_errors():
        stored = cast("dict[bytes, bytes]", connection.hgetall(TOTALS))
    return usual_runs(read_totals(stored))


def _checks_of_types(services: Services) -> list[Check]:
    """Return the checks of what the caller sees; Redis, queues and workers are those of all task types."""
    return list(task_types([asdict(state) for state in services.type_control.all(caller_sees)]))


def _wrong(check: Check) -> Wrong:
    about, _, name = check.about.partition(" ")
    if about == "queue" and name:
        resume = url_for("console.resume_queue", name=name) if check.found.endswith(", paused") else ""
        return Wrong(check, url_for("console.queues", _anchor=name), resume)
    if about == "type" and name:
        page = url_for("console.types", _anchor=f"type-{name}")
        return Wrong(check, page, url_for("console.resume_type", name=name))
    return Wrong(check, url_for("console.workers") if check.about in ("workers", "lost worker") else "")


def _last_minute(series: Series, names: list[str]) -> int:
    """Return how many runs have ended in the present minute and the one before."""
    table = series.read("hour")
    points = [table.points(job_type=name)[-2:] for name in names]
    return sum(point.complete + point.failed + point.retried for each in points for point in each)


def _type_row(table: Table, name: str) -> TypeRow:
    points = table.points(job_type=name)
    total = _total(points)
    return TypeRow(
        name=name,
        complete=total.complete,
        failed=total.failed,
        retried=total.retried,
        wait_seconds=total.wait_seconds,
        run_seconds=total.run_seconds,
        line=sparkline(points),
    )


def _total(points: list[Point]) -> Point:
    """Return one point for all of these."""
    begun = sum(point.begun for point in points)
    ended = [
        (point.run_seconds, point.complete + point.failed + point.retried + point.canceled) for point in points
    ]
    runs = sum(count for _, count in ended)
    waited = sum((point.wait_seconds or 0.0) * point.begun for point in points)
    return Point(
        at=points[0].at,
        submitted=sum(point.submitted for point in points),
        begun=begun,
        complete=sum(point.complete for point in points),
        failed=sum(point.failed for point in points),
        retried=sum(point.retried for point in points),
        canceled=sum(point.canceled for point in points),
        wait_seconds=waited / begun if begun else None,
        run_seconds=sum((seconds or 0.0) * count for seconds, count in ended) / runs if runs else None,
    )


def _merged(series: list[list[Point]]) -> list[Point]:
    """Return one series for several with the same times."""
    return [_total(list(points)) for points in zip(*series, strict=True)]
