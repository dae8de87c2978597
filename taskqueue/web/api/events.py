"""`GET /tasks/<id>/events`: the events of a task, as Server-Sent Events (WHATWG HTML, section 9.2)."""

from collections.abc import Iterable, Iterator
from threading import BoundedSemaphore
from typing import Any

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import QueueUnavailable
from taskqueue.monitor.events import EventCursor, TaskEvent, follow
from taskqueue.monitor.subscriptions import Subscriptions
from taskqueue.store.keys import ENDED
from taskqueue.tasks.task_json import task_json
from taskqueue.web.http.endpoint import endpoint
from taskqueue.web.http.json_text import json_text
from taskqueue.web.http.problems import BadRequest

MAX_STREAMS = 1000  # in one process: half of the connections that it accepts
RECONNECT_MILLISECONDS = 2000  # after this time a client that has lost its connection connects again


def views(queue: TaskQueue, subscriptions: Subscriptions) -> Blueprint:
    """Return the view of a task's events."""
    blueprint = Blueprint("events", __name__)
    streams = BoundedSemaphore(MAX_STREAMS)

    @blueprint.get("/tasks/<task_id>/events")
    @endpoint(
        "Follow a task",
        scope="read",
        headers={"Last-Event-ID": "The id of the last event that was received: the stream goes on after it."},
        answers={200: "text/event-stream", 204: None},
        problems=(404, 503),
    )
    def events(task_id: str) -> ResponseReturnValue:
        """The data of `status` and `progress` is the task, that of `log` is a line. The stream ends with the task.

        A client that connects again after the last event of a task that has ended gets a 204, at which an
        EventSource stops.
        """
        seen = EventCursor.read(request.headers.get("Last-Event-ID", ""))
        task = queue.get(task_id)
        if task.status in ENDED and (seen.attempt, seen.status) == (task.attempt, task.status):
            return "", 204
        if not streams.acquire(blocking=False):
            detail = f"{MAX_STREAMS} event streams are open in this process; poll GET /tasks/{task_id} instead."
            raise BadRequest(503, "too-many-streams", "Too many event streams", detail)
        stream = Response(
            _text(follow(queue, subscriptions, task_id, seen)),
            content_type="text/event-stream; charset=utf-8",
            headers={"X-Accel-Buffering": "no"},  # else nginx buffers the answer
        )
        stream.call_on_close(streams.release)
        return stream

    return blueprint


def _text(events: Iterable[TaskEvent]) -> Iterator[str]:
    yield f"retry: {RECONNECT_MILLISECONDS}\n\n"
    try:
        for event in events:
            yield _event_text(event)
    except QueueUnavailable:
        yield ": Redis did not answer; connect again\n\n"


def _event_text(event: TaskEvent) -> str:
    if event.kind == "silence":
        return ": nothing new\n\n"
    data: Any = event.line or (task_json(event.task) if event.task else {})
    return f"id: {event.cursor}\nevent: {event.kind}\ndata: {json_text(data)}\n\n"
