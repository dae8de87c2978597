"""The client of the command line that goes to Redis."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from redis import Redis

from taskqueue.cli.screen import flat
from taskqueue.control.operations import Operations
from taskqueue.enqueue.options import SubmitOptions
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import InvalidPayload, PayloadError, UnknownTask
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.monitor.cluster_state import ClusterState
from taskqueue.monitor.events import EventCursor, follow
from taskqueue.monitor.subscriptions import Subscriptions
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_requests
from taskqueue.store.keys import ENDED
from taskqueue.store.times import timestamp
from taskqueue.tasks.task import Task
from taskqueue.telemetry.changes import Changes, person


class RedisClient:
    """A client over Redis: see `taskqueue.cli.client.Client`."""

    def __init__(self, settings: Settings, job_types: JobTypes) -> None:
        self._connection: Redis = connect_for_requests(settings.redis_url)
        self._queue = TaskQueue(self._connection, settings, job_types)
        self._operations = Operations(self._connection, settings.failure_ttl_seconds)
        self._changes = Changes(self._connection)
        self._cluster_state = ClusterState(self._connection, settings.queues)

    def submit(self, task_type: str, payload: Any, options: Mapping[str, str]) -> dict[str, Any]:
        """Queue a task."""
        try:
            checked = SubmitOptions.model_validate(dict(options))
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            raise InvalidPayload(
                task_type, [PayloadError(f"--{entry['loc'][0]}", entry["msg"]) for entry in errors]
            ) from None
        return _row(self._queue.submit(task_type, payload, checked))

    def get(self, task_id: str) -> dict[str, Any]:
        """Return a task as it is now."""
        return _row(self._queue.get(task_id))

    def follow(self, task_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the events of a task as they happen, until it has ended."""
        cursor = EventCursor()
        # With short timeouts: a person is waiting.
        with closing(Subscriptions(self._connection, self._connection)) as subscriptions:
            while True:  # one stream of events ends after an hour
                for event in follow(self._queue, subscriptions, task_id, cursor):
                    cursor = event.cursor
                    if event.kind == "gone":
                        raise UnknownTask(task_id)
                    if event.line:
                        yield event.kind, _plain(asdict(event.line))
                    elif event.task:
                        yield event.kind, _row(event.task)
                        if event.kind == "status" and event.task.status in ENDED:
                            return

    def cancel(self, task_id: str) -> dict[str, Any]:
        """Cancel a task."""
        self._operations.cancel(task_id)
        return self._changed("task-canceled", task_id)

    def requeue(self, task_id: str) -> dict[str, Any]:
        """Queue a failed or canceled task again."""
        self._operations.requeue(task_id)
        return self._changed("task-requeued", task_id)

    def _changed(self, what: str, task_id: str) -> dict[str, Any]:
        """Record a change of a task, and return the task."""
        task = self.get(task_id)
        self._changes.record(person(), "command line", what, task_id, task_type=task["type"])
        return task

    def queues(self) -> list[dict[str, Any]]:
        """Return all queues with their counts of tasks."""
        return [flat(asdict(queue), "tasks") for queue in self._cluster_state.queues()]

    def workers(self) -> list[dict[str, Any]]:
        """Return the workers that Redis has not forgotten."""
        return [_plain(asdict(worker)) for worker in self._cluster_state.workers()]


def _row(task: Task) -> dict[str, Any]:
    return {name: _plain(value) for name, value in asdict(task).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
