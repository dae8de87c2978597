"""The page Failures: groups by type and error. Prove with one, then drain the others; ignore a group for now."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from taskqueue.control.failed_tasks import HOURS, Group
from taskqueue.control.ignored_failures import Ignored
from taskqueue.errors import WrongStatus
from taskqueue.web.console import Services
from taskqueue.web.console.format import error
from taskqueue.web.console.guard import check_sees, operates, who
from taskqueue.web.console.notices import Notice, done
from taskqueue.web.http.access import caller_sees

NEW = timedelta(days=1)
SPANS = {"1h": 1, "1d": 24, "1w": 168}  # hours


@dataclass(frozen=True)
class Row:
    """A group of failures, and what is known of it."""

    group: Group
    is_new: bool  # its first failure was in the last day, or after the last release
    ignored: Ignored | None
    bars: list[tuple[float, float]]  # x and height of each hour of the last day, of 96 by 20

    @property
    def search(self) -> str:
        """The search that finds its tasks."""
        return f"group:{self.group.group}" if self.group.group else f"status:failed type:{self.group.type}"


def register(blueprint: Blueprint, services: Services) -> None:
    """Add the page and its buttons."""

    def groups() -> tuple[list[Group], bool]:
        return services.failed_tasks.groups(caller_sees)

    def find(name: str) -> Group:
        group = next((group for group in groups()[0] if group.group == name), None)
        if group is None:
            raise NotFound("There are no failures of this group any more.")
        return group

    @blueprint.get("/failures")
    def failures() -> ResponseReturnValue:
        found, is_complete = groups()
        ignored = services.ignored.all()
        release_at = services.ignored.latest_release_at()
        since = min(datetime.now(UTC) - NEW, release_at) if release_at else datetime.now(UTC) - NEW
        rows = [
            Row(
                group,
                bool(group.first_failed_at and group.first_failed_at > since),
                ignored.get(group.group or ""),
                _bars(group),
            )
            for group in found
        ]
        return render_template(
            "console/failures.html",
            rows=[row for row in rows if not row.ignored],
            ignored=[row for row in rows if row.ignored],
            total=sum(row.group.count for row in rows),
            is_complete=is_complete,
            spans=SPANS,
        )

    @blueprint.post("/failures/<group>/prove")
    @operates
    def prove(group: str) -> ResponseReturnValue:
        found = find(group)
        for task_id in found.examples:
            try:
                services.operations.requeue(task_id)
            except WrongStatus:
                continue
            services.changes.record(
                who(), "console", "task-requeued", task_id, f"proof of group {group}", found.type
            )
            text = "One of them is queued again. Watch it here; if it completes, send the others."
            return done(Notice(text), url_for("console.task", task_id=task_id, drain=group))
        return done("None of the latest tasks of this group can be sent again: others have been here.")

    @blueprint.post("/failures/<group>/ignore")
    @operates
    def ignore(group: str) -> ResponseReturnValue:
        _check(group)
        found = find(group)
        check_sees(found.type)
        span = request.form.get("span", "1d")
        until = None if span == "release" else datetime.now(UTC) + timedelta(hours=SPANS.get(span, 24))
        services.ignored.ignore(group, until, who())
        services.changes.record(
            who(), "console", "failures-ignored", group, f"{found.type}: {error(found.error)}", found.type
        )
        return done(
            Notice(
                "These failures are not shown on top any more.", undo=url_for("console.show_again", group=group)
            )
        )

    @blueprint.post("/failures/<group>/show")
    @operates
    def show_again(group: str) -> ResponseReturnValue:
        _check(group)
        services.ignored.show(group)
        services.changes.record(who(), "console", "failures-shown", group)
        return done("These failures are shown again.")


def _check(group: str) -> None:
    if not re.fullmatch("[0-9a-f]{12}", group):
        raise NotFound("There is no such group.")


def _bars(group: Group) -> list[tuple[float, float]]:
    top = max(1, *group.by_hour)
    width = 96 / HOURS
    return [
        (round(hour * width, 1), max(2.0, round(20 * count / top, 1)))
        for hour, count in enumerate(group.by_hour)
        if count
    ]
