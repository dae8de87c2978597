"""Results of calls of the command line, and web servers that fail it."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

import urllib3

from taskqueue.settings.api_keys import new_key


class Done(NamedTuple):
    """The exit code and the output of a call of the command line."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]
SECRET, KEY = new_key("shell", "operate")


def json_of(done: Done) -> Any:
    """Return the JSON that a successful call printed."""
    assert done.code == 0, done.err
    return json.loads(done.out)


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run another web server, and yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Answers(BaseHTTPRequestHandler):
    """Answers every request with the same text: subclass it."""

    status, kind, text = 200, "text/html", "<h1>Welcome</h1>"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.send_header("Location", "https://elsewhere.example/")
        self.end_headers()
        self.wfile.write(self.text.encode())

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def breaking(url: str, plan: Sequence[int | None]) -> Iterator[tuple[str, list[str]]]:
    """Run a proxy before a web server; yield its URL and each `Last-Event-ID` that it received.

    The plan has for each request the bytes of the body after which it cuts the connection; None: it answers 502.
    When the plan has ended, it answers 502.
    """
    received: list[str] = []

    class Proxy(Answers):
        status, text = 502, "<h1>Bad Gateway</h1>"

        def do_GET(self) -> None:
            received.append(self.headers.get("Last-Event-ID", ""))
            most = plan[len(received) - 1] if len(received) <= len(plan) else None
            if most is None:
                super().do_GET()
                return
            answer = urllib3.request("GET", url + self.path, headers=dict(self.headers), retries=False)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.end_headers()
            self.wfile.write(answer.data[:most])

    with answering(Proxy) as proxy:
        yield proxy, received
