"""Errors of the console, as pages that say what to do. With Redis away, a page says since when and tries again."""

import logging
import time
from datetime import UTC, datetime
from threading import Lock

from flask import Blueprint, Response, make_response, render_template, request
from redis.exceptions import RedisError
from werkzeug.exceptions import HTTPException

from taskqueue.errors import (
    QueueUnavailable,
    TaskQueueError,
    UnknownBatch,
    UnknownJobType,
    UnknownQueue,
    UnknownSchedule,
    UnknownTask,
    WrongStatus,
)
from taskqueue.store.connection import redis_errors

log = logging.getLogger(__name__)

TITLES = {
    400: "Bad request",
    403: "You may not do this",
    404: "There is nothing here",
    405: "There is nothing here",
    409: "Not possible now",
    413: "Too large",
    422: "This does not fit",
    503: "Redis does not answer",
}
AGAIN_SECONDS = 5


class Silence:
    """Since when Redis has not answered this process."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._lock = Lock()

    def begin(self) -> datetime:
        """Note that Redis did not answer, and return since when."""
        with self._lock:
            if self._since is None:
                self._since = time.time()
            return datetime.fromtimestamp(self._since, UTC)

    def end(self) -> None:
        """Note that a page was made."""
        self._since = None


def register(blueprint: Blueprint) -> None:
    """Answer the errors of the views with pages."""
    silence = Silence()

    @blueprint.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        given = error.get_response()
        if given.status_code < 400:
            return Response(given.get_data(), given.status_code, dict(given.headers))
        return page(given.status_code, error.description or error.name)

    @blueprint.errorhandler(UnknownTask)
    @blueprint.errorhandler(UnknownQueue)
    @blueprint.errorhandler(UnknownSchedule)
    @blueprint.errorhandler(UnknownBatch)
    @blueprint.errorhandler(UnknownJobType)
    def unknown(error: TaskQueueError) -> Response:
        return page(404, str(error))

    @blueprint.errorhandler(WrongStatus)
    def not_now(error: WrongStatus) -> Response:
        return page(409, str(error))

    @blueprint.errorhandler(TaskQueueError)
    def refused(error: TaskQueueError) -> Response:
        return page(422, str(error))

    @blueprint.errorhandler(RedisError)
    def redis_error(error: RedisError) -> Response:
        try:
            with redis_errors():
                raise error
        except QueueUnavailable as unavailable:
            return away(unavailable)

    @blueprint.errorhandler(QueueUnavailable)
    def away(error: QueueUnavailable) -> Response:
        since = silence.begin()
        log.warning("The console cannot show a page: %s", error.with_cause)
        response = page(503, str(error), since=since, again_seconds=AGAIN_SECONDS)
        response.headers["Retry-After"] = str(AGAIN_SECONDS)
        return response

    @blueprint.errorhandler(Exception)
    def bug(error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.path, exc_info=error)
        return page(500, "The error is in the server's log.")

    @blueprint.after_request
    def note_answer(response: Response) -> Response:
        if response.status_code < 400 and response.mimetype == "text/html":
            silence.end()
        return response

    @blueprint.get("/<path:rest>")
    def nothing(rest: str) -> Response:
        return page(404, f"The console has no page {rest!r}.")


def page(status: int, detail: str, **more: object) -> Response:
    """Return a page that says what is wrong."""
    title = TITLES.get(status, "Something went wrong")
    return make_response(render_template("console/error.html", title=title, detail=detail, **more), status)
