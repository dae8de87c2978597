"""The operations of the command line over the HTTP API, by `taskqueue.client`."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, cast

from taskqueue.cli.screen import flat
from taskqueue.client import Client, Task
from taskqueue.client.options import Action, ScheduleDocument
from taskqueue.client.records import Record

Row = dict[str, Any]


class HttpOperations:
    """Operations over HTTP: see `taskqueue.cli.operations.Operations`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def submit(self, task_type: str, payload: Any, options: Mapping[str, str], key: str | None) -> Row:
        """Queue a task."""
        handle = self._client.submit(
            task_type,
            payload,
            idempotency_key=key,
            **cast("Any", options),  # texts, which the server reads
        )
        return cast("Task", handle.accepted).json

    def get(self, task_id: str) -> Row:
        """Return a task as it is now."""
        return self._client.get(task_id).json

    def wait(self, task_id: str, seconds: float) -> Row:
        """Return a task when it has ended, or as it is after so many seconds."""
        return self._client.wait(task_id, seconds).json

    def follow(self, task_id: str) -> Iterator[tuple[str, Row]]:
        """Yield the events of a task."""
        for event in self._client.events(task_id):
            yield event.kind, cast("Record", event.line or event.task).json

    def cancel(self, task_id: str) -> Row:
        """Cancel a task."""
        return self._client.cancel(task_id).json

    def requeue(self, task_id: str) -> Row:
        """Queue a failed or canceled task again."""
        return self._client.requeue(task_id).json

    def delete(self, task_id: str) -> None:
        """Delete a task."""
        self._client.delete(task_id)

    def explain(self, task_id: str) -> Row:
        """Return why a task does not run, or how it ended."""
        return self._client.explain(task_id).json

    def logs(self, task_id: str, attempt: int | None) -> list[Row]:
        """Return the lines of a task's log."""
        return _rows(self._client.logs(task_id, attempt=attempt))

    def tasks(self, q: str, limit: int) -> list[Row]:
        """Return the tasks that a search finds."""
        return _rows(self._client.list(q, limit=limit))

    def failures(self) -> Row:
        """Return the groups of failed tasks."""
        return self._client.failures().json

    def changes(self, limit: int) -> list[Row]:
        """Return who changed what."""
        return _rows(self._client.changes(limit=limit))

    def matching(self, action: Action, q: str) -> Row:
        """Return how many tasks an action would change."""
        return self._client.matching(action, q).json

    def bulk(self, action: Action, q: str, most: int, rate: float | None, delay: float | None) -> Row:
        """Queue a task that changes all tasks which a search finds."""
        handle = self._client.bulk(action, q, max=most, rate=rate, delay=delay)
        return cast("Task", handle.accepted).json

    def queues(self) -> list[Row]:
        """Return all queues with their counts of tasks."""
        return [flat(queue.json, "tasks") for queue in self._client.queues()]

    def workers(self) -> list[Row]:
        """Return the workers that Redis has not forgotten."""
        return _rows(self._client.workers())

    def pause(self, queue: str) -> None:
        """Pause a queue."""
        self._client.pause(queue)

    def resume(self, queue: str) -> None:
        """Resume a queue."""
        self._client.resume(queue)

    def limits(self) -> list[Row]:
        """Return the limits of all task types, and which types are paused."""
        return _rows(self._client.limits())

    def pause_type(self, task_type: str) -> Row:
        """Pause a task type."""
        return self._client.pause_type(task_type).json

    def resume_type(self, task_type: str) -> Row:
        """Resume a task type."""
        return self._client.resume_type(task_type).json

    def change_limits(self, task_type: str, concurrency: int | None, rate: str | None) -> Row:
        """Change the limits of a task type."""
        return self._client.change_limits(task_type, concurrency=concurrency, rate=rate).json

    def reset_limits(self, task_type: str) -> Row:
        """Let the limits of the code hold again."""
        return self._client.reset_limits(task_type).json

    def schedules(self) -> list[Row]:
        """Return all schedules."""
        return _rows(self._client.schedules())

    def put_schedule(self, name: str, document: Mapping[str, Any]) -> Row:
        """Create or replace a schedule."""
        return self._client.put_schedule(name, cast("ScheduleDocument", document)).json

    def change_schedule(self, name: str, action: Literal["pause", "resume"]) -> Row:
        """Pause or resume a schedule."""
        change = self._client.pause_schedule if action == "pause" else self._client.resume_schedule
        return change(name).json

    def run_schedule(self, name: str) -> Row:
        """Queue a schedule's task now."""
        return cast("Task", self._client.run_schedule(name).accepted).json

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule."""
        self._client.delete_schedule(name)


def _rows(records: Iterable[Record]) -> list[Row]:
    return [record.json for record in records]
