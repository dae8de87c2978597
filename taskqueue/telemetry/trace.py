"""The trace of a request: what connects its log lines, its jobs and their callbacks.

A request's id and its `traceparent` (W3C Trace Context) are stored with each job that it queues. So the job's log
lines have them, and so do the jobs that this job queues.
"""

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from typing import NamedTuple, Self

from taskqueue.store.keys import Field, decoded

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
TRACE_FIELD, SENDER_FIELD = Field.TRACE.encode(), Field.BY.encode()


class Trace(NamedTuple):
    """A request's id and, if the client sent one, its `traceparent`."""

    request_id: str
    traceparent: str | None = None

    @classmethod
    def of_request(cls, request_id: str | None, traceparent: str | None) -> Self:
        """Return the trace of these headers; a missing or malformed id is replaced by a new one."""
        is_good = request_id is not None and REQUEST_ID.fullmatch(request_id)
        return cls(
            request_id if request_id and is_good else secrets.token_hex(8),
            traceparent if traceparent and TRACEPARENT.fullmatch(traceparent) else None,
        )

    @classmethod
    def of_job(cls, stored: Mapping[bytes, bytes]) -> Self | None:
        """Return the trace that a job's hash has, or None."""
        text = stored.get(TRACE_FIELD)
        if text is None:
            return None
        request_id, _, traceparent = text.decode(errors="replace").partition(" ")
        return cls(request_id, traceparent or None)

    def text(self) -> str:
        """Return the trace as a job's hash stores it."""
        return f"{self.request_id} {self.traceparent}" if self.traceparent else self.request_id

    @property
    def trace_id(self) -> str | None:
        """The second part of the traceparent, by which tracing tools find the trace."""
        return self.traceparent.split("-")[1] if self.traceparent else None


current_sender: ContextVar[str] = ContextVar("current_sender", default="")
"""Who sends what this thread of a web server, or this work-horse, queues: the name of an API key; "": unknown."""


def sender_of(stored: Mapping[bytes, bytes]) -> str:
    """Return who sent the job of this hash; "": nobody known."""
    sender = stored.get(SENDER_FIELD)
    return decoded(sender) if sender else ""


current_trace: ContextVar[Trace | None] = ContextVar("current_trace", default=None)
"""The trace of the request that this thread of a web server, or this work-horse, works for."""
