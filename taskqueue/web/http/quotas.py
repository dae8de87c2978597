"""How often a caller may call: a quota in Redis, that all processes share.

A process takes calls out of it a few at a time, a twentieth of the quota, and hands them out itself: one request
in that many asks Redis. Yet all processes together never give more than the quota, and what flows back into it
evenly: at most twice the quota in one window, to a caller who was silent before. What a process holds and does not
use is lost after a twentieth of the window; until then a caller may be refused that much early.
"""

import math
import time
from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

from redis import Redis

from taskqueue.settings.quota import Quota
from taskqueue.store.connection import redis_errors
from taskqueue.store.keys import calls_key
from taskqueue.store.scripts import FastScript

SHARES = 20  # a process takes this part of a quota at a time
MAX_CALLERS = 10_000  # that a process remembers: addresses could be without end


class Verdict(NamedTuple):
    """Whether a call is within the quota."""

    allowed: bool
    left: int  # about how many more are
    seconds: int  # until the quota is full again; until the next call, where this one is not allowed


class _Share:
    """What a process holds of a caller's quota."""

    calls = 0
    left_in_redis = 0
    ends = 0.0  # monotonic: unused calls are lost then
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
        """One call of this caller's. Raises `QueueUnavailable`: what cannot be counted is not allowed."""
        now = time.monotonic()
        with self._lock:
            share = self._shares.setdefault(caller, _Share())
            self._shares.move_to_end(caller)
            if len(self._shares) > MAX_CALLERS:
                self._shares.popitem(last=False)
            if now < share.refused_until:
                return self._refused(share.refused_until - now)
            if share.calls and now < share.ends:
                return self._given(share)
        with redis_errors():  # outside of the lock: other callers need not wait
            arguments = [self.quota.calls, self.quota.window_seconds, self._share_calls]
            given, left, wait = self._script([calls_key(caller)], arguments)
        with self._lock:
            if not given:
                share.refused_until = now + float(wait)
                return self._refused(float(wait))
            share.calls = given if now >= share.ends else share.calls + given
            share.left_in_redis, share.ends = left, now + self._share_seconds
            return self._given(share)

    def _given(self, share: _Share) -> Verdict:
        share.calls -= 1
        left = share.calls + share.left_in_redis
        full = (self.quota.calls - left) * self.quota.window_seconds / self.quota.calls
        return Verdict(allowed=True, left=left, seconds=math.ceil(full))

    def _refused(self, seconds: float) -> Verdict:
        return Verdict(allowed=False, left=0, seconds=max(1, math.ceil(seconds)))
