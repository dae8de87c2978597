"""What a log line, a job and a callback have in common: the request that they come from.

A request's id and its `traceparent` (W3C Trace Context) are kept with each job that it queues, so that the job's
own log lines, and the jobs that it queues itself, tell them, too.
"""

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from typing import NamedTuple, Self

from taskqueue.store.keys import Field

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
FIELD = Field.TRACE.encode()


class Trace(NamedTuple):
    """Where a request came from."""

    request_id: str
    traceparent: str | None = None

    @classmethod
    def of_request(cls, request_id: str | None, traceparent: str | None) -> Self:
        """As its headers say; an id is made for a request without a good one."""
        known = request_id is not None and REQUEST_ID.fullmatch(request_id)
        return cls(
            request_id if request_id and known else secrets.token_hex(8),
            traceparent if traceparent and TRACEPARENT.fullmatch(traceparent) else None,
        )

    @classmethod
    def of_job(cls, stored: Mapping[bytes, bytes]) -> Self | None:
        """As a job's hash has it."""
        text = stored.get(FIELD)
        if text is None:
            return None
        request_id, _, traceparent = text.decode(errors="replace").partition(" ")
        return cls(request_id, traceparent or None)

    def text(self) -> str:
        """As a job's hash has it."""
        return f"{self.request_id} {self.traceparent}" if self.traceparent else self.request_id

    @property
    def trace_id(self) -> str | None:
        """The second part of the traceparent, by which tracing tools find it."""
        return self.traceparent.split("-")[1] if self.traceparent else None


current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)
"""The request that this code works for, in a web server's thread or in a work-horse."""
