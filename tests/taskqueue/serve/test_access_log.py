"""The access log has the lines of gunicorn's own, whatever the format."""

import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http.parser import RequestParser
from gunicorn.http.wsgi import Response, create

from taskqueue.serve.access_log import AccessLog

REQUEST = (
    b'GET /tasks/a%20b?q="1" HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: a "b"\r\nReferer: http://a/\r\n'
    b"X-One: 1\r\nAuthorization: Basic YWRhOnNlY3JldA==\r\n\r\n"
)


class Lines(logging.Handler):
    """Keeps the lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def lines() -> Iterator[list[str]]:
    log, handler = logging.getLogger("gunicorn.access"), Lines()
    log.addHandler(handler)
    yield handler.lines
    log.removeHandler(handler)


@pytest.mark.parametrize(
    "form",
    [
        "%(r)s %(s)s %(M)s ms",
        "%(r)s %(s)s %(M)s ms %({location}o)s",
        '%(h)s %(l)s %(u)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
        "%(m)s %(U)s %(q)s %(H)s %(B)s %(T)s %(D)s %(L)s %(p)s",
        "%({X-One}i)s %({x-two}i)s %({Location}o)s %({x-none}o)s %({server_protocol}e)s",
        "%(unknown)s",
    ],
)
@pytest.mark.parametrize("location", [[("Location", "/tasks/1")], []])
def test_each_line_is_gunicorns(lines: list[str], form: str, location: list[tuple[str, str]]) -> None:
    settings = Config()
    settings.set("accesslog", "-")
    settings.set("access_log_format", form)
    request = next(RequestParser(settings, [REQUEST], ("127.0.0.1", 5000)))
    response, environ = create(request, None, ("127.0.0.1", 5000), ("127.0.0.1", 8000), settings)
    assert isinstance(response, Response)
    response.start_response("202 ACCEPTED", [("Content-Length", "5"), *location])
    for kind in (Logger, AccessLog):
        kind(settings).access(response, request, environ, timedelta(seconds=1, milliseconds=234))
    assert len(lines) == 2
    assert lines[0] == lines[1]
