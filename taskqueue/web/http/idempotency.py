"""The header `Idempotency-Key`: a request that is sent twice is done once."""

import re
from hashlib import sha256

from flask import request

from taskqueue.enqueue.idempotency import IdempotencyKey
from taskqueue.web.http.problems import BadRequest

KEY = re.compile(r"[\x21-\x7e]{1,255}")


class HashedBody:
    """The request's body, read piece by piece; a fingerprint of the request is taken meanwhile."""

    def __init__(self) -> None:
        self._digest = sha256(f"{request.method} {request.full_path}\n".encode())

    def read(self, size: int) -> bytes:
        """The next bytes of the body."""
        return self.add(request.stream.read(size))

    def add(self, piece: bytes) -> bytes:
        """Bytes of the body that were read already."""
        self._digest.update(piece)
        return piece

    def idempotency_key(self) -> IdempotencyKey | None:
        """What the request's Idempotency-Key stands for: this caller, this address, this query and this body.

        It is asked for when the body is read.
        """
        header = request.headers.get("Idempotency-Key")
        if header is None:
            return None
        key = header.strip('"')  # the draft has a quoted string; many clients send it bare
        if not KEY.fullmatch(key):
            raise BadRequest(
                400,
                "invalid-idempotency-key",
                "The Idempotency-Key is wrong",
                "It must be 1 to 255 visible ASCII characters, such as a UUID, new for each request.",
            )
        caller = request.headers.get("Authorization", "").encode()
        return IdempotencyKey.of(key, caller, self._digest.hexdigest())


def idempotency_key() -> IdempotencyKey | None:
    """The same, of a request whose body has been read as a whole."""
    if "Idempotency-Key" not in request.headers:
        return None
    body = HashedBody()
    body.add(request.get_data())
    return body.idempotency_key()
