"""Problem documents for requests that gunicorn refuses before the application sees them."""

import json
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from gunicorn.http import errors

DROP_SECONDS = 2.0
DROP_BYTES = 1024 * 1024
KINDS = {
    errors.LimitRequestLine: (414, "uri-too-long", "The address is too long"),
    errors.LimitRequestHeaders: (431, "headers-too-large", "The headers are too large"),
    errors.ExpectationFailed: (417, "expectation-failed", "The Expect header asks for the impossible"),
    errors.UnsupportedTransferCoding: (501, "unknown-transfer-coding", "The Transfer-Encoding is not supported"),
    errors.ForbiddenProxyRequest: (403, "unknown-proxy", "No PROXY line is accepted from this address"),
}


@dataclass(frozen=True)
class BrokenRequest:
    """Why a request was refused, or not answered."""

    status: int
    code: str
    title: str
    detail: str

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Return what a client is told about an error that ended its request."""
        if isinstance(error, errors.InvalidResponseHeader | errors.InvalidResponseHeaderName):
            pass  # the application's, though these are also the types of a request's bad headers
        elif isinstance(error, errors.ParseException) and not isinstance(error, errors.ConfigurationProblem):
            known = next((kind for kind in KINDS if isinstance(error, kind)), None)
            status, code, title = KINDS[known] if known else (400, "broken-request", "The request is not HTTP")
            return cls(status, code, title, f"{error}.")
        return cls(500, "internal-error", "Internal server error", "The error is in the server's log.")


def send(client: socket.socket, broken: BrokenRequest, request_id: str) -> None:
    """Answer with a problem document and end the connection: nobody knows where the next request begins."""
    document = {
        "type": f"urn:problem:{broken.code}",
        "title": broken.title,
        "status": broken.status,
        "detail": broken.detail,
    }
    body = json.dumps(document).encode()
    head = (
        f"HTTP/1.1 {broken.status} {HTTPStatus(broken.status).phrase}\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"X-Request-Id: {request_id}\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    ).encode()
    with suppress(OSError):  # the client is gone
        client.settimeout(DROP_SECONDS)
        client.sendall(head + body)
        _drop_rest(client)


def _drop_rest(client: socket.socket) -> None:
    """Read and drop what the client still sends: closing with bytes unread is a reset, and the answer is lost."""
    client.shutdown(socket.SHUT_WR)
    ends, left = time.monotonic() + DROP_SECONDS, DROP_BYTES
    while left > 0 and time.monotonic() < ends and (piece := client.recv(64 * 1024)):
        left -= len(piece)
