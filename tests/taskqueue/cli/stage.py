"""What a call of the command line leaves, and web servers that let it down."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

import urllib3

from taskqueue.settings.api_keys import new_key


class Done(NamedTuple):
    """What a call of the command line has left."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]
SECRET, KEY = new_key("shell", "operate")


def told(done: Done) -> Any:
    assert done.code == 0, done.err
    return json.loads(done.out)


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of a web server of somebody else."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Says(BaseHTTPRequestHandler):
    """Answers everything with the same words: subclass it."""

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
    """A proxy before a web server, and each `Last-Event-ID` that it was asked with.

    The plan has for each request the bytes of the body after which it cuts the connection; None: it answers 502.
    After that it answers nothing whole any more.
    """
    asked: list[str] = []

    class Proxy(Says):
        status, text = 502, "<h1>Bad Gateway</h1>"

        def do_GET(self) -> None:
            asked.append(self.headers.get("Last-Event-ID", ""))
            most = plan[len(asked) - 1] if len(asked) <= len(plan) else None
            if most is None:
                super().do_GET()
                return
            answer = urllib3.request("GET", url + self.path, headers=dict(self.headers), retries=False)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.end_headers()
            self.wfile.write(answer.data[:most])

    with answering(Proxy) as proxy:
        yield proxy, asked
