"""The page of a task: what it is, why it waits or how it ended, each attempt, its log, and what can be done."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from rq.defaults import RQ_KEY_PREFIX

from taskqueue.control.bulk import Action, apply
from taskqueue.errors import QueueUnavailable, UnknownTask
from taskqueue.monitor.events import EventCursor, TaskEvent, follow
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import ENDED, Field, decoded, job_key
from taskqueue.tasks.log_lines import StoredLine, read_lines
from taskqueue.tasks.task import Task
from taskqueue.tasks.task_filter import Summary
from taskqueue.telemetry.trace import Trace
from taskqueue.web.console import Services
from taskqueue.web.console.guard import operates, sees_all, who
from taskqueue.web.console.notices import Notice, done
from taskqueue.web.console.now import usual_of
from taskqueue.web.console.tasks import WORDS
from taskqueue.web.http.access import caller_sees

LINES_SHOWN = 500
RELATED_SHOWN = 100


def register(blueprint: Blueprint, services: Services) -> None:
    """Add the page, its events and its buttons."""

    def find(task_id: str) -> Task:
        """Return a task that the caller sees. Raises `UnknownTask`."""
        task = services.queue.get(task_id)
        if not caller_sees(task.type):
            raise UnknownTask(task_id)
        return task

    @blueprint.get("/tasks/<task_id>")
    def task(task_id: str) -> ResponseReturnValue:
        task = find(task_id)
        explanation = services.explainer.explain(task_id)
        lines = read_lines(services.connection, task_id)
        return render_template(
            "console/task.html",
            task=task,
            has_ended=task.status in ENDED,
            explanation=explanation,
            payload=_pretty(task.payload),
            result=_pretty(task.result),
            lines=lines[-LINES_SHOWN:],
            lines_of=_by_attempt(lines[-LINES_SHOWN:]) if len(task.runs) > 1 else {},  # else it is the log below
            hidden_lines=max(0, len(lines) - LINES_SHOWN),
            related=_related(services, task),
            trace=_trace(services, task_id),
            usual=usual_of(services.connection).get(task.type),
            batch=services.batches.of_task(task_id, task.created_at) if sees_all() else None,
            drain=request.args.get("drain", ""),
            is_known=task.type in services.job_types,
        )

    @blueprint.get("/tasks/<task_id>/events")
    def task_events(task_id: str) -> ResponseReturnValue:
        find(task_id)
        events = follow(services.queue, services.subscriptions, task_id, EventCursor())
        return Response(
            _stream(events), content_type="text/event-stream; charset=utf-8", headers={"X-Accel-Buffering": "no"}
        )

    @blueprint.post("/tasks/<task_id>/<any(requeue, cancel, delete):action>")
    @operates
    def change_task(task_id: str, action: Action) -> ResponseReturnValue:
        task = find(task_id)
        if action == "delete" and request.form.get("sure") != "yes":
            return render_template("console/task_delete.html", task=task)
        changed = any(apply(action, [task_id], services.operations))
        name, past = WORDS[action]
        if not changed:
            return done(f"Too late to {name.lower()} it: its status has changed.")
        services.changes.record(who(), "console", f"task-{past.replace(' ', '-')}", task_id, task_type=task.type)
        if action == "delete":
            return done(f"The task {task_id} is deleted.", url_for("console.tasks"))
        if action == "cancel":
            return done(
                Notice(
                    "It is canceled, or will be within a second.",
                    undo=url_for("console.change_task", task_id=task_id, action="requeue"),
                )
            )
        return done("It is queued again, with all its attempts.")

    @blueprint.get("/find")
    def find_task() -> ResponseReturnValue:
        """Lead the search field of the header to a task, if it is a whole id, or to the list."""
        search = request.args.get("q", "").strip()
        if len(search) > 20 and " " not in search and ":" not in search:
            try:
                return redirect(url_for("console.task", task_id=find(search).id))
            except UnknownTask:
                pass
        return redirect(url_for("console.tasks", q=search))


def _by_attempt(lines: Sequence[StoredLine]) -> dict[int, list[StoredLine]]:
    """Return the lines of each attempt."""
    by_attempt: dict[int, list[StoredLine]] = {}
    for line in lines:
        by_attempt.setdefault(line.attempt, []).append(line)
    return by_attempt


def _related(services: Services, task: Task) -> dict[str, list[Summary]]:
    """Return the tasks that this one waits for, and those that wait for it."""
    key = f"{RQ_KEY_PREFIX}:job:{task.id}:dependents"
    with redis_errors():
        members = cast("list[bytes]", services.connection.srandmember(key, RELATED_SHOWN))
    children = [decoded(member) for member in members]
    found = services.listing.tasks([*task.depends_on[:RELATED_SHOWN], *children])
    seen = {task_id: each for task_id, each in found.items() if caller_sees(each.type)}
    return {
        "It waits for": [seen[each] for each in task.depends_on if each in seen],
        "These wait for it": [seen[each] for each in children if each in seen],
    }


def _trace(services: Services, task_id: str) -> Trace | None:
    """Return the request that queued a task."""
    with redis_errors():
        stored = services.connection.hget(job_key(task_id), Field.TRACE)
    return Trace.of_job({Field.TRACE.encode(): cast("bytes", stored)}) if stored else None


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _stream(events: Iterable[TaskEvent]) -> Iterator[str]:
    """Yield the kinds of events only: the page then asks for itself."""
    yield "retry: 3000\n\n"
    try:
        for event in events:
            yield ": nothing new\n\n" if event.kind == "silence" else f"event: {event.kind}\ndata: -\n\n"
        yield "event: end\ndata: -\n\n"
    except QueueUnavailable:
        yield ": Redis did not answer; connect again\n\n"
