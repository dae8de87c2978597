"""The short way past Flask: `POST /tasks` of a plain task, and `GET /tasks/<id>`.

Flask takes as long for such a request as all the rest of the server. So this WSGI middleware answers those that
need nothing of it, and passes all others on: another address, an option, a header with a meaning, a caller who may
not. Flask's error handlers answer what goes wrong on the short way. tests/taskqueue/web/test_front.py holds both
ways to the same answers.

An application with hooks of its own keeps them: then every request takes the long way.
"""

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, g, request_finished, request_started, request_tearing_down

from taskqueue.enqueue.queue import TaskQueue
from taskqueue.monitor.queue_warnings import QueueWarnings
from taskqueue.settings.api_keys import ApiKey, Scope, find_key
from taskqueue.tasks.task_json import task_json
from taskqueue.telemetry.spans import are_sent
from taskqueue.telemetry.trace import Trace, current_sender, current_trace
from taskqueue.web.api.submit import warnings_json
from taskqueue.web.http.access import OPEN
from taskqueue.web.http.body import PIECE_BYTES, Body, HeldBytes, json_value
from taskqueue.web.http.browsers import host_is_known
from taskqueue.web.http.json_text import json_text
from taskqueue.web.http.rate_limit import VERDICT, Quotas, caller_name

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PLAIN_QUERY = re.compile(r"task_type=([A-Za-z0-9_-]+)")
TASK_ADDRESS = re.compile(r"/tasks/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
BEARER = re.compile(r"Bearer ([A-Za-z0-9_-]+)")
# A request with one of these takes the long way, where they have a meaning.
MEANINGFUL = (
    "HTTP_IDEMPOTENCY_KEY",
    "HTTP_PREFER",
    "HTTP_ORIGIN",
    "HTTP_SEC_FETCH_SITE",
    "HTTP_TRANSFER_ENCODING",
    "werkzeug.debug.preserve_context",  # Flask's test client wants to look at the request afterwards
)
BODY = "taskqueue.body"  # in the environ

Headers = list[tuple[str, str]]


class Hooks:
    """Everything through which an application may change what happens to each request."""

    KINDS = ("before_request_funcs", "after_request_funcs", "teardown_request_funcs", "url_value_preprocessors")

    def __init__(self, app: Flask) -> None:
        self._seen = self._now(app)

    @classmethod
    def _now(cls, app: Flask) -> Any:
        hooks = [{name: list(hooks) for name, hooks in getattr(app, kind).items() if hooks} for kind in cls.KINDS]
        views = [app.view_functions.get(name) for name in ("submit.submit", "tasks.get")]
        return hooks, views, type(app), app.request_class, app.response_class, app.config["MAX_CONTENT_LENGTH"]

    @classmethod
    def none_on(cls, app: Flask) -> bool:
        """Return whether this is a plain Flask application without hooks."""
        return type(app) is Flask and not any(any(getattr(app, kind).values()) for kind in cls.KINDS)

    def are_those_of(self, app: Flask) -> bool:
        """Return whether nothing has been added or replaced since."""
        signals = (request_started, request_finished, request_tearing_down)
        return self._seen == self._now(app) and not any(signal.receivers for signal in signals)


class Front:
    """The WSGI application: the short way for the requests that can take it, Flask for all others."""

    def __init__(self, app: Flask, queue: TaskQueue, queue_warnings: QueueWarnings, quotas: Quotas | None) -> None:
        self._app = app
        self._long_way: WSGIApplication = app.wsgi_app
        self._queue = queue
        self._settings = queue.settings
        self._queue_warnings = queue_warnings
        self._quotas = quotas
        self._hooks = Hooks(app)
        self._held = HeldBytes()
        self._is_open: bool | None = None  # None: no request has come yet
        self._headers: Headers = [("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store")]
        if not self._settings.api_keys:
            self._headers.append(("X-Access", OPEN))
        if self._settings.cors_origins:
            self._headers.append(("Vary", "Origin"))

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        if self._is_open is None:
            self._is_open = self._hooks.are_those_of(self._app) and not are_sent()
        if self._is_open and not any(name in environ for name in MEANINGFUL) and not environ.get("SCRIPT_NAME"):
            method, path, query = (
                environ["REQUEST_METHOD"],
                environ.get("PATH_INFO", ""),
                environ.get("QUERY_STRING", ""),
            )
            if method == "POST" and path == "/tasks":
                named, size = PLAIN_QUERY.fullmatch(query), _json_bytes(environ)
                if named and 0 < size <= min(PIECE_BYTES, self._settings.max_payload_bytes):
                    return self._take(environ, start_response, "submit", self._submit, named[1])
            elif method == "GET" and not query:
                task = TASK_ADDRESS.fullmatch(path)
                if task:
                    return self._take(environ, start_response, "read", self._show, task[1])
        return self._long_way(environ, start_response)

    def _take(
        self,
        environ: "WSGIEnvironment",
        start_response: "StartResponse",
        scope: Scope,
        act: Callable[["WSGIEnvironment", str], tuple[str, Any, Headers]],
        subject: str,
    ) -> Iterable[bytes]:
        """Check the caller as Flask's hooks do, act, and answer. `subject` is the task type, or the task's id."""
        key = None
        if self._settings.api_keys:
            key = self._key(environ, scope, subject)
            if key is None:
                return self._long_way(environ, start_response)
        elif not host_is_known(environ.get("HTTP_HOST"), self._settings.allowed_hosts):
            return self._long_way(environ, start_response)
        trace = Trace.of_request(environ.get("HTTP_X_REQUEST_ID"), environ.get("HTTP_TRACEPARENT"))
        current_sender.set(key.name if key else "")
        current_trace.set(trace)  # it stays until this thread's next request, for the access log
        counted: Headers = []
        verdict = None
        try:
            if self._quotas:
                verdict = self._quotas.take(caller_name(key, environ.get("REMOTE_ADDR")))
                environ[VERDICT] = verdict
                if not verdict.allowed:
                    return self._long_way(environ, start_response)
                counted = self._quotas.headers(verdict)
            status, answer, headers = act(environ, subject)
        except Exception as error:  # noqa: BLE001  whatever it is, the application's error handlers know it
            return self._failed(environ, start_response, error)
        text = (json_text(answer) + "\n").encode()
        sizes = [("Content-Type", "application/json"), ("Content-Length", str(len(text)))]
        start_response(status, [*sizes, *headers, *self._headers, *counted, ("X-Request-Id", trace.request_id)])
        return [text]

    def _key(self, environ: "WSGIEnvironment", scope: Scope, subject: str) -> ApiKey | None:
        """Return the caller's key if it certainly may do this."""
        bearer = BEARER.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
        key = find_key(self._settings.api_keys, bearer[1]) if bearer else None
        if key is None or not key.may(scope):
            return None
        return key if key.job_types is None or (scope == "submit" and key.sees(subject)) else None

    def _submit(self, environ: "WSGIEnvironment", task_type: str) -> tuple[str, Any, Headers]:
        body = Body(environ, int(environ["CONTENT_LENGTH"]), self._settings.body_timeout_seconds, self._held)
        environ[BODY] = body
        task = self._queue.submit(task_type, json_value(body.readall()))
        answer = {**task_json(task), "warnings": warnings_json(self._queue_warnings.of(task.queue, task.type))}
        return "202 ACCEPTED", answer, [("Location", f"/tasks/{task.id}")]

    def _show(self, _environ: "WSGIEnvironment", task_id: str) -> tuple[str, Any, Headers]:
        return "200 OK", task_json(self._queue.get(task_id)), []

    def _failed(
        self, environ: "WSGIEnvironment", start_response: "StartResponse", error: Exception
    ) -> Iterable[bytes]:
        """Let Flask's handlers and hooks make the answer."""
        app = self._app
        with app.request_context(environ):
            if BODY in environ:
                g.body = environ[BODY]
            g.verdict = environ.get(VERDICT)
            try:
                response = app.make_response(app.handle_user_exception(error))
            except Exception as unknown:  # noqa: BLE001  as in Flask.wsgi_app
                response = app.handle_exception(unknown)
            return app.process_response(response)(environ, start_response)


def _json_bytes(environ: "WSGIEnvironment") -> int:
    """Return the length of the request's body; 0: it has none, or is not sent as JSON."""
    length = environ.get("CONTENT_LENGTH", "")
    is_json = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() == "application/json"
    return int(length) if is_json and length.isdecimal() else 0
