"""The command line's way to Redis."""

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


class RedisClient:
    """See `taskqueue.cli.client.Client`."""

    def __init__(self, settings: Settings, job_types: JobTypes) -> None:
        self._connection: Redis = connect_for_requests(settings.redis_url)
        self._queue = TaskQueue(self._connection, settings, job_types)
        self._operations = Operations(self._connection, settings.failure_ttl_seconds)
        self._cluster_state = ClusterState(self._connection, settings.queues)

    def submit(self, task_type: str, payload: Any, options: Mapping[str, str]) -> dict[str, Any]:
        """Queue a task."""
        try:
            checked = SubmitOptions.model_validate(dict(options))
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise InvalidPayload(
                task_type, [PayloadError(f"--{one['loc'][0]}", one["msg"]) for one in found]
            ) from None
        return _row(self._queue.submit(task_type, payload, checked))

    def get(self, task_id: str) -> dict[str, Any]:
        """A task, now."""
        return _row(self._queue.get(task_id))

    def follow(self, task_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What happens to it, as it happens."""
        seen = EventCursor()
        # With short timeouts: somebody sits before it.
        with closing(Subscriptions(self._connection, self._connection)) as subscriptions:
            while True:  # what follows a task ends after an hour, too
                for event in follow(self._queue, subscriptions, task_id, seen):
                    seen = event.seen
                    if event.kind == "gone":
                        raise UnknownTask(task_id)
                    if event.line:
                        yield event.kind, _plain(asdict(event.line))
                    elif event.task:
                        yield event.kind, _row(event.task)
                        if event.kind == "status" and event.task.status in ENDED:
                            return

    def cancel(self, task_id: str) -> dict[str, Any]:
        """Cancel it."""
        self._operations.cancel(task_id)
        return self.get(task_id)

    def requeue(self, task_id: str) -> dict[str, Any]:
        """Send it again."""
        self._operations.requeue(task_id)
        return self.get(task_id)

    def queues(self) -> list[dict[str, Any]]:
        """Each queue, with how much waits."""
        return [flat(asdict(queue), "tasks") for queue in self._cluster_state.queues()]

    def workers(self) -> list[dict[str, Any]]:
        """Each worker that lives."""
        return [_plain(asdict(worker)) for worker in self._cluster_state.workers()]


def _row(task: Task) -> dict[str, Any]:
    return {name: _plain(value) for name, value in asdict(task).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
