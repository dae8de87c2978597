"""The page Types: what each task type does, whether it is paused, and its limits, which can be changed."""

from dataclasses import dataclass

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from taskqueue.control.type_limits import TypeLimits
from taskqueue.jobtypes.limits import UNITS, Limits
from taskqueue.jobtypes.registry import JobType
from taskqueue.monitor.usual import Usual
from taskqueue.telemetry.series import Point
from taskqueue.web.console import Services
from taskqueue.web.console.charts import sparkline
from taskqueue.web.console.guard import operates, who
from taskqueue.web.console.notices import Notice, done
from taskqueue.web.console.now import usual_of
from taskqueue.web.http.access import caller_sees


@dataclass(frozen=True)
class TypeRow:
    """A task type, its limits, and its last hour."""

    job_type: JobType
    state: TypeLimits
    usual: Usual | None
    points: list[Point]
    line: str

    @property
    def complete(self) -> int:
        """How many runs were complete in the last hour."""
        return sum(point.complete for point in self.points)

    @property
    def failed(self) -> int:
        """How many runs failed for good in the last hour."""
        return sum(point.failed for point in self.points)

    @property
    def attention(self) -> int:
        """How much the type needs attention: 2: it is paused, changed or held; 1: it was used in the last hour."""
        if self.state.paused or self.state.changed_at or self.state.held:
            return 2
        return int(any(point.begun or point.submitted for point in self.points))

    @property
    def code_limits(self) -> Limits:
        """The limits that the code declares."""
        return self.job_type.limits


def register(blueprint: Blueprint, services: Services) -> None:
    """Add the page and its buttons."""
    control = services.type_control

    def check(name: str) -> None:
        if name not in services.job_types or not caller_sees(name):
            raise NotFound("There is no such task type.")

    def record(what: str, name: str, detail: str = "") -> None:
        services.changes.record(who(), "console", what, name, detail, name)

    def page(error: str = "", wrong: str = "", status: int = 200) -> ResponseReturnValue:
        """Show the page; `wrong` is the type whose form has the error, and keeps what was typed."""
        table, usual = services.series.read("hour"), usual_of(services.connection)
        rows = []
        for state in control.all(caller_sees):
            points = table.points(job_type=state.task_type)
            job_type = services.job_types[state.task_type]
            rows.append(TypeRow(job_type, state, usual.get(state.task_type), points, sparkline(points)))
        rows.sort(key=lambda row: row.attention, reverse=True)  # else by name
        return render_template("console/types.html", rows=rows, error=error, wrong=wrong, units=UNITS), status

    @blueprint.get("/types")
    def types() -> ResponseReturnValue:
        return page()

    @blueprint.post("/types/<name>/pause")
    @operates
    def pause_type(name: str) -> ResponseReturnValue:
        check(name)
        control.pause(name)
        record("type-paused", name)
        text = f"The type {name} is paused: no task of it begins. Tasks that run go on."
        return done(Notice(text, undo=url_for("console.resume_type", name=name)))

    @blueprint.post("/types/<name>/resume")
    @operates
    def resume_type(name: str) -> ResponseReturnValue:
        check(name)
        control.resume(name)
        record("type-resumed", name)
        text = f"The type {name} is resumed. What was held begins first, in its order."
        return done(Notice(text, undo=url_for("console.pause_type", name=name)))

    @blueprint.post("/types/<name>/limits")
    @operates
    def change_limits(name: str) -> ResponseReturnValue:
        check(name)
        if request.form.get("reset"):
            control.reset(name)
            record("limits-reset", name)
            return done(f"The limits of {name} are those of the code again.")
        try:
            limits = _limits(request.form.get("concurrency", ""), request.form.get("rate", ""))
        except ValueError as refused:
            return page(str(refused), name, 422)
        control.change(name, limits)
        record("limits-changed", name, str(limits))
        return done(f"The limits of {name} are changed: {limits}. They hold until you set them back.")


def _limits(concurrency: str, rate: str) -> Limits:
    """Return the limits that a form names. Raises ValueError."""
    concurrency, rate = concurrency.strip(), rate.strip().replace(" ", "")
    if concurrency and not concurrency.isdecimal():
        raise ValueError(f"concurrency must be a whole number, got {concurrency!r}")
    return Limits(concurrency=int(concurrency) if concurrency else None, rate=rate or None)
