"""The operations of the command line over the HTTP API, by `taskqueue.client`."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, cast

from taskqueue.cli.operations import By
from taskqueue.cli.screen import flat
from taskqueue.client import Client, Task
from taskqueue.client.options import Action, ScheduleDocument
from taskqueue.client.records import Record
from taskqueue.telemetry.series import Span

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

    def submit_many(self, tasks: list[Any], then: Any, key: str | None, *, atomic: bool) -> Row:
        """Queue many tasks."""
        batch = self._client.submit_many(tasks, then=then, atomic=atomic, idempotency_key=key)
        ids = iter(batch.tasks)
        refused = {number: [error._asdict() for error in errors] for number, errors in batch.refused.items()}
        return {
            "batch": batch.id,
            "queued": len(batch.tasks),
            "refused": len(refused),
            "on_complete": batch.then and batch.then.id,
            "results": [
                {"errors": refused[number]} if number in refused else {"id": next(ids).id}
                for number in range(len(batch.tasks) + len(refused))
            ],
        }

    def batches(self) -> list[Row]:
        """Return the latest batches."""
        return _rows(self._client.batches())

    def batch(self, batch_id: str) -> Row:
        """Return a batch."""
        return self._client.batch(batch_id).json

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

    def parents(self, task_id: str) -> list[Row]:
        """Return the tasks that a task waits for."""
        return _rows(self._client.parents(task_id))

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

    def bulk_actions(self) -> list[Row]:
        """Return the latest tasks that `bulk` has queued."""
        return _rows(self._client.bulk_actions())

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

    def task_types(self) -> list[Row]:
        """Return the task types."""
        return _rows(self._client.task_types())

    def task_type(self, name: str) -> Row:
        """Return a task type."""
        return self._client.task_type(name).json

    def series(self, span: Span, task_type: str | None, queue: str | None, by: By | None) -> Row:
        """Return what happened in a span."""
        return self._client.series(span, task_type=task_type, queue=queue, by=by).json

    def upload(self, content: bytes, name: str) -> Row:
        """Store a file for a task to read."""
        return self._client.upload(content, name).json

    def download(self, filename: str) -> bytes:
        """Return the content of a file."""
        return self._client.download(filename)

    def show_schedule(self, name: str) -> Row:
        """Return a schedule."""
        return self._client.schedule(name).json

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
