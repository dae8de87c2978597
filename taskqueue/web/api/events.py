"""`GET /tasks/<id>/events`: what happens to a task, as Server-Sent Events (WHATWG HTML, section 9.2)."""

from collections.abc import Iterable, Iterator
from threading import BoundedSemaphore

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import QueueUnavailable
from taskqueue.jobtypes.signature import Json
from taskqueue.monitor.events import EventCursor, TaskEvent, follow
from taskqueue.monitor.subscriptions import Subscriptions
from taskqueue.store.keys import ENDED
from taskqueue.tasks.task_json import task_json
from taskqueue.web.api.logs import line_json
from taskqueue.web.http.endpoint import operation
from taskqueue.web.http.json_text import json_text
from taskqueue.web.http.problems import BadRequest

MAX_STREAMS = 1000  # of one process: half of the connections that it takes
AGAIN_MILLISECONDS = 2000  # a client that has lost its connection comes again after this


def views(queue: TaskQueue, subscriptions: Subscriptions) -> Blueprint:
    """The view of a task's events."""
    blueprint = Blueprint("events", __name__)
    places = BoundedSemaphore(MAX_STREAMS)

    @blueprint.get("/tasks/<task_id>/events")
    @operation(
        "Follow a task",
        scope="read",
        headers={"Last-Event-ID": "Where to go on: the id of the last event that was received."},
        answers={200: "text/event-stream", 204: None},
        problems=(404, 503),
    )
    def events(task_id: str) -> ResponseReturnValue:
        """Events `status` and `progress` have the task as data, `log` a line; the stream ends when the task has.

        Who comes again with the id of the last event of a task that has ended is answered 204, at which an
        EventSource gives up.
        """
        seen = EventCursor.read(request.headers.get("Last-Event-ID", ""))
        task = queue.get(task_id)
        if task.status in ENDED and (seen.attempt, seen.status) == (task.attempt, task.status):
            return "", 204
        if not places.acquire(blocking=False):
            detail = (
                f"{MAX_STREAMS} tasks are followed here already; ask GET /tasks/{task_id} now and then instead."
            )
            raise BadRequest(503, "too-many-streams", "Too many tasks are followed", detail)
        stream = Response(
            _text(follow(queue, subscriptions, task_id, seen)),
            content_type="text/event-stream; charset=utf-8",
            headers={"X-Accel-Buffering": "no"},  # nginx keeps answers until they are whole
        )
        stream.call_on_close(places.release)
        return stream

    return blueprint


def _text(events: Iterable[TaskEvent]) -> Iterator[str]:
    yield f"retry: {AGAIN_MILLISECONDS}\n\n"
    try:
        for event in events:
            yield _one(event)
    except QueueUnavailable:
        yield ": Redis did not answer; come again\n\n"


def _one(event: TaskEvent) -> str:
    if event.kind == "silence":
        return ": nothing new\n\n"
    data: Json = line_json(event.line) if event.line else task_json(event.task) if event.task else {}
    return f"id: {event.cursor}\nevent: {event.kind}\ndata: {json_text(data)}\n\n"
