"""The pages of bulk actions: confirm what was seen, watch, stop, take back."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from taskqueue.control.bulk import ACTIONS, MAX_TASKS, Action
from taskqueue.errors import WrongStatus
from taskqueue.store.times import EPOCH, MICROSECOND, microseconds
from taskqueue.tasks.query import QueryError, read_query
from taskqueue.tasks.task import Task
from taskqueue.tasks.task_filter import TaskFilter
from taskqueue.web.api.bulk import COUNTED, MAX_RATE, count, latest, submit
from taskqueue.web.console import Services
from taskqueue.web.console.guard import about_all_types, operates, sees_all, who
from taskqueue.web.console.notices import Notice, done
from taskqueue.web.console.tasks import WORDS

UNDO_SECONDS = 8
QUICK_SECONDS = 0.05  # for which the form counts: 10,000 tasks take Redis 100 milliseconds
WHOLE_SECONDS = 1.0  # if it is asked to count all
RATES = ("", "1", "5", "20", "100")


@dataclass(frozen=True)
class Row:
    """A bulk action."""

    task: Task
    action: str
    search: str
    by: str
    rate: float | None

    @property
    def can_stop(self) -> bool:
        """Whether it has not ended."""
        return self.task.status in ("queued", "scheduled", "deferred", "processing")


def register(blueprint: Blueprint, services: Services) -> None:
    """Add the pages and their buttons."""

    @blueprint.get("/bulk")
    @about_all_types
    def bulk_actions() -> ResponseReturnValue:
        rows = [_row(task) for task in latest(services.queue, services.listing)]
        return render_template("console/bulk.html", rows=rows, actions=WORDS)

    @blueprint.get("/bulk/new")
    @operates
    def bulk_form() -> ResponseReturnValue:
        action, search = _asked(request.args.get("action", ""), request.args.get("q", ""))
        seen_at = datetime.now(UTC)
        is_whole = "whole" in request.args
        seconds = WHOLE_SECONDS if is_whole else QUICK_SECONDS
        matching, more = count(services.listing, action, search, seen_at, COUNTED, seconds)
        examples = services.listing.tasks(matching[:10]).values()
        return render_template(
            "console/bulk_form.html",
            action=action,
            words=WORDS[action],
            search=search,
            matching=len(matching),
            more=more,
            is_whole=is_whole,
            counted=COUNTED,
            most=MAX_TASKS,
            seen_at=microseconds(seen_at),
            examples=list(examples),
            rates=RATES,
            rate=request.args.get("rate", ""),
            undo_seconds=UNDO_SECONDS,
        )

    @blueprint.post("/bulk/new")
    @operates
    def begin_bulk() -> ResponseReturnValue:
        action, search = _asked(request.form.get("action", ""), request.form.get("q", ""))
        try:
            most = min(MAX_TASKS, int(request.form["most"]))
            seen_at = min(datetime.now(UTC), EPOCH + int(request.form["seen_at"]) * MICROSECOND)
            rate = float(request.form.get("rate") or 0) or None
        except (KeyError, ValueError, OverflowError):
            raise BadRequest("The form is not complete. Load the page again.") from None
        if rate is not None and not 0 < rate <= MAX_RATE:
            raise BadRequest(f"The rate is at most {MAX_RATE} a second.")
        _, more = count(services.listing, action, search, seen_at, most)
        if more:
            return done(
                f"Nothing was changed: more than the {most:,} tasks that you saw match now. Look again.",
                url_for("console.bulk_form", action=action, q=search),
            )
        task = submit(services.queue, action, search, seen_at, most=most, rate=rate, delay=UNDO_SECONDS)
        services.changes.record(who(), "console", "bulk-action", task.id, f"{action} {search} (at most {most})")
        text = f"{WORDS[action][0]} at most {most:,} tasks: it begins in {UNDO_SECONDS} seconds."
        undo = url_for("console.stop_bulk", task_id=task.id)
        return done(
            Notice(text, undo=undo), url_for("console.bulk_actions") if sees_all() else url_for("console.tasks")
        )

    @blueprint.post("/bulk/<task_id>/stop")
    @operates
    def stop_bulk(task_id: str) -> ResponseReturnValue:
        task = services.queue.get(task_id)
        row = _row(task)
        if task.type != "tq-bulk":
            raise BadRequest("This is no bulk action.")
        try:
            services.operations.cancel(task_id)
        except WrongStatus:
            return done("Too late: it has ended.")
        services.changes.record(who(), "console", "bulk-action-stopped", task_id, f"{row.action} {row.search}")
        text = (
            "It is stopped before it began: nothing was changed."
            if not task.attempt
            else "It stops within a second. What is done stays done."
        )
        return done(text)


def _asked(action: str, search: str) -> tuple[Action, str]:
    """Return what a form asks for. Raises `BadRequest`."""
    try:
        if action in ACTIONS and read_query(search) != TaskFilter():
            return action, search
    except QueryError as error:
        raise BadRequest(str(error)) from None
    raise BadRequest("Say what to do, and with which tasks: an empty search would be all of them.")


def _row(task: Task) -> Row:
    payload = cast("dict[str, object]", task.payload if isinstance(task.payload, dict) else {})
    rate = payload.get("rate")
    return Row(
        task=task,
        action=str(payload.get("action", "?")),
        search=str(payload.get("q", "")),
        by=str(payload.get("by", "")) or "anybody",
        rate=rate if isinstance(rate, int | float) else None,
    )
