"""Errors of the dashboard: a page for people, a problem document (RFC 9457) for scripts and for curl."""

import logging

from flask import Blueprint, Response, make_response, render_template, request
from redis.exceptions import RedisError
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from werkzeug.exceptions import HTTPException

from taskqueue.errors import QueueUnavailable, UnknownTask, WrongStatus
from taskqueue.store.connection import redis_errors
from taskqueue.web.http.problems import RETRY_AFTER_SECONDS, problem

log = logging.getLogger(__name__)

TITLES = {
    400: "Bad request",
    401: "Authentication required",
    403: "Forbidden",
    404: "Not found",
    409: "Not possible now",
    429: "Too many wrong logins",
    503: "Redis is unavailable",
}


def register(blueprint: Blueprint) -> None:
    """Answer the errors that the views of `blueprint` raise."""

    @blueprint.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        given = error.get_response()  # with its headers, such as Location and WWW-Authenticate
        if given.status_code < 400:
            return Response(given.get_data(), given.status_code, dict(given.headers))
        answer = refusal(given.status_code, error.description or error.name)
        answer.headers.extend((name, value) for name, value in given.headers if not name.startswith("Content-"))
        return answer

    @blueprint.errorhandler(NoSuchJobError)
    @blueprint.errorhandler(UnknownTask)
    def no_such_job(_error: NoSuchJobError | UnknownTask) -> Response:
        return refusal(
            404, "There is no such job. It was deleted, or it has expired."
        )  # the error's text has its data

    @blueprint.errorhandler(InvalidJobOperation)
    @blueprint.errorhandler(WrongStatus)
    def not_now(error: InvalidJobOperation | WrongStatus) -> Response:
        return refusal(409, str(error))

    @blueprint.errorhandler(RedisError)
    def redis_error(error: RedisError) -> Response:
        try:
            with redis_errors():
                raise error
        except QueueUnavailable as unavailable:
            return out_of_reach(unavailable)

    @blueprint.errorhandler(QueueUnavailable)
    def out_of_reach(error: QueueUnavailable) -> Response:
        log.warning("%s %s: %s (%s)", request.method, request.path, error, error.__cause__)
        answer = refusal(503, str(error))
        answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return answer


def refusal(status: int, detail: str) -> Response:
    """Return the answer to an error: a problem document for scripts, else a page."""
    title = TITLES.get(status, "Internal server error")
    if request.method == "POST" or request.path.endswith(".json"):
        return problem(status, "dashboard", title, detail)
    again = RETRY_AFTER_SECONDS if status == 503 else None
    return make_response(
        render_template("dashboard/refused.html", title=title, detail=detail, again_seconds=again), status
    )
