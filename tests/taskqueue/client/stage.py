"""A proxy before a web server, which fails as networks do."""

from collections.abc import Callable
from http.server import ThreadingHTTPServer
from threading import Thread
from typing import Self

import urllib3

from tests.taskqueue.cli.stage import Answers

Answer = tuple[int, dict[str, str], bytes]
Plan = Callable[[int], str | Answer]
"""What happens to a request, by its number from 0: "pass" it on; "lose" the answer to it; or answer this."""


class FailingProxy:
    """Passes requests on to a web server, as `plan` has it, and notes them."""

    def __init__(self, url: str) -> None:
        self.plan: Plan = lambda number: "pass"
        self.received: list[tuple[str, str, dict[str, str]]] = []
        proxy = self

        class Handler(Answers):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # noqa: N802  as http.server has it
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy.received.append((self.command, self.path, dict(self.headers)))
                step = proxy.plan(len(proxy.received) - 1)
                if isinstance(step, tuple):
                    self.answer(*step)
                    return
                headers = {name: value for name, value in self.headers.items() if name != "Connection"}
                got = urllib3.request(self.command, url + self.path, body=body, headers=headers, retries=False)
                if step == "lose":
                    self.close_connection = True
                    return
                self.answer(got.status, {"Content-Type": got.headers.get("Content-Type", "")}, got.data)

            do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815  names of http.server

            def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body if status != 204 else b"")

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def times(self, method: str, path: str) -> int:
        """Return how many such requests have come."""
        return sum(each[0] == method and each[1].partition("?")[0] == path for each in self.received)
