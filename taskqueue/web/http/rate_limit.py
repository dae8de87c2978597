"""The rate limit: a quota of requests for each caller in Redis, shared by all processes; beyond it a 429.

A process takes a twentieth of the quota at a time and allows that many requests itself: one request in that many
asks Redis. All processes together never allow more than the quota and what flows back into it evenly: at most
twice the quota in one window, to a caller who was silent before. What a process holds and does not use is lost
after a twentieth of the window; until then a caller may be refused that much early.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
import time
from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

from flask import Flask, Response, g, request
from redis import Redis

from taskqueue.settings.api_keys import ApiKey
from taskqueue.settings.quota import Quota
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import calls_key
from taskqueue.store.scripts import Call, FastScript
from taskqueue.web.http.access import caller
from taskqueue.web.http.client_network import network_of
from taskqueue.web.http.endpoint import endpoint_of
from taskqueue.web.http.problems import problem

SHARES = 20  # a process takes this part of a quota at a time
MAX_CALLERS = 10_000  # remembered by one process: there is no end of addresses
POLICY = '"default"'
VERDICT = "taskqueue.verdict"  # in the WSGI environ of a request that has been counted


class Verdict(NamedTuple):
    """Whether a request is within the quota."""

    allowed: bool
    left: int  # about how many more requests are allowed
    seconds: int  # until the quota is full again; of a refused request: until the next one is allowed


class _Share:
    """The part of a caller's quota that a process holds."""

    calls = 0
    left_in_redis = 0
    ends = 0.0  # monotonic: then unused calls are lost
    refused_until = 0.0


class Quotas:
    """The quotas of all callers, as one process sees them."""

    def __init__(self, connection: Redis, quota: Quota) -> None:
        self.quota = quota
        self._script = FastScript(connection, "quota")
        self._share_calls = max(1, quota.calls // SHARES)
        self._share_seconds = quota.window_seconds / SHARES
        self._shares: OrderedDict[str, _Share] = OrderedDict()
        self._lock = Lock()

    def take(self, caller: str) -> Verdict:
        """Count one request of this caller. Raises `QueueUnavailable`: what cannot be counted is not allowed."""
        now = time.monotonic()
        with self._lock:
            share = self._shares.setdefault(caller, _Share())
            self._shares.move_to_end(caller)
            if len(self._shares) > MAX_CALLERS:
                self._shares.popitem(last=False)
            if now < share.refused_until:
                return self._refused(share.refused_until - now)
            if share.calls and now < share.ends:
                return self._allowed(share)
        with redis_errors():  # outside of the lock: other callers need not wait
            arguments = [self.quota.calls, self.quota.window_seconds, self._share_calls]
            given, left, wait = self._script(Call([calls_key(caller)], arguments))
        with self._lock:
            if not given:
                share.refused_until = now + float(wait)
                return self._refused(float(wait))
            share.calls = given if now >= share.ends else share.calls + given
            share.left_in_redis, share.ends = left, now + self._share_seconds
            return self._allowed(share)

    def headers(self, verdict: Verdict) -> list[tuple[str, str]]:
        """Return the headers that tell a client of its quota."""
        return [
            ("RateLimit-Policy", f"{POLICY};q={self.quota.calls};w={self.quota.window_seconds}"),
            ("RateLimit", f"{POLICY};r={verdict.left};t={verdict.seconds}"),
        ]

    def _allowed(self, share: _Share) -> Verdict:
        share.calls -= 1
        left = share.calls + share.left_in_redis
        full = (self.quota.calls - left) * self.quota.window_seconds / self.quota.calls
        return Verdict(allowed=True, left=left, seconds=math.ceil(full))

    def _refused(self, seconds: float) -> Verdict:
        return Verdict(allowed=False, left=0, seconds=max(1, math.ceil(seconds)))


def register(app: Flask, quotas: Quotas) -> None:
    """Count every request that `taskqueue.web.http.access` lets through, except health checks and pages."""
    quota = quotas.quota

    @app.before_request
    def count() -> Response | None:
        declared = endpoint_of(app, request.endpoint)
        if declared is None or declared.scope is None:
            return None
        # On the short way (web/front.py) it has been counted already.
        verdict = g.verdict = request.environ.get(VERDICT) or quotas.take(
            caller_name(caller(), request.remote_addr)
        )
        if verdict.allowed:
            return None
        detail = (
            f"At most {quota.calls:,} requests in {quota.window_seconds} s are allowed; try again in"
            f" {verdict.seconds} s."
        )
        answer = problem(429, "too-many-requests", "Too many requests", detail)
        answer.headers["Retry-After"] = str(verdict.seconds)
        return answer

    @app.after_request
    def add_headers(response: Response) -> Response:
        verdict: Verdict | None = g.get("verdict")
        if verdict:
            response.headers.update(quotas.headers(verdict))
        return response


def caller_name(key: ApiKey | None, remote_address: str | None) -> str:
    """Return whose quota counts: the key's; in an open API that of the client's network."""
    return f"key:{key.name}" if key else f"address:{network_of(remote_address)}"
