"""What gunicorn's answer sends: the same bytes as gunicorn's own class, in fewer packets."""

import socket
from collections.abc import Iterator

import pytest
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from gunicorn.util import http_date

from taskqueue.serve.response import JOINED_BYTES, Response

JSON = [("Content-Type", "application/json"), ("Content-Length", "2")]


class Sends:
    """The client's end of a connection; notes each send."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.sends: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.sends.append(data)
        self._end.sendall(data)


@pytest.fixture
def client() -> Iterator[Sends]:
    one, other = socket.socketpair()
    with one, other:
        yield Sends(one)


def answer(client: Sends, method: str, status: str, headers: list[tuple[str, str]], *pieces: bytes) -> None:
    settings = Config()
    head = f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    request = next(RequestParser(settings, [head], ("127.0.0.1", 5000)))
    response = Response(request, client, settings)
    write = response.start_response(status, headers)
    for piece in pieces:
        write(piece)
    response.close()


def head_of(status: str, *lines: str) -> bytes:
    first = (f"HTTP/1.1 {status}", "Server: gunicorn", f"Date: {http_date()}", "Connection: keep-alive")
    return "\r\n".join((*first, *lines, "", "")).encode()


def without_date(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\r\n") if not line.startswith(b"Date: ")]


@pytest.mark.parametrize(
    ("method", "status", "headers", "pieces", "sends"),
    [
        ("GET", "200 OK", JSON, [b"{}"], 1),
        ("GET", "200 OK", JSON, [b"{", b"}"], 2),
        ("GET", "200 OK", JSON, [b"{}too long"], 1),
        ("HEAD", "200 OK", JSON, [b"{}"], 1),
        ("GET", "204 NO CONTENT", [], [], 1),
        ("GET", "204 NO CONTENT", [], [b""], 1),
        ("GET", "200 OK", [("Content-Length", "0")], [b""], 1),
        ("GET", "200 OK", [], [b"one", b"two"], 3),  # chunks
        ("GET", "200 OK", [], [b"", b"two"], 3),  # the head at once, for who waits for it
    ],
)
def test_the_head_goes_with_the_first_bytes(
    client: Sends, method: str, status: str, headers: list[tuple[str, str]], pieces: list[bytes], sends: int
) -> None:
    answer(client, method, status, headers, *pieces)
    assert len(client.sends) == sends
    lines = [f"{name}: {value}" for name, value in headers]
    body = (
        b"".join(pieces)[:2]
        if headers
        else b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    )
    if method == "HEAD" or "204" in status or headers == [("Content-Length", "0")]:
        body = b""
    elif not headers:
        lines.insert(0, "Transfer-Encoding: chunked")
        body += b"0\r\n\r\n"
    assert without_date(b"".join(client.sends)) == without_date(head_of(status, *lines) + body)


def test_a_long_first_piece_is_not_copied_behind_the_head(client: Sends) -> None:
    body = b"x" * (JOINED_BYTES + 1)
    client._end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * JOINED_BYTES)
    answer(client, "GET", "200 OK", [("Content-Length", str(len(body)))], body)
    assert client.sends[1] == body
