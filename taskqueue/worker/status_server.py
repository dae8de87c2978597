"""Serves a worker's `/healthz`, `/readyz` and `/metrics`, for Kubernetes and Prometheus.

It runs in a child process of its own: the worker forks its work-horses without a second thread, no request takes
the loop's time, and the answer that says that the loop hangs does not hang itself. The worker closes the listening
socket once the child has it, so that no work-horse and no process of a job inherits it.
"""

import logging
import os
import signal
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST

from taskqueue.telemetry.worker_metrics import worker_metrics
from taskqueue.worker.child import fork
from taskqueue.worker.status import Status

log = logging.getLogger(__name__)

SILENT_SECONDS = 15  # while Redis is away, the loop still goes round every 4 seconds or so
REQUEST_SECONDS = 5


class StatusServer:
    """Starts the child process, and replaces it if it dies. With port 0 there is none."""

    def __init__(self, port: int = 0) -> None:
        self.status = Status()
        self._port = port
        self.pid = 0  # of the child process; 0: there is none

    def keep(self) -> None:
        """Start the child process unless it runs.

        Raises OSError or OverflowError if the port cannot be used.
        """
        if not self._port or (self.pid and os.waitpid(self.pid, os.WNOHANG) == (0, 0)):
            return
        self.pid = 0
        with _listen(self._port) as listener:
            parent = os.getpid()
            self.pid = fork(lambda: _Server(listener, self.status, parent).serve_forever())

    def stop(self) -> None:
        """End the child process."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0


def _listen(port: int) -> socket.socket:
    """Listen on all interfaces: probes come from outside of the container."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


class _Server(ThreadingHTTPServer):
    """The HTTP server, in the child process."""

    def __init__(self, listener: socket.socket, status: Status, parent: int) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.status = status
        self._parent = parent

    def service_actions(self) -> None:
        """End with the worker. On Linux the kernel does that; elsewhere this looks, twice a second."""
        if os.getppid() != self._parent:
            os._exit(0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a request that failed; a client that hangs up is not worth a traceback."""
        log.debug("Status request from %s failed", client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        """Answer one of the three addresses."""
        status = self.server.status
        match self.path.partition("?")[0]:
            case "/healthz":
                silent = status.silent_seconds
                self._answer_health(
                    f"The worker's loop has hung for {silent:.0f} s." if silent > SILENT_SECONDS else ""
                )
            case "/readyz":
                self._answer_health(status.read().unready)
            case "/metrics":
                self._answer(200, worker_metrics(status.read(), status.silent_seconds), CONTENT_TYPE_LATEST)
            case _:
                self._answer(404, b"There are /healthz, /readyz and /metrics.\n")

    def _answer_health(self, trouble: str) -> None:
        self._answer(503 if trouble else 200, f"{trouble or 'ok'}\n".encode())

    def _answer(self, code: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        """Return a name that does not tell the version of Python."""
        return "taskqueue"

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  the standard library's name
        """Log nothing: probes come every few seconds."""
