"""The header `Idempotency-Key`: a request that is sent twice is done once."""

import re

from flask import request

from taskqueue.idempotency import IdempotencyKey
from web.problems import BadRequest

KEY = re.compile(r"[\x21-\x7e]{1,255}")


def idempotency_key() -> IdempotencyKey | None:
    """What the request's Idempotency-Key stands for: this caller, this address, this query and this body."""
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
    asked = f"{request.method} {request.full_path}\n".encode() + request.get_data()
    return IdempotencyKey.of(key, request.headers.get("Authorization", "").encode(), asked)
