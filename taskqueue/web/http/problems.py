"""Errors become problem documents here: `application/problem+json` (RFC 9457)."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from taskqueue.errors import (
    BatchTooLarge,
    FilesUnavailable,
    FileTooLarge,
    IdempotencyMismatch,
    InvalidBatch,
    InvalidJson,
    InvalidOptions,
    InvalidPayload,
    InvalidScheduleName,
    QueueUnavailable,
    StillProcessing,
    TaskQueueError,
    TooManySchedules,
    UnknownBatch,
    UnknownFile,
    UnknownJobType,
    UnknownParent,
    UnknownQueue,
    UnknownSchedule,
    UnknownTask,
    WrongStatus,
)

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5  # about as long as a restart of Redis takes

TITLES = {
    404: "There is nothing at this address",
    405: "Method not allowed",
    413: "The request is too large",
}


class BadRequest(Exception):
    """The request itself is wrong: its query, its headers or the form of its body."""

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        self.answer = (status, code, title, detail, more)
        self.headers = headers or {}
        super().__init__(detail)


def problem(status: int, code: str, title: str, detail: str, **more: Any) -> Response:
    """Return a problem document. `code` is for programs: the end of its `type`. `more` are further fields."""
    document = {"type": f"urn:problem:{code}", "title": title, "status": status, "detail": detail} | more
    return Response(json.dumps(document), status, content_type="application/problem+json")


def register(app: Flask) -> None:
    """Answer every error of the application with a problem document."""

    @app.errorhandler(BadRequest)
    def bad_request(error: BadRequest) -> Response:
        status, code, title, detail, more = error.answer
        answer = problem(status, code, title, detail, **more)
        answer.headers.update(error.headers)
        return answer

    @app.errorhandler(TaskQueueError)
    def refused(error: TaskQueueError) -> Response:
        match error:
            case UnknownJobType():
                title = "There is no such task type"
                return problem(422, "unknown-task-type", title, str(error), known=error.known)
            case UnknownQueue():
                in_address = error.name in (request.view_args or {}).values()
                status = 404 if in_address else 422
                return problem(status, "unknown-queue", "There is no such queue", str(error), known=error.known)
            case InvalidPayload():
                errors = [{"pointer": each.pointer, "message": each.message} for each in error.errors]
                title = "The payload does not fit the task type"
                return problem(422, "invalid-payload", title, str(error), errors=errors)
            case InvalidOptions():
                errors = [{"pointer": each.pointer, "message": each.message} for each in error.errors]
                return problem(422, "invalid-options", "An option cannot be used", str(error), errors=errors)
            case InvalidJson():
                return problem(400, "invalid-json", "The body is not JSON", str(error))
            case InvalidBatch():
                errors = [{"pointer": each.pointer, "message": each.message} for each in error.errors]
                return problem(422, "invalid-batch", "A task cannot be queued", str(error), errors=errors)
            case BatchTooLarge():
                return problem(413, "too-large", "The batch is too large", str(error))
            case UnknownBatch():
                return problem(404, "unknown-batch", "There is no such batch", str(error))
            case InvalidScheduleName():
                return problem(422, "invalid-schedule-name", "A schedule cannot have this name", str(error))
            case TooManySchedules():
                return problem(409, "too-many-schedules", "There are too many schedules", str(error))
            case UnknownSchedule():
                return problem(404, "unknown-schedule", "There is no such schedule", str(error))
            case UnknownParent():
                title = "A task in depends_on does not exist"
                return problem(422, "unknown-parent", title, str(error), parent=error.task_id)
            case IdempotencyMismatch():
                return problem(
                    422, "idempotency-mismatch", "The Idempotency-Key belongs to another request", str(error)
                )
            case StillProcessing():
                return problem(409, "still-processing", "The first request is being processed", str(error))
            case UnknownTask():
                return problem(404, "unknown-task", "There is no such task", str(error))
            case WrongStatus():
                title = "The task's status does not allow this"
                return problem(409, "wrong-status", title, str(error), task_status=error.status)
            case UnknownFile():
                return problem(404, "unknown-file", "There is no such file", str(error))
            case FileTooLarge():
                return problem(413, "too-large", "The file is too large", str(error))
            case FilesUnavailable():
                log.warning("%s %s: %s", request.method, request.path, error)
                answer = problem(503, "files-unavailable", "The file store is unavailable", str(error))
                answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
                return answer
            case QueueUnavailable():
                return _unavailable(error)
        raise error

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        response = error.get_response()  # it may be a redirect, and it has headers that matter, such as Allow
        status = response.status_code
        if status < 400:
            return Response(response.get_data(), status, dict(response.headers))
        title, detail = TITLES.get(status, error.name), f"{request.method} {request.path}"
        match status:
            case 405:
                detail += f": use {response.headers['Allow']}"
            case _ if status == 413 or status not in TITLES:
                detail = error.description or title
        answer = problem(status, error.name.lower().replace(" ", "-"), title, detail)
        for name, value in response.headers:
            if name not in ("Content-Type", "Content-Length"):
                answer.headers[name] = value
        return answer

    @app.errorhandler(Exception)
    def bug(error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.path, exc_info=error)
        return problem(500, "internal-error", "Internal server error", "The error is in the server's log.")


def _unavailable(error: QueueUnavailable) -> Response:
    log.warning("%s %s: %s", request.method, request.path, error.with_cause)
    detail, more = str(error), {}
    if error.task_id:
        detail += f" The task may have been queued: ask GET /tasks/{error.task_id} once Redis answers."
        more["id"] = error.task_id
    answer = problem(503, "queue-unavailable", "The queue is unavailable", detail, **more)
    answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer
