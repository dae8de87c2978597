"""The body of a request: read as JSON; hashed for the header `Idempotency-Key`, under which it is done once."""

import re
from hashlib import sha256

from flask import request
from pydantic_core import from_json

from taskqueue.enqueue.idempotency import IdempotencyKey
from taskqueue.jobtypes.signature import Json
from taskqueue.web.http.problems import BadRequest

KEY = re.compile(r"[\x21-\x7e]{1,255}")


def json_body(limit_bytes: int) -> Json:
    """Return the request's body, which may have `limit_bytes` at most.

    Raises `BadRequest` where it is not JSON, or not sent as JSON.
    """
    if not (request.mimetype == "application/json" or request.mimetype.endswith("+json")):
        raise not_json("send -H 'Content-Type: application/json'.")
    request.max_content_length = limit_bytes
    try:
        return from_json(request.get_data(), allow_inf_nan=False)
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
