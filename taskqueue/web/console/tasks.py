"""The page Tasks: a search with completion, and what to do with chosen rows, or with all that match."""

from dataclasses import replace
from datetime import UTC, datetime

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue

from taskqueue.control.bulk import ACTIONS, Action, apply
from taskqueue.jobtypes.limits import read_states
from taskqueue.monitor.finding import no_worker, queue_paused, suspended, type_paused
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import ENDED, SUSPENDED
from taskqueue.tasks.listing import Page, cursor, position_of
from taskqueue.tasks.query import QUALIFIERS, STATUSES, QueryError, read_query
from taskqueue.tasks.task_filter import Summary, TaskFilter
from taskqueue.web.console import Services
from taskqueue.web.console.guard import operates, sees_all, who
from taskqueue.web.console.notices import Notice, done
from taskqueue.web.http.access import caller_sees, caller_types

SHOWN = 50
MAX_CHOSEN = 200
WORDS: dict[Action, tuple[str, str]] = {
    "requeue": ("Send again", "sent again"),
    "cancel": ("Cancel", "canceled"),
    "delete": ("Delete", "deleted"),
}


def register(blueprint: Blueprint, services: Services) -> None:
    """Add the page and its buttons."""

    @blueprint.get("/tasks")
    def tasks() -> ResponseReturnValue:
        search = request.args.get("q", "").strip()
        error, wanted, page = "", TaskFilter(), Page([], None)
        try:
            wanted = read_query(search)
            page = find(services, wanted, request.args.get("cursor", ""))
        except QueryError as refused:
            error = str(refused)
        address = url_for("console.tasks", q=search, cursor=cursor(page.next)) if page.next else None
        return render_template(
            "console/tasks.html",
            search=search,
            error=error,
            tasks=page.tasks,
            next=address,
            is_live="cursor" not in request.args and not wanted.id,  # that it looks at many ids is said once
            looks_further=bool(page.next and wanted.id and not page.tasks),
            reasons=_reasons(services, page.tasks),
            words=completions(services),
            qualifiers=QUALIFIERS,
            actions=WORDS,
            now_utc=datetime.now(UTC),
        ), 422 if error else 200

    @blueprint.post("/tasks/chosen")
    @operates
    def change_chosen() -> ResponseReturnValue:
        action = request.form.get("action", "")
        chosen = request.form.getlist("id")[:MAX_CHOSEN]
        if action not in ACTIONS or not chosen:
            return done("Choose some tasks first.")
        own = [task.id for task in services.listing.tasks(chosen).values() if caller_sees(task.type)]
        changed = sum(apply(action, own, services.operations))
        services.changes.record(
            who(), "console", f"tasks-{WORDS[action][1].replace(' ', '-')}", "", f"{changed} chosen"
        )
        skipped = f" {len(chosen) - changed} could not be." if changed < len(chosen) else ""
        return done(Notice(f"{changed} of {len(chosen)} tasks {WORDS[action][1]}.{skipped}"))


def find(services: Services, wanted: TaskFilter, at: str) -> Page:
    """Return a page of tasks that the caller sees, from a cursor on. Raises `QueryError` for a wrong cursor."""
    try:
        below = position_of(at) if at else None
    except ValueError as error:
        raise QueryError(str(error)) from None
    if wanted.group:
        return services.listing.page(
            wanted, SHOWN, below, caller_types(), services.failed_tasks.in_group(wanted.group)
        )
    if wanted.statuses and set(wanted.statuses) <= ENDED:  # of many that have ended, the latest end comes first
        wanted = replace(wanted, order="ended")
    return services.listing.page(wanted, SHOWN, below, caller_types())


def completions(services: Services) -> list[str]:
    """Return what may be typed into the search: the qualifiers with the values that are known."""
    return [
        *(f"status:{status}" for status in STATUSES),
        *(f"type:{name}" for name in sorted(filter(caller_sees, services.job_types))),
        *(f"queue:{name}" for name in services.settings.queues),
        *(
            "failed:today",
            "failed:<2h",
            "created:today",
            "ran:>10s",
            "order:ended",
            "tag:",
            "id:",
            "worker:",
            "by:",
            "release:",
            "group:",
        ),
    ]


def _reasons(services: Services, tasks: list[Summary]) -> dict[str, str]:
    """Return why the tasks that wait do not begin, by their ids: what is true of their queue."""
    waiting = [task for task in tasks if task.status in ("queued", "scheduled", "deferred")]
    if not waiting or not sees_all():
        return {}
    with redis_errors():
        is_suspended = bool(services.connection.exists(SUSPENDED))
    of_queue: dict[str, str] = {}
    states = read_states(services.connection, sorted({task.type for task in waiting}))
    for queue in services.cluster_state.queues():
        if is_suspended:
            of_queue[queue.name] = suspended().message
        elif queue.paused:
            of_queue[queue.name] = queue_paused(queue.name).message
        elif not queue.workers:
            of_queue[queue.name] = no_worker(queue.name).message
    kinds = {"scheduled": "It waits for its time.", "deferred": "It waits for other tasks."}
    fallback = "It waits for its turn."
    return {
        task.id: (
            (states[task.type].stops and type_paused(task.type).message)
            or of_queue.get(task.queue)
            or kinds.get(task.status, fallback)
        )
        for task in waiting
    }
