"""Tracing: the id of a request, the client's or a new one, and its `traceparent`, for the log and for its jobs."""

from flask import Flask, Response, g, request

from taskqueue.telemetry.spans import attribute, span
from taskqueue.telemetry.trace import Trace, current_sender, current_trace


def register(app: Flask) -> None:
    """Trace every request. Register this first: a request that is refused has an id, too."""

    @app.before_request
    def begin() -> None:
        headers = request.headers
        # The trace stays until this thread's next request: gunicorn logs a request after the application is done.
        current_trace.set(Trace.of_request(headers.get("X-Request-Id"), headers.get("traceparent")))
        current_sender.set("")
        route = str(request.url_rule or "")
        attributes = {"http.request.method": request.method, "http.route": route}
        g.span = span(f"{request.method} {route}".rstrip(), "SERVER", attributes)
        g.span.__enter__()

    @app.teardown_request
    def end(error: BaseException | None) -> None:
        if "span" in g:
            g.span.__exit__(None, None, None)

    @app.after_request
    def add_id(response: Response) -> Response:
        attribute("http.response.status_code", response.status_code)
        trace = current_trace.get()
        if trace:
            response.headers["X-Request-Id"] = trace.request_id
        return response
