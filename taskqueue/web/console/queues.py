"""The page Queues: what waits in each, why, and when it will be empty; and the outboxes before them."""

from dataclasses import dataclass

from flask import Blueprint, render_template, url_for
from flask.typing import ResponseReturnValue

from taskqueue.monitor.cluster_state import QueueView
from taskqueue.monitor.finding import Finding, no_worker, queue_paused, suspended
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import SUSPENDED
from taskqueue.telemetry.series import Point
from taskqueue.web.console import Services
from taskqueue.web.console.charts import sparkline
from taskqueue.web.console.guard import about_all_types, operates, who
from taskqueue.web.console.notices import Notice, done
from taskqueue.web.console.outboxes import outbox_rows


@dataclass(frozen=True)
class QueueRow:
    """A queue, why it waits, and its last hour."""

    queue: QueueView
    reasons: list[Finding]
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


def register(blueprint: Blueprint, services: Services) -> None:
    """Add the page and its buttons."""

    @blueprint.get("/queues")
    @about_all_types
    def queues() -> ResponseReturnValue:
        table = services.series.read("hour")
        with redis_errors():
            is_suspended = bool(services.connection.exists(SUSPENDED))
        rows = []
        for queue in services.cluster_state.queues():
            points = table.points(queue=queue.name)
            rows.append(QueueRow(queue, _reasons(queue, is_suspended), points, sparkline(points)))
        outboxes = outbox_rows(services.connection, services.settings.outbox)
        return render_template("console/queues.html", rows=rows, outboxes=outboxes)

    @blueprint.post("/queues/<name>/pause")
    @about_all_types
    @operates
    def pause_queue(name: str) -> ResponseReturnValue:
        services.pauses.pause(name)
        services.changes.record(who(), "console", "queue-paused", name)
        text = f"The queue {name} is paused: no task of it begins. Tasks that run go on."
        return done(Notice(text, undo=url_for("console.resume_queue", name=name)))

    @blueprint.post("/queues/<name>/resume")
    @about_all_types
    @operates
    def resume_queue(name: str) -> ResponseReturnValue:
        services.pauses.resume(name)
        services.changes.record(who(), "console", "queue-resumed", name)
        text = f"The queue {name} is resumed."
        return done(Notice(text, undo=url_for("console.pause_queue", name=name)))


def _reasons(queue: QueueView, is_suspended: bool) -> list[Finding]:
    """Return why tasks of a queue do not begin."""
    return [
        *([suspended()] if is_suspended else ()),
        *([queue_paused(queue.name)] if queue.paused else ()),
        *([] if queue.workers else [no_worker(queue.name)]),
    ]
