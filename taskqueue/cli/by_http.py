"""The client of the command line that goes over the HTTP API."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from taskqueue.cli.api import Api
from taskqueue.cli.event_stream import EventStream
from taskqueue.cli.screen import flat
from taskqueue.errors import ApiRefused, UnknownTask
from taskqueue.store.keys import ENDED

TASK = ("id", "type", "status", "attempt", "attempts")  # the fields that a task must have
OUTAGE_SECONDS = 60.0  # following a task survives an outage of so long: a web server restarts in less
TEMPORARY = (None, 429, 502, 503, 504)  # statuses of failures that pass; None: no answer


class HttpClient:
    """A client over HTTP: see `taskqueue.cli.client.Client`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def submit(self, task_type: str, payload: Any, options: Mapping[str, str]) -> dict[str, Any]:
        """Queue a task."""
        query = urlencode({"task_type": task_type, **options})
        return self._api.ask("POST", f"/tasks?{query}", *TASK, json=payload)

    def get(self, task_id: str) -> dict[str, Any]:
        """Return a task as it is now."""
        return self._api.ask("GET", _address(task_id), *TASK)

    def follow(self, task_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the events of a task. When a connection breaks, the next one goes on after the last event."""
        stream = EventStream()
        while True:
            try:
                for event, data in stream.read(self._chunks(task_id, stream.last_id)):
                    if event == "gone":
                        raise UnknownTask(task_id)
                    row = json.loads(data)
                    yield event, row
                    if event == "status" and row["status"] in ENDED:
                        return
            except ApiRefused as refused:
                last = stream.received_at
                if last is None or refused.status not in TEMPORARY or time.monotonic() - last > OUTAGE_SECONDS:
                    raise
            time.sleep(stream.retry_seconds)

    def _chunks(self, task_id: str, last_id: str) -> Iterator[bytes]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        return self._api.stream(f"{_address(task_id)}/events", headers)

    def cancel(self, task_id: str) -> dict[str, Any]:
        """Cancel a task."""
        return self._api.ask("POST", f"{_address(task_id)}/cancel", *TASK)

    def requeue(self, task_id: str) -> dict[str, Any]:
        """Queue a failed or canceled task again."""
        return self._api.ask("POST", f"{_address(task_id)}/requeue", *TASK)

    def queues(self) -> list[dict[str, Any]]:
        """Return all queues with their counts of tasks."""
        return [flat(queue, "tasks") for queue in self._api.ask("GET", "/queues", "queues")["queues"]]

    def workers(self) -> list[dict[str, Any]]:
        """Return the workers that Redis has not forgotten."""
        return list(self._api.ask("GET", "/workers", "workers")["workers"])


def _address(task_id: str) -> str:
    return f"/tasks/{quote(task_id, safe='')}"
