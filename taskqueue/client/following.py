"""The events of a task, over as many connections as it takes. Nothing here sends anything."""

import json
import time
from typing import Any, Literal, cast

import httpx
from httpx_sse import ServerSentEvent

from taskqueue.client.call import Call
from taskqueue.client.problems import is_untrusted, no_answer, not_this_api, refusal
from taskqueue.client.records import Event, LogLine, Task
from taskqueue.client.task_calls import events_path
from taskqueue.errors import ApiRefused, UnknownTask

OUTAGE_SECONDS = 60.0  # following a task survives an outage of so long: a web server restarts in less
SILENCE_SECONDS = 40.0  # of an event stream, which sends something every 15 seconds
MAX_RETRY_SECONDS = 30.0
TEMPORARY = (429, 502, 503, 504)
KINDS = ("status", "progress", "log")


class Following:
    """How far a task has been followed, and what to do when a connection breaks.

    The next connection goes on after the last event (`Last-Event-ID`), so no event is missed or comes twice.
    """

    def __init__(self, url: str, task_id: str, retry_seconds: float) -> None:
        self.task: Task | None = None  # as the last event has it
        self._task_id = task_id
        self._url = url
        self._patience = retry_seconds  # before the first connection
        self._last_id = ""
        self._pause_seconds = 2.0  # until the next connection; the server may set it
        self._failing_since: float | None = None
        self._is_over_for_server = False  # a 204: there are no events after the last one
        self.call = Call(method="GET", path=events_path(task_id), read=lambda answer: None, about=task_id)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the next connection."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        return headers | ({"Last-Event-ID": self._last_id} if self._last_id else {})

    @property
    def has_ended(self) -> bool:
        """Whether the last event, or the server, says that the task has ended."""
        return self._is_over_for_server or (self.task is not None and self.task.has_ended)

    def opened(self, answer: httpx.Response) -> bool:
        """Return whether a connection brings events: after a refusal that passes it does not.

        Raises what `refusal` returns. The body of a refusal must have been read.
        """
        if answer.status_code >= 300:
            error = refusal(answer, self.call)
            if answer.status_code not in TEMPORARY or self._is_over():
                raise error
            return False
        if answer.status_code == 200 and not answer.headers.get("Content-Type", "").startswith(
            "text/event-stream"
        ):
            raise not_this_api(answer)
        self._failing_since = None
        self._patience = OUTAGE_SECONDS
        self._is_over_for_server = answer.status_code == 204
        return answer.status_code == 200

    def received(self, sse: ServerSentEvent) -> Event | None:
        """Return the event; None for one that only says when to connect again.

        Raises `UnknownTask` if the task is gone, `ApiRefused` for an event that cannot be read.
        """
        if sse.retry is not None:
            self._pause_seconds = min(max(sse.retry, 0) / 1000, MAX_RETRY_SECONDS)
        if sse.event == "gone":
            raise UnknownTask(self._task_id)
        if sse.event not in KINDS or not sse.data:
            return None
        kind = cast("Literal['status', 'progress', 'log']", sse.event)
        try:
            event = _event(kind, json.loads(sse.data))
        except (KeyError, TypeError, ValueError):
            message = f"{self._url} sends an event of a task that cannot be read."
            raise ApiRefused(message, "Correct the URL.", kind="not-this-api") from None
        self._last_id = sse.id or self._last_id
        self.task = event.task or self.task
        return event

    def broke_off(self, error: httpx.RequestError) -> None:
        """Take note of a broken connection. Raises `ApiRefused` if that has lasted too long."""
        if is_untrusted(error) or self._is_over():
            raise no_answer(self._url, self.call, error) from error

    @property
    def pause_seconds(self) -> float:
        """How long to wait for the next connection."""
        return self._pause_seconds if self._patience else 0.0

    def _is_over(self) -> bool:
        """Return whether there has been no connection for too long."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        return now - self._failing_since >= self._patience


def _event(kind: Literal["status", "progress", "log"], row: dict[str, Any]) -> Event:
    return Event(kind=kind, line=LogLine.read(row)) if kind == "log" else Event(kind=kind, task=Task.read(row))


class Deadline:
    """The time until which a synchronous client follows a task; no seconds: without end.

    A read from a connection ends after the time that was set when the connection opened. So that it ends in time,
    the client connects again when less is left: at most each 15 seconds, when the server has sent a sign of life.
    """

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self._slack = min(1.0, (seconds or 5) / 5)
        self._opened_with = SILENCE_SECONDS

    @property
    def left(self) -> float:
        """How many seconds are left."""
        return float("inf") if self._end is None else self._end - time.monotonic()

    def read_seconds(self) -> float:
        """Return how long the next connection may be silent."""
        self._opened_with = max(0.01, min(self.left, SILENCE_SECONDS))
        return self._opened_with

    def is_too_close(self) -> bool:
        """Return whether a further read from this connection could end too late."""
        return self.left <= 0 or self._opened_with - self.left > self._slack
