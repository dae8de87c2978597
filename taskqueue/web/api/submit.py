"""`POST /tasks`: queue a task and, if the client asks for it, wait a few seconds for the result."""

import re
from collections.abc import Iterable
from dataclasses import replace

from flask import Blueprint, jsonify, request, url_for
from flask.typing import ResponseReturnValue
from typing_extensions import TypedDict

from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.enqueue.submission import Accepted
from taskqueue.monitor.finding import Finding
from taskqueue.monitor.queue_warnings import QueueWarnings
from taskqueue.monitor.result_waiter import ResultWaiter
from taskqueue.store.keys import ENDED
from taskqueue.tasks.task_json import TaskJson, task_json
from taskqueue.web.http.access import caller_sees
from taskqueue.web.http.body import idempotency_key, json_body
from taskqueue.web.http.endpoint import Payload, Query, endpoint, read_query
from taskqueue.web.http.problems import BadRequest

MAX_WAIT_SECONDS = 20  # less than gunicorn's graceful_timeout
WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=[,;]|$)", re.IGNORECASE)


class WarningJson(TypedDict):
    """A reason why the task may not run soon."""

    code: str
    message: str


class AcceptedJson(TaskJson):
    """The task as it was queued or, if the request waited for it, as it is now."""

    warnings: list[WarningJson]


class SubmitQuery(SubmitOptions, Query):
    """The options of a task, besides its payload."""

    task_type: str | None = None
    """The type of the task, from `GET /task-types`."""


def views(queue: TaskQueue, result_waiter: ResultWaiter, queue_warnings: QueueWarnings) -> Blueprint:
    """Return the view of `POST /tasks`."""
    blueprint = Blueprint("submit", __name__)

    @blueprint.post("/tasks")
    @endpoint(
        "Queue a task",
        scope="submit",
        query=SubmitQuery,
        body=Payload,
        headers={
            "Idempotency-Key": "The same request with the same key makes one task, and gets the same answer.",
            "Prefer": "`wait=5`: answer with the result, if the task ends within 5 seconds.",
        },
        answers={200: TaskJson, 202: AcceptedJson},
        problems=(400, 409, 413, 415, 422, 503),
    )
    def submit() -> ResponseReturnValue:
        """The body is the payload: a JSON object that fits the task type's signature.

        With `Prefer: wait=5` the answer is 200 with the result if the task has ended within five seconds.
        """
        asked = read_query(SubmitQuery)
        payload = json_body(queue.settings.max_payload_bytes)
        accepted = queue.accept(_task_type(asked, queue), payload, asked, idempotency_key())
        headers = _headers(accepted)
        seconds = _seconds_to_wait()
        if seconds and (waited := result_waiter.wait(accepted.task, seconds)):
            headers["Preference-Applied"] = f"wait={seconds}"
            if waited.status in ENDED:
                return jsonify(task_json(waited)), 200, headers
            accepted = replace(accepted, task=waited)
        answer = {**task_json(accepted.task), "warnings": warnings_json(queue_warnings.of_accepted(accepted))}
        return jsonify(answer), 202, headers

    return blueprint


def _headers(accepted: Accepted) -> dict[str, str]:
    headers = {"Location": url_for("tasks.get", task_id=accepted.task.id)}
    if accepted.outcome == "repeated":
        headers["Idempotency-Replayed"] = "true"
    return headers


def _seconds_to_wait() -> int:
    """Return the seconds that `Prefer: wait=…` asks for (RFC 7240); 0: it does not ask."""
    header = request.headers.get("Prefer")
    match = WAIT.search(header) if header else None
    return min(int(match[1]), MAX_WAIT_SECONDS) if match else 0


def warnings_json(warnings: Iterable[Finding]) -> list[WarningJson]:
    """Return the warnings as clients see them."""
    return [warning.json() for warning in warnings]


def _task_type(asked: SubmitQuery, queue: TaskQueue) -> str:
    if asked.task_type is None:
        detail = "Name a task type: POST /tasks?task_type=NAME. GET /task-types lists them."
        known = sorted(filter(caller_sees, queue.job_types))
        raise BadRequest(422, "no-task-type", "The query parameter task_type is missing", detail, known=known)
    return asked.task_type
