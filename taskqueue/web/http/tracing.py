"""Which request this is: its id, from the client or new, and its `traceparent`, for the log and for its jobs."""

from flask import Flask, Response, g, request

from taskqueue.telemetry.spans import attribute, span
from taskqueue.telemetry.trace import Trace, current_trace


def register(app: Flask) -> None:
    """Before everything else: a request that is refused has an id, too."""

    @app.before_request
    def begin() -> None:
        headers = request.headers
        # It stays until this thread's next request: gunicorn logs one after the application has done with it.
        current_trace.set(Trace.of_request(headers.get("X-Request-Id"), headers.get("traceparent")))
        route = str(request.url_rule or "")
        about = {"http.request.method": request.method, "http.route": route}
        g.span = span(f"{request.method} {route}".rstrip(), "SERVER", about)
        g.span.__enter__()

    @app.teardown_request
    def end(error: BaseException | None) -> None:
        if "span" in g:
            g.span.__exit__(None, None, None)

    @app.after_request
    def tell(response: Response) -> Response:
        attribute("http.response.status_code", response.status_code)
        trace = current_trace.get()
        if trace:
            response.headers["X-Request-Id"] = trace.request_id
        return response
