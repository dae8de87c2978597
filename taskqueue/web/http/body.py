"""The body of a request: all of it, within its limits of bytes and of time, or an error. Only this file reads it.

Web servers answer a read alike at the end of a body and where its client went away, so a `Body` counts. It takes
the place of the server's `wsgi.input`: what reads `request.stream`, `get_data` or `files` has the same promise.
"""

import io
import re
import socket
import time
from codecs import BOM_UTF8
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from threading import Lock
from typing import Any, NoReturn

from flask import Flask, Response, g, request
from pydantic_core import from_json

from taskqueue.enqueue.idempotency import IdempotencyKey
from taskqueue.jobtypes.signature import Json
from taskqueue.settings import MIB, Settings
from taskqueue.web.http.deadlines import Deadlines
from taskqueue.web.http.problems import RETRY_AFTER_SECONDS, BadRequest
from taskqueue.web.http.turns import Turns

KEY = re.compile(r"[\x21-\x7e]{1,255}")
PIECE_BYTES = 64 * 1024  # each must come within BODY_TIMEOUT_SECONDS
CHUNKED_PIECE_BYTES = 8 * 1024  # of chunks of one byte each, gunicorn reads so many in 0.02 seconds of work
PIECES_SECONDS = 30  # a whole body is given so many times BODY_TIMEOUT_SECONDS
MAX_HELD_BYTES = 128 * MIB  # of all bodies that one process holds: deploy/kubernetes gives it 512 MiB
MAX_BODY_BYTES = 32 * MIB  # where a view does not call limit_body
# After an answer that came before the body's end, its rest is read and dropped: if the socket closed with bytes
# unread, the kernel would send a reset, and a client that sends all before it reads would lose the answer.
MAX_DROPPED_BYTES = 128 * MIB
DROP_SECONDS = 30
DROP_PIECE_SECONDS = 2  # as long as gunicorn waits for the next request


class HeldBytes:
    """Counts the bytes of all bodies that a process holds."""

    def __init__(self, limit_bytes: int = MAX_HELD_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._lock = Lock()

    def add(self, count: int) -> bool:
        """Count bytes, or with a negative `count` forget them. Return whether all are within the limit."""
        with self._lock:
            self._bytes += count
            return self._bytes <= self._limit_bytes


class Body(io.RawIOBase):
    """A request's body as a stream that ends in all of it, or in an error.

    Each read raises `BadRequest` where the body is larger than `limit` allows, breaks off, is malformed, comes too
    slowly, or where the bodies of all requests take too much memory.
    """

    def __init__(self, environ: Mapping[str, Any], length: int | None, timeout_seconds: float, held: HeldBytes):
        self._stream = environ["wsgi.input"]
        self._socket: socket.socket | None = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        self._length = length  # None: chunked
        self._piece_bytes = CHUNKED_PIECE_BYTES if length is None else PIECE_BYTES
        self._timeout_seconds = timeout_seconds
        self._held = held
        self._limit_bytes = MAX_BODY_BYTES
        self._too_large: Exception | None = None
        self._error: Exception | None = None
        self._ends = time.monotonic() + PIECES_SECONDS * timeout_seconds
        self._malformed = False
        self._turns = Turns()
        self._held_bytes = 0
        self.count = 0  # bytes that were read
        self.ended = length == 0

    def limit(self, limit_bytes: int, error: Exception | None = None) -> None:
        """Allow so many bytes at most; more raise `error`, or a 413. A larger Content-Length raises it here."""
        self._limit_bytes, self._too_large = limit_bytes, error
        if (self._length or 0) > limit_bytes:
            self._fail_too_large()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read one piece, as `io.RawIOBase` wants it."""
        piece = self._next(min(len(buffer), self._piece_bytes))
        buffer[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        """Return the rest of the body."""
        return b"".join(iter(lambda: self._next(self._piece_bytes), b""))

    def _next(self, size: int) -> bytes:
        """Return the next bytes, `size` at most; b"" at the end of the whole body."""
        if self._error:
            raise self._error
        if self.ended or size == 0:
            return b""
        self._turns.give_way()  # there may be no wait in the read
        due = min(time.monotonic() + self._timeout_seconds, self._ends)
        piece = self._read_until(due, size)
        self.count += len(piece)
        self._hold()
        if self.count > self._limit_bytes:
            self._fail_too_large()
        if not piece and self._length is not None:
            detail = f"It ended after {self.count:,} of {self._length:,} bytes. Nothing of it was used."
            self._fail(400, "incomplete-body", "The body is incomplete", detail)
        self.ended = self.count == self._length if self._length is not None else not piece
        return piece

    def _read_until(self, due: float, size: int) -> bytes:
        left = size if self._length is None else min(size, self._length - self.count)
        with deadlines.watch(self._socket, due) as deadline:
            try:
                piece: bytes = self._stream.read(left)
            except Exception as error:  # noqa: BLE001  each server has its own errors for a body that it cannot read
                piece = b""
                self._malformed = True
                if not deadline.passed:
                    detail = f"It broke off, or its chunks are malformed: {type(error).__name__}."
                    self._fail(400, "incomplete-body", "The body is incomplete", detail)
        if deadline.passed:
            detail = (
                f"{self._piece_bytes // 1024} KiB, or the rest, must come within {self._timeout_seconds:g} s, and"
                f" all of it within {PIECES_SECONDS * self._timeout_seconds:g} s. Nothing of it was used."
            )
            self._fail(408, "body-timeout", "The body came too slowly", detail)
        return piece

    def _fail_too_large(self) -> NoReturn:
        self._error = self._too_large
        if self._error:
            raise self._error
        detail = f"{request.method} {request.path}: at most {self._limit_bytes:,} bytes are accepted"
        self._fail(413, "request-entity-too-large", "The request is too large", detail)

    def _fail(self, status: int, code: str, title: str, detail: str) -> NoReturn:
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else {}
        self._error = BadRequest(status, code, title, detail, headers=headers)
        raise self._error

    def _hold(self) -> None:
        """Count what this body holds beyond its first piece: large bodies must not keep small ones out."""
        more = max(0, self.count - PIECE_BYTES) - self._held_bytes
        if more > 0:
            self._held_bytes += more
            if not self._held.add(more):
                detail = "It holds too many large bodies; send this one again later."
                self._fail(503, "busy", "The server is busy", detail)

    def release(self) -> None:
        """Forget the bytes that were counted: the request has been answered."""
        self._held.add(-self._held_bytes)

    def drop_rest(self) -> None:
        """Read and drop what is left of the body, within limits, so that the client can read its answer."""
        ends, left, read = time.monotonic() + DROP_SECONDS, MAX_DROPPED_BYTES, self._stream.read
        with suppress(Exception):  # the client is gone, or what it still sends is malformed
            if self._malformed and self._socket:  # nobody knows where it ends: the server closes the connection
                read = self._socket.recv
                self._socket.shutdown(socket.SHUT_WR)
            while left > 0 and not self.ended:
                self._turns.give_way()
                size = min(self._piece_bytes, left if self._length is None else self._length - self.count)
                with deadlines.watch(self._socket, min(ends, time.monotonic() + DROP_PIECE_SECONDS)):
                    piece = read(size)
                self.count += len(piece)
                left -= len(piece)
                self.ended = not piece or self.count == self._length


deadlines = Deadlines()


def register(app: Flask, settings: Settings) -> None:
    """Let every request read its body as a `Body`. Register this before what may refuse a request."""
    held = HeldBytes()

    @app.before_request
    def wrap() -> None:
        environ = request.environ
        # As `request.content_length`, which takes ten times as long; the server has checked both headers.
        text = "" if "HTTP_TRANSFER_ENCODING" in environ else environ.get("CONTENT_LENGTH", "")
        length = int(text) if text.isdecimal() else None
        if length == 0 or (length is None and not environ.get("wsgi.input_terminated")):
            return
        g.body = Body(environ, length, settings.body_timeout_seconds, held)
        environ["wsgi.input"], environ["wsgi.input_terminated"] = g.body, True

    @app.after_request
    def drop_rest(response: Response) -> Response:
        body: Body | None = g.get("body")
        # gunicorn says that a request without a body has one of an unknown length.
        if body and not body.ended and (request.content_length or "Transfer-Encoding" in request.headers):
            response.call_on_close(body.drop_rest)
        return response

    @app.teardown_request
    def release(error: BaseException | None) -> None:
        if "body" in g:
            g.body.release()


def limit_body(limit_bytes: int, error: Exception | None = None) -> None:
    """Allow the request's body so many bytes. Raises `error`, or a `BadRequest` (413), for a longer one."""
    if "body" in g:
        g.body.limit(limit_bytes, error)


def json_body(limit_bytes: int) -> Json:
    """Return the request's body, which may have `limit_bytes` at most.

    Raises `BadRequest` where it is not JSON, or not sent as JSON; and what `Body` raises.
    """
    if not (request.mimetype == "application/json" or request.mimetype.endswith("+json")):
        raise not_json("send -H 'Content-Type: application/json'.")
    limit_body(limit_bytes)
    try:
        # Editors on Windows write a byte order mark, which may be ignored (RFC 8259, 8.1).
        return from_json(request.get_data().removeprefix(BOM_UTF8), allow_inf_nan=False)
    except ValueError as error:
        raise BadRequest(400, "invalid-json", "The body is not JSON", f"{error}. Send a JSON object.") from None


def not_json(fix: str) -> BadRequest:
    """Return the error for a Content-Type that is not JSON's. `fix` says what to send instead."""
    detail = f"Its Content-Type is {request.mimetype or 'missing'!r}; {fix}"
    return BadRequest(415, "not-json", "The body must be sent as JSON", detail)


class HashedBody:
    """A request's body that is read piece by piece, and hashed on the way."""

    def __init__(self) -> None:
        self._digest = sha256(f"{request.method} {request.full_path}\n".encode())

    def read(self, size: int) -> bytes:
        """Return the next bytes of the body, `size` at most."""
        return self.add(request.stream.read(size))

    def add(self, piece: bytes) -> bytes:
        """Hash bytes of the body that have been read already, and return them."""
        self._digest.update(piece)
        return piece

    def idempotency_key(self) -> IdempotencyKey | None:
        """Return the request's Idempotency-Key with its fingerprint: caller, address, query and body.

        Call it after the whole body has been read. Raises `BadRequest` where the header is malformed.
        """
        header = request.headers.get("Idempotency-Key")
        if header is None:
            return None
        key = header.strip('"')  # the draft has a quoted string; many clients send it bare
        if not KEY.fullmatch(key):
            raise BadRequest(
                400,
                "invalid-idempotency-key",
                "The Idempotency-Key is malformed",
                "It must be 1 to 255 visible ASCII characters, such as a UUID, new for each request.",
            )
        caller = request.headers.get("Authorization", "").encode()
        return IdempotencyKey.of(key, caller, self._digest.hexdigest())


def idempotency_key() -> IdempotencyKey | None:
    """Return the Idempotency-Key of a request whose body is in memory already; see `HashedBody`."""
    if "Idempotency-Key" not in request.headers:
        return None
    body = HashedBody()
    body.add(request.get_data())
    return body.idempotency_key()
