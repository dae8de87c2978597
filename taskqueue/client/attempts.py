"""Whether a request is sent again, and when. Nothing here sends anything, so both clients decide the same way."""

import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from taskqueue.client.call import Call
from taskqueue.client.problems import GATEWAY, is_untrusted, no_answer, not_sent, refusal
from taskqueue.errors import StillProcessing

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.2, 5.0


class Attempts:
    """The attempts of one request. Each method returns the seconds until the next attempt, or raises the error.

    A request that may have been carried out is sent again only if it takes effect once, however often it comes:
    GET, PUT, DELETE, and a POST with an Idempotency-Key.
    """

    def __init__(self, url: str, call: Call[Any], retry_seconds: float) -> None:
        self._url = url
        self._call = call
        self._end = time.monotonic() + retry_seconds
        self._number = 0
        self._may_be_done = False  # an attempt before this one may have been carried out

    def after_error(self, error: httpx.RequestError) -> float:
        """Return the pause after an attempt without an answer. Raises `ApiRefused`."""
        sent = not not_sent(error)
        self._may_be_done = self._may_be_done or sent
        is_hopeless = is_untrusted(error) or not isinstance(error, httpx.TransportError)
        pause = None if is_hopeless or (sent and not self._call.repeatable) else self._pause()
        if pause is None:
            raise no_answer(self._url, self._call, error) from error
        return pause

    def after_answer(self, answer: httpx.Response) -> float | None:
        """Return the pause after an answer; None: the answer is a success. Raises what `refusal` returns."""
        if answer.status_code < 300 or self._is_deleted(answer):
            return None
        error = refusal(answer, self._call)
        if not self._is_temporary(answer, error):
            raise error
        self._may_be_done = self._may_be_done or answer.status_code in GATEWAY
        pause = self._pause(_retry_after(answer))
        if pause is None:
            raise error
        return pause

    def _is_deleted(self, answer: httpx.Response) -> bool:
        """Return whether this answer means that an earlier attempt has deleted what is gone now."""
        return self._call.method == "DELETE" and answer.status_code == 404 and self._may_be_done

    def _is_temporary(self, answer: httpx.Response, error: Exception) -> bool:
        if answer.status_code == 429 or getattr(error, "kind", "") == "busy":  # refused before anything was done
            return True
        if answer.status_code == 409:
            return isinstance(error, StillProcessing)
        return answer.status_code in GATEWAY and self._call.repeatable

    def _pause(self, at_least: float = 0) -> float | None:
        """Return how long to wait for the next attempt; None: it would come too late."""
        self._number += 1
        longest = min(FIRST_PAUSE_SECONDS * 2 ** (self._number - 1), MAX_PAUSE_SECONDS)
        pause = max(at_least, longest * random.uniform(0.5, 1))  # noqa: S311  spreads clients; it is no secret
        return pause if time.monotonic() + pause < self._end else None


def _retry_after(answer: httpx.Response) -> float:
    """Return the seconds in `Retry-After` (RFC 9110, 10.2.3: a number or a date); 0 without one."""
    text = answer.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):  # no date, or one without a time zone
        return 0.0
