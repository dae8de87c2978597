"""Requests that gunicorn refuses before any application sees them, by raw sockets: problem documents, too."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SLACK, RedisServer, wait_until
from tests.deploy.conftest import Web

HOST = b"Host: 127.0.0.1\r\n"


@pytest.fixture(scope="module")
def web(shared_redis: RedisServer, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with pytest.MonkeyPatch.context() as env:
        env.setenv("TASK_QUEUE_URL", shared_redis.url)
        env.setenv("WEB_PROCESSES", "1")
        server = Web(project, log_file=tmp_path_factory.mktemp("web") / "web.log")
        wait_until(server.answers, what="the web server")
        yield server
        server.stop()
        assert "Traceback" not in server.log()


def answer(web: Web, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send these bytes and return what comes until the server closes: status, headers, body."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=30) as connection:
        for piece in pieces:
            connection.sendall(piece)
        data = b"".join(iter(lambda: connection.recv(65536), b""))
    top, _, body = data.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "uri-too-long"),
        (b"GET /" + b"x" * 500_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "uri-too-long"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 9_000 + b"\r\n\r\n", 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431, "headers-too-large"),
        (b"GET\r\n\r\n", 400, "broken-request"),
        (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "broken-request"),
        (b"GET / HTTP/9\r\n" + HOST + b"\r\n", 400, "broken-request"),
        (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400, "broken-request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "broken-request"),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400, "broken-request"),
        (b"GET / HTTP/1.1\r\nA b: c\r\n\r\n", 400, "broken-request"),
        (b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n", 400, "broken-request"),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400, "broken-request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "broken-request"),
        (b"POST /tasks HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "broken-request"),
        (b"POST /tasks HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "broken-request"),
        (
            b"POST /tasks HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "broken-request",
        ),
        (b"POST /tasks HTTP/1.1\r\nTransfer-Encoding: zip\r\n\r\n", 501, "unknown-transfer-coding"),
        (b"POST /tasks HTTP/1.1\r\n" + HOST + b"Expect: a miracle\r\n\r\n", 417, "expectation-failed"),
    ],
)
def test_each_is_answered_by_a_problem_document(web: Web, request_bytes: bytes, status: int, code: str) -> None:
    got, headers, body = answer(web, request_bytes)
    assert (got, headers["content-type"], headers["connection"]) == (status, "application/problem+json", "close")
    assert headers["x-request-id"]
    assert headers["cache-control"] == "no-store"
    document: dict[str, Any] = json.loads(body)
    assert (document["type"], document["status"]) == (f"urn:problem:{code}", status)
    assert document["title"]
    assert document["detail"]


def test_a_good_request_before_it_has_its_answer(web: Web) -> None:
    good = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    status, _, body = answer(web, good + b"rubbish\r\n\r\n")
    assert status == 200
    assert b"HTTP/1.1 400 " in body


def test_the_log_has_it_without_secrets_and_it_forges_no_line(web: Web) -> None:
    answer(web, b"GET /?callback_url=LEAK\x80 HTTP/1.1\r\n\r\n")
    answer(web, b"GET / HTTP/1.1\r\nforged\r16:00:00 ERROR\x1b[31m\r\n\r\n")
    wait_until(lambda: "forged" in web.log(), what="the log")
    assert "\x1b" not in web.log()
    assert "LEAK" not in web.log()
    assert not any(line.startswith("16:00:00 ERROR") for line in web.log().splitlines())


def test_a_head_that_does_not_end_in_time_ends_the_connection(web: Web) -> None:
    with socket.create_connection(("127.0.0.1", web.port), timeout=30) as connection:
        began = time.monotonic()
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127")
        assert connection.recv(100) == b""
        assert 1 < time.monotonic() - began < 6 * SLACK
    assert web.answers()


def test_a_connection_is_kept_for_the_next_request_and_closed_when_none_comes(web: Web) -> None:
    ask = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    with socket.create_connection(("127.0.0.1", web.port), timeout=30) as connection:
        for _ in range(3):
            began = time.monotonic()  # the server counts from its answer, which is later
            connection.sendall(ask)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert connection.recv(100) == b""
        assert 1 < time.monotonic() - began < 6 * SLACK


def test_requests_sent_ahead_are_answered_in_their_order(web: Web) -> None:
    requests = b"".join(
        b"GET /nope-%d HTTP/1.1\r\n%s%s\r\n" % (number, HOST, b"Connection: close\r\n" if number == 9 else b"")
        for number in range(10)
    )
    _, _, rest = answer(web, requests)
    positions = [rest.index(b"/nope-%d" % number) for number in range(10)]
    assert positions == sorted(positions)
