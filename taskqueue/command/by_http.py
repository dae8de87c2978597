"""The command line's way to the HTTP API."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import urllib3

from taskqueue.command.screen import flat

TIMEOUT_SECONDS = 10.0


class ApiRefused(Exception):
    """The API did not do it; the message is its own."""


class HttpClient:
    """See `taskqueue.command.client.Client`."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url.rstrip("/")
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._http = urllib3.PoolManager(headers=headers, timeout=TIMEOUT_SECONDS, retries=False)

    def submit(self, task_type: str, payload: Any, options: Mapping[str, str]) -> dict[str, Any]:
        """Queue a task."""
        query = "&".join(f"{name}={quote(value)}" for name, value in {"task_type": task_type, **options}.items())
        return dict(self._ask("POST", f"/tasks?{query}", json=payload))

    def get(self, task_id: str) -> dict[str, Any]:
        """A task, now."""
        return dict(self._ask("GET", f"/tasks/{quote(task_id, safe='')}"))

    def log(self, task_id: str, after: str) -> list[dict[str, Any]]:
        """Nothing: over HTTP a task is watched without its log."""
        return []

    def cancel(self, task_id: str) -> dict[str, Any]:
        """Cancel it."""
        return dict(self._ask("POST", f"/tasks/{quote(task_id, safe='')}/cancel"))

    def requeue(self, task_id: str) -> dict[str, Any]:
        """Send it again."""
        return dict(self._ask("POST", f"/tasks/{quote(task_id, safe='')}/requeue"))

    def queues(self) -> list[dict[str, Any]]:
        """Each queue, with how much waits."""
        return [flat(queue, "tasks") for queue in self._ask("GET", "/queues")["queues"]]

    def workers(self) -> list[dict[str, Any]]:
        """Each worker that lives."""
        return list(self._ask("GET", "/workers")["workers"])

    def _ask(self, method: str, address: str, **more: Any) -> Any:
        try:
            answer = self._http.request(method, self._url + address, **more)
            told = answer.json()
        except urllib3.exceptions.HTTPError as error:
            raise ApiRefused(f"{self._url} does not answer: {error}") from error
        except ValueError as error:
            raise ApiRefused(f"{self._url}{address} answers no JSON ({answer.status}): is it this API?") from error
        if answer.status >= 400:
            raise ApiRefused(f"{told.get('title', answer.reason)}: {told.get('detail', '')}")
        return told
