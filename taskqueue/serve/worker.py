"""The class of gunicorn's processes: gevent's, with less work for each request, and JSON for errors."""

import socket
import time
from datetime import timedelta
from http import HTTPStatus
from ssl import SSLError
from typing import Any

from gevent import GreenletExit, getcurrent, sleep
from gunicorn.http import wsgi
from gunicorn.http.errors import InvalidHeader, InvalidHeaderName
from gunicorn.workers.ggevent import GeventWorker

from taskqueue.serve.broken_requests import BrokenRequest, send
from taskqueue.serve.response import Response

wsgi.Response = Response  # gunicorn's workers take the class from there, and from nowhere else


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """A process of the web server: one greenlet for each connection."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.cfg: Any = _Settings(self.cfg)

    def load_wsgi(self) -> None:
        """Load the application, after gevent has patched this process."""
        super().load_wsgi()
        from taskqueue.serve.deadlines import deadlines

        self._deadlines = deadlines

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        """Serve one connection, for `timeout_ctx` the one of this greenlet."""
        getcurrent().client = client
        super().handle(listener, client, addr)

    def timeout_ctx(self) -> "_HeadLimit":
        """Return the time limit for the head of the next request.

        One greenlet watches all connections, instead of a timer for each request. A client that is late is
        treated as one that has gone away.
        """
        # A client and a Redis that answer before this process looks for the answer never make it wait: one
        # connection would be served again and again, and the others would wait for a tenth of a second.
        sleep(0)
        return _HeadLimit(self._deadlines.watch(getcurrent().client, time.monotonic() + self.cfg.keepalive))

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer a request that never reached the application, or that the application left unanswered."""
        if isinstance(exc, GreenletExit):
            return  # this process stops, and the client has asked nothing yet
        if isinstance(exc, SSLError):
            super().handle_error(req, client, addr, exc)
            return
        from taskqueue.telemetry.trace import Trace, current_trace

        broken = BrokenRequest.of(exc)
        trace = Trace.of_request(None, None)
        current_trace.set(trace)
        if broken.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.error("%s failed", getattr(req, "path", None) or "A request", exc_info=exc)
        else:
            reason = str(exc).partition("?")[0]  # a query may hold secrets
            self.log.warning("Refused a request from %s: %s", addr[0] if addr else "a Unix socket", reason)
        if isinstance(exc, InvalidHeader | InvalidHeaderName):
            req = req or getattr(exc, "req", None)
        if req is not None:
            answer = Response(req, client, self.cfg)
            answer.status = str(broken.status)
            self.log.access(answer, req, wsgi.default_environ(req, client, self.cfg), timedelta())
        send(client, broken, trace.request_id)


class _HeadLimit:
    """A `with` block that reads the head of a request; at its deadline it ends without an error."""

    def __init__(self, deadline: Any) -> None:
        self._deadline = deadline

    def __enter__(self) -> None:
        self._deadline.__enter__()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        self._deadline.__exit__()
        # gevent tells the reader that its socket was closed by somebody else.
        return self._deadline.passed and isinstance(error, OSError)


class _Settings:
    """gunicorn's settings, each looked up once: reading one takes a microsecond, and a request reads thirty."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._settings, name)
        setattr(self, name, value)
        return value
